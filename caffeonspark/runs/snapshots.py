"""Models and snapshots as files: Caffe's names and formats, and where they go."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..comm.wire import FrameKind
from ..errors import ConfigError, DataError, StorageError
from ..formats.checksums import read_checked, sum_of
from ..formats.endings import ending_of, model_ending, state_ending
from ..formats.solverstate import state_iteration, with_learned_net
from ..nets.schema import SolverParameter
from ..plans.job import ResumePoint
from ..plans.run_config import RunConfig
from ..storage import Storage, find_file, is_local, join, local_path, parent
from ..sync.registry import how_asked, strategy_for
from .kept import kept
from .saved_net import Layers, difference, recorded
from .snapshot_check import checked_ending, part_names, part_uri, problem_of, read_about, stem
from .start_weights import find_start_weights

__all__ = [
    "Snapshot",
    "SnapshotStore",
    "StartFiles",
    "check_other_format",
    "read_resume_point",
    "snapshot_base",
    "snapshot_prefix",
]


def snapshot_prefix(config: RunConfig) -> str:
    """The first part of snapshots' names: of the solver's snapshot_prefix, or the solver's own name as in Caffe.

    The prefix's folder does not count, as in CaffeOnSpark: snapshots go next to the model.
    """
    prefix = os.path.basename(config.solver.snapshot_prefix)
    return prefix or os.path.splitext(os.path.basename(config.solver_path))[0]


def snapshot_base(config: RunConfig) -> str:
    """The URI that snapshots' names begin with."""
    return join(parent(config.model_uri), f"{snapshot_prefix(config)}_iter")


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot: where its files are, and what training needs to continue from it.

    Attributes
    ----------
    weights, state : URIs
    parts : URIs of the ranks' own files that training continues from, rank by rank
    point : where that is
    """

    weights: str
    state: str
    parts: Tuple[str, ...]
    point: ResumePoint


@dataclass(frozen=True)
class StartFiles:
    """Where training starts from, with the files that ``point`` lists.

    Attributes
    ----------
    point : ResumePoint
    contents : of the weight files and the solver state
    parts : URIs of the ranks' own files, which may be many
    names : of the weight files and the solver state, as errors call them
    """

    point: ResumePoint
    contents: Sequence[bytes]
    parts: Sequence[str] = ()
    names: Sequence[str] = ()

    def read_all(self, storage: Storage) -> Iterator[bytes]:
        """The content of every file, in the point's order; parts are read one at a time."""
        yield from self.contents
        for uri in self.parts:
            yield storage.read(uri)


def _asking(sync: str) -> str:
    """What asks for a strategy (``sync.registry.how_asked``), as users write it."""
    return sync if sync.startswith(("-", "type:")) else f"-sync {sync}"


def _as_flag(name: str, value: Any) -> str:
    """A flag and its value, as on a command line."""
    if value is None or value is False:
        return f"no -{name}"
    return f"-{name}" if value is True else f"-{name} {value}"


def learned_net_for(uri: str) -> str:
    """What a solver state next to the weights at ``uri`` calls them: a path stock Caffe can open, if local."""
    return os.path.abspath(local_path(uri)) if is_local(uri) else uri


# ---- where to start from


