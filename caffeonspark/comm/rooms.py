"""Where a helper process finds a rank's arrays: at one place, though only their whole pages are in shared memory.

What is in front of an array's whole pages and behind them is copied to pages of another shared memory and back, as
arrays that have too few pages are. The helper maps these pages one after another, with the whole ones in between.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from .memory import PAGE, map_memory

__all__ = ["Edges", "Room", "make_rooms"]


@dataclass(frozen=True)
class Room:
    """An array's place; all but ``dtype`` in bytes.

    Attributes
    ----------
    dtype : the array's
    nbytes : of the array
    start : where it begins in the first page
    head, body, tail : pages before the whole ones, whole ones, and pages behind them
    edges : where head and tail are in the memory of copies
    pages : where the whole ones are in the memory of moved pages
    """

    dtype: str
    nbytes: int
    start: int
    head: int
    body: int
    tail: int
    edges: int
    pages: int

    def map(self, edges: int, pages: int) -> np.ndarray:
        """The flat array in this process, from the descriptors of both memories."""
        size = self.head + self.body + self.tail
        if not size:
            return np.empty(0, self.dtype)
        place = np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        behind = self.head + self.body
        for low, high, fd, offset in (
            (0, self.head, edges, self.edges),
            (self.head, behind, pages, self.pages),
            (behind, size, edges, self.edges + self.head),
        ):
            if low < high:
                map_memory(place[low:high], mmap.MAP_SHARED, fd, offset)
        return place[self.start : self.start + self.nbytes].view(self.dtype)


def make_rooms(arrays: Sequence[np.ndarray], pages: Sequence[Tuple[int, int]]) -> Tuple[List[Room], int]:
    """Rooms for flat arrays, and how many bytes the memory of copies needs.

    Parameters
    ----------
    arrays : flat
    pages : which values of each take whole pages
    """
    rooms: List[Room] = []
    edges = moved = 0
    for array, (low, high) in zip(arrays, pages):
        body = (high - low) * array.itemsize
        before = low * array.itemsize if body else array.nbytes
        start = -before % PAGE if body else 0
        head, tail = _in_pages(start + before), _in_pages(array.nbytes - before - body)
        rooms.append(Room(array.dtype.str, array.nbytes, start, head, body, tail, edges, moved))
        edges += head + tail
        moved += body
    return rooms, edges


def _in_pages(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


class Edges:
    """What of a rank's arrays is copied for its helper.

    Parameters
    ----------
    arrays : flat
    rooms : theirs
    memory : of the copies, as bytes
    """

    def __init__(self, arrays: Sequence[np.ndarray], rooms: Sequence[Room], memory: np.ndarray) -> None:
        self._copies = [_copies(array.view(np.uint8), room, memory) for array, room in zip(arrays, rooms)]

    def copy_in(self, number: int) -> None:
        for own, copy in self._copies[number]:
            copy[...] = own

    def copy_out(self, number: int) -> None:
        for own, copy in self._copies[number]:
            own[...] = copy


def _copies(own: np.ndarray, room: Room, memory: np.ndarray) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Parts of an array, and of the memory of copies."""
    before = room.head - room.start if room.body else room.nbytes
    behind = own[before + room.body :]
    head, tail = room.edges + room.start, room.edges + room.head
    pairs = [(own[:before], memory[head : head + before]), (behind, memory[tail : tail + behind.size])]
    return [(part, copy) for part, copy in pairs if part.size]
