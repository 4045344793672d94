"""The barrier stage: one Spark job, run in a thread of the driver under a job group of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

from ..plans.job import Job
from ..ranks.rank import run_rank

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["Stage", "replace_executors", "signals_are_for_python"]


class Stage:
    """A running barrier stage.

    Parameters
    ----------
    rows : DataFrame with one partition for each rank
    job : Job
    files : Spark broadcasts of the files in ``job.start``
    """

    def __init__(self, rows: DataFrame, job: Job, files: Sequence[Any]) -> None:
        from pyspark import InheritableThread

        self._context = rows.sparkSession.sparkContext
        self._group = f"caffeonspark-{secrets.token_hex(4)}"
        #: What the Spark job raised, if it did.
        self.error: Optional[BaseException] = None

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return run_rank(job, files, batches)

        def run() -> None:
            self._context.setJobGroup(self._group, "caffeonspark training", interruptOnCancel=True)
            try:
                rows.mapInArrow(task, "rank int", barrier=True).collect()
            except BaseException as e:
                self.error = e

        self._thread: threading.Thread = InheritableThread(target=run, name="caffeonspark-stage")
        self._thread.daemon = True
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def executors(self) -> Dict[int, str]:
        """The executor of each rank's task, as far as Spark's status store knows."""
        tracker = self._context.statusTracker()
        store = self._context._jsc.sc().statusStore()
        found: Dict[int, str] = {}
        for job in tracker.getJobIdsForGroup(self._group):
            info = tracker.getJobInfo(job)
            for stage in info.stageIds if info is not None else ():
                tasks = store.taskList(stage, 0, 2**31 - 1)
                for number in range(tasks.size()):
                    task = tasks.apply(number)
                    if task.status() == "RUNNING":
                        found[int(task.index())] = str(task.executorId())
        return found

    def end(self, patience: float) -> List[str]:
        """Wait for the tasks to end; cancel them after ``patience`` seconds. The executors that were waited for in
        vain."""
        self._thread.join(patience)
        if not self._thread.is_alive():
            return []
        silent = sorted(set(self.executors().values()))
        self._context.cancelJobGroup(self._group)
        self._thread.join(30)
        return silent


def replace_executors(context: Any, executors: Sequence[str]) -> None:
    """Have the cluster manager end these executors and give others for them, where it can."""
    scheduler = context._jsc.sc()
    for executor in executors:
        scheduler.killAndReplaceExecutor(executor)


class _Relay:
    """A Java signal handler that sends the signal on to this process."""

    def handle(self, signal: Any) -> None:
        os.kill(os.getpid(), signal.getNumber())

    class Java:
        implements = ["sun.misc.SignalHandler"]  # noqa: RUF012, py4j's convention


@contextlib.contextmanager
def signals_are_for_python(context: Any) -> Iterator[None]:
    """Meanwhile, Ctrl-C and SIGTERM do not end the JVM, which would stop Spark at once.

    Under spark-submit the JVM is in the terminal's foreground, so Ctrl-C reaches both; the JVM ignores it. SIGTERM is
    sent to spark-submit, which is the JVM; it goes on to Python.
    """
    from pyspark.java_gateway import ensure_callback_server_started

    misc = context._jvm.sun.misc
    before = {}
    with contextlib.suppress(Exception):  # a JVM that was told to leave signals alone (-Xrs)
        before["INT"] = misc.Signal.handle(misc.Signal("INT"), misc.SignalHandler.SIG_IGN)
        ensure_callback_server_started(context._gateway)
        before["TERM"] = misc.Signal.handle(misc.Signal("TERM"), _Relay())
    try:
        yield
    finally:
        for name, handler in before.items():
            with contextlib.suppress(Exception):  # the JVM may be gone
                misc.Signal.handle(misc.Signal(name), handler)
