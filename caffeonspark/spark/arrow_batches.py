"""How many rows Spark sends to Python at once: it counts rows, not bytes, and ten thousand images are too many."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Set

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["SETTING", "limited_arrow_batches", "note_large_rows"]

#: Spark's setting: rows in an Arrow batch.
SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"

_BATCH_BYTES = 8 << 20
_MAX_ROWS = 10_000
_LARGE = 256 << 20  # bytes of a batch that are worth a note

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def limited_arrow_batches(spark: Any, frames: Sequence[DataFrame]) -> Iterator[None]:
    """Meanwhile the Arrow batches of a session's queries are small where rows of these frames are large, as the first
    of each has them. The session's setting is what it was afterwards.

    For jobs that are run in the block: what is computed later has the session's setting.
    """
    if not frames:
        yield
        return
    largest = max([1, *(_size(row) for row in (frame.first() for frame in frames) if row is not None)])
    rows = max(1, min(_MAX_ROWS, _BATCH_BYTES // largest))
    with _lock:
        limit = _limits.setdefault(id(spark), _Limit(spark, spark.conf.get(SETTING, None)))
        limit.wanted.append(rows)
        limit.apply()
    try:
        yield
    finally:
        with _lock, contextlib.suppress(Exception):  # the session may be gone
            limit.wanted.remove(rows)
            if not limit.wanted:
                del _limits[id(spark)]
            limit.apply()


@dataclass
class _Limit:
    """What jobs that run at the same time want of a session.

    Attributes
    ----------
    session : SparkSession
    own : its setting; None where it has none
    wanted : by each job
    """

    session: Any
    own: Optional[str]
    wanted: List[int] = field(default_factory=list)

    def apply(self) -> None:
        if self.wanted:
            own = int(self.own or _MAX_ROWS)
            self.session.conf.set(SETTING, str(min(self.wanted if own <= 0 else [own, *self.wanted])))
        elif self.own is None:
            self.session.conf.unset(SETTING)
        else:
            self.session.conf.set(SETTING, self.own)


_lock = threading.Lock()
_limits: Dict[int, _Limit] = {}
_noted: Set[int] = set()


def note_large_rows(spark: Any, row_bytes: int) -> None:
    """Log, once for each size, what to set where rows of so many bytes make large Arrow batches."""
    rows = int(spark.conf.get(SETTING))
    if row_bytes in _noted or (rows > 0 and rows * row_bytes <= _LARGE):
        return
    _noted.add(row_bytes)
    better = max(1, min(_MAX_ROWS, _BATCH_BYTES // row_bytes))
    _log.warning(
        "caffeonspark: a row has about %d KB, and Spark sends %s of them to Python at once: where memory is short, "
        "spark.conf.set('%s', %d)",
        max(1, row_bytes >> 10),
        rows if rows > 0 else "all",
        SETTING,
        better,
    )


def _size(value: Any) -> int:
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    if isinstance(value, (list, tuple)):  # Row is a tuple
        return sum(_size(v) for v in value[:1000]) * max(1, len(value) // 1000)
    return 8
