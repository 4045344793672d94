"""The numbers of a list of arrays, laid end to end and cut into a range for each rank."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

__all__ = ["Shard"]


class Shard:
    """One rank's range: number i of n belongs to rank r where ``n * r // ranks <= i < n * (r + 1) // ranks``.

    Parameters
    ----------
    sizes : of the arrays
    rank : whose
    ranks : how many there are

    Attributes
    ----------
    pieces : (number of the array, range in it, range in the shard), in order
    size : how many numbers are in it
    """

    def __init__(self, sizes: Sequence[int], rank: int, ranks: int) -> None:
        total = sum(sizes)
        first, last = total * rank // ranks, total * (rank + 1) // ranks
        self.size = last - first
        self.pieces: List[Tuple[int, slice, slice]] = []
        begin = 0
        for number, size in enumerate(sizes):
            start, stop = max(first, begin), min(last, begin + size)
            if start < stop:
                self.pieces.append((number, slice(start - begin, stop - begin), slice(start - first, stop - first)))
            begin += size

    def views(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Its pieces of the arrays, in their memory."""
        return [arrays[number].reshape(-1)[place] for number, place, _ in self.pieces]

    def read(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Its numbers of the arrays, float64."""
        found = np.empty(self.size)
        for view, (_, _, mine) in zip(self.views(arrays), self.pieces):
            found[mine] = view
        return found

    def write(self, arrays: Sequence[np.ndarray], values: np.ndarray) -> None:
        """Put ``values`` where its numbers are, rounded to the arrays' dtype."""
        for view, (_, _, mine) in zip(self.views(arrays), self.pieces):
            view[...] = values[mine]
