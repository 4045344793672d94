"""Memory that processes of one machine share, and arrays whose pages are in it.

It is a memfd: it has no name, and goes with the last process that has it. Processes tell each other over their
authenticated connections where theirs is, and open the others' through ``/proc``, which lets the same user do so.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import mmap
import os
import struct
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import CommunicationError
from .base import Communicator
from .hierarchy import Key, SharedRange, array_key
from .layout import SMALL

__all__ = [
    "PAGE",
    "Attach",
    "MovedArrays",
    "SharedMemories",
    "floats_in",
    "map_memory",
    "new_memory",
    "open_all",
    "open_offer",
]

PAGE = mmap.PAGESIZE

_NAME = b"caffeonspark"
_TOKEN = 32
_OFFER = struct.Struct(f"!IIQ{_TOKEN}s")  # process, descriptor of its memfd, bytes, what the memfd begins with
_RANGE = struct.Struct("!QQ")
_MFD_CLOEXEC = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class SharedMemories:
    """Memory that ranks of one machine have told each other about.

    Attributes
    ----------
    pages : by rank, which values of each of its arrays take whole pages, and so are in its memory, one after another
    offers : by rank, where its memory is
    """

    pages: Mapping[int, Sequence[Tuple[int, int]]]
    offers: Mapping[int, bytes]

    def open(self) -> Dict[int, np.ndarray]:
        """The memories, as bytes, by rank; none where one of them cannot be opened."""
        return dict(zip(self.offers, open_all(list(self.offers.values()))))

    def ranges(self, memories: Mapping[int, np.ndarray], dtypes: Sequence[np.dtype]) -> List[Optional[SharedRange]]:
        """What of each array, which have these types, is shared."""
        offsets = dict.fromkeys(self.pages, 0)
        found: List[Optional[SharedRange]] = []
        for number, dtype in enumerate(dtypes):
            every = {rank: pages[number] for rank, pages in self.pages.items()}
            common = max(low for low, _ in every.values()), min(high for _, high in every.values())
            views = {}
            for rank, (low, high) in every.items():
                values = memories[rank][offsets[rank] :][: (high - low) * dtype.itemsize].view(dtype)
                views[rank] = values[max(0, common[0] - low) : max(0, common[1] - low)]
                offsets[rank] += values.nbytes
            found.append(SharedRange(*common, views) if common[0] < common[1] else None)
        return found


#: Gives memories that are about to be used to another process of the rank; whether it can open them.
Attach = Callable[[SharedMemories], bool]


class MovedArrays:
    """Arrays of one rank whose whole pages are in memory that it shares with some others.

    Attributes
    ----------
    ranges : by array (address and bytes), what of it all of them share
    """

    def __init__(self) -> None:
        self.ranges: Dict[Key, SharedRange] = {}
        self._pages: List[np.ndarray] = []  # which keep what they belong to

    def share(
        self,
        comm: Communicator,
        arrays: Sequence[np.ndarray],
        members: Sequence[int],
        attach: Optional[Attach] = None,
    ) -> bool:
        """Move these arrays, where all of the ``members`` can open each other's memory. Every rank of ``comm`` calls
        it, each with its own members, of which it is one. Whether every rank's ``attach`` was given the memories, and
        has opened them."""
        flat = [array.reshape(-1) for array in arrays]
        worth = len(members) > 1 or attach is not None
        pages = [_whole_pages(array) if worth else (0, 0) for array in flat]
        with contextlib.ExitStack() as opened:
            ranges = b"".join(_RANGE.pack(low, high) for low, high in pages)
            size = sum((high - low) * array.itemsize for array, (low, high) in zip(flat, pages))
            fd, offer = new_memory(size, opened) if size else (-1, b"")
            gathered = comm.all_gather(ranges + offer)
            told = SharedMemories(
                {rank: list(_RANGE.iter_unpack(gathered[rank][: len(ranges)])) for rank in members},
                {rank: gathered[rank][len(ranges) :] for rank in members},
            )
            memories = told.open()
            attached = bool(memories) and attach is not None and attach(told)
            ready = comm.all_gather(bytes([bool(memories), attached]))
            if not all(ready[rank][0] for rank in members):
                return False
            at = 0
            for array, (low, high) in zip(flat, pages):
                at += self._move(array[low:high], memories[comm.rank], fd, at)
        for array, shared in zip(flat, told.ranges(memories, [array.dtype for array in flat])):
            if shared is not None:
                self.ranges[array_key(array)] = shared
        return all(answer[1] for answer in ready)

    def _move(self, pages: np.ndarray, memory: np.ndarray, fd: int, offset: int) -> int:
        """Make whole pages those of this rank's shared memory, which keep their address and values; their size."""
        if pages.nbytes:
            memory[offset : offset + pages.nbytes] = pages.view(np.uint8)
            map_memory(pages, mmap.MAP_SHARED, fd, offset)
            self._pages.append(pages)
        return pages.nbytes

    def release(self) -> None:
        """Give the arrays memory of their own again, with the values they have: the process may live on, and its
        allocator needs it."""
        self.ranges = {}
        while self._pages:
            pages = self._pages.pop()
            values = pages.copy()
            map_memory(pages, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            pages[...] = values


def new_memory(size: int, opened: contextlib.ExitStack) -> Tuple[int, bytes]:
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


def floats_in(fd: int, size: int) -> np.ndarray:
    """So many float32 of a memory, from its beginning."""
    return np.frombuffer(mmap.mmap(fd, 4 * size), np.float32)


def open_all(offers: Sequence[bytes]) -> List[np.ndarray]:
    """The memory that is offered, as bytes; none of it unless all of it can be opened."""
    try:
        return [_open(offer) for offer in offers]
    except (OSError, ValueError, struct.error):
        return []


def _open(offer: bytes) -> np.ndarray:
    """Raises OSError, ValueError or struct.error where this is not the memory of a process of this machine."""
    with open_offer(offer) as (fd, size):
        return np.frombuffer(mmap.mmap(fd, size), np.uint8)


@contextlib.contextmanager
def open_offer(offer: bytes) -> Iterator[Tuple[int, int]]:
    """The descriptor of memory that is offered, which is closed again, and its bytes; raises as ``_open``."""
    process, number, size, token = _OFFER.unpack(offer)
    path = f"/proc/{process}/fd/{number}"
    # on another machine, or in another container, it is something else, which must not even be opened
    if not os.readlink(path).startswith("/memfd:" + _NAME.decode()):
        raise ValueError(path)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size < size or not hmac.compare_digest(os.pread(fd, _TOKEN, 0), token):
            raise ValueError(path)
        yield fd, size
    finally:
        os.close(fd)


def _whole_pages(array: np.ndarray) -> Tuple[int, int]:
    """Which values of a flat array take whole pages; none where it is not worth a mapping."""
    start = array.ctypes.data
    low, high = -(-start // PAGE) * PAGE - start, (start + array.nbytes) // PAGE * PAGE - start
    if high - low < SMALL or low % array.itemsize:
        return 0, 0
    return low // array.itemsize, high // array.itemsize


def map_memory(pages: np.ndarray, flags: int, fd: int, offset: int) -> None:
    """Map other memory to where these pages are."""
    function = _libc.mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    fixed = 0x10
    found = function(pages.ctypes.data, pages.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags | fixed, fd, offset)
    if found != pages.ctypes.data:
        raise CommunicationError(f"memory cannot be shared: {os.strerror(ctypes.get_errno())}")
