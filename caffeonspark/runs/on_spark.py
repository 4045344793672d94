"""Runs on Spark: what is asked of its cluster, and the ranks in its barrier stages."""

from __future__ import annotations

import contextlib
import threading
from typing import ContextManager, List, Optional, Sequence

from ..data.sources.base import Source
from ..launchers.base import Launcher
from ..launchers.spark_barrier import SparkBarrier
from ..plans.run_config import RunConfig
from ..spark.jvm import jvm_needed, jvm_runs, signals_are_for_python
from ..spark.library_zip import ship_library
from ..spark.partitioning import rows_of_sources
from ..spark.workers import Workers
from ..spark.yarn import attempt_number
from ..storage import EXECUTOR_SETTING, naming_full_disks, temporary_folder
from .cancelled import why_cancelled
from .cluster import Cluster, Say
from .encryption import asked_for, check_encryption
from .preflight import check_cluster, check_driver
from .slots import claimed_slots
from .snapshots import StartFiles

__all__ = ["OnSpark"]


class OnSpark(Cluster):
    """The cluster of the configuration's SparkSession. Raises ConfigError where there is none."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._context = config.spark.sparkContext
        self._workers: Optional[Workers] = None

    @property
    def application(self) -> str:
        return str(self._context.applicationId)

    @property
    def attempt(self) -> int:
        return attempt_number(self._context)

    def describe(self) -> str:
        return self.config.describe_cluster()

    def check(self) -> None:
        check_driver(self.config)

    def check_encryption(self, say: Say) -> None:
        check_encryption(self.config, say)

    def claimed(self, name: str, say: Say, stop: threading.Event) -> ContextManager[None]:
        return claimed_slots(self.config, name, say, stop)

    def wait(self, say: Say, stop: threading.Event) -> None:
        check_cluster(self.config, say, stop)

    def prepare(self) -> None:
        ship_library(self._context)

    def needed(self, then: str) -> ContextManager[None]:
        return jvm_needed(then)

    def is_there(self) -> bool:
        return jvm_runs()

    def why_ended(self, error: Optional[BaseException]) -> str:
        return why_cancelled(self._context, error)

    def signals(self) -> ContextManager[None]:
        return signals_are_for_python()

    def launcher(
        self, sources: Sequence[Sequence[Source]], start: StartFiles, cleanup: contextlib.ExitStack
    ) -> Launcher:
        config, context, workers = self.config, self._context, self._own_workers()
        layers = [
            (layer, config.settings.persistent and which == 0, which > 0)
            for which, net in enumerate(sources)
            for layer in net
        ]
        rows = rows_of_sources(config.spark, layers, config.ranks, cleanup)
        files: List[object] = []
        with naming_full_disks(context.getConf().get("spark.local.dir", temporary_folder()), EXECUTOR_SETTING):
            for content in start.read_all(config.storage):
                broadcast = context.broadcast(content)
                files.append(broadcast)
                cleanup.callback(broadcast.destroy)
        return SparkBarrier(rows, files, workers.environment, workers.fresh, encrypted=bool(asked_for(config)))

    def take_fresh(self, kernels: Sequence[str]) -> None:
        self._own_workers().take_fresh(kernels)

    def _own_workers(self) -> Workers:
        if self._workers is None:
            self._workers = Workers(self.config.settings.blasKernel, self.application)
        return self._workers
