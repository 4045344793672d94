"""Ranks as the tasks of a barrier stage: one Spark job, run in a thread of the driver under a job group of its own."""

from __future__ import annotations

import secrets
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Sequence

from ..comm.addresses import bare_host
from ..plans.job import Job
from ..ranks.rank import run_rank
from ..spark.jvm import executors_of_group, replace_executors
from ..spark.workers import worker_environment
from .base import Launcher, RunningRanks

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["SparkBarrier"]


class SparkBarrier(Launcher):
    """Starts a rank for each partition of a DataFrame.

    Parameters
    ----------
    rows : DataFrame with one partition for each rank
    files : Spark broadcasts of the files in the job's ``start``
    environment : variables for the ranks' processes (``spark.workers``)
    fresh : whether no other functions run in such processes
    """

    def __init__(
        self,
        rows: DataFrame,
        files: Sequence[Any],
        environment: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
    ) -> None:
        self._rows = rows
        self._files = files
        self._environment = environment
        self.fresh = fresh
        self._context = rows.sparkSession.sparkContext

    @property
    def driver_host(self) -> str:
        """The one that Spark itself uses."""
        return bare_host(self._context.getConf().get("spark.driver.host", "127.0.0.1"))

    @property
    def bind_host(self) -> str:
        return bare_host(self._context.getConf().get("spark.driver.bindAddress", "")) or self.driver_host

    def start(self, job: Job) -> RunningRanks:
        return _Stage(self._rows, job, self._files, self._environment)

    def replace(self, executors: Sequence[str]) -> None:
        replace_executors(self._context, executors)


class _Stage(RunningRanks):
    """A running barrier stage; ``error`` is what the Spark job raised."""

    def __init__(self, rows: DataFrame, job: Job, files: Sequence[Any], environment: Mapping[str, str]) -> None:
        from pyspark import InheritableThread

        self._context = rows.sparkSession.sparkContext
        self._group = f"caffeonspark-{secrets.token_hex(4)}"

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            from pyspark import BarrierTaskContext

            context = BarrierTaskContext.get()
            hosts = [bare_host(info.address.rpartition(":")[0]) or "127.0.0.1" for info in context.getTaskInfos()]
            run_rank(job, context.partitionId(), hosts, files, batches)
            yield from ()

        def run() -> None:
            self._context.setJobGroup(self._group, "caffeonspark training", interruptOnCancel=True)
            try:
                with worker_environment(self._context, environment):
                    stage = rows.mapInArrow(task, "rank int", barrier=True)
                stage.collect()
            except BaseException as e:
                self.error = e

        self._thread: threading.Thread = InheritableThread(target=run, name="caffeonspark-stage")
        self._thread.daemon = True
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def executors(self) -> Dict[int, str]:
        return executors_of_group(self._context, self._group)

    def end(self, patience: float) -> List[str]:
        self._thread.join(patience)
        if not self._thread.is_alive():
            return []
        silent = sorted(set(self.executors().values()))
        self._context.cancelJobGroup(self._group)
        self._thread.join(30)
        return silent
