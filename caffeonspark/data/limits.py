"""What a record's values have to be: finite, weights not negative, classes whole numbers, and indices inside the memory
that a layer reads by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator, Optional, Tuple, Union

import numpy as np

from .records import BadRecord

__all__ = ["IndexRange", "Limit", "NotNegative", "Whole", "not_finite"]


@dataclass(frozen=True)
class IndexRange:
    """The values by which a layer indexes its memory: 0 to ``count`` - 1, and ``ignore``.

    Caffe cuts a value's fraction off, and reads or writes outside its memory for others.

    Attributes
    ----------
    count : how many entries the layer's memory has: classes, rows of an Embed layer
    ignore : the layer's ignore_label, or None
    layer : the layer's name
    what : what such a value is, for people: ``label``
    where : int64, the numbers of the values of a sample that it is about, in C order; None for all
    """

    count: int
    ignore: Optional[int]
    layer: str
    what: str = "label"
    where: Optional[np.ndarray] = field(default=None, compare=False)

    def wrong(self, values: np.ndarray) -> np.ndarray:
        """Which of these values the layer cannot take; NaN is one."""
        bad = ~((values > -1) & (values < self.count))
        if self.ignore is not None:
            bad &= np.trunc(values) != self.ignore
        return bad

    @property
    def allowed(self) -> str:
        """What the layer takes, for people."""
        also = "" if self.ignore is None or 0 <= self.ignore < self.count else f", and {self.ignore}"
        return f"layer '{self.layer}' takes 0 to {self.count - 1}{also}"

    def wrong_rows(self, samples: np.ndarray, moved: bool = False) -> Iterator[Tuple[int, int, float]]:
        """(row, number of the value, value) for each of (n, \\*shape) samples that has a value out of range.

        ``moved``: the values of a channel may come to other places (crop, mirror), so that all of it is looked at.
        """
        flat = samples.reshape(len(samples), -1)
        where = self.where
        if where is not None and moved:
            area = flat.shape[1] // samples.shape[1]
            where = (np.unique(where // area)[:, np.newaxis] * area + np.arange(area)).reshape(-1)
        bad = self.wrong(flat if where is None else flat[:, where])
        for row in np.flatnonzero(bad.any(axis=1)):
            number = int(np.argmax(bad[row]))
            number = number if where is None else int(where[number])
            yield int(row), number, float(flat[row, number])

    def explain(
        self, record: str, top: str, number: int, value: float, of: int, row: Optional[int] = None
    ) -> BadRecord:
        """The BadRecord for value ``number`` of the ``of`` values that a record has in ``top``."""
        shown = f"is {value:g}" if of == 1 else f"holds {value:g} (value {number + 1} of {of})"
        return BadRecord(record, f"{self.what} out of range", f"top '{top}' {shown}; {self.allowed}", row)


@dataclass(frozen=True)
class NotNegative:
    """The values that samples are weighed by: 0 and more."""

    def wrong_rows(self, samples: np.ndarray, moved: bool = False) -> Iterator[Tuple[int, int, float]]:
        """As ``IndexRange.wrong_rows``."""
        flat = samples.reshape(len(samples), -1)
        for row, number in zip(*np.nonzero(flat < 0)):
            yield int(row), int(number), float(flat[row, number])

    def explain(
        self, record: str, top: str, number: int, value: float, of: int, row: Optional[int] = None
    ) -> BadRecord:
        """As ``IndexRange.explain``."""
        return BadRecord(record, "negative weight", f"top '{top}' is {value:g}; a weight is 0 or more", row)


@dataclass(frozen=True)
class Whole:
    """The values that stand for classes, where a fraction is a mistake and nothing to cut off."""

    def wrong_rows(self, samples: np.ndarray, moved: bool = False) -> Iterator[Tuple[int, int, float]]:
        """As ``IndexRange.wrong_rows``."""
        flat = samples.reshape(len(samples), -1)
        for row, number in zip(*np.nonzero(np.isfinite(flat) & (flat != np.trunc(flat)))):
            yield int(row), int(number), float(flat[row, number])

    def explain(
        self, record: str, top: str, number: int, value: float, of: int, row: Optional[int] = None
    ) -> BadRecord:
        """As ``IndexRange.explain``."""
        return BadRecord(record, "no class", f"top '{top}' is {value:g}; a class is a whole number, from 0", row)


#: What the values of a top may be.
Limit = Union[IndexRange, NotNegative, Whole]


def not_finite(record: str, top: str, values: np.ndarray, row: Optional[int] = None) -> Optional[BadRecord]:
    """The BadRecord for a record with a NaN or infinite value in ``top``, or None."""
    finite = np.isfinite(values).reshape(-1)
    if finite.all():
        return None
    number = int(np.argmin(finite))
    value = values.reshape(-1)[number]
    shown = f"is {value}" if finite.size == 1 else f"holds {value} (value {number + 1} of {finite.size})"
    return BadRecord(record, "not finite", f"top '{top}' {shown}", row)
