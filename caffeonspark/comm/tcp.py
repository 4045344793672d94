"""Collectives over TCP in one thread.

Large messages go round a ring: each rank sends to the next and receives from the previous, reduce-scatter and
all-gather as one stream of chunks, straight from and into the arrays' own memory. Small ones go to every peer at
once. Where a host has several ranks and there are several hosts, ``hierarchy`` says what goes where. Everything waits
in one ``poll``: on the connections, and on the rank's connection to the driver, which may call it off.

A collective is a generator that moves what can be moved without waiting before it yields: one that was only begun goes
on when it is asked to. Those that are pending run one after another.
"""

from __future__ import annotations

import select
import struct
import time
from collections import deque
from typing import Callable, Deque, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import CommunicationError, PeerLost, StallError
from .base import Communicator, Pending
from .credentials import Credentials
from .handshake import Listener, PeerConnection, dial
from .hierarchy import Hierarchy
from .layout import CHUNK, MESH, SMALL, Chunk, HostGroups, group_by_host, layout_checksum, ring_order, split_into_chunks
from .link import Link, link_over
from .plan_cache import PlanCache
from .transfers import Channel

__all__ = ["TCPCommunicator", "connect"]

_HEAD = struct.Struct("!QI")  # number of the collective, layout_checksum of its layout
_LENGTH = struct.Struct("!Q")
_MOST_GATHERED = 16 << 20  # bytes of one rank: gathered is what ranks tell each other, not what they compute

Steps = Iterator[None]  # of a collective: it yields when nothing more can be moved without waiting


class _Begun(Pending):
    """A collective that was begun on a TCPCommunicator."""

    def __init__(self, comm: TCPCommunicator, steps: Steps) -> None:
        self._comm = comm
        self.steps = steps
        self.over = False

    def progress(self) -> bool:
        if not self.over:
            self._comm._advance()
        return self.over

    def wait(self) -> None:
        while not self.progress():
            self._comm._wait()


