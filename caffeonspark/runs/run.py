"""A training run on the driver: plan, launch, watch, start again after failures, and put the model in its place."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..causes import explained
from ..comm.credentials import Invitation
from ..comm.wire import FrameKind
from ..engines.blas import check_setting
from ..errors import (
    CaffeOnSparkError,
    ConfigError,
    InfrastructureError,
    Interrupted,
    InterruptedByKeyboard,
    LossNotFinite,
    StorageError,
    suggest,
)
from ..formats.checksums import store_model
from ..plans.inputs import check_no_input
from ..plans.job import Job, ResumePoint, ValidationPlan
from ..plans.made_data import asked_batches, check_batches, made_data_notes
from ..plans.net_plan import LayerPlan
from ..plans.normalization import normalization_notes
from ..plans.run_config import RunConfig
from ..plans.sample_weights import sample_weight_notes
from ..report.base import Observer
from ..report.result import TrainingResult
from ..storage import DRIVER_SETTING, naming_full_disks, temporary_folder
from ..sync.registry import strategy_for
from .attempt import Attempt
from .cancelled import one_interruption_ends_all
from .cluster import Cluster
from .deaths import Deaths
from .diverged import flags_from, way_on
from .kept import kept
from .kernels import FreshWorkersNeeded
from .lease import Lease, leases_of
from .on_spark import OnSpark
from .preflight import check_settings, look_at_solver
from .restarts import Restarts
from .snapshots import SnapshotStore, StartFiles, read_resume_point, snapshot_base
from .start_check import check_nets, check_start, with_best_model
from .state_check import check_state

if TYPE_CHECKING:
    from ..plans.net_source import NetSource

__all__ = ["train"]

#: What strategies end training for, by what they call it.
_ENDINGS = {
    "tol": "the objective hardly falls any more (-tol)",
    "line search": "no step along the steepest descent lowers the objective: rounding is all that is left",
}
_SAME_SIGNAL_SECONDS = 1.0  # a signal to a whole group of processes comes twice: to Python, and by way of the JVM


def train(
    config: RunConfig,
    source: NetSource,
    validation: Sequence[NetSource],
    observer: Observer,
    hand_over: Optional[Callable[[str], None]] = None,
    name: str = "",
    cluster: Optional[Cluster] = None,
) -> TrainingResult:
    """Train, and save the model; with ``-dryRun`` only look whether that could be done.

    Parameters
    ----------
    config : RunConfig
    source : the TRAIN phase's data
    validation : the data of the test nets to run at every test_interval
    observer : told about everything
    hand_over : given the local path of each model that is saved, for a caller whose run has a place to itself
    name : of the run, as others that wait for its task slots are told
    cluster : where its ranks start; None for Spark's

    Raises
    ------
    CaffeOnSparkError
        The first failure: which rank, where, and why.
    """
    result = TrainingResult(model="")
    stop = threading.Event()
    try:
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(one_interruption_ends_all())
            cleanup.enter_context(naming_full_disks(temporary_folder(), DRIVER_SETTING))
            cluster = cluster or OnSpark(config)
            leases = () if hand_over else _leases(cluster)
            _take_places(cluster, leases, name, observer, stop, cleanup)
            prepared = prepare(cluster, [source, *validation], result, observer, stop, leases)
            if config.settings.dryRun:
                return result
            observer.started(result, cluster.describe())
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="caffeonspark-"))
            _Run(prepared, result, observer, stop, folder, hand_over, cluster).go()
    except BaseException as e:
        observer.failed(result, e)
        raise
    else:
        observer.finished(result)
    finally:
        observer.close()
    return result


@explained()
def _take_places(
    cluster: Cluster,
    leases: Tuple[Lease, ...],
    name: str,
    observer: Observer,
    stop: threading.Event,
    cleanup: contextlib.ExitStack,
) -> None:
    """Where the run writes, and its task slots; ``cleanup`` gives them back. What is wrong with no look at data or
    executors is found before others that have the slots are waited for."""
    config = cluster.config
    check_setting(config.settings.blasKernel)
    cluster.check()
    check_settings(config)
    cluster.check_encryption(observer.note)
    config.storage.check_writable(config.model_uri)
    check_no_input(config, config.model_uri, "-model")
    for lease in leases:
        cleanup.enter_context(lease)
    cleanup.enter_context(cluster.claimed(name, observer.note, stop))


_runs: Dict[str, int] = {}  # by application, the runs that this driver began


def _name_of_run(application: str) -> str:
    """A name for the next run of an application, the same in every attempt of it."""
    _runs[application] = _runs.get(application, 0) + 1
    return f"{application}/{_runs[application]}"


@explained()
def _leases(cluster: Cluster) -> Tuple[Lease, ...]:
    """Of the places where a run writes."""
    config, application, attempt = cluster.config, cluster.application, cluster.attempt
    return leases_of(config.storage, config.model_uri, snapshot_base(config), application, attempt)


@dataclass(frozen=True)
class PreparedRun:
    """What is settled before the first attempt.

    Attributes
    ----------
    config : RunConfig
    sources : the training data's, then the test nets'
    solver : the SolverParameter that ranks get
    validations : the test nets
    snapshots : SnapshotStore
    start : where the first attempt starts from
    seed : of everything random but the engine's own
    leases : of the places where it writes
    """

    config: RunConfig
    sources: Sequence[NetSource]
    solver: Any
    validations: Tuple[ValidationPlan, ...]
    snapshots: SnapshotStore
    start: StartFiles
    seed: int
    leases: Tuple[Lease, ...]

    @property
    def layers(self) -> List[LayerPlan]:
        """The data layers of all nets, as in ``Job.layers``."""
        return [layer for source in self.sources for layer in source.plan.layers]

    def job(self, start: ResumePoint, address: Tuple[str, int], invitation: Invitation) -> Job:
        """What ranks get for an attempt."""
        return Job(
            ranks=self.config.ranks,
            solver=self.solver.SerializeToString(),
            train=self.sources[0].plan,
            validations=self.validations,
            seed=self.seed,
            start=start,
            driver=address,
            invitation=invitation,
            settings=self.config.settings.for_ranks,
        )


@explained()
def prepare(
    cluster: Cluster,
    sources: Sequence[NetSource],
    result: TrainingResult,
    observer: Observer,
    stop: threading.Event,
    leases: Tuple[Lease, ...],
) -> PreparedRun:
    """Check everything that can be wrong before a task runs; ``result`` is filled in with what is known."""
    config, plan = cluster.config, sources[0].plan
    sync = config.settings.sync
    strategy = strategy_for(config.settings, config.solver.type)
    one_solver = strategy.lockstep or strategy.whole_data
    for note in normalization_notes(plan.message(), plan.batch_axes, config.ranks, sync, one_solver):
        observer.note(note)
    for note in sample_weight_notes(plan.message(), plan.weighted, config.ranks, "" if one_solver else sync):
        observer.note(note)
    validations = tuple(_validation(config, data) for data in sources[1:])
    for note in made_data_notes([source.net for source in sources], config.ranks):
        observer.note(note)
    check_monitored(config, validations)
    check_nets(plan, validations, observer.note)
    solver = type(config.solver)()
    solver.CopyFrom(config.solver)
    if validations and not solver.test_interval:
        solver.test_interval = solver.max_iter
    found = look_at_solver(config, solver, plan, [validation.net for validation in validations], observer.note)
    cluster.wait(observer.note, stop)
    cluster.prepare()
    snapshots = SnapshotStore(config, observer.note, _name_of_run(cluster.application), found.learned)
    attempt = cluster.attempt
    start, seed = read_resume_point(config, snapshots, again=attempt > 1)
    check_start(plan, start, observer.note)
    check_state(config, start, found, observer.note)
    start = with_best_model(config, start, observer.note)
    if attempt > 1:
        observer.note(f"attempt {attempt} of {cluster.application} continues from iteration {start.point.iteration}")
    if 0 < solver.max_iter <= start.point.iteration:
        observer.note(
            f"{start.point.uri} is of iteration {start.point.iteration}, and max_iter is {solver.max_iter}: nothing is "
            "left to train (raise max_iter to continue)"
        )
    result.model = config.model_uri
    result.max_iter = int(solver.max_iter)
    result.samples = plan.batch_size * config.ranks * int(solver.iter_size)
    result.iteration = start.point.iteration
    result.resumed = start.point.uri
    return PreparedRun(
        config=config,
        sources=sources,
        solver=solver,
        validations=validations,
        snapshots=snapshots,
        start=start,
        seed=seed if seed is not None else secrets.randbits(62),
        leases=leases,
    )


class _Run:
    """The state of a prepared run over all its attempts.

    Parameters
    ----------
    prepared : PreparedRun
    result : filled in as the ranks report
    observer : told about everything
    stop : set to end training
    folder : where files that ranks send arrive
    hand_over : as ``train`` has it
    cluster : where its ranks start
    """

    def __init__(
        self,
        prepared: PreparedRun,
        result: TrainingResult,
        observer: Observer,
        stop: threading.Event,
        folder: str,
        hand_over: Optional[Callable[[str], None]],
        cluster: Cluster,
    ) -> None:
        self.prepared = prepared
        self.config = prepared.config
        self.snapshots = prepared.snapshots
        self.result = result
        self.observer = observer
        self.stop = stop
        self.folder = folder
        self.hand_over = hand_over
        self.start = prepared.start  # of the next attempt
        self.restarts = Restarts(prepared.config.settings.maxRestarts)
        self.last: Optional[Attempt] = None
        self.deaths = Deaths()
        self.cluster = cluster
        self.signal = 0

    @explained()
    def go(self) -> None:
        """Attempts until one ends well, or the failures are too many or of a kind that repeats."""
        lost = self.cluster.needed("the run cannot continue; -resume continues from its newest snapshot")
        with lost, self.signals(), self.cancelled_is_interrupted():
            while True:
                try:
                    self.attempt()
                    self.replace_unresponsive()
                    break
                except Interrupted as e:
                    raise self.interrupted(self.cluster.why_ended(e)) from e
                except LossNotFinite as e:
                    fit = self.hand_over is not None
                    way = way_on(self.cluster, self.snapshots, self.start, self.result, fit)
                    e.args = (f"{e.message}; {way}" if way else e.message,)
                    raise
                except FreshWorkersNeeded as e:
                    self.cluster.take_fresh(e.kernels)
                except InfrastructureError as e:
                    self.restart(e)
            self.finish()

    def attempt(self) -> None:
        start = self.start
        with contextlib.ExitStack() as cleanup:
            sources = [source.sources for source in self.prepared.sources]
            self.last = Attempt(
                self.config,
                self.prepared.layers,
                self.cluster.launcher(sources, start, cleanup),
                self.result,
                self.observer,
                self.folder,
                self.take_file,
                self.stop,
            )
            suspect = self.deaths.suspect
            self.last.run(
                lambda address, invitation: replace(
                    self.prepared.job(start.point, address, invitation), suspect=suspect
                )
            )

    def take_file(self, rank: int, kind: str, about: Mapping[str, Any], path: str) -> None:
        """A rank handed over a file."""
        iteration = int(about["iteration"])
        for lease in self.prepared.leases:
            lease.check()
        if kind == FrameKind.MODEL:
            self.save(path)
            if about.get("best"):
                self.result.best = next(
                    (test for test in reversed(self.result.tests) if test.net == 0), self.result.best
                )
            self.observer.note(f"saved {self.result.model}" + (" (the best so far)" if about.get("best") else ""))
            kind = "best model" if about.get("best") else "model"
            self.observer.saved(self.result, kind, iteration, self.result.model)
        else:
            uri = self.snapshots.take(rank, kind, about, path, self.prepared.seed)
            if uri is not None:
                self.observer.saved(self.result, "snapshot", iteration, uri)

    def save(self, path: str) -> None:
        """Put the model in its place; where that fails, it is kept in another."""
        if self.hand_over is not None:
            self.hand_over(path)
        try:
            store_model(self.config.storage, path, self.result.model)
        except StorageError as e:
            raise kept(e, {self.result.model: path}) from e
        os.unlink(path)

    # ---- after a failure

    def restart(self, error: InfrastructureError) -> None:
        """Prepare the next attempt, from the newest snapshot; raises ``error`` when there is to be none."""
        self.check_cancelled(error)
        if self.stop.is_set():
            raise self.interrupted() from error
        if not self.cluster.is_there():
            raise error
        if self.last is not None:
            self.deaths.check(self.last, error)
        self.snapshots.discard_incomplete()
        newest = self.snapshots.newest_taken()
        if not self.restarts.another(-1 if newest is None else newest.point.iteration):
            if self.result.restarts:
                error.args = (f"{error.message} (after {self.result.restarts} restarts)",)
            raise error
        self.result.restarts += 1
        self.start = self.prepared.start if newest is None else self.snapshots.read(newest)
        self.start = with_best_model(self.config, self.start, self.observer.note)
        self.result.rewind(self.start.point.iteration)
        self.observer.note(
            f"{error.message}; restart {self.restarts.count} of {self.restarts.most} "
            f"from iteration {self.start.point.iteration}"
        )
        self.observer.restarted(self.result, error)
        self.replace_unresponsive()
        time.sleep(1.0)  # it takes a moment until a lost executor is noticed, whose slots would count
        try:
            self.cluster.wait(self.observer.note, self.stop)
        except ConfigError as e:
            raise type(error)(f"{error.message}; and then: {e.message}") from None

    def replace_unresponsive(self) -> None:
        """Without this, Spark would give what comes next to executors that it takes minutes to find lost."""
        if self.last is not None and self.last.unresponsive:
            self.observer.note(f"executor {', '.join(self.last.unresponsive)} does not answer and is replaced")
            self.last.launcher.replace(self.last.unresponsive)

    # ---- the end

    def finish(self) -> None:
        """Say how it ended; raises Interrupted when a signal stopped it."""
        if self.result.stopped == "patience":
            self.observer.note(
                f"stopped at iteration {self.result.iteration}: no better validation in the last "
                f"{self.config.settings.patience}"
            )
        ending = _ENDINGS.get(self.result.stopped)
        if ending:
            self.observer.note(f"ended at iteration {self.result.iteration}: {ending}")
        if self.result.passes:
            passes = sum(self.result.passes.values())
            self.observer.note(f"{len(self.result.passes)} iterations took {passes} passes through the data")
        if self.result.stopped == "signal":
            raise self.interrupted()
        if self.config.settings.best and self.result.best is None and not self.prepared.start.point.best_saved:
            found = "no validation gave a number to compare" if self.result.tests else "there was no validation"
            self.observer.note(f"warning: -best: {found}, so the model is the last one")
        if not self.config.storage.exists(self.result.model):
            raise StorageError(f"{self.result.model} is not there any more: something removed it while the run was on")

    def interrupted(self, by: str = "") -> CaffeOnSparkError:
        saved = "no snapshot was saved"
        try:
            newest = self.snapshots.newest_taken()
            if newest is not None:
                how = "-resume" if self.hand_over is None else flags_from(newest.weights, newest.state)
                saved = f"snapshot {newest.state} is saved, and {how} continues from it"
        except StorageError as e:  # it is an interruption all the same
            saved = f"its snapshots cannot be looked at ({e.message})"
        name = by or (signal.Signals(self.signal).name if self.signal else "request")
        kind = InterruptedByKeyboard if self.signal == signal.SIGINT else Interrupted
        return kind(f"stopped by {name} at iteration {self.result.iteration}: {saved}")

    @contextlib.contextmanager
    def cancelled_is_interrupted(self) -> Iterator[None]:
        """Whatever comes of a cancelled job or a stopped application, it is an interruption."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            raise
        except Exception as e:
            self.check_cancelled(e)
            raise

    def check_cancelled(self, error: Exception) -> None:
        """Raise Interrupted where ``error`` comes of a cancelled job or a stopped application."""
        launched = self.last.launched if self.last is not None else None
        ended = launched.error if launched is not None and launched.error is not None else error
        why = self.cluster.why_ended(ended)
        if why:
            raise self.interrupted(why) from error

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a terminal that is closed end training after the iteration under way, with a snapshot; a
        second one ends it now."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        first = 0.0

        def handle(number: int, frame: object) -> None:
            nonlocal first
            if self.signal:
                if time.monotonic() - first < _SAME_SIGNAL_SECONDS:
                    return
                raise KeyboardInterrupt
            first = time.monotonic()
            self.signal = number
            self.stop.set()  # the attempt says so: an observer may be in the middle of something here

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            numbers.append(signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, handle)
        try:
            with self.cluster.signals():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _validation(config: RunConfig, source: NetSource) -> ValidationPlan:
    """A test net's plan, with as many rows as the solver's test_iter says."""
    source.plan.check_shared([layer.count for layer in source.plan.layers], config.ranks)
    count = (asked_batches if source.sources else check_batches)(source.net, config.solver.test_iter)
    return ValidationPlan(source.plan, count * source.plan.batch_size if count else None)


def check_monitored(config: RunConfig, validations: Sequence[ValidationPlan]) -> None:
    """Raise ConfigError where -patience, -best or -monitor have nothing to look at."""
    settings = config.settings
    wanted = [name for name in ("patience", "best", "monitor") if getattr(settings, name)]
    if not wanted:
        return
    if not validations:
        raise ConfigError(f"-{wanted[0]} needs validation: give the solver a test_interval and the net a TEST phase")
    outputs = validations[0].net.outputs
    if not outputs:
        raise ConfigError(
            f"-{wanted[0]} needs an output of the TEST net to look at, and {validations[0].net.path} has none"
        )
    if settings.monitor and settings.monitor not in outputs:
        raise ConfigError(
            f"-monitor: the TEST net has no output '{settings.monitor}'. {suggest(settings.monitor, outputs)}"
        )
