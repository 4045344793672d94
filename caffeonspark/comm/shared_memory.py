"""All-reduce in memory that the ranks of one machine share.

Each rank has a memfd, memory without a name that goes with the last process that has it. The ranks tell each other
over their authenticated connections where theirs is, and open the others' through ``/proc``, which lets the same user
do so. A rank copies what others need of its arrays into its own memory, piece by piece, and the others read it there.
Only tokens travel over the connections, so whoever is waited for is known, and found dead or silent, as with TCP.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import mmap
import os
import struct
from typing import List, Optional, Sequence

import numpy as np

from .layout import CHUNK
from .tcp import TCPCommunicator

__all__ = ["SharedMemoryCommunicator", "share_memory"]

_NAME = b"caffeonspark"
_MFD_CLOEXEC = 1
_TOKEN = 32
_OFFER = struct.Struct(f"!II{_TOKEN}s")  # process, descriptor of its memfd, what is in the memfd
_GO = b"\x01"


class SharedMemoryCommunicator(TCPCommunicator):
    """A communicator whose ranks all run on one machine and read each other's memory; made by ``share_memory``.

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

    def close(self) -> None:
        super().close()
        self._slots = []

    def _reduce_small(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> None:
        dtype, count = arrays[0].dtype, sum(array.size for array in arrays)
        parts = [self._slots[self._half][self._order.index(rank)][0].view(dtype)[:count] for rank in range(self.size)]
        _copy_in([array.reshape(-1) for array in arrays], parts[self.rank])
        self._turn()
        total = parts[0] + parts[1]
        for part in parts[2:]:
            np.add(total, part, out=total)
        if scale is not None:
            np.multiply(total, dtype.type(scale), out=total)
        _copy_out(total, [array.reshape(-1) for array in arrays])

    def _reduce_ring(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> None:
        """The rank at position k of the ring sums up segment k. Step by step each rank copies a chunk of every
        other's segment in, sums up its own segment's chunk of the step before, and copies out what the others summed
        up in the step before that. No two ranks are more than a step apart, so what is written is in another half
        than what is read."""
        segments, dtype = self._segments(arrays), arrays[0].dtype
        mine, others = self._position, [k for k in range(self.size) if k != self._position]
        count = len(segments[0])
        for step in range(count + 2):
            now, before = self._slots[self._half], self._slots[1 - self._half]
            if step < count:
                for k in others:
                    _copy_in(segments[k][step].arrays, now[mine][k].view(dtype))
            if 1 <= step <= count:
                chunk = segments[mine][step - 1].arrays
                following = [before[(mine + i) % self.size][mine].view(dtype) for i in range(1, self.size)]
                _sum(chunk, following, scale)
                _copy_in(chunk, now[mine][mine].view(dtype))
            if step >= 2:
                for k in others:
                    _copy_out(before[k][k].view(dtype), segments[k][step - 2].arrays)
            if step <= count:
                self._turn()

    def _turn(self) -> None:
        """Wait until every rank has done this step, and change halves."""
        links = list(self._links.values())
        for link in links:
            self._send(link, [memoryview(_GO)])
            self._receive(link, [memoryview(bytearray(1))])
        self._drive(links)
        self._half = 1 - self._half


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


def _sum(pieces: Sequence[np.ndarray], following: Sequence[np.ndarray], scale: Optional[float]) -> None:
    """Add the following ranks' values to this one's, in their order."""
    at = 0
    for piece in pieces:
        for theirs in following:
            np.add(piece, theirs[at : at + piece.size], out=piece)
        if scale is not None:
            np.multiply(piece, piece.dtype.type(scale), out=piece)
        at += piece.size


def share_memory(comm: TCPCommunicator) -> TCPCommunicator:
    """A communicator over memory that all ranks share, or ``comm`` itself where they do not run on one machine, or
    its kernel does not let them. Every rank calls it, and gets the same. It aborts ``comm`` when it raises."""
    if comm.size == 1 or len(comm._links) < comm.size - 1:
        return comm
    size = 2 * comm.size * CHUNK
    try:
        with contextlib.ExitStack() as opened:
            offers = comm.all_gather(_offer(size, opened))
            memories = _open_all(offers, size)
            ready = comm.all_gather(_GO if memories else b"")  # nobody needs the others' descriptors any more
    except BaseException:
        comm.abort()
        raise
    return SharedMemoryCommunicator(comm, memories) if all(ready) else comm


def _offer(size: int, opened: contextlib.ExitStack) -> bytes:
    """New shared memory of this process, and where others find it; b"" where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)  # not by os.memfd_create, which conda's Python is too old a build for
    if not hasattr(libc, "memfd_create"):
        return b""
    fd = libc.memfd_create(_NAME, _MFD_CLOEXEC)
    if fd < 0:
        return b""
    opened.callback(os.close, fd)
    token = os.urandom(_TOKEN)
    try:
        os.posix_fallocate(fd, 0, size)  # memory that is not there is found here, and not when it is written
        os.pwrite(fd, token, 0)
    except OSError:
        return b""
    return _OFFER.pack(os.getpid(), fd, token)


def _open_all(offers: Sequence[bytes], size: int) -> List[np.ndarray]:
    """The memory that is offered, as bytes; none of it unless all of it can be opened."""
    try:
        return [_open(offer, size) for offer in offers]
    except (OSError, ValueError, struct.error):
        return []


def _open(offer: bytes, size: int) -> np.ndarray:
    """Raises OSError, ValueError or struct.error where this is not the memory of a process of this machine."""
    process, number, token = _OFFER.unpack(offer)
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
