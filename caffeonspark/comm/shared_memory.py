"""All-reduce in memory that the ranks of one machine share, of all ranks or of those of each host.

Shared memory is a memfd: it has no name, and goes with the last process that has it. The ranks tell each other over
their authenticated connections where theirs is, and open the others' through ``/proc``, which lets the same user do
so. Only tokens travel over the connections, so whoever is waited for is known, and found dead or silent, as with TCP.

Arrays that ``share`` was called with are summed up where they are: their whole pages are in shared memory. Of other
arrays, and of the ends of those, copies are made in slots of shared memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import CommunicationError
from .hierarchy import Key, SharedRange
from .layout import CHUNK, MESH, SMALL, cut, layout_checksum
from .link_model import LinkModel, agreed
from .plan_cache import PlanCache
from .tcp import Steps, TCPCommunicator
from .transfers import Channel, Lane, Transfer, move

__all__ = ["HostMemoryCommunicator", "SharedMemoryCommunicator", "share_memory"]

_NAME = b"caffeonspark"
_TOKEN = 32
_OFFER = struct.Struct(f"!IIQ{_TOKEN}s")  # process, descriptor of its memfd, bytes, what the memfd begins with
_RANGE = struct.Struct("!QQ")
_GO = b"\x01"
_BLOCK = 256 << 10  # bytes that are added and written back at a time, so that they are in the processor's cache
_PAGE = mmap.PAGESIZE
_MFD_CLOEXEC = 1

_libc = ctypes.CDLL(None, use_errno=True)
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
        self._moved = _MovedArrays()
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
        return f"all_reduce {[_key(array) in self._moved.ranges for array in arrays]}"

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
        key = tuple(_key(array) for array in arrays)
        return self._plans.get(key, arrays, lambda: self._new_plan([array.reshape(-1) for array in arrays]))

    def _new_plan(self, flat: Sequence[np.ndarray]) -> _Plan:
        following = [self._order[(self._position + i) % self.size] for i in range(1, self.size)]
        direct: List[Tuple[np.ndarray, Sequence[np.ndarray]]] = []
        rest: List[List[np.ndarray]] = [[] for _ in range(self.size)]
        total, start = sum(array.size for array in flat), 0
        for array in flat:
            shared = self._moved.ranges.get(_key(array), SharedRange(0, 0, {}))
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
        self._moved = _MovedArrays()
        self._hierarchy.model = agreed(self.all_gather(self._measure().pack()))

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        assert self._hierarchy is not None
        super().share(arrays)
        self._moved.share(self, arrays, self._group)
        self._hierarchy.use(self._moved.ranges)

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


def _key(array: np.ndarray) -> Key:
    return array.ctypes.data, array.nbytes


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


# ---- memory


class _MovedArrays:
    """Arrays of one rank whose whole pages are in memory that it shares with some others.

    Attributes
    ----------
    ranges : by array (address and bytes), what of it all of them share
    """

    def __init__(self) -> None:
        self.ranges: Dict[Key, SharedRange] = {}
        self._pages: List[np.ndarray] = []  # which keep what they belong to

    def share(self, comm: TCPCommunicator, arrays: Sequence[np.ndarray], members: Sequence[int]) -> None:
        """Move these arrays, where all of the ``members`` can open each other's memory. Every rank of ``comm`` calls
        it, each with its own members, of which it is one."""
        flat = [array.reshape(-1) for array in arrays]
        pages = [_whole_pages(array) if len(members) > 1 else (0, 0) for array in flat]
        with contextlib.ExitStack() as opened:
            ranges = b"".join(_RANGE.pack(low, high) for low, high in pages)
            size = sum((high - low) * array.itemsize for array, (low, high) in zip(flat, pages))
            fd, offer = _offer(size, opened) if size else (-1, b"")
            gathered = comm.all_gather(ranges + offer)
            answers = {rank: gathered[rank] for rank in members}
            memories = dict(zip(members, _open_all([answer[len(ranges) :] for answer in answers.values()])))
            ready = comm.all_gather(_GO if memories else b"")
            if not all(ready[rank] for rank in members):
                return
            at = 0
            for array, (low, high) in zip(flat, pages):
                at += self._move(array[low:high], memories[comm.rank], fd, at)
        theirs = {rank: list(_RANGE.iter_unpack(answer[: len(ranges)])) for rank, answer in answers.items()}
        offsets = dict.fromkeys(members, 0)
        for number, array in enumerate(flat):
            every = {rank: ranges_of[number] for rank, ranges_of in theirs.items()}
            common = max(low for low, _ in every.values()), min(high for _, high in every.values())
            views = {}
            for rank, (low, high) in every.items():
                values = memories[rank][offsets[rank] :][: (high - low) * array.itemsize].view(array.dtype)
                views[rank] = values[max(0, common[0] - low) : max(0, common[1] - low)]
                offsets[rank] += values.nbytes
            if common[0] < common[1]:
                self.ranges[_key(array)] = SharedRange(*common, views)

    def _move(self, pages: np.ndarray, memory: np.ndarray, fd: int, offset: int) -> int:
        """Make whole pages those of this rank's shared memory, which keep their address and values; their size."""
        if pages.nbytes:
            memory[offset : offset + pages.nbytes] = pages.view(np.uint8)
            _map(pages, mmap.MAP_SHARED, fd, offset)
            self._pages.append(pages)
        return pages.nbytes

    def release(self) -> None:
        """Give the arrays memory of their own again, with the values they have: the process may live on, and its
        allocator needs it."""
        self.ranges = {}
        while self._pages:
            pages = self._pages.pop()
            values = pages.copy()
            _map(pages, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            pages[...] = values


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
            memories = _open_all(comm.all_gather(_offer(2 * comm.size * CHUNK, opened)[1]))
            ready = comm.all_gather(_GO if memories else b"")
    except BaseException:
        comm.abort()
        raise
    return SharedMemoryCommunicator(comm, memories) if all(ready) else comm


def _offer(size: int, opened: contextlib.ExitStack) -> Tuple[int, bytes]:
    """New shared memory of this process, and where others find it: b"" where there is none."""
    if not hasattr(_libc, "memfd_create"):
        return -1, b""
    fd = _libc.memfd_create(_NAME, _MFD_CLOEXEC)  # not os.memfd_create, which conda's Python is built without
    if fd < 0:
        return -1, b""
    opened.callback(os.close, fd)
    token = os.urandom(_TOKEN)
    try:
        os.posix_fallocate(fd, 0, size)  # memory that is not there is found here, and not when it is written
        os.pwrite(fd, token, 0)
    except OSError:
        return -1, b""
    return fd, _OFFER.pack(os.getpid(), fd, size, token)


def _open_all(offers: Sequence[bytes]) -> List[np.ndarray]:
    """The memory that is offered, as bytes; none of it unless all of it can be opened."""
    try:
        return [_open(offer) for offer in offers]
    except (OSError, ValueError, struct.error):
        return []


def _open(offer: bytes) -> np.ndarray:
    """Raises OSError, ValueError or struct.error where this is not the memory of a process of this machine."""
    process, number, size, token = _OFFER.unpack(offer)
    path = f"/proc/{process}/fd/{number}"
    # on another machine, or in another container, it is something else, which must not even be opened
    if not os.readlink(path).startswith("/memfd:" + _NAME.decode()):
        raise ValueError(path)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        memory = np.frombuffer(mmap.mmap(fd, size), np.uint8)
    finally:
        os.close(fd)
    if not hmac.compare_digest(memory[:_TOKEN].tobytes(), token):
        raise ValueError(path)
    return memory


def _whole_pages(array: np.ndarray) -> Tuple[int, int]:
    """Which values of a flat array take whole pages; none where it is not worth a mapping."""
    start = array.ctypes.data
    low, high = -(-start // _PAGE) * _PAGE - start, (start + array.nbytes) // _PAGE * _PAGE - start
    if high - low < SMALL or low % array.itemsize:
        return 0, 0
    return low // array.itemsize, high // array.itemsize


def _map(pages: np.ndarray, flags: int, fd: int, offset: int) -> None:
    """Map other memory to where these pages are."""
    function = _libc.mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    fixed = 0x10
    found = function(pages.ctypes.data, pages.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags | fixed, fd, offset)
    if found != pages.ctypes.data:
        raise CommunicationError(f"memory cannot be shared: {os.strerror(ctypes.get_errno())}")
