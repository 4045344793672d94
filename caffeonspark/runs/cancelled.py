"""What was cancelled is over: jobs that somebody cancelled and applications that were stopped are no lost executors."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import Any, Iterator, Optional

from ..errors import Interrupted
from ..spark.jvm import is_stopped
from ..spark.yarn import check_ended

__all__ = ["are_all_cancelled", "one_interruption_ends_all", "why_cancelled"]

# "Job 3 cancelled because Stage 5 was cancelled", "… as part of cancellation of all jobs", "… because killed via …"
_CANCELLED = re.compile(r"\bJob \d+ cancelled\b[^\n]*")
_NEXT_IN_LINE = 1.0  # seconds: a pool's thread takes its next task at once, a person does not

_ended = threading.local()


def why_cancelled(context: Any, error: Optional[BaseException]) -> str:
    """What somebody did to a run's Spark job or to its application, in a few words; "" if nothing.

    Parameters
    ----------
    context : SparkContext
    error : what the job ended with

    Raises
    ------
    ConfigError or InfrastructureError
        With YARN's reason, where YARN ended the application by itself.
    """
    if is_stopped(context):
        check_ended(context)
        return "the end of its SparkContext"
    match = _CANCELLED.search(str(error)) if error is not None else None
    return f"Spark ({match.group(0).strip().rstrip('.')})" if match else ""


def are_all_cancelled(error: Interrupted) -> bool:
    """Whether a run was interrupted because somebody cancelled all of Spark's jobs, as PySpark does at Ctrl-C."""
    return "cancellation of all jobs" in error.message


@contextlib.contextmanager
def one_interruption_ends_all() -> Iterator[None]:
    """Around a run: when it is interrupted, those that wait behind it in its thread do not begin.

    CrossValidator's pool of threads continues with the next fit whatever became of the one before, and where its caller
    was interrupted nobody waits for them any more.
    """
    pooled = threading.current_thread() is not threading.main_thread()
    try:
        if pooled and time.monotonic() - getattr(_ended, "at", -_NEXT_IN_LINE) < _NEXT_IN_LINE:
            raise Interrupted("not started: the run before it in this thread was interrupted")
        yield
    except (Interrupted, KeyboardInterrupt):
        _ended.at = time.monotonic()
        raise