def read_resume_point(
    config: RunConfig, snapshots: SnapshotStore, again: bool = False
) -> Tuple[StartFiles, Optional[int]]:
    """What training starts from by ``-resume``, ``-snapshot`` and ``-weights``; the seed.

    The seed is the solver's random_seed, else that of the run that took the snapshot, else None. A run that is begun
    ``again``, because its driver was lost, continues from its own newest snapshot if it has one.
    """
    names = config.settings.weight_files
    seed = int(config.solver.random_seed) if config.solver.random_seed >= 0 else None
    own = snapshots.newest(of_this_run=True) if again else None
    if own is not None:
        return snapshots.read(own), seed if seed is not None else snapshots.seed(own)
    if config.settings.resume:
        if config.settings.snapshot:
            raise ConfigError("-resume finds the newest snapshot by itself: give it or -snapshot, not both")
        newest = snapshots.newest()
        if newest is not None:
            return snapshots.read(newest), seed if seed is not None else snapshots.seed(newest)
        snapshots.check_other_format()
    if config.settings.snapshot:
        if not names:
            raise ConfigError(
                f"-snapshot {config.settings.snapshot} needs -weights: name the .caffemodel that was saved with it"
            )
        if len(names) > 1:
            raise ConfigError("-snapshot goes with one -weights file, the one that was saved with it")
        weights = find_file(config.storage, names[0], "the model (-weights)")
        state = find_file(config.storage, config.settings.snapshot, "the solver state (-snapshot)")
        found = snapshots.look(weights, state)
        return snapshots.read(found), seed if seed is not None else snapshots.seed(found)
    paths = find_start_weights(config)
    contents = [read_checked(config.storage, path) for path in paths]
    return StartFiles(ResumePoint(weights=tuple(ending_of(path) for path in paths)), contents, names=paths), seed


def check_other_format(storage: Storage, folder: str, prefix: str, hdf5: bool) -> None:
    """Raise ConfigError where a folder has snapshots in the other format than the solver's, which is HDF5 or not;
    called where there are none in its own, and a run that is to resume would start over.

    ``prefix`` is a regular expression of what their names begin with.
    """
    pattern = re.compile(rf"{prefix}_iter_(\d+){re.escape(state_ending(not hdf5))}")
    found = [match for match in map(pattern.fullmatch, storage.names(folder)) if match]
    if not found:
        return
    newest = max(found, key=lambda match: int(match.group(1))).group()
    here, there = ("HDF5", "BINARYPROTO") if hdf5 else ("BINARYPROTO", "HDF5")
    raise ConfigError(
        f"-resume: {join(folder, newest)} is in {there}, and the solver's snapshot_format is {here}: set it to "
        f"{there}, or name this snapshot with -snapshot and -weights instead of -resume"
    )


# ---- the snapshots of a run


@dataclass
class _Arriving:
    """The files of a snapshot that have come from the ranks: local paths."""

    weights: str = ""
    state: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    parts: Dict[Tuple[int, str], str] = field(default_factory=dict)  # by rank and ending

    @property
    def complete(self) -> bool:
        """Whether they are all there; the state says which parts there are."""
        return bool(self.weights and self.state) and set(part_names(self.about)) <= set(self.parts)

    def discard(self) -> None:
        for path in (self.weights, self.state, *self.parts.values()):
            if path:
                os.unlink(path)


