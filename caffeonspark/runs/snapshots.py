"""Models and snapshots as files: Caffe's names and formats, and where they go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ..errors import ConfigError, DataError, StorageError
from ..formats.endings import ending_of, model_ending, state_ending
from ..formats.solverstate import state_iteration, with_learned_net
from ..nets.schema import SolverParameter
from ..plans.job import ResumePoint
from ..plans.run_config import RunConfig
from ..storage import find_file, is_local, join, local_path, parent

__all__ = [
    "Snapshot",
    "SnapshotStore",
    "read_resume_point",
    "snapshot_prefix",
]


def snapshot_prefix(config: RunConfig) -> str:
    """The first part of snapshots' names: of the solver's snapshot_prefix, or the solver's own name as in Caffe.

    The prefix's folder does not count, as in CaffeOnSpark: snapshots go beside the model.
    """
    prefix = os.path.basename(config.solver.snapshot_prefix)
    return prefix or os.path.splitext(os.path.basename(config.solver_path))[0]


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot: where its two files are, and what training needs to go on from it."""

    weights: str
    state: str
    start: ResumePoint


def learned_net_for(uri: str) -> str:
    """What a solver state beside the weights at ``uri`` calls them: a path stock Caffe can open, if local."""
    return os.path.abspath(local_path(uri)) if is_local(uri) else uri


# ---- where to start from


def read_resume_point(
    config: RunConfig, snapshots: SnapshotStore, again: bool = False
) -> Tuple[ResumePoint, List[bytes], Optional[int]]:
    """What training starts from by ``-resume``, ``-snapshot`` and ``-weights``; the content of the files; the seed.

    The seed is the solver's random_seed, else that of the run that took the snapshot, else None. A run that is begun
    ``again``, because its driver was lost, goes on from its own newest snapshot if it has one.
    """
    names = [name.strip() for name in config.settings.weights.split(",") if name.strip()]
    seed = int(config.solver.random_seed) if config.solver.random_seed >= 0 else None
    own = snapshots.newest(of_this_run=True) if again else None
    if own is not None:
        return own.start, snapshots.read(own), seed if seed is not None else snapshots.seed(own)
    if config.settings.resume:
        if config.settings.snapshot:
            raise ConfigError("-resume finds the newest snapshot by itself: give it or -snapshot, not both")
        newest = snapshots.newest()
        if newest is not None:
            return newest.start, snapshots.read(newest), seed if seed is not None else snapshots.seed(newest)
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
        return found.start, snapshots.read(found), seed if seed is not None else snapshots.seed(found)
    paths = [find_file(config.storage, name, "the model (-weights)") for name in names]
    contents = [config.storage.read(path) for path in paths]
    return ResumePoint(weights=tuple(ending_of(path) for path in paths)), contents, seed


# ---- the snapshots of a run