class TCPCommunicator(Communicator):
    """A communicator over connected, authenticated links; made by ``connect``.

    Parameters
    ----------
    rank, size : int
    links : by peer rank; every peer, or at least the ring's neighbours
    order : the ranks in ring order
    stall_timeout : seconds without any byte moving after which the peers are given up
    watch : a file descriptor to wait on too, or None
    on_watch : called when ``watch`` is readable; raises to call the collective off
    overlaps : as of Communicator
    hosts : which ranks run where; None for ranks that are all taken for equally near
    """

    def __init__(
        self,
        rank: int,
        size: int,
        links: Dict[int, Link],
        order: Sequence[int],
        stall_timeout: float,
        watch: Optional[int] = None,
        on_watch: Optional[Callable[[], None]] = None,
        overlaps: bool = False,
        hosts: Optional[HostGroups] = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.overlaps = overlaps
        self.stall_timeout = stall_timeout
        #: Seconds spent waiting for peers, in all collectives so far.
        self.waited = 0.0
        self._links = links
        self._position = list(order).index(rank)
        self._next = links.get(order[(self._position + 1) % size])
        self._previous = links.get(order[(self._position - 1) % size])
        self._order = list(order)
        self._watch = watch
        self._on_watch = on_watch
        self._sequence = 0
        self._head = b""
        self._greeted: Set[int] = set()  # peers whose head of this collective has been sent
        self._heard: Set[int] = set()  # and has been checked
        self._scratch = np.empty(CHUNK // 4 + 1, np.float32)
        self._lasting: Set[Tuple[int, int]] = set()  # address and bytes of what is reduced again and again
        self._layouts: PlanCache[List[List[Chunk]]] = PlanCache(self._lasting)
        self._pending: Deque[_Begun] = deque()
        self._broken = ""  # by what
        self._hosts = hosts
        self._hierarchy: Optional[Hierarchy] = None
        if hosts is not None and len(hosts.groups) > 1 and all(peer in links for peer in hosts.peers(rank)):
            self._hierarchy = Hierarchy(rank, hosts, links, Channel(self._send, self._receive), self._lasting)

    # ---- collectives

    def all_reduce(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> None:
        self.begin_all_reduce(arrays, scale, compressed).wait()

    def begin_all_reduce(
        self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0
    ) -> Pending:
        return self._start(self._all_reduce(arrays, scale, compressed))

    def _all_reduce(self, arrays: Sequence[np.ndarray], scale: Optional[float], compressed: int) -> Steps:
        if compressed and self._hierarchy is not None:
            yield from self._reduce_by_hosts(
                [array for array in arrays[:compressed] if array.size], scale, compressed=True
            )
            arrays = arrays[compressed:]
        arrays = [array for array in arrays if array.size]
        if not arrays:
            return
        if self.size == 1:
            if scale is not None and scale != 1:
                for array in arrays:
                    np.multiply(array, array.dtype.type(scale), out=array)
            return
        if self._hosts is not None and self._hosts.hierarchical:
            yield from self._reduce_by_hosts(arrays, scale)
            return
        self._begin(layout_checksum(arrays, self._all_reduce_kind(arrays)))
        if sum(array.nbytes for array in arrays) <= SMALL and self.size <= MESH:
            yield from self._reduce_small(arrays, scale)
        else:
            yield from self._reduce_ring(arrays, scale)

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        self._lasting.update((array.ctypes.data, array.nbytes) for array in arrays)

    def broadcast(self, arrays: Sequence[np.ndarray], root: int = 0) -> None:
        arrays = [array for array in arrays if array.size]
        if self.size > 1 and arrays:
            self._start(self._broadcast(arrays, root)).wait()

    def _broadcast(self, arrays: Sequence[np.ndarray], root: int) -> Steps:
        self._begin(layout_checksum(arrays, f"broadcast {root}"))
        chunks = split_into_chunks(arrays, 1)[0]
        distance = (self._position - self._order.index(root)) % self.size
        sends = chunks if distance < self.size - 1 else []
        receives = chunks if distance > 0 else []
        # a chunk is passed on as soon as it is here; the root has all of them
        lag = 0 if receives else len(chunks)
        yield from self._ring(sends, receives, lag=lag, receive_into=lambda i: chunks[i].views)

    def all_gather(self, data: bytes) -> List[bytes]:
        if self.size == 1:
            return [bytes(data)]
        if len(data) > _MOST_GATHERED:
            raise CommunicationError(f"{len(data)} bytes are too many to gather: {_MOST_GATHERED} at most")
        gathered: Dict[int, bytes] = {self.rank: bytes(data)}
        self._start(self._all_gather(gathered)).wait()
        return [gathered[rank] for rank in range(self.size)]

    def _all_gather(self, gathered: Dict[int, bytes]) -> Steps:
        """Complete what is gathered, by rank: round the ring, size - 1 steps, each passing on what came last."""
        self._begin(layout_checksum([], "all_gather"))
        for step in range(self.size - 1):
            origin_out = self._order[(self._position - step) % self.size]
            origin_in = self._order[(self._position - step - 1) % self.size]
            out = gathered[origin_out]
            length = bytearray(_LENGTH.size)
            yield from self._exchange([memoryview(_LENGTH.pack(len(out)))], [memoryview(length)])
            (size,) = _LENGTH.unpack(length)
            if size > _MOST_GATHERED:
                raise CommunicationError(
                    f"rank {self._order[self._position - 1]} announces {size} bytes, which no rank sends"
                )
            incoming = bytearray(size)
            yield from self._exchange([memoryview(out)], [memoryview(incoming)])
            gathered[origin_in] = bytes(incoming)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._layouts.clear()  # which keep arrays
        if self._hierarchy is not None:
            self._hierarchy.forget()

    def abort(self) -> None:
        self.close()

    # ---- what is pending

    def _start(self, steps: Steps) -> Pending:
        begun = _Begun(self, steps)
        self._pending.append(begun)
        begun.progress()
        return begun

    def _advance(self) -> None:
        """Move what can be moved without waiting of what is pending, one collective after another."""
        if self._broken:
            raise CommunicationError(f"rank {self.rank} gave its collectives up when one failed: {self._broken}")
        try:
            while self._pending:
                for _ in self._pending[0].steps:
                    return
                self._pending.popleft().over = True
        except BaseException as e:
            self._broken = str(e) or type(e).__name__
            raise

    def _all_reduce_kind(self, arrays: Sequence[np.ndarray]) -> str:
        """What has to be the same on every rank, in addition to the arrays' sizes."""
        return "all_reduce"

    # ---- by hosts

    def _reduce_by_hosts(self, arrays: Sequence[np.ndarray], scale: Optional[float], compressed: bool = False) -> Steps:
        """Stops where nothing can be moved without waiting."""
        if not arrays:
            return
        assert self._hierarchy is not None
        compressed = compressed and arrays[0].dtype == np.float32
        way = self._hierarchy.way(arrays, compressed)
        self._begin(layout_checksum(arrays, f"all_reduce {way} {compressed}"))
        yield from self._hierarchy.reduce(arrays, scale, way, compressed)

    # ---- one-step exchange

    def _reduce_small(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Steps:
        mine = [array.reshape(-1).data.cast("B") for array in arrays]
        boxes = {peer: [np.empty_like(array) for array in arrays] for peer in self._links}
        for peer, link in self._links.items():
            self._send(link, mine)
            self._receive(link, [box.reshape(-1).data.cast("B") for box in boxes[peer]])
        yield from self._drive(list(self._links.values()))
        for number, array in enumerate(arrays):
            parts = [array if rank == self.rank else boxes[rank][number] for rank in range(self.size)]
            total = parts[0] + parts[1]
            for part in parts[2:]:
                np.add(total, part, out=total)
            if scale is not None:
                np.multiply(total, total.dtype.type(scale), out=total)
            array[...] = total

    # ---- ring

    def _reduce_ring(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Steps:
        segments = self._segments(arrays)
        size, position, per_segment = self.size, self._position, len(segments[0])
        sends: List[Chunk] = []
        receives: List[Chunk] = []
        for step in range(size - 1):  # reduce-scatter
            sends += segments[(position - step) % size]
            receives += segments[(position - step - 1) % size]
        for step in range(size - 1):  # all-gather
            sends += segments[(position + 1 - step) % size]
            receives += segments[(position - step) % size]
        adding = (size - 1) * per_segment  # chunks to add, the last segment of them finished here
        finishing = (size - 2) * per_segment
        scratch = self._scratch_for(arrays[0].dtype)
        bytes_of_scratch = scratch.data.cast("B")

        def receive_into(number: int) -> Sequence[memoryview]:
            chunk = receives[number]
            return [bytes_of_scratch[: chunk.nbytes]] if number < adding else chunk.views

        def received(number: int) -> None:
            if number >= adding:
                return
            at = 0
            for piece in receives[number].arrays:
                np.add(piece, scratch[at : at + piece.size], out=piece)
                at += piece.size
                if scale is not None and number >= finishing:
                    np.multiply(piece, piece.dtype.type(scale), out=piece)

        yield from self._ring(sends, receives, per_segment, receive_into, received)

    def _segments(self, arrays: Sequence[np.ndarray]) -> List[List[Chunk]]:
        key = tuple((array.ctypes.data, array.nbytes) for array in arrays)
        return self._layouts.get(key, arrays, lambda: split_into_chunks(arrays, self.size))

    def _scratch_for(self, dtype: np.dtype) -> np.ndarray:
        return self._scratch if dtype == np.float32 else np.empty(CHUNK // dtype.itemsize + 1, dtype)

    def _ring(
        self,
        sends: Sequence[Chunk],
        receives: Sequence[Chunk],
        lag: int,
        receive_into: Callable[[int], Sequence[memoryview]],
        received: Callable[[int], None] = lambda number: None,
    ) -> Steps:
        """Send and receive chunks; the i-th leaves once the (i - lag)-th has arrived."""
        assert self._next is not None and self._previous is not None
        sent = arrived = 0
        while sent < len(sends) or arrived < len(receives):
            moved = 0
            if sent < len(sends) and sent < arrived + lag:
                if not self._next.sending:
                    self._send(self._next, sends[sent].views)
                moved += self._next.push()
                if not self._next.sending:
                    sent += 1
                    moved += 1
            if arrived < len(receives):
                if not self._previous.receiving:
                    self._receive(self._previous, receive_into(arrived))
                moved += self._previous.pull()
                if not self._previous.receiving:
                    received(arrived)
                    arrived += 1
                    moved += 1
            if not moved:
                yield

    # ---- moving bytes

    def _begin(self, layout: int) -> None:
        """A new collective: its head goes before the first message on each connection, so that ranks that are
        about to run different collectives fail at once instead of adding up the wrong arrays."""
        self._sequence += 1
        self._head = _HEAD.pack(self._sequence, layout)
        self._greeted.clear()
        self._heard.clear()

    def _send(self, link: Link, views: Sequence[memoryview]) -> None:
        if link.peer not in self._greeted:
            self._greeted.add(link.peer)
            link.begin_send([memoryview(self._head)])
        link.begin_send(views)

    def _receive(self, link: Link, views: Sequence[memoryview]) -> None:
        if link.peer in self._heard:
            link.begin_receive(views)
            return
        self._heard.add(link.peer)
        head = bytearray(_HEAD.size)

        def check() -> None:
            if bytes(head) != self._head:
                raise CommunicationError(
                    f"rank {self.rank} and rank {link.peer} are out of step: collective {_HEAD.unpack(self._head)} "
                    f"here, {_HEAD.unpack(head)} there"
                )
            link.begin_receive(views)

        link.begin_receive([memoryview(head)], then=check)

    def _exchange(self, out: Sequence[memoryview], into: Sequence[memoryview]) -> Steps:
        """One message to the next rank of the ring, one from the previous."""
        assert self._next is not None and self._previous is not None
        self._send(self._next, out)
        self._receive(self._previous, into)
        yield from self._drive([self._next] if self._next is self._previous else [self._next, self._previous])

    def _drive(self, links: Sequence[Link]) -> Steps:
        while any(link.sending or link.receiving for link in links):
            if not sum(link.push() + link.pull() for link in links):
                yield

    def _wait(self) -> None:
        """Block until something can move; raises StallError when nothing does for too long."""
        poller = self._poller()
        start = time.monotonic()
        deadline = start + self.stall_timeout
        try:
            while True:
                events = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
                if not events:
                    raise self._stalled()
                fds = {fd for fd, _ in events}
                if self._watch in fds:
                    assert self._on_watch is not None
                    self._on_watch()
                if fds - {self._watch}:
                    return
        finally:
            self.waited += time.monotonic() - start

    def _poller(self) -> select.poll:
        """What waits until something can move, or somebody calls."""
        poller = select.poll()
        for link in self._links.values():
            mask = (select.POLLIN if link.receiving else 0) | (select.POLLOUT if link.sending else 0)
            if mask:
                poller.register(link, mask)
        if self._watch is not None:
            poller.register(self._watch, select.POLLIN)
        return poller

    def _stalled(self) -> StallError:
        waiting = [str(link.peer) for link in self._links.values() if link.receiving or link.sending]
        return StallError(
            f"rank {self.rank} heard nothing from rank {' or '.join(waiting)} for {self.stall_timeout:g} s"
        )


def neighbours(rank: int, order: Sequence[int], hosts: HostGroups, compressed: bool = False) -> List[int]:
    """The peers a rank is connected to: all of them in a small group, otherwise its neighbours in the ring, and, where
    hosts add up before they exchange, its leader, or who it leads and the other leaders."""
    size = len(order)
    if size <= MESH:
        return [peer for peer in range(size) if peer != rank]
    position = list(order).index(rank)
    ring = {order[(position + 1) % size], order[(position - 1) % size]}
    by_hosts = hosts.hierarchical or (compressed and len(hosts.groups) > 1)
    return sorted(ring.union(hosts.peers(rank)) if by_hosts else ring)


def connect(
    rank: int,
    addresses: Sequence[Tuple[str, int]],
    listener: Listener,
    credentials: Credentials,
    connect_timeout: float = 60.0,
    stall_timeout: float = 120.0,
    watch: Optional[int] = None,
    on_watch: Optional[Callable[[], None]] = None,
    compressed: bool = False,
    spares: Optional[Dict[int, PeerConnection]] = None,
) -> TCPCommunicator:
    """Connect to the peers and return the communicator; closes the listener.

    Parameters
    ----------
    rank : int
    addresses : (host, port) of every rank's listener, in rank order
    listener : this rank's, listening already
    credentials : this rank's, which its listener gets too
    connect_timeout : seconds for all connections to stand
    stall_timeout, watch, on_watch : see TCPCommunicator
    compressed : whether arrays are going to be compressed between hosts, for which every two hosts are connected
    spares : gets another connection to each of these peers, for the caller to use and to close; given by every rank or
        by none
    """
    listener.credentials = credentials
    names = [host for host, _ in addresses]
    order, hosts = ring_order(names), group_by_host(names)
    peers = neighbours(rank, order, hosts, compressed)
    deadline = time.monotonic() + connect_timeout
    links: Dict[int, Link] = {}
    try:
        # The higher rank dials. Lower ranks answer as soon as they have dialled theirs, rank 0 at once.
        for peer in (peer for peer in peers if peer < rank):
            links[peer] = link_over(dial(addresses[peer], credentials, rank, peer, deadline - time.monotonic()))
            if spares is not None:
                spares[peer] = dial(addresses[peer], credentials, rank, peer, deadline - time.monotonic())
        while len(links) < len(peers) or (spares is not None and len(spares) < len(peers)):
            left = deadline - time.monotonic()
            if left <= 0:
                there = links if spares is None else spares
                missing = [str(peer) for peer in peers if peer not in there]
                raise PeerLost(f"rank {rank}: rank {', '.join(missing)} did not connect within {connect_timeout:g} s")
            for accepted in listener.accept(min(left, 0.5)):
                peer = accepted.peer
                if peer in peers and peer > rank and peer not in links:
                    links[peer] = link_over(accepted)
                elif peer in links and peer > rank and spares is not None and peer not in spares:
                    spares[peer] = accepted
                else:
                    accepted.sock.close()
            if watch is not None and on_watch is not None and select.select([watch], [], [], 0)[0]:
                on_watch()
    except BaseException:
        for link in links.values():
            link.close()
        for spare in (spares or {}).values():
            spare.sock.close()
        raise
    finally:
        listener.close()
    overlaps = len(hosts.groups) > 1
    return TCPCommunicator(rank, len(addresses), links, order, stall_timeout, watch, on_watch, overlaps, hosts)