class SnapshotStore:
    """The snapshots next to the model: takes new ones, finds the newest, removes the oldest.

    A snapshot is two files as Caffe names them, ``<prefix>_iter_N.caffemodel`` and ``.solverstate`` (``.h5`` added for
    HDF5), and a third, ``.solverstate.json``, with what Caffe's format has no room for. Where ranks have something of
    their own to continue from, there are also parts: ``<prefix>_iter_N.rank1.solverstate``, as ``.json`` lists them.
    Each file is whole or not there, and the solver state comes last, so a snapshot with a state, weights and all parts
    is complete.

    Parameters
    ----------
    config : RunConfig
    say : told about every snapshot
    run : names the run whose snapshots are taken
    net : the layers of its net that have parameters; () where they are not known
    """

    def __init__(self, config: RunConfig, say: Callable[[str], None], run: str, net: Layers = ()) -> None:
        self._config = config
        self._storage = config.storage
        self._say = say
        self._run = run
        self._net = net
        self._strategy = strategy_for(config.settings, config.solver.type)
        self._sync = how_asked(config.settings, config.solver.type)
        self._passing: Set[int] = set()  # of those taken, the ones that nobody asked for
        self._arriving: Dict[int, _Arriving] = {}  # by iteration
        self._taken: Dict[int, List[str]] = {}  # by iteration: the files, in the order in which they are removed
        self._folder = parent(config.model_uri)
        self._prefix = snapshot_prefix(config)
        self._hdf5 = config.solver.snapshot_format == SolverParameter.HDF5

    def _uris(self, iteration: int) -> Tuple[str, str]:
        base = join(self._folder, f"{self._prefix}_iter_{iteration}")
        return base + model_ending(self._hdf5), base + state_ending(self._hdf5)

    # ---- taking

    def take(self, rank: int, kind: str, about: Mapping[str, Any], path: str, seed: int) -> Optional[str]:
        """A file that a rank handed over. The last one of a snapshot puts it in its place.

        Parameters
        ----------
        rank : whose it is
        kind : the frame's kind: weights, state or part
        about : what the rank says of it: ``iteration``; ``ending`` of a part; of the state, what goes next to it
        path : the local file
        seed : of the run

        Returns
        -------
        str or None
            Where the solver state is, if the snapshot is complete with this file, and one that was asked for.
        """
        iteration = int(about["iteration"])
        arriving = self._arriving.setdefault(iteration, _Arriving())
        if kind == FrameKind.SNAPSHOT_WEIGHTS:
            arriving.weights = path
        elif kind == FrameKind.SNAPSHOT_PART:
            arriving.parts[rank, checked_ending(about["ending"])] = path
        else:
            arriving.state = path
            arriving.about = {**about, **self._recorded(seed)}
        if not arriving.complete:
            return None
        del self._arriving[iteration]
        try:
            return self._store(iteration, arriving)
        except StorageError as e:
            raise kept(e, dict(zip(self._uris(iteration), (arriving.weights, arriving.state)))) from e
        finally:
            arriving.discard()

    def _recorded(self, seed: int) -> Dict[str, Any]:
        """What a resumed run has to know of the settings."""
        settings = self._config.settings
        return {
            "run": self._run,
            "net": recorded(self._net),
            "solver": str(self._config.solver.type),
            "seed": seed,
            "ranks": self._config.ranks,
            "sync": self._sync,
            "portable": self._strategy.portable,
            **{name: getattr(settings, name) for name in self._strategy.flags},
        }

    def discard_incomplete(self) -> None:
        """Forget snapshots of which some files will not come any more."""
        for arriving in self._arriving.values():
            arriving.discard()
        self._arriving.clear()

    def _store(self, iteration: int, arriving: _Arriving) -> Optional[str]:
        weights_uri, state_uri = self._uris(iteration)
        named = arriving.state + ending_of(state_uri)
        os.rename(arriving.state, named)
        arriving.state = named
        files = {weights_uri: arriving.weights}
        for key in part_names(arriving.about):
            files[part_uri(state_uri, *key)] = arriving.parts[key]
        # never weights or parts without which a state is there
        uris = [state_uri, state_uri + ".json", *files]
        stored = False
        try:
            with_learned_net(named, learned_net_for(weights_uri))
            sums = {os.path.basename(uri): sum_of(path) for uri, path in {**files, state_uri: named}.items()}
            arriving.about = {**arriving.about, "saved": time.time(), "files": sums}
            for uri, path in files.items():
                self._storage.store(path, uri)
                if not stored:
                    stored = True
                    self._remove_older(state_uri, files)
            self._storage.write(state_uri + ".json", json.dumps(arriving.about).encode())
            self._storage.store(named, state_uri)
        except StorageError:
            if stored:  # no half of a snapshot stays
                with contextlib.suppress(StorageError):
                    self._remove(uris)
            raise
        passing = bool(arriving.about.get("passing"))
        if not passing:
            self._say(f"saved {state_uri}")
        self._taken = {taken: its for taken, its in self._taken.items() if taken < iteration}
        self._taken[iteration] = uris
        self._remove_old()
        self._passing = {taken for taken in self._passing if taken in self._taken and taken != iteration}
        if passing:
            self._passing.add(iteration)
        return None if passing else state_uri

    def _remove_older(self, state: str, files: Mapping[str, str]) -> None:
        """Remove the state of an older run, whose weights are not there any more, and its parts."""
        if not self._storage.exists(state):
            return
        self._remove([state, state + ".json"])
        part = re.compile(rf"{re.escape(stem(os.path.basename(state)))}\.rank\d+(\.\w+)+")
        uris = [join(self._folder, name) for name in self._storage.names(self._folder) if part.fullmatch(name)]
        self._remove([uri for uri in uris if uri not in files])

    def _remove_old(self) -> None:
        keep = self._config.settings.keepSnapshots or math.inf
        newest = max(self._taken)
        passing = [taken for taken in self._taken if taken in self._passing and taken != newest]
        if not passing and len(self._taken) <= keep:
            return
        oldest = min(self._taken)
        problem = problem_of(self._storage, *self._uris(newest))  # as it can be read there
        if problem:
            self._say(f"{self._uris(oldest)[1]} is kept: {problem}")
            return
        for taken in passing:
            self._remove(self._taken.pop(taken))
        while len(self._taken) > keep:
            self._remove(self._taken.pop(min(self._taken)))

    def _remove(self, uris: Sequence[str]) -> None:
        for uri in uris:
            self._storage.remove(uri)

    # ---- finding

    def newest_taken(self, until: float = math.inf) -> Optional[Snapshot]:
        """The newest whole snapshot of this run, of iteration ``until`` at most; older runs' may be next to it."""
        return self._newest_of([iteration for iteration in self._taken if iteration <= until])

    def newest(self, of_this_run: bool = False) -> Optional[Snapshot]:
        """The newest complete snapshot next to the model, of whatever run or only of this one."""
        names = set(self._storage.names(self._folder))
        pattern = re.compile(rf"{re.escape(self._prefix)}_iter_(\d+){re.escape(state_ending(self._hdf5))}")
        found = [int(match.group(1)) for match in map(pattern.fullmatch, names) if match]
        return self._newest_of(found, of_this_run)

    def check_other_format(self) -> None:
        """Raise ConfigError where there are snapshots next to the model in the solver's other ``snapshot_format``."""
        check_other_format(self._storage, self._folder, re.escape(self._prefix), self._hdf5)

    def _newest_of(self, iterations: Sequence[int], of_this_run: bool = False) -> Optional[Snapshot]:
        """The newest whole one of these; those that are not are passed over with a line."""
        others = ""
        for iteration in sorted(iterations, reverse=True):
            weights, state = self._uris(iteration)
            if of_this_run and not self._is_of_this_run(state):
                continue
            other = self._other_net(state)
            if other:
                others = others or f"{state} is of another net: {other}"
                self._say(f"{state} is passed over: it is of another net, {other}")
                continue
            problem = problem_of(self._storage, weights, state)
            if not problem:
                return self.look(weights, state)
            self._say(f"{state} is passed over: {problem}")
        if others and not of_this_run:
            raise ConfigError(
                f"-resume: {others}. Give this net's solver another snapshot_prefix or folder, or start over without "
                "-resume"
            )
        return None

    def _other_net(self, state: str) -> str:
        """How the net of a snapshot is another one than this run's; "" if it is not, or nothing is known of it."""
        try:
            return difference(read_about(self._storage, state).get("net"), self._net)
        except DataError:
            return ""

    def _is_of_this_run(self, state: str) -> bool:
        try:
            return bool(read_about(self._storage, state).get("run") == self._run)
        except DataError:  # damaged: whose it was cannot be known
            return False

    def look(self, weights: str, state: str) -> Snapshot:
        """The snapshot of these weights and this state, for the ranks and the strategy of this run.

        Raises
        ------
        DataError
            If ``state`` is no solver state, or parts of the snapshot are missing.
        ConfigError
            If this run cannot continue from it.
        """
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
            copy = os.path.join(folder, "state" + ending_of(state))
            self._storage.fetch(state, copy)
            iteration = state_iteration(copy, state)
        about = read_about(self._storage, state)
        other = difference(about.get("net"), self._net)
        if other:
            raise ConfigError(f"{state} is of another net: {other}")
        parts = self._parts_for_this_run(about, state)
        if parts and stem(os.path.basename(weights)) != stem(os.path.basename(state)):
            self._say(f"{weights} was not saved with {state}: every rank starts from it and from the solver state")
            parts = ()
        tests = int(about["tests_done"]) if "tests_done" in about else _tests_before(self._config, iteration)
        best = about.get("best")
        point = ResumePoint(
            weights=(ending_of(weights),),
            state=ending_of(state),
            iteration=iteration,
            tests_done=tests,
            best=None if best is None else float(best),
            since_best=int(about.get("since_best", 0)),
            best_saved=bool(about.get("best_saved", best is not None)),
            uri=state,
            parts=parts,
        )
        uris = [part_uri(state, rank, ending) for rank, endings in enumerate(parts) for ending in endings]
        for uri in uris:
            if not self._storage.exists(uri):
                raise DataError(
                    f"{uri} is missing, a part of the snapshot {state}: put it there, or remove {state}.json, then "
                    "every rank starts from the snapshot's model and solver state"
                )
        return Snapshot(weights, state, tuple(uris), point)

    def _parts_for_this_run(self, about: Mapping[str, Any], state: str) -> Tuple[Tuple[str, ...], ...]:
        """For each rank the endings of its parts; () where there are none, or none for this run's ranks."""
        sync, ranks = self._sync, self._config.ranks
        parts: Tuple[Tuple[str, ...], ...] = tuple(tuple(endings) for endings in about.get("parts") or ())
        theirs, count = str(about.get("sync", "all_reduce")), int(about.get("ranks", ranks))
        if (theirs, count) == (sync, ranks):
            self._tell_of_flags(about, state)
            return parts
        saved_by = f"{state} was saved by {count} ranks with {_asking(theirs)}"
        now = f"this run has {ranks} with {_asking(sync)}"
        if not about.get("portable", True):
            raise ConfigError(
                f"{saved_by}, which cannot continue in another way, and {now}: give it those ranks and "
                f"{_asking(theirs)}, or its model alone as -weights"
            )
        if parts or ("sync" in about and theirs != sync):
            self._say(f"{saved_by}, and {now}: every rank starts from the snapshot's model and solver state")
        return ()

    def _tell_of_flags(self, about: Mapping[str, Any], state: str) -> None:
        """Say which of the strategy's flags this run has set otherwise than the one that took the snapshot."""
        mine = {name: getattr(self._config.settings, name) for name in self._strategy.flags if name in about}
        changed = [name for name, value in mine.items() if about[name] != value]
        if changed:
            before, now = (" ".join(_as_flag(name, values[name]) for name in changed) for values in (about, mine))
            self._say(
                f"{state} was saved with {before}, and this run has {now}: it continues with that, and gets another "
                "model than a run with one of them"
            )

    def read(self, snapshot: Snapshot) -> StartFiles:
        """Where to start from, with the content of the weights and of the state."""
        names = (snapshot.weights, snapshot.state)
        return StartFiles(snapshot.point, [read_checked(self._storage, uri) for uri in names], snapshot.parts, names)

    def seed(self, snapshot: Snapshot) -> Optional[int]:
        """The seed of the run that took the snapshot, if it was one of ours."""
        seed = read_about(self._storage, snapshot.state).get("seed")
        return None if seed is None else int(seed)


def _tests_before(config: RunConfig, iteration: int) -> int:
    """How many validations stock Caffe had done when it stood at ``iteration``, before the one due there."""
    interval = int(config.solver.test_interval)
    if not interval or not iteration:
        return 0
    passed = -(-iteration // interval)  # at 0, interval, …, below iteration
    return passed if config.solver.test_initialization else passed - 1
