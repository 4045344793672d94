"""From what ranks said when they failed to the one error to report.

When a rank fails its neighbours fail milliseconds later with broken connections, and the first account to arrive
need not be the cause's: a rank's own error counts before a dead rank, and that before a broken connection.
"""

from __future__ import annotations

from typing import Callable, List, Mapping, Sequence, Tuple

from ..causes import cause_of
from ..comm.wire import FrameKind
from ..errors import (
    CaffeOnSparkError,
    CommunicationError,
    DataError,
    InfrastructureError,
    Interrupted,
    PeerLost,
    RankLost,
    StallError,
    StorageError,
    TrainingError,
    from_wire,
)
from ..storage import EXECUTOR_SETTING
from .rank_server import Event

__all__ = ["error_of", "first_failure", "stage_error"]


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
        return 3 if isinstance(error, (PeerLost, StallError)) else 0  # effects; damaged messages are causes
    return 1 if event.kind == FrameKind.DIED else 2


def error_of(event: Event, ranks: int, hosts: Mapping[int, str], explain_crash: ExplainCrash) -> CaffeOnSparkError:
    """The error an event stands for, with its rank and host."""
    where = f"rank {event.rank} of {ranks} on {hosts.get(event.rank, 'an unknown host')}"
    if event.kind == FrameKind.FAILED:
        return from_wire(event.data, where)
    crash = explain_crash([str(line) for line in event.data.get("log", [])])
    if crash:
        return TrainingError(f"{where}: {crash}")
    if event.kind == FrameKind.CLAIMED:
        first, second = event.data["hosts"]
        return CommunicationError(
            f"rank {event.rank} of {ranks} was claimed twice, from {first} and from {second}: somebody knows this "
            "attempt's secret; spark.authenticate and spark.network.crypto.enabled keep it (docs/security.md)"
        )
    if event.kind == FrameKind.DIED:
        return RankLost(f"{where}: its process ended without a message (killed, or out of memory?)")
    why = event.data.get("why", "its machine or executor is gone")
    return RankLost(f"{where}: the connection was lost ({why})")


def stage_error(error: BaseException, who: str) -> CaffeOnSparkError:
    """What a stage means that Spark ended although ``who`` had not said good-bye.

    Ranks report their own errors over their lines. What comes before there is a line has been in the way of the rows
    (a user's function, SQL, a file that is gone), or of the executor's Python: starting again would not help.
    """
    if "No space left on device" in str(error):
        return StorageError(f"{who}: Spark's local folder is full: set {EXECUTOR_SETTING} to a larger disk")
    cause = cause_of(error)
    if isinstance(cause, InfrastructureError):
        return RankLost(f"{who}: Spark ended the stage: {cause.message}")
    if isinstance(cause, DataError):
        return DataError(f"the rows for {who} cannot be made: {cause.message}")
    return type(cause)(f"{who}: {cause.message}")
