"""Checks on the driver before any task runs: each failure names the setting that mends it."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Callable, Optional

from ..comm.addresses import check_ports
from ..errors import ConfigError
from ..nets.schema import SolverParameter
from ..plans.run_config import RunConfig
from ..spark.yarn import check_ended, check_executors

__all__ = ["check_cluster", "check_driver"]

_LOCAL_WAIT, _CLUSTER_WAIT = 60.0, 600.0  # seconds for executors to register


def check_cluster(config: RunConfig, say: Callable[[str], None], stop: threading.Event) -> None:
    """Raise ConfigError unless the cluster can run ``config.ranks`` tasks at once.

    Waits for executors that are still registering, as long as the configuration promises enough of them and
    until ``stop`` is set; ``say`` is told about the wait.
    """
    context = config.spark.sparkContext
    ranks = config.ranks
    promised = _promised_slots(context)
    if promised is not None and promised < ranks:
        raise ConfigError(_too_few(config, promised, context))
    deadline = time.monotonic() + (_LOCAL_WAIT if context.master.startswith("local") else _CLUSTER_WAIT)
    told = False
    while True:
        check_ended(context)
        slots = _slots(context)
        if slots >= ranks:
            return
        if time.monotonic() > deadline:
            raise ConfigError(_too_few(config, slots, context))
        if not told:
            say(f"waiting for executors: {slots} of {ranks} task slots are there")
            told = True
        if stop.wait(0.2):
            return


def check_driver(config: RunConfig) -> None:
    """Raise ConfigError for settings that cannot work, whatever the cluster is."""
    context = config.spark.sparkContext
    settings = context.getConf()
    if settings.get("spark.dynamicAllocation.enabled", "false").lower() == "true":
        raise ConfigError(
            "spark.dynamicAllocation.enabled is true, and Spark's barrier stages cannot run with it: "
            "set it to false and give --num-executors (spark.executor.instances)"
        )
    if settings.get("spark.speculation", "false").lower() == "true":
        raise ConfigError(
            "spark.speculation is true, and Spark would start ranks twice: set spark.speculation to false"
        )
    ports = config.settings.ports
    if context.master.startswith("local"):
        check_ports(ports, config.ranks)
    check_executors(config.spark.sparkContext._jvm, settings)
    _check_snapshot_format(config)


def _check_snapshot_format(config: RunConfig) -> None:
    if config.solver.snapshot > 0 and config.solver.snapshot_format == SolverParameter.HDF5:
        try:
            import h5py  # noqa: F401
        except ImportError as e:
            raise ConfigError(
                f"snapshots in HDF5 (the solver's snapshot_format) need the package h5py ({e}): "
                "pip install 'caffeonspark[hdf5]'"
            ) from None


def _slots(context: Any) -> int:
    """How many tasks the registered executors can run at once."""
    scheduler = context._jsc.sc()
    return int(scheduler.maxNumConcurrentTasks(scheduler.resourceProfileManager().defaultResourceProfile()))


def _promised_slots(context: Any) -> Optional[int]:
    """How many task slots the configuration asks for, where it says so."""
    settings = context.getConf()
    cpus = int(settings.get("spark.task.cpus", "1"))
    cluster = re.match(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,", context.master)
    if cluster:
        executors, cores = int(cluster.group(1)), int(cluster.group(2))
        return executors * (cores // cpus)
    if context.master.startswith("local"):
        return _slots(context)
    instances, cores_each = (settings.get("spark.executor.instances"), settings.get("spark.executor.cores"))
    if instances and (cores_each or context.master == "yarn"):
        return int(instances) * (int(cores_each or 1) // cpus)
    return None


def _too_few(config: RunConfig, slots: int, context: Any) -> str:
    cpus = context.getConf().get("spark.task.cpus", "1")
    return (
        f"{config.describe_cluster()} need {config.ranks} task slots, and the cluster has {slots} "
        f"(master {context.master}, spark.task.cpus {cpus}): lower -clusterSize or -devices, or raise "
        "--num-executors or --executor-cores"
    )
