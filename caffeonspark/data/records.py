"""What readers hand on: chunks of records in columns, and the policy for records that cannot be used."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

import numpy as np

from ..errors import DataError

__all__ = [
    "ENCODED",
    "RAW_BYTES",
    "RAW_FLOATS",
    "SAMPLE_ID",
    "BadRecord",
    "BadRecordPolicy",
    "BadRecords",
    "Column",
    "Records",
    "id_column",
    "pack_image",
    "take",
    "unpack_image",
]

_log = logging.getLogger(__name__)

#: One column of a chunk: an array whose first axis is the record, or one ``pack_image`` entry a record.
Column = Union[np.ndarray, List[bytes]]


#: The column with the records' ids, in the rows that Spark brings and in the features that it gets.
SAMPLE_ID = "SampleID"


def id_column(names: Sequence[str]) -> Optional[str]:
    """Which of a user's columns has the ids, if any."""
    return next((name for name in ("id", SAMPLE_ID) if name in names), None)


#: Rows of a chunk: their numbers, int64, or a slice.
Rows = Union[np.ndarray, slice]

Item = TypeVar("Item")


def take(column: Column, rows: Rows) -> Column:
    """These rows of a column."""
    return column[rows] if isinstance(column, np.ndarray) else _items(column, rows)


def _items(values: Sequence[Item], rows: Rows) -> List[Item]:
    return list(values[rows]) if isinstance(rows, slice) else [values[row] for row in rows]


@dataclass
class Records:
    """A chunk of records.

    Attributes
    ----------
    ids : the records' names in their source (LMDB key, ``id`` column, file name)
    columns : one for each top of the data layer, all as long as ``ids``
    index : int64, position of each record in its source; from a FrameReader, in the batch it decoded
    """

    ids: Sequence[str]
    columns: List[Column]
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, rows: Rows) -> Records:
        """The records in these rows of the chunk."""
        return Records(_items(self.ids, rows), [take(column, rows) for column in self.columns], self.index[rows])

    def __add__(self, other: Records) -> Records:
        """The records of both chunks."""
        columns: List[Column] = []
        for mine, theirs in zip(self.columns, other.columns):
            if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
                columns.append(np.concatenate([mine, theirs]))
            else:
                columns.append([*mine, *theirs])
        return Records([*self.ids, *other.ids], columns, np.concatenate([self.index, other.index]))

    def positioned(self, index: np.ndarray) -> Records:
        """The records with their positions in the source, given those of all rows of the batch they were in."""
        return Records(self.ids, self.columns, index[self.index])


class BadRecord(DataError):
    """One record cannot be used.

    Parameters
    ----------
    record : the record's id; "" where only its row is known
    cause : a short name for the kind of problem, the same for all records that share it
    detail : the sentence for people
    row : its number in the batch that was worked on, from 0; None outside of batches

    Attributes
    ----------
    layer : the number of its data layer, where a batch of several layers was worked on
    """

    def __init__(self, record: str, cause: str, detail: str, row: Optional[int] = None) -> None:
        super().__init__(f"record '{record}': {detail}")
        self.record = record
        self.cause = cause
        self.detail = detail
        self.row = row
        self.layer = 0

    def named(self, record: str) -> BadRecord:
        """The same problem, with the record's id."""
        return BadRecord(record, self.cause, self.detail, self.row)


@dataclass(frozen=True)
class BadRecordPolicy:
    """What happens to records that cannot be used.

    Attributes
    ----------
    skip : skip them, or fail on the first
    maximum : with ``skip``, the fraction of all records above which the job stops
    """

    skip: bool = False
    maximum: float = 0.01


class BadRecords:
    """The records of one layer that could not be used.

    Attributes
    ----------
    source : name of the source in messages
    counts : how many there were, by cause
    examples : the first few, one sentence each
    """

    kept_examples = 5

    def __init__(self, source: str, policy: Optional[BadRecordPolicy] = None) -> None:
        self.source = source
        self.policy = policy or BadRecordPolicy()
        self.counts: Dict[str, int] = {}
        self.examples: List[str] = []

    @property
    def total(self) -> int:
        """How many records were skipped."""
        return sum(self.counts.values())

    def report(self, error: BadRecord) -> None:
        """A record cannot be used: raises DataError with the source's name, or counts it."""
        if not self.policy.skip:
            raise DataError(f"{self.source}: {error.message}")
        self.counts[error.cause] = self.counts.get(error.cause, 0) + 1
        if len(self.examples) < self.kept_examples:
            self.examples.append(error.message)
            _log.warning("caffeonspark: skipped: %s: %s", self.source, error.message)

    def add(self, counts: Mapping[str, int], examples: Iterable[str]) -> None:
        """Count what another process skipped."""
        for cause, count in counts.items():
            self.counts[cause] = self.counts.get(cause, 0) + count
        self.examples += list(examples)[: self.kept_examples - len(self.examples)]

    def describe(self, good: int) -> str:
        """One line about what was skipped, where ``good`` records were not."""
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(self.counts.items()))
        return f"{self.source}: skipped {self.total} of {self.total + good} records ({causes}); {self.examples[0]}"

    def check(self, good: int) -> None:
        """Raise DataError when more than the allowed fraction of the records was skipped."""
        if self.total > self.policy.maximum * (self.total + good):
            raise DataError(f"{self.describe(good)}. That is more than -badRecordsMax {self.policy.maximum:g} allows")


#: The kind of an image's entry that holds an image file's bytes.
ENCODED = b"E"
#: The kind of an image's entry that holds uint8 values, in the order channel, height, width.
RAW_BYTES = b"R"
#: The kind of an image's entry that holds float32 values, in the order channel, height, width.
RAW_FLOATS = b"F"

_HEAD = struct.Struct("<cIII")


def pack_image(kind: bytes, shape: Tuple[int, int, int], data: bytes) -> bytes:
    """An image as one entry of a variable-size column.

    Parameters
    ----------
    kind : ENCODED, RAW_BYTES or RAW_FLOATS
    shape : (channels, height, width); zero or less where unknown
    data : the bytes
    """
    return _HEAD.pack(kind, *(max(0, size) for size in shape)) + data


def unpack_image(entry: bytes) -> Tuple[bytes, Tuple[int, int, int], memoryview]:
    """The kind, shape and bytes that ``pack_image`` put together."""
    kind, channels, height, width = _HEAD.unpack_from(entry)
    return kind, (channels, height, width), memoryview(entry)[_HEAD.size :]
