"""Collectives between threads of one process, for tests and for working without a cluster."""

from __future__ import annotations

import threading
import time
from functools import reduce
from typing import List, Optional, Sequence

import numpy as np

from ..errors import PeerLost
from .base import Communicator
from .layout import MESH, SMALL, HostGroups, add_host_sums, group_by_host

__all__ = ["LocalCommunicator", "local_group"]


class _Room:
    """What the ranks of a group share."""

    def __init__(self, size: int, hosts: HostGroups) -> None:
        self.hosts = hosts
        self.barrier = threading.Barrier(size)
        self.arrays: List[Sequence[np.ndarray]] = [()] * size
        self.data = [b""] * size


class LocalCommunicator(Communicator):
    """One rank of a ``local_group``, to be used by one thread."""

    def __init__(self, rank: int, size: int, room: _Room) -> None:
        self.rank = rank
        self.size = size
        self.waited = 0.0
        self._room = room

    def all_reduce(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> None:
        if not sum(array.size for array in arrays):
            return
        self._room.arrays[self.rank] = arrays
        self._meet()
        parts = [np.concatenate([array.reshape(-1) for array in theirs]) for theirs in self._room.arrays]
        total = self._sum(parts)
        if scale is not None:
            total = total * total.dtype.type(scale)
        self._meet()
        at = 0
        for array in arrays:
            array[...] = total[at : at + array.size].reshape(array.shape)
            at += array.size
        self._meet()

    def _sum(self, parts: List[np.ndarray]) -> np.ndarray:
        """The sum in the order that Communicator.all_reduce documents."""
        if self.size == 1:
            return parts[0]
        if self._room.hosts.hierarchical:
            return add_host_sums([reduce(np.add, [parts[r] for r in group]) for group in self._room.hosts.groups])
        count = len(parts[0])
        one_step = parts[0].nbytes <= SMALL and self.size <= MESH
        total = np.empty_like(parts[0])
        for k in range(self.size):
            segment = slice(count * k // self.size, count * (k + 1) // self.size)
            first = 0 if one_step else k
            value = parts[first][segment]
            for step in range(1, self.size):
                value = value + parts[(first + step) % self.size][segment]
            total[segment] = value
        return total

    def broadcast(self, arrays: Sequence[np.ndarray], root: int = 0) -> None:
        self._room.arrays[self.rank] = arrays
        self._meet()
        if self.rank != root:
            for array, theirs in zip(arrays, self._room.arrays[root]):
                array[...] = theirs
        self._meet()

    def all_gather(self, data: bytes) -> List[bytes]:
        self._room.data[self.rank] = bytes(data)
        self._meet()
        gathered = list(self._room.data)
        self._meet()
        return gathered

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self._room.barrier.abort()

    def _meet(self) -> None:
        start = time.monotonic()
        try:
            self._room.barrier.wait()
        except threading.BrokenBarrierError:
            raise PeerLost("a rank of the group gave up") from None
        finally:
            self.waited += time.monotonic() - start


def local_group(size: int, hosts: Sequence[str] = ()) -> List[LocalCommunicator]:
    """The communicators of ``size`` ranks; sums are those of ranks on these ``hosts``, in rank order, or on one."""
    room = _Room(size, group_by_host(hosts or ["here"] * size))
    return [LocalCommunicator(rank, size, room) for rank in range(size)]
