"""What Spark's settings say of an application."""

from __future__ import annotations

import re
from typing import Any, Optional

from .jvm import task_slots

__all__ = ["is_on", "promised_slots", "task_cpus", "tasks_of_a_machine"]


def is_on(context: Any, name: str) -> bool:
    """Whether a switch among the settings of a SparkContext is set to true."""
    return str(context.getConf().get(name, "false")).strip().lower() == "true"


def task_cpus(context: Any) -> int:
    """The cores of an executor that each task takes."""
    return int(context.getConf().get("spark.task.cpus", "1"))


def promised_slots(context: Any) -> Optional[int]:
    """How many tasks can run at once when all executors are there, where the settings say how many those are."""
    settings = context.getConf()
    cpus = task_cpus(context)
    cluster = re.match(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,", context.master)
    if cluster:
        executors, cores = int(cluster.group(1)), int(cluster.group(2))
        return executors * (cores // cpus)
    if context.master.startswith("local"):
        return task_slots(context)
    instances, cores_each = (settings.get("spark.executor.instances"), settings.get("spark.executor.cores"))
    if instances and (cores_each or context.master == "yarn"):
        return int(instances) * (int(cores_each or 1) // cpus)
    return None


def tasks_of_a_machine(context: Any) -> Optional[int]:
    """How many tasks a machine runs at once, where the settings say it: those of one executor, or of all of them where
    they are on this machine."""
    if context.master.startswith("local"):
        return promised_slots(context)
    cores = context.getConf().get("spark.executor.cores", "1" if context.master == "yarn" else None)
    return int(cores) // task_cpus(context) if cores else None
