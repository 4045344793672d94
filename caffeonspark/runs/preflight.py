"""Checks on the driver before any task runs: each failure names the setting that mends it."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Sequence

from ..causes import STOPPED
from ..comm.addresses import check_ports
from ..engines.registry import engine_named
from ..errors import ConfigError
from ..formats.hdf5 import import_h5py
from ..nets.schema import SolverParameter
from ..nets.solver_values import solver_mistake, solver_notes
from ..plans.inspection import SolverInspection
from ..plans.net_plan import NetPlan
from ..plans.run_config import RunConfig
from ..spark.cluster import is_on, promised_slots, task_cpus
from ..spark.jvm import is_stopped, task_slots
from ..spark.yarn import check_ended, check_executors
from ..storage import DRIVER_SETTING, check_room, temporary_folder
from ..sync.registry import strategy_for
from .saved_net import check_files

__all__ = [
    "check_cluster",
    "check_driver",
    "check_promised",
    "check_solver",
    "check_solver_fields",
    "check_spark",
    "look_at_solver",
]

_LOCAL_WAIT, _CLUSTER_WAIT = 60.0, 600.0  # seconds for executors to register


def check_cluster(config: RunConfig, say: Callable[[str], None], stop: threading.Event) -> None:
    """Raise ConfigError unless the cluster can run ``config.ranks`` tasks at once.

    Waits for executors that are still registering, as long as the configuration promises enough of them and
    until ``stop`` is set; ``say`` is told about the wait.
    """
    context = config.spark.sparkContext
    ranks = config.ranks
    check_promised(config)
    deadline = time.monotonic() + (_LOCAL_WAIT if context.master.startswith("local") else _CLUSTER_WAIT)
    told = False
    while True:
        check_ended(context)
        slots = task_slots(context)
        if slots >= ranks:
            return
        if time.monotonic() > deadline:
            raise ConfigError(_too_few(config, slots, context))
        if not told:
            say(f"waiting for executors: {slots} of {ranks} task slots are there")
            told = True
        if stop.wait(0.2):
            return


def check_promised(config: RunConfig) -> None:
    """Raise ConfigError where the cluster will never have ``config.ranks`` task slots by what its settings say."""
    context = config.spark.sparkContext
    promised = promised_slots(context)
    if promised is not None and promised < config.ranks:
        raise ConfigError(_too_few(config, promised, context))


def check_driver(config: RunConfig) -> None:
    """Raise ConfigError for settings that cannot work, whatever the cluster is."""
    check_spark(config)
    strategy_for(config.settings)
    _check_snapshot_format(config)
    check_solver_fields(config)


def check_spark(config: RunConfig) -> None:
    """Raise ConfigError for settings of Spark, and ports, with which ranks cannot run."""
    context = config.spark.sparkContext
    if is_stopped(context):
        raise ConfigError(STOPPED)
    if is_on(context, "spark.dynamicAllocation.enabled"):
        raise ConfigError(
            "spark.dynamicAllocation.enabled is true, and Spark's barrier stages cannot run with it: "
            "set it to false and give --num-executors (spark.executor.instances)"
        )
    if is_on(context, "spark.speculation"):
        raise ConfigError(
            "spark.speculation is true, and Spark would start ranks twice: set spark.speculation to false"
        )
    ports = config.settings.ports
    if context.master.startswith("local"):
        check_ports(ports, config.ranks)
    check_executors(context.getConf())


def check_solver_fields(config: RunConfig) -> None:
    """Raise ConfigError for what training needs of a solver, and scoring does not."""
    if not config.solver.HasField("max_iter"):
        raise ConfigError(f"{config.solver_path}: max_iter is missing: say how many iterations to train for")


def check_solver(config: RunConfig, solver: Any, train: NetPlan, tests: Sequence[NetPlan]) -> SolverInspection:
    """Build the solver once, as ranks will; it takes no cluster. Raises ConfigError where it cannot be built."""
    engine, where = engine_named(config.settings.engine), config.solver_path
    try:
        found = engine.check_solver(solver, train.message(), [test.message() for test in tests], where)
    except ConfigError as e:
        mistake = solver_mistake(solver)
        raise ConfigError(f"{where}: {mistake}" if mistake else e.message) from None
    check_files(solver, found, where)
    return found


def look_at_solver(
    config: RunConfig, solver: Any, train: NetPlan, tests: Sequence[NetPlan], say: Callable[[str], None]
) -> SolverInspection:
    """What ``check_solver`` finds; ``say`` is told what is odd. Raises StorageError where this machine has no room for
    what ranks save."""
    found = check_solver(config, solver, train, tests)
    for note in solver_notes(solver):
        say(f"{config.solver_path}: {note}")
    check_room(temporary_folder(), found.model_bytes + found.state_bytes, "what ranks save", DRIVER_SETTING)
    return found


def _check_snapshot_format(config: RunConfig) -> None:
    if config.solver.snapshot > 0 and config.solver.snapshot_format == SolverParameter.HDF5:
        import_h5py("snapshots (the solver's snapshot_format)")


def _too_few(config: RunConfig, slots: int, context: Any) -> str:
    return (
        f"{config.describe_cluster()} need {config.ranks} task slots, and the cluster has {slots} "
        f"(master {context.master}, spark.task.cpus {task_cpus(context)}): lower -clusterSize or -devices, or raise "
        "--num-executors or --executor-cores"
    )
