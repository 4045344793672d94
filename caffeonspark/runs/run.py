"""A training run on the driver: plan, launch, watch, start anew after failures, and put the model in its place."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Sequence, Tuple

from ..comm.handshake import Credentials
from ..comm.wire import FrameKind
from ..errors import CaffeOnSparkError, ConfigError, InfrastructureError, Interrupted, suggest
from ..launchers.spark_barrier import SparkBarrier
from ..plans.job import Job, ValidationPlan
from ..plans.run_config import RunConfig
from ..report.base import Observer
from ..report.result import TrainingResult
from ..spark.jvm import signals_are_for_python
from ..spark.library_zip import ship_library
from ..spark.partitioning import rows_of_sources
from ..spark.yarn import attempt_number
from .attempt import Attempt
from .encryption import check_encryption
from .preflight import check_cluster, check_driver
from .snapshots import SnapshotStore, read_resume_point

if TYPE_CHECKING:
    from ..plans.net_source import NetSource

__all__ = ["train"]

_SAME_SIGNAL_SECONDS = 1.0  # a signal to a whole group of processes comes twice: to Python, and by way of the JVM


def train(config: RunConfig, source: NetSource, validation: Sequence[NetSource], observer: Observer) -> TrainingResult:
    """Train, and save the model.

    Parameters
    ----------
    config : RunConfig
    source : the TRAIN phase's data
    validation : the data of the test nets to run at every test_interval
    observer : told about everything

    Raises
    ------
    CaffeOnSparkError
        The first failure: which rank, where, and why.
    """
    run = _Run(config, source, validation, observer)
    try:
        run.prepare()
        run.go()
    except BaseException as e:
        observer.failed(run.result, e)
        raise
    else:
        observer.finished(run.result)
    finally:
        observer.close()
    return run.result


_runs: Dict[str, int] = {}  # by application, the runs that this driver began


def _name_of_run(application: str) -> str:
    """A name for the next run of an application, the same in every attempt of it."""
    _runs[application] = _runs.get(application, 0) + 1
    return f"{application}/{_runs[application]}"


class _Run:
    """The state of a run over all its attempts."""

    def __init__(
        self, config: RunConfig, source: NetSource, validation: Sequence[NetSource], observer: Observer
    ) -> None:
        self.config = config
        self.sources = [source, *validation]
        self.observer = observer
        self.result = TrainingResult(model="")
        self.stop = threading.Event()
        self.signal = 0

    def prepare(self) -> None:
        """Everything that can be wrong before a task runs."""
        config = self.config
        uri = config.model_uri
        check_driver(config)
        check_encryption(config, self.observer.note)
        config.storage.check_writable(uri)
        self.plan = self.sources[0].plan
        self.validations = tuple(_validation(config, number, data) for number, data in enumerate(self.sources[1:]))
        check_monitored(config, self.validations)
        check_cluster(config, self.observer.note, self.stop)
        ship_library(config.spark.sparkContext)
        self.solver = type(config.solver)()
        self.solver.CopyFrom(config.solver)
        if self.validations and not self.solver.test_interval:
            self.solver.test_interval = self.solver.max_iter
        context = config.spark.sparkContext
        self.snapshots = SnapshotStore(config, self.observer.note, _name_of_run(context.applicationId))
        attempt = attempt_number(context)
        self.start, self.contents, seed = read_resume_point(config, self.snapshots, again=attempt > 1)
        if attempt > 1:
            self.observer.note(
                f"attempt {attempt} of {context.applicationId} goes on from iteration {self.start.iteration}"
            )
        self.seed = seed if seed is not None else secrets.randbits(62)
        result = self.result
        result.model = uri
        result.max_iter = int(self.solver.max_iter)
        result.samples = self.plan.batch_size * config.ranks * int(self.solver.iter_size)
        result.iteration = self.start.iteration
        result.resumed = self.start.uri

    def go(self) -> None:
        """Attempts until one ends well, or the failures are too many or of a kind that repeats."""
        self.observer.started(self.result, self.config.describe_cluster())
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder, contextlib.ExitStack() as cleanup:
            self.folder = folder
            cleanup.enter_context(self.signals())
            while True:
                try:
                    self.attempt()
                    self.replace_unresponsive()
                    break
                except Interrupted as e:
                    raise self.interrupted() from e
                except InfrastructureError as e:
                    self.restart(e)
            self.finish()

    def attempt(self) -> None:
        config = self.config
        context = config.spark.sparkContext
        with contextlib.ExitStack() as cleanup:
            layers = [
                (layer, config.settings.persistent and which == 0, which > 0)
                for which, source in enumerate(self.sources)
                for layer in source.sources
            ]
            rows = rows_of_sources(config.spark, layers, config.ranks, cleanup)
            files = [context.broadcast(content) for content in self.contents]
            for file in files:
                cleanup.callback(file.destroy)
            launcher = SparkBarrier(rows, files)
            one = Attempt(config, launcher, self.result, self.observer, self.folder, self.take_file, self.stop)
            self.last = one
            one.run(self.make_job)

    def make_job(self, address: Tuple[str, int], credentials: Credentials) -> Job:
        config = self.config
        return Job(
            ranks=config.ranks,
            solver=self.solver.SerializeToString(),
            train=self.plan,
            validations=self.validations,
            seed=self.seed,
            start=self.start,
            driver=address,
            credentials=credentials,
            settings=config.settings.for_ranks,
        )

    def take_file(self, kind: str, about: Mapping[str, Any], path: str) -> None:
        """A rank handed over a file."""
        if kind == FrameKind.MODEL:
            self.config.storage.store(path, self.result.model)
            os.unlink(path)
            if about.get("best"):
                self.result.best = next(
                    (test for test in reversed(self.result.tests) if test.net == 0), self.result.best
                )
            self.observer.note(f"saved {self.result.model}" + (" (the best so far)" if about.get("best") else ""))
            kind = "best model" if about.get("best") else "model"
            self.observer.saved(self.result, kind, int(about["iteration"]), self.result.model)
        elif kind == FrameKind.SNAPSHOT_WEIGHTS:
            self.snapshots.take_weights(int(about["iteration"]), path)
        else:
            uri = self.snapshots.take_state({**about, "seed": self.seed, "ranks": self.config.ranks}, path)
            self.observer.saved(self.result, "snapshot", int(about["iteration"]), uri)

    # ---- after a failure

    def restart(self, error: InfrastructureError) -> None:
        """Prepare the next attempt, from the newest snapshot; raises ``error`` when there is to be none."""
        if self.stop.is_set():
            raise self.interrupted() from error
        if self.result.restarts >= self.config.settings.maxRestarts:
            if self.result.restarts:
                error.args = (f"{error.message} (after {self.result.restarts} restarts)",)
            raise error
        self.result.restarts += 1
        newest = self.snapshots.newest_taken()
        if newest is not None:
            self.start, self.contents = newest.start, self.snapshots.read(newest)
        self.result.rewind(self.start.iteration)
        self.observer.note(
            f"{error.message}; restart {self.result.restarts} of {self.config.settings.maxRestarts} "
            f"from iteration {self.start.iteration}"
        )
        self.observer.restarted(self.result, error)
        self.replace_unresponsive()
        time.sleep(1.0)  # Spark needs a moment to notice a lost executor, whose slots would count
        try:
            check_cluster(self.config, self.observer.note, self.stop)
        except ConfigError as e:
            raise type(error)(f"{error.message}; and then: {e.message}") from None

    def replace_unresponsive(self) -> None:
        """Without this, Spark would give what comes next to executors that it takes minutes to find lost."""
        if self.last.unresponsive:
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
        if self.result.stopped == "signal":
            raise self.interrupted()

    def interrupted(self) -> CaffeOnSparkError:
        newest = self.snapshots.newest_taken()
        saved = f"snapshot {newest.state} is saved, and -resume goes on from it" if newest else "no snapshot was saved"
        name = signal.Signals(self.signal).name if self.signal else "request"
        return Interrupted(f"stopped by {name} at iteration {self.result.iteration}: {saved}")

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end training after the iteration under way, with a snapshot; a second one ends it now."""
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

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, handle)
        try:
            with signals_are_for_python():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _validation(config: RunConfig, number: int, source: NetSource) -> ValidationPlan:
    """A test net's plan, with as many rows as the solver's test_iter says."""
    iterations = list(config.solver.test_iter)
    count = int(iterations[number]) if number < len(iterations) else 0
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
    if settings.monitor and settings.monitor not in outputs:
        raise ConfigError(
            f"-monitor: the TEST net has no output '{settings.monitor}'. {suggest(settings.monitor, outputs)}"
        )
