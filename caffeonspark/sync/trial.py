"""Ways to do an iteration, which change no result: the ranks take each in turn, and keep the fastest."""

from __future__ import annotations

import statistics
import struct
from typing import Generic, List, Sequence, TypeVar

from ..comm.base import Communicator

__all__ = ["ROUNDS", "Trial"]

#: Iterations by each way that are compared. Before them there is one that is not.
ROUNDS = 3

T = TypeVar("T")


class Trial(Generic[T]):
    """One rank's part in a choice. Where there is one way there is nothing to choose.

    Parameters
    ----------
    ways : the same on every rank
    comm : Communicator

    Attributes
    ----------
    way : the one to go now
    """

    def __init__(self, ways: Sequence[T], comm: Communicator) -> None:
        self.way = ways[0]
        self._ways = ways
        self._comm = comm
        self._seconds: List[float] = []  # of each iteration so far, the ways in turn

    def took(self, seconds: float) -> None:
        """An iteration by ``way`` is over; every rank says so after each, until the choice is made and later."""
        count = len(self._ways)
        if count == 1:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < count * (1 + ROUNDS):
            self.way = self._ways[len(self._seconds) % count]
            return
        medians = [statistics.median(self._seconds[number + count :: count]) for number in range(count)]
        numbers = struct.Struct(f"!{count}d")
        told = [numbers.unpack(data) for data in self._comm.all_gather(numbers.pack(*medians))]
        slowest = [max(of_way) for of_way in zip(*told)]
        self.way = self._ways[slowest.index(min(slowest))]
        self._ways = [self.way]
