"""From what ranks said when they failed to the one error to report.

When a rank fails its neighbours fail milliseconds later with broken connections, and the first account to arrive
need not be the cause's: a rank's own error counts before a dead rank, and that before a broken connection.
"""

from __future__ import annotations

import re
from typing import Callable, List, Mapping, Sequence, Tuple

from ..comm.wire import FrameKind
from ..errors import (
    CaffeOnSparkError,
    CommunicationError,
    ConfigError,
    InfrastructureError,
    Interrupted,
    RankLost,
    StorageError,
    TrainingError,
    from_wire,
)
from ..storage import EXECUTOR_SETTING
from .rank_server import Event

__all__ = ["ENVIRONMENT", "error_of", "first_failure", "stage_error"]


#: Why an engine ended its process, from the last lines of its log; "" if it did not.
ExplainCrash = Callable[[Sequence[str]], str]


def first_failure(
    failures: Sequence[Tuple[float, Event]], ranks: int, hosts: Mapping[int, str], explain_crash: ExplainCrash
) -> CaffeOnSparkError:
    """The error to report of (time, event) failures. Its ``report`` tells the rest, line by line."""
    ordered = sorted(failures, key=lambda item: (_order(item[1]), item[0]))
    errors = [error_of(event, ranks, hosts, explain_crash) for _, event in ordered]
    first, event = errors[0], ordered[0][1]
    lines: List[str] = []
    if event.data.get("trace"):
        lines += ["Traceback:", *(f"  {line.rstrip()}" for part in event.data["trace"] for line in part.splitlines())]
    log = [str(line) for line in event.data.get("log", [])]
    if log and isinstance(first, (InfrastructureError, TrainingError)):
        lines += [f"Last lines of rank {event.rank}'s log:", *(f"  {line}" for line in log)]
    others = [error.message for error in errors[1:]]
    if others:
        lines += ["Then:", *(f"  {message}" for message in others)]
    first.report = lines
    return first


def _order(event: Event) -> int:
    if event.kind == FrameKind.FAILED:
        error = from_wire(event.data)
        if isinstance(error, Interrupted):
            return 4
        return 3 if isinstance(error, CommunicationError) else 0
    return 1 if event.kind == FrameKind.DIED else 2


def error_of(event: Event, ranks: int, hosts: Mapping[int, str], explain_crash: ExplainCrash) -> CaffeOnSparkError:
    """The error an event stands for, with its rank and host."""
    where = f"rank {event.rank} of {ranks} on {hosts.get(event.rank, 'an unknown host')}"
    if event.kind == FrameKind.FAILED:
        return from_wire(event.data, where)
    crash = explain_crash([str(line) for line in event.data.get("log", [])])
    if crash:
        return TrainingError(f"{where}: {crash}")
    if event.kind == FrameKind.DIED:
        return RankLost(f"{where}: its process ended without a word (killed, or out of memory?)")
    why = event.data.get("why", "its machine or executor is gone")
    return RankLost(f"{where}: the connection was lost ({why})")


def stage_error(error: BaseException, who: str) -> CaffeOnSparkError:
    """What a stage means that Spark ended although ``who`` had not said good-bye.

    Ranks report their own errors over their lines. What Python raises in the task comes before there is a line: the
    executor's Python is missing, another one, or lacks a package, and starting anew would not help.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "No space left on device" in str(error):
        return StorageError(f"{who}: Spark's local folder is full: set {EXECUTOR_SETTING} to a larger disk")
    for line in lines:
        program = re.search(r"Cannot run program (\S+: .*)", line)
        if program or _PYTHON_ERROR.match(line):
            what = program.group(1) if program else line.rpartition("PySparkRuntimeError: ")[2]
            return ConfigError(f"{who}: the executors' Python does not work: {what.rstrip('.')}. {ENVIRONMENT}")
    return RankLost(f"{who}: Spark ended the stage: {spark_reason(error)}")


#: What mends executors that run other software than the driver.
ENVIRONMENT = (
    "Give every executor the driver's environment: installed at the same path, or shipped with --archives and named by "
    "PYSPARK_PYTHON (spark.pyspark.python)"
)
_PYTHON_ERROR = re.compile(r"(?!java|org)([a-z_]+\.)*[A-Z]\w*Error: ")


def spark_reason(error: BaseException) -> str:
    """The line of a Spark exception that says why, without its Java stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if "Exception" in line and not line.startswith("at ") and "Py4JJavaError" not in line:
            return line
    return lines[0] if lines else type(error).__name__
