"""All-reduce in memory that the ranks of one machine share, of all ranks or of those of each host.

Only tokens travel over the connections, so whoever is waited for is known, and found dead or silent, as with TCP.

Arrays that ``share`` was called with are summed up where they are: their whole pages are in shared memory. Of other
arrays, and of the ends of those, copies are made in slots of shared memory.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from . import memory
from .hierarchy import SharedRange, array_key
from .layout import CHUNK, MESH, cut, layout_checksum
from .link_model import LinkModel, agreed
from .memory import Attach, MovedArrays
from .plan_cache import PlanCache
from .tcp import Steps, TCPCommunicator
from .transfers import Channel, Lane, Transfer, move

__all__ = ["HostMemoryCommunicator", "SharedMemoryCommunicator", "share_memory"]

_GO = b"\x01"
_BLOCK = 256 << 10  # bytes that are added and written back at a time, so that they are in the processor's cache
_PROBE = 512 << 10  # bytes by which the rate between hosts is measured
_PROBES = 5


@dataclass(frozen=True)
class _Plan:
    """How a list of arrays is reduced.

    Attributes
    ----------
    direct : blocks of this rank's segment: its own, and the other ranks', in the order of the ring
    chunks : of each segment, what goes through slots; as many for each
    """

    direct: Sequence[Tuple[np.ndarray, Sequence[np.ndarray]]]
    chunks: Sequence[Sequence[Sequence[np.ndarray]]]


class SharedMemoryCommunicator(TCPCommunicator):
    """A communicator whose ranks all run on one machine and use each other's memory; made by ``share_memory``.

    Parameters
    ----------
    comm : what it goes on from; not to be used any more
    memories : every rank's shared memory, in rank order, as bytes: two halves that are written in turn, each with a
        slot of CHUNK bytes for each segment of the arrays
    """

    def __init__(self, comm: TCPCommunicator, memories: Sequence[np.ndarray]) -> None:
        super().__init__(
            comm.rank, comm.size, comm._links, comm._order, comm.stall_timeout, comm._watch, comm._on_watch
        )
        self.waited, self._sequence = comm.waited, comm._sequence
        #: [half][rank in ring order][segment]
        self._slots = [
            [[_slot(memories[rank], half * self.size + k) for k in range(self.size)] for rank in self._order]
            for half in (0, 1)
        ]
        self._half = 0
        self._moved = MovedArrays()
        self._plans: PlanCache[_Plan] = PlanCache(self._lasting)

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        super().share(arrays)
        self._plans.clear()
        self._moved.share(self, arrays, range(self.size))

    def close(self) -> None:
        super().close()
        self._slots = []
        self._plans.clear()
        self._moved.release()

    # ---- all-reduce

    def _all_reduce_kind(self, arrays: Sequence[np.ndarray]) -> str:
        return f"all_reduce {[array_key(array) in self._moved.ranges for array in arrays]}"

    def _reduce_small(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Steps:
        dtype, count = arrays[0].dtype, sum(array.size for array in arrays)
        flat = [array.reshape(-1) for array in arrays]
        parts = [self._slots[self._half][self._order.index(rank)][0].view(dtype)[:count] for rank in range(self.size)]
        _copy_in(flat, parts[self.rank])
        yield from self._turn()
        total = parts[0] + parts[1]
        for part in parts[2:]:
            np.add(total, part, out=total)
        if scale is not None:
            np.multiply(total, dtype.type(scale), out=total)
        _copy_out(total, flat)

    def _reduce_ring(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Steps:
        """The rank at position k of the ring sums up segment k. What is shared it sums up, and writes to every rank,
        when all have come. The rest takes steps: in each a rank copies a chunk of every other's segment in, sums up
        its own segment's chunk of the step before, and copies out what the others summed up in the step before that.
        No two ranks are more than a step apart, so what is written is in another half than what is read."""
        plan, dtype = self._plan(arrays), arrays[0].dtype
        mine, others = self._position, [k for k in range(self.size) if k != self._position]
        count = len(plan.chunks[0])
        for step in range(count + 2):
            now, before = self._slots[self._half], self._slots[1 - self._half]
            if step < count:
                for k in others:
                    _copy_in(plan.chunks[k][step], now[mine][k].view(dtype))
            if step == 1:
                for own, theirs in plan.direct:
                    _sum(own, theirs, scale)
                    for other in theirs:
                        other[...] = own
            if 1 <= step <= count:
                at, slots = 0, [before[(mine + i) % self.size][mine].view(dtype) for i in range(1, self.size)]
                for piece in plan.chunks[mine][step - 1]:
                    _sum(piece, [slot[at : at + piece.size] for slot in slots], scale)
                    at += piece.size
                _copy_in(plan.chunks[mine][step - 1], now[mine][mine].view(dtype))
            if step >= 2:
                for k in others:
                    _copy_out(before[k][k].view(dtype), plan.chunks[k][step - 2])
            if step <= count:
                yield from self._turn()

    def _turn(self) -> Steps:
        """Wait until every rank has done this step, and change halves."""
        links = list(self._links.values())
        for link in links:
            self._send(link, [memoryview(_GO)])
            self._receive(link, [memoryview(bytearray(1))])
        yield from self._drive(links)
        self._half = 1 - self._half

    def _plan(self, arrays: Sequence[np.ndarray]) -> _Plan:
        key = tuple(array_key(array) for array in arrays)
        return self._plans.get(key, arrays, lambda: self._new_plan([array.reshape(-1) for array in arrays]))

    def _new_plan(self, flat: Sequence[np.ndarray]) -> _Plan:
        following = [self._order[(self._position + i) % self.size] for i in range(1, self.size)]
        direct: List[Tuple[np.ndarray, Sequence[np.ndarray]]] = []
        rest: List[List[np.ndarray]] = [[] for _ in range(self.size)]
        total, start = sum(array.size for array in flat), 0
        for array in flat:
            shared = self._moved.ranges.get(array_key(array), SharedRange(0, 0, {}))
            for k in range(self.size):
                low = max(0, total * k // self.size - start)
                high = min(array.size, total * (k + 1) // self.size - start)
                if low >= high:
                    continue
                left, right = max(low, min(shared.low, high)), max(low, min(shared.high, high))
                rest[k] += [piece for piece in (array[low:left], array[right:high]) if piece.size]
                if k == self._position:
                    block = _BLOCK // array.itemsize
                    for at in range(left, right, block):
                        end = min(at + block, right)
                        theirs = [shared.views[rank][at - shared.low : end - shared.low] for rank in following]
                        direct.append((array[at:end], theirs))
            start += array.size
        count = max(1, *(-(-sum(piece.nbytes for piece in pieces) // CHUNK) for pieces in rest))
        return _Plan(direct, [cut(pieces, count) for pieces in rest])


class HostMemoryCommunicator(TCPCommunicator):
    """A communicator for ranks of several hosts, of which those of one host use each other's memory where they can.

    Parameters
    ----------
    comm : what it goes on from; not to be used any more. Every rank makes one, and they measure their links
    """

    def __init__(self, comm: TCPCommunicator) -> None:
        super().__init__(
            comm.rank,
            comm.size,
            comm._links,
            comm._order,
            comm.stall_timeout,
            comm._watch,
            comm._on_watch,
            comm.overlaps,
            comm._hosts,
        )
        self.waited, self._sequence = comm.waited, comm._sequence
        assert self._hosts is not None and self._hierarchy is not None
        self._group = self._hosts.groups[self._hosts.host_of(self.rank)]
        self._moved = MovedArrays()
        self._hierarchy.model = agreed(self.all_gather(self._measure().pack()))

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        self.share_with(arrays, None)

    def share_with(self, arrays: Sequence[np.ndarray], attach: Optional[Attach]) -> bool:
        """The same; whether every rank's ``attach`` has opened the memories."""
        assert self._hierarchy is not None
        super().share(arrays)
        attached = self._moved.share(self, arrays, self._group, attach)
        self._hierarchy.use(self._moved.ranges)
        return attached

    def close(self) -> None:
        super().close()
        self._moved.release()

    def _measure(self) -> LinkModel:
        """What this rank's links take, and its memory; all ranks measure at the same time, as they exchange."""
        assert self._hosts is not None
        leader, leaders = self._group[0], [peer for peer in self._hosts.leaders if peer != self.rank]
        locals_ = [leader] if self.rank != leader else list(self._group[1:])
        self._begin(layout_checksum([], "measure within"))
        within = self._seconds(locals_, 1)
        self.barrier()
        self._begin(layout_checksum([], "measure between"))
        between, rate = 0.0, 0.0
        if self.rank == leader:
            between = self._seconds(leaders, 1)
            rate = max(0.0, self._seconds(leaders, _PROBE // len(leaders)) - between) / _PROBE
        numbers = np.zeros(_PROBE // 4, np.float32)
        begin = time.perf_counter()
        np.add(numbers, numbers, out=numbers)
        return LinkModel(between, within, rate, (time.perf_counter() - begin) / _PROBE)

    def _seconds(self, peers: Sequence[int], nbytes: int) -> float:
        """The shortest time in which so many bytes went to and came from each of these peers at once."""
        data, room, times = bytes(nbytes), bytearray(nbytes), [0.0]
        lanes = []
        for peer in peers:
            lane = Lane(peer)
            lane.out.append(Transfer(lambda: [memoryview(data)]))
            lane.into.append(Transfer(lambda: [memoryview(room)]))
            lanes.append((lane, self._links[peer]))
        for _ in range(1 + _PROBES if lanes else 0):
            begin = time.perf_counter()
            self._start(move(lanes, Channel(self._send, self._receive), set())).wait()
            times.append(time.perf_counter() - begin)
        return min(times[2:], default=0.0)  # the first has to wait for who comes last


def _slot(memory: np.ndarray, number: int) -> np.ndarray:
    return memory[number * CHUNK : (number + 1) * CHUNK]


def _copy_in(pieces: Sequence[np.ndarray], slot: np.ndarray) -> None:
    at = 0
    for piece in pieces:
        slot[at : at + piece.size] = piece
        at += piece.size


def _copy_out(slot: np.ndarray, pieces: Sequence[np.ndarray]) -> None:
    at = 0
    for piece in pieces:
        piece[...] = slot[at : at + piece.size]
        at += piece.size


def _sum(own: np.ndarray, theirs: Sequence[np.ndarray], scale: Optional[float]) -> None:
    for other in theirs:
        np.add(own, other, out=own)
    if scale is not None:
        np.multiply(own, own.dtype.type(scale), out=own)


def share_memory(comm: TCPCommunicator) -> TCPCommunicator:
    """A communicator over memory that all ranks share, or those of each host where several hosts have several, or
    ``comm`` itself where they do not run on one machine, or its kernel does not let them. Every rank calls it, and gets
    the same. It aborts ``comm`` when it raises."""
    if comm._hosts is not None and comm._hosts.hierarchical:
        try:
            return HostMemoryCommunicator(comm)
        except BaseException:
            comm.abort()
            raise
    if comm.size == 1 or comm.size > MESH:  # which are not all connected
        return comm
    try:
        with contextlib.ExitStack() as opened:
            memories = memory.open_all(comm.all_gather(memory.new_memory(2 * comm.size * CHUNK, opened)[1]))
            ready = comm.all_gather(_GO if memories else b"")
    except BaseException:
        comm.abort()
        raise
    return SharedMemoryCommunicator(comm, memories) if all(ready) else comm
