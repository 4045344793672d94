"""Arrays of numbers as pandas columns that reach Spark as they are."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

__all__ = ["lists"]


class _Lists(pd.arrays.ArrowExtensionArray):
    """Lists in Arrow's memory.

    PySpark makes Python lists of each row's array, number by number, for what may be in them: where there are only
    numbers nothing has to be done, and NaN stays NaN.
    """

    def map(self, mapper: Callable[[Any], Any], na_action: Any = None) -> _Lists:
        return self


def lists(parts: Sequence[np.ndarray], index: np.ndarray, count: int, dtype: str) -> pd.Series:
    """A column of ``count`` lists, null where no row is.

    Parameters
    ----------
    parts : (n, width) arrays; widths may differ
    index : for each of their rows its place, ascending
    count, dtype : of the column, and of its numbers
    """
    lengths, missing = np.zeros(count + 1, np.int64), np.ones(count + 1, bool)
    lengths[1:][index] = np.concatenate([np.zeros(0, np.int64), *(np.full(len(p), p.shape[1]) for p in parts)])
    missing[index], missing[count] = False, False
    flat = np.concatenate([np.zeros(0, dtype), *(part.reshape(-1) for part in parts)])
    offsets = pa.array(np.cumsum(lengths).astype(np.int32), mask=missing)
    return pd.Series(_Lists(pa.ListArray.from_arrays(offsets, pa.array(flat))))
