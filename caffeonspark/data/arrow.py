"""What the readers of rows share: Arrow columns to numbers, and rows with problems taken out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Dict, List, Optional

import numpy as np

from .records import BadRecord, BadRecords, Column, Records

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Problems", "fixed_bytes", "keep_good", "number_in", "numbers"]

#: What is wrong with which row of a batch.
Problems = Dict[int, BadRecord]


_NUMBER = re.compile(
    r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)", re.ASCII | re.IGNORECASE
)


def number_in(text: str) -> float:
    """The number that a text means. Raises ValueError for what is none, also where Python takes it for one: 1_0, digits
    of other scripts."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"'{text}' is no number")
    return float(text)


def numbers(values: pa.Array, bad: Callable[[int, str, str], None]) -> np.ndarray:
    """A column of numbers, or of text that means numbers, as float64; 0 where there is none.

    ``bad(row, cause, detail)`` is called for text that is no number, and for NaN, infinity, and what is infinite as
    float32. Nulls are the caller's.
    """
    import pyarrow.types as types

    if types.is_string(values.type) or types.is_large_string(values.type):
        found = np.zeros(len(values), np.float64)
        for row, text in enumerate(values.to_pylist()):
            if text is not None:
                try:
                    found[row] = number_in(text)
                except ValueError:
                    bad(row, "not a number", f"is '{text[:40]}', no number")
    else:
        found = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    for row in np.flatnonzero(~(np.abs(found) <= np.finfo(np.float32).max)):
        bad(int(row), "not finite", f"is {found[row]}")
        found[row] = 0
    return found


def fixed_bytes(values: pa.Array, size: int) -> Optional[np.ndarray]:
    """A column of binary values as (n, size) uint8, in Arrow's memory; None unless each has this size."""
    import pyarrow as pa

    if not size or values.null_count or not pa.types.is_binary(values.type):
        return None
    _, offsets, content = values.buffers()
    starts = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    if not len(values) or (np.diff(starts) != size).any():
        return None
    return np.frombuffer(content, np.uint8, len(values) * size, int(starts[0])).reshape(len(values), size)


def keep_good(ids: List[str], columns: List[Column], problems: Problems, bad: BadRecords) -> Records:
    """The records without those that have a problem, which are reported."""
    for row in sorted(problems):
        bad.report(problems[row])
    records = Records(ids, columns, np.arange(len(ids), dtype=np.int64))
    if not problems:
        return records
    return records.keep(np.array([row for row in range(len(ids)) if row not in problems], np.int64))
