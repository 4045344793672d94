"""Ranks as the tasks of a barrier stage: one Spark job, run in a thread of the driver under a job group of its own.

The function that tasks run is a broadcast block for Spark, which everybody can fetch who reaches the driver's block
manager where Spark does not authenticate. So the attempt's secret is not in it: it is a local property, which Spark
sends to an executor with the description of each task, and keeps nowhere else but in its event log.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ..causes import is_gone
from ..comm.addresses import bare_host
from ..plans.job import Job
from ..ranks.rank import run_rank
from ..spark.jvm import executors_of_group, hide_in_event_log, replace_executors, tasks_of_group, waits_for_python
from ..spark.workers import part_from_inference, worker_environment
from .base import Launcher, RunningRanks
from .stuck_python import StuckPython

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["SECRET_PROPERTY", "SparkBarrier", "rank_of_task", "with_secret"]

#: The local property with the attempt's secret; spark.redaction.regex hides values by such names.
SECRET_PROPERTY = "caffeonspark-secret"


class SparkBarrier(Launcher):
    """Starts a rank for each partition of a DataFrame.

    Parameters
    ----------
    rows : DataFrame with one partition for each rank
    files : Spark broadcasts of the files in the job's ``start``
    environment : variables for the ranks' processes (``spark.workers``)
    fresh : whether no other functions run in such processes
    encrypted : whether what ranks send is to be encrypted
    """

    waiting = "waiting for Spark to start the ranks"

    def __init__(
        self,
        rows: DataFrame,
        files: Sequence[Any],
        environment: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
        encrypted: bool = False,
    ) -> None:
        self._rows = rows
        self._files = files
        self._environment = environment
        self.fresh = fresh
        self.encrypted = encrypted
        self._context = rows.sparkSession.sparkContext

    @property
    def driver_host(self) -> str:
        """The one that Spark itself uses."""
        return bare_host(self._context.getConf().get("spark.driver.host", "127.0.0.1"))

    @property
    def bind_host(self) -> str:
        return bare_host(self._context.getConf().get("spark.driver.bindAddress", "")) or self.driver_host

    def start(self, job: Job, secret: bytes) -> RunningRanks:
        return _Stage(self._rows, job, secret, self._files, self._environment)

    def replace(self, executors: Sequence[str]) -> None:
        with _while_spark_is_there():
            replace_executors(self._context, executors)

    def kernels_differ(self) -> None:
        part_from_inference(self._context.applicationId)


def rank_of_task() -> Tuple[int, List[str], bytes]:
    """In a barrier task: (its rank, the address of each rank's machine, the secret that the stage was started with)."""
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    hosts = [bare_host(info.address.rpartition(":")[0]) or "127.0.0.1" for info in context.getTaskInfos()]
    return context.partitionId(), hosts, bytes.fromhex(context.getLocalProperty(SECRET_PROPERTY) or "")


@contextlib.contextmanager
def with_secret(context: Any, secret: bytes) -> Iterator[None]:
    """Stages that this thread starts meanwhile get the secret, which is not in what their tasks run."""
    hide_in_event_log(context, SECRET_PROPERTY)
    context.setLocalProperty(SECRET_PROPERTY, secret.hex())
    try:
        yield
    finally:  # where PySpark's threads share one of the JVM's
        with contextlib.suppress(Exception):
            context.setLocalProperty(SECRET_PROPERTY, None)


@contextlib.contextmanager
def _while_spark_is_there() -> Iterator[None]:
    """Without Spark there are no tasks and executors left to see to; what ended it is told by the stage's end."""
    try:
        yield
    except Exception as e:
        if not is_gone(e):
            raise


class _Stage(RunningRanks):
    """A running barrier stage; ``error`` is what the Spark job raised."""

    def __init__(
        self, rows: DataFrame, job: Job, secret: bytes, files: Sequence[Any], environment: Mapping[str, str]
    ) -> None:
        from pyspark import InheritableThread

        self._context = rows.sparkSession.sparkContext
        self._group = f"caffeonspark-{secrets.token_hex(4)}"

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            rank, hosts, own = rank_of_task()
            run_rank(job, own, rank, hosts, files, batches)
            yield from ()

        self._ending = False

        def run() -> None:
            self._context.setJobGroup(self._group, "caffeonspark training", interruptOnCancel=True)
            try:
                with with_secret(self._context, secret):
                    with worker_environment(self._context, environment):
                        stage = rows.mapInArrow(task, "rank int", barrier=True)
                    stage.collect()
            except BaseException as e:
                self.error = None if self._ending else e

        self._python = StuckPython(
            lambda: tasks_of_group(self._context, self._group),
            lambda executor, number: waits_for_python(self._context, executor, number),
        )
        self._thread: threading.Thread = InheritableThread(target=run, name="caffeonspark-stage")
        self._thread.daemon = True
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def executors(self) -> Dict[int, str]:
        with _while_spark_is_there():
            return executors_of_group(self._context, self._group)
        return {}

    def stuck(self, waited_for: Sequence[int], started: bool) -> Dict[str, str]:
        return self._python.look(waited_for, started)

    def end(self, patience: float) -> List[str]:
        self._python.close()
        self._thread.join(patience)
        if not self._thread.is_alive():
            return []
        self._ending = True
        silent = sorted(set(self.executors().values()))
        with _while_spark_is_there():
            self._context.cancelJobGroup(self._group)
        self._thread.join(30)
        return silent
