"""The points that TensorBoard and MLflow get of a run: the same names in both, and not more than anybody looks at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Iterator, List

from .base import Record
from .records import WIDEST, curve_name

__all__ = ["Downsampler", "Point", "validation_points"]


@dataclass(frozen=True)
class Point:
    """A value of a curve; ``time`` in seconds since 1970."""

    name: str
    iteration: int
    value: float
    time: float


def validation_points(record: Record) -> Iterator[Point]:
    """The points of a validation: ``test/accuracy``."""
    now = time.time()
    for name, values in record["outputs"].items():
        if len(values) <= WIDEST:
            for number, value in enumerate(values):
                if value is not None:
                    yield Point(curve_name(record["net"], name, number, len(values)), record["iteration"], value, now)


class Downsampler:
    """``train/loss`` of at most ``most`` iterations a second, ``train/lr`` and ``train/samples_per_second`` with them,
    and with L-BFGS ``train/passes`` and ``train/gradient_norm``.

    Slower runs lose nothing. Of faster ones an even choice is taken from what came since the last call of ``take``,
    the newest iteration always.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._waiting: List[Record] = []
        self._taken = -float("inf")

    def add(self, record: Record) -> None:
        """An iteration."""
        self._waiting.append(record)

    def forget(self) -> None:
        """The iterations that wait were taken back."""
        self._waiting = []

    def take(self, last: bool = False) -> List[Point]:
        """The points that are due; with ``last``, those of the newest iteration in any case."""
        now = time.monotonic()
        allowed = int(self._most * min(10.0, now - self._taken))
        if not self._waiting or not (allowed or last):
            return []
        stride = -(-len(self._waiting) // max(1, allowed))
        chosen, self._waiting = self._waiting[::-1][::stride][::-1], []
        self._taken = now
        wanted = [(record, "loss") for record in chosen]
        wanted += [(chosen[-1], name) for name in ("lr", "samples_per_second", "passes", "gradient_norm")]
        return [
            Point(f"train/{name}", record["iteration"], record[name], time.time())
            for record, name in wanted
            if record.get(name) is not None
        ]