class SnapshotStore:
    """The snapshots beside the model: takes new ones, finds the newest, removes the oldest.

    A snapshot is two files as Caffe names them, ``<prefix>_iter_N.caffemodel`` and ``.solverstate`` (``.h5`` added for
    HDF5), and a third, ``.solverstate.json``, with what Caffe's format has no room for. Each file is whole or not
    there, and the solver state comes last, so a snapshot with a state and weights is complete.

    Parameters
    ----------
    config : RunConfig
    say : told about every snapshot
    run : names the run whose snapshots are taken
    """

    def __init__(self, config: RunConfig, say: Callable[[str], None], run: str) -> None:
        self._config = config
        self._storage = config.storage
        self._say = say
        self._run = run
        self._waiting: Dict[int, str] = {}  # weights whose state has not come yet
        self._taken: List[int] = []
        self._folder = parent(config.model_uri)
        self._prefix = snapshot_prefix(config)
        self._hdf5 = config.solver.snapshot_format == SolverParameter.HDF5

    def _uris(self, iteration: int) -> Tuple[str, str]:
        base = join(self._folder, f"{self._prefix}_iter_{iteration}")
        return base + model_ending(self._hdf5), base + state_ending(self._hdf5)

    # ---- taking

    def take_weights(self, iteration: int, path: str) -> None:
        """The first of a snapshot's files, a local one."""
        self._waiting[iteration] = path

    def take_state(self, about: Mapping[str, Any], path: str) -> str:
        """The second: now the snapshot is put in its place, which is returned; ``about`` goes beside it."""
        iteration = int(about["iteration"])
        weights_uri, state_uri = self._uris(iteration)
        weights = self._waiting.pop(iteration)
        named = path + ending_of(state_uri)
        os.rename(path, named)
        stored = False
        try:
            with_learned_net(named, learned_net_for(weights_uri))
            self._storage.store(weights, weights_uri)
            stored = True
            self._storage.write(state_uri + ".json", json.dumps({**about, "run": self._run}).encode())
            self._storage.store(named, state_uri)
        except StorageError:
            if stored:  # neither half a snapshot stays, nor these weights beside an older run's state
                with contextlib.suppress(StorageError):
                    self._remove(iteration)
            raise
        finally:
            os.unlink(weights)
            os.unlink(named)
        self._say(f"saved {state_uri}")
        self._taken = [*(taken for taken in self._taken if taken < iteration), iteration]
        self._remove_old()
        return state_uri

    def _remove_old(self) -> None:
        keep = self._config.settings.keepSnapshots
        while keep and len(self._taken) > keep:
            self._remove(self._taken.pop(0))

    def _remove(self, iteration: int) -> None:
        weights, state = self._uris(iteration)
        for uri in (state, state + ".json", weights):  # never weights without which a state is there
            self._storage.remove(uri)

    # ---- finding

    def newest_taken(self) -> Optional[Snapshot]:
        """The newest snapshot of this run; older runs' may lie beside it."""
        return self.look(*self._uris(self._taken[-1])) if self._taken else None

    def newest(self, of_this_run: bool = False) -> Optional[Snapshot]:
        """The newest complete snapshot beside the model, of whatever run or only of this one."""
        names = set(self._storage.names(self._folder))
        pattern = re.compile(rf"{re.escape(self._prefix)}_iter_(\d+){re.escape(state_ending(self._hdf5))}")
        found = [int(match.group(1)) for match in map(pattern.fullmatch, names) if match]
        for iteration in sorted(found, reverse=True):
            weights, state = self._uris(iteration)
            if os.path.basename(weights) not in names:
                continue
            if not of_this_run or self._about(state).get("run") == self._run:
                return self.look(weights, state)
        return None

    def look(self, weights: str, state: str) -> Snapshot:
        """The snapshot in two files. Raises DataError if ``state`` is no solver state."""
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
            copy = os.path.join(folder, "state" + ending_of(state))
            self._storage.fetch(state, copy)
            iteration = state_iteration(copy, state)
        about = self._about(state)
        tests = int(about["tests_done"]) if "tests_done" in about else _tests_before(self._config, iteration)
        best = about.get("best")
        start = ResumePoint(
            weights=(ending_of(weights),),
            state=ending_of(state),
            iteration=iteration,
            tests_done=tests,
            best=None if best is None else float(best),
            since_best=int(about.get("since_best", 0)),
            uri=state,
        )
        return Snapshot(weights, state, start)

    def read(self, snapshot: Snapshot) -> List[bytes]:
        """The content of the weights and of the state."""
        return [self._storage.read(snapshot.weights), self._storage.read(snapshot.state)]

    def seed(self, snapshot: Snapshot) -> Optional[int]:
        """The seed of the run that took the snapshot, if it was one of ours."""
        seed = self._about(snapshot.state).get("seed")
        return None if seed is None else int(seed)

    def _about(self, state: str) -> Dict[str, Any]:
        uri = state + ".json"
        if not self._storage.exists(uri):
            return {}
        try:
            return dict(json.loads(self._storage.read(uri)))
        except ValueError:
            raise DataError(f"{uri} is damaged: remove it to resume without it") from None


def _tests_before(config: RunConfig, iteration: int) -> int:
    """How many validations stock Caffe had done when it stood at ``iteration``, before the one due there."""
    interval = int(config.solver.test_interval)
    if not interval or not iteration:
        return 0
    passed = -(-iteration // interval)  # at 0, interval, …, below iteration
    return passed if config.solver.test_initialization else passed - 1
