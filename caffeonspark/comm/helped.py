"""A communicator that has a helper process: what is begun aside makes progress while the rank computes."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from typing import Deque, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..errors import CommunicationError
from .base import Communicator, Pending
from .handshake import PeerConnection
from .helper import Helper
from .hierarchy import Key, array_key
from .layout import group_by_host
from .memory import MovedArrays, SharedMemories, floats_in, new_memory, open_all
from .rooms import Edges, make_rooms
from .shared_memory import HostMemoryCommunicator
from .tcp import TCPCommunicator

__all__ = ["HelpedCommunicator", "can_help", "with_helper"]


def can_help(hosts: Sequence[str]) -> bool:
    """Whether ranks on these hosts, one of each rank, have something to exchange over links."""
    return len(group_by_host(hosts).groups) > 1


def with_helper(comm: TCPCommunicator, helper: Helper, peers: Mapping[int, PeerConnection]) -> Communicator:
    """A communicator that the helper works for, or ``comm`` where all ranks share memory. Every rank calls it.

    Parameters
    ----------
    comm : what it takes the place of; not to be used any more
    helper : closed with the communicator; at once where there is nothing for it to do
    peers : connections to the peers' helpers, which are closed here
    """
    if not comm.overlaps:
        helper.close()
        for connection in peers.values():
            connection.sock.close()
        return comm
    try:
        helper.meet(comm, peers)
    except BaseException:
        comm.abort()
        raise
    return HelpedCommunicator(comm, helper)


class _Aside(Pending):
    """A collective that the helper was told to do: the ``number``-th, from 1."""

    def __init__(self, comm: HelpedCommunicator, number: int) -> None:
        self._comm = comm
        self._number = number

    def progress(self) -> bool:
        if self._comm.done < self._number:
            self._comm.hear()
        return self._comm.done >= self._number

    def wait(self) -> None:
        while not self.progress():
            self._comm.wait()


class HelpedCommunicator(Communicator):
    """Two ways from each rank to every peer: its own connections, and those of its helper; made by ``with_helper``.

    Attributes
    ----------
    done : how many collectives the helper has done
    """

    def __init__(self, comm: TCPCommunicator, helper: Helper) -> None:
        self.rank, self.size, self.overlaps = comm.rank, comm.size, comm.overlaps
        self.done = 0
        self._comm = comm
        self._helper = helper
        self._moved = MovedArrays()  # where the rank is alone on its host
        self._numbers: Dict[Key, int] = {}  # of the arrays that the helper has
        self._edges: Optional[Edges] = None
        self._begun: Deque[List[int]] = deque()  # the arrays of each collective that the helper is to do
        self._waited = 0.0
        self._broken = ""  # by what

    @property
    def waited(self) -> float:  # type: ignore[override]
        return self._comm.waited + self._waited

    # ---- what the helper does

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        flat = [array.reshape(-1) for array in arrays]
        self._moved.release()
        if self._comm._hierarchy is not None:
            self._comm._hierarchy.forget()
        if isinstance(self._comm, HostMemoryCommunicator):
            self.helps = self._comm.share_with(flat, lambda told: self._attach(flat, told))
        else:
            self._comm.share(flat)
            self.helps = self._moved.share(self._comm, flat, [self.rank], lambda told: self._attach(flat, told))
        self._numbers = {array_key(array): number for number, array in enumerate(flat)} if self.helps else {}

    def _attach(self, flat: Sequence[np.ndarray], told: SharedMemories) -> bool:
        rooms, size = make_rooms(flat, told.pages[self.rank])
        with contextlib.ExitStack() as opened:
            _, offer = new_memory(max(size, 1), opened)
            memories = open_all([offer])
            if not memories:
                return False
            self._edges = Edges(flat, rooms, memories[0])
            return self._helper.attach(told, rooms, offer)

    def begin_aside(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> Pending:
        if not self.helps:
            return self.begin_all_reduce(arrays, scale, compressed)
        self._check()
        assert self._edges is not None
        self._share_residual(arrays[:compressed])
        numbers = [self._numbers[array_key(array)] for array in arrays]
        for number in numbers:
            self._edges.copy_in(number)
        self._tell({"do": "reduce", "numbers": numbers, "scale": scale, "compressed": compressed})
        self._begun.append(numbers)
        return _Aside(self, self.done + len(self._begun))

    def _share_residual(self, arrays: Sequence[np.ndarray]) -> None:
        """What rounding leaves of arrays is at one place, whoever exchanges them."""
        arrays, hierarchy = [array for array in arrays if array.size], self._comm._hierarchy
        keys = tuple(array_key(array) for array in arrays)
        if not keys or hierarchy is None or not hierarchy.leads or keys in hierarchy.residuals:
            return
        if not all(key in self._numbers for key in keys):
            return
        size = sum(array.size for array in arrays)
        with contextlib.ExitStack() as opened:
            fd, offer = new_memory(4 * size, opened)
            if not offer:
                raise CommunicationError(
                    f"rank {self.rank}: there is no memory for what rounding leaves of gradients, {4 * size} bytes"
                )
            hierarchy.residuals[keys] = floats_in(fd, size)
            hierarchy.residuals[keys][...] = 0
            self._tell({"do": "residual", "numbers": [self._numbers[key] for key in keys]}, fd)

    def hear(self) -> None:
        """Take note of what the helper has done."""
        self._check()
        assert self._edges is not None
        try:
            while self._helper.hear() is not None:
                for number in self._begun.popleft():
                    self._edges.copy_out(number)
                self.done += 1
        except BaseException as e:
            self._broken = str(e) or type(e).__name__
            raise

    def wait(self) -> None:
        """Return when the helper says something."""
        self._tell({"do": "wait"})
        watch, start = self._comm._watch, time.monotonic()
        poller = select.poll()
        for fd in (self._helper.fileno(), watch):
            if fd is not None:
                poller.register(fd, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poller.poll()}
                if watch in ready:
                    assert self._comm._on_watch is not None
                    self._comm._on_watch()
                if self._helper.fileno() in ready:
                    return
        finally:
            self._waited += time.monotonic() - start

    def _tell(self, message: Dict[str, object], fd: int = -1) -> None:
        self._check()
        try:
            self._helper.tell(message, fd)
        except BaseException as e:
            self._broken = str(e) or type(e).__name__
            raise

    def _check(self) -> None:
        if self._broken:
            raise CommunicationError(f"rank {self.rank} gave its collectives up when one failed: {self._broken}")

    # ---- what the rank does itself

    def all_reduce(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> None:
        self.begin_all_reduce(arrays, scale, compressed).wait()

    def begin_all_reduce(
        self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0
    ) -> Pending:
        if self.helps:
            self._share_residual(arrays[:compressed])
        return self._comm.begin_all_reduce(arrays, scale, compressed)

    def broadcast(self, arrays: Sequence[np.ndarray], root: int = 0) -> None:
        self._comm.broadcast(arrays, root)

    def all_gather(self, data: bytes) -> List[bytes]:
        return self._comm.all_gather(data)

    def close(self) -> None:
        self._helper.close()  # first: it writes to the arrays
        self._comm.close()
        self._moved.release()
        self._edges = None  # which keep arrays
        self._broken = self._broken or "the communicator was closed"

    def abort(self) -> None:
        self.close()
