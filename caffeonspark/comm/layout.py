"""How the concatenation of a list of arrays is cut into segments and chunks, and in which order what is added."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

__all__ = [
    "CHUNK",
    "MESH",
    "SMALL",
    "Chunk",
    "HostGroups",
    "add_host_sums",
    "cut",
    "group_by_host",
    "layout_checksum",
    "ring_order",
    "spans",
    "split_into_chunks",
]

#: Bytes in flight at a time. 256 KB to 1 MB are equally fast; 64 KB is a third slower.
CHUNK = 512 << 10
#: Up to this many bytes, one exchange with every peer beats the ring's 2 (size - 1) steps.
SMALL = 64 << 10
#: Up to this many ranks, every pair is connected.
MESH = 8


def ring_order(hosts: Sequence[str]) -> List[int]:
    """The ranks in ring order: sorted by host, so that each host's link carries one stream each way."""
    return sorted(range(len(hosts)), key=lambda rank: (hosts[rank], rank))


@dataclass(frozen=True)
class HostGroups:
    """Which ranks run on which hosts.

    Attributes
    ----------
    groups : the ranks of each host, ascending; hosts in the order of the ring. The first rank of a host leads it
    """

    groups: Tuple[Tuple[int, ...], ...]

    @property
    def hierarchical(self) -> bool:
        """Whether ranks of a host add up among themselves before hosts do: several hosts, one of several ranks."""
        return len(self.groups) > 1 and any(len(group) > 1 for group in self.groups)

    @property
    def leaders(self) -> List[int]:
        return [group[0] for group in self.groups]

    def host_of(self, rank: int) -> int:
        """The number of a rank's host."""
        return next(number for number, group in enumerate(self.groups) if rank in group)

    def peers(self, rank: int) -> List[int]:
        """The ranks that a sum by hosts needs this one to be connected to."""
        group = self.groups[self.host_of(rank)]
        if rank != group[0]:
            return [group[0]]
        return sorted({*group, *self.leaders} - {rank})


def group_by_host(hosts: Sequence[str]) -> HostGroups:
    """The groups of ranks whose hosts these are, in rank order."""
    names = sorted(set(hosts))
    return HostGroups(tuple(tuple(rank for rank, host in enumerate(hosts) if host == name) for name in names))


def add_host_sums(sums: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of flat arrays, one of each host, in the order that ``Communicator.all_reduce`` documents."""
    count, hosts = sums[0].size, len(sums)
    total = np.empty_like(sums[0])
    for k in range(hosts):
        segment = slice(count * k // hosts, count * (k + 1) // hosts)
        value = total[segment]
        np.add(sums[k][segment], sums[(k + 1) % hosts][segment], out=value)
        for step in range(2, hosts):
            np.add(value, sums[(k + step) % hosts][segment], out=value)
    return total


@dataclass(frozen=True)
class Chunk:
    """A piece of the concatenation: views of the arrays it covers, and the same memory as bytes."""

    arrays: Tuple[np.ndarray, ...]
    views: Tuple[memoryview, ...]
    nbytes: int


def _starts(flat: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([array.size for array in flat])]).astype(np.int64)


def cut(flat: Sequence[np.ndarray], count: int) -> List[Tuple[np.ndarray, ...]]:
    """The concatenation of flat arrays as ``count`` parts of equal size, to one value: views of what they cover."""
    starts = _starts(flat)
    total = int(starts[-1])
    return [_pieces(flat, starts, total * k // count, total * (k + 1) // count) for k in range(count)]


def _pieces(flat: Sequence[np.ndarray], starts: np.ndarray, low: int, high: int) -> Tuple[np.ndarray, ...]:
    pieces = []
    at = int(np.searchsorted(starts, low, "right")) - 1
    while low < high:
        end = min(high, int(starts[at + 1]))
        if end > low:
            pieces.append(flat[at][low - int(starts[at]) : end - int(starts[at])])
            low = end
        at += 1
    return tuple(pieces)


def spans(sizes: Sequence[int], low: int, high: int) -> List[Tuple[int, int, int]]:
    """Values ``low`` to ``high`` of a concatenation of arrays of these sizes: (array, from, to) of each it covers."""
    found = []
    start = 0
    for number, size in enumerate(sizes):
        first, last = max(low - start, 0), min(high - start, size)
        if first < last:
            found.append((number, first, last))
        start += size
    return found


def split_into_chunks(arrays: Sequence[np.ndarray], segments: int, chunk: int = CHUNK) -> List[List[Chunk]]:
    """The chunks of each segment; every segment has the same number of them, the same on every rank."""
    flat = [array.reshape(-1) for array in arrays]
    starts = _starts(flat)
    total = int(starts[-1])
    bounds = [total * k // segments for k in range(segments + 1)]
    widest = max(high - low for low, high in zip(bounds, bounds[1:]))
    count = max(1, -(-widest * flat[0].itemsize // chunk))
    result = []
    for low, high in zip(bounds, bounds[1:]):
        row = []
        for k in range(count):
            pieces = _pieces(flat, starts, low + (high - low) * k // count, low + (high - low) * (k + 1) // count)
            views = tuple(piece.data.cast("B") for piece in pieces)
            row.append(Chunk(pieces, views, sum(len(view) for view in views)))
        result.append(row)
    return result


def layout_checksum(arrays: Sequence[np.ndarray], kind: str) -> int:
    """A number that differs where two ranks are about to run different collectives."""
    sizes = [(array.dtype.str, array.size) for array in arrays]
    return zlib.crc32(repr((kind, sizes)).encode())
