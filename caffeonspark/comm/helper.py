"""A process next to a rank that exchanges gradients while the rank computes, which keeps the GIL for seconds.

It is forked before an engine is loaded. When the ranks have met, it gets connections to the other ranks' helpers, and
maps the memory that the rank's gradients are in. Then it is told what to reduce, and says when it is done: the same
collectives as the rank's own, over the same layout, so the same sums. It ends with its rank, by the kernel and by the
end of the socket between them, and when one of its collectives fails, which its rank is told.

Messages are JSON, a line each; a file descriptor may come with one.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import time
from collections import deque
from dataclasses import astuple
from typing import Any, Deque, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..errors import CaffeOnSparkError, CommunicationError, from_wire, to_wire
from ..process import fork, reap
from .base import Pending
from .checksum import Seeds
from .encryption import Keys
from .handshake import PeerConnection
from .hierarchy import array_key
from .layout import HostGroups
from .link import Link, link_over
from .link_model import LinkModel
from .memory import SharedMemories, floats_in, open_offer
from .rooms import Room
from .tcp import TCPCommunicator

__all__ = ["Helper"]

Message = Dict[str, Any]

_INT = array.array("i").itemsize
_PIECE = 1 << 16


class _Messages:
    """One end of the socket between a rank and its helper."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""
        self._files: Deque[int] = deque()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Message, fd: int = -1) -> None:
        """Raises OSError where the other end is gone."""
        data = json.dumps(message).encode() + b"\n"
        if fd >= 0:
            sent = self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
            data = data[sent:]
        if data:
            self._sock.sendall(data)

    def receive(self, wait: bool) -> Optional[Message]:
        """The next message; None where it has not come yet. Raises EOFError or OSError where none will come."""
        while b"\n" not in self._data:
            flags = 0 if wait else socket.MSG_DONTWAIT
            try:
                piece, more, _, _ = self._sock.recvmsg(_PIECE, socket.CMSG_SPACE(_INT), flags | socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return None
            for _, _, files in more:
                self._files.extend(array.array("i", files))
            if not piece:
                raise EOFError
            self._data += piece
        line, _, self._data = self._data.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def descriptor(self) -> int:
        """What came with the message that was received."""
        return self._files.popleft()

    def close(self) -> None:
        self._sock.close()


# ---- from the rank's side


class Helper:
    """A rank's helper, from the rank's side. What goes wrong with it raises CommunicationError.

    Parameters
    ----------
    messages : this end
    child : the process
    """

    def __init__(self, messages: _Messages, child: int) -> None:
        self._messages = messages
        self.pid: Optional[int] = child  # None when it is gone

    @classmethod
    def start(cls) -> Helper:
        ours, theirs = socket.socketpair()
        try:
            child = fork(lambda: _Exchanger(_Messages(theirs)).run(), [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(_Messages(ours), child)

    def fileno(self) -> int:
        return self._messages.fileno()

    def meet(self, comm: TCPCommunicator, peers: Mapping[int, PeerConnection]) -> None:
        """Give it connections to the peers of ``comm``, which are closed here, to do the same collectives over."""
        assert comm._hosts is not None
        for peer, connection in peers.items():
            keys, seeds = connection.keys, connection.seeds
            message = {
                "do": "link",
                "peer": peer,
                "keys": [keys.send.hex(), keys.receive.hex()] if keys is not None else None,
                "seeds": [seeds.send, seeds.receive] if seeds is not None else None,
            }
            self.tell(message, connection.sock.fileno())
            connection.sock.close()
        self.tell(
            {
                "do": "meet",
                "rank": comm.rank,
                "size": comm.size,
                "order": comm._order,
                "hosts": comm._hosts.groups,
                "model": astuple(comm._hierarchy.model) if comm._hierarchy is not None else [],
                "stall": comm.stall_timeout,
            }
        )

    def attach(self, told: SharedMemories, rooms: Sequence[Room], edges: bytes) -> bool:
        """Whether it can map this rank's arrays, and what those of its host share.

        Parameters
        ----------
        told : the memories of the host's ranks
        rooms : the arrays' places
        edges : where the memory of copies is
        """
        self.tell(
            {
                "do": "attach",
                "pages": [[rank, pages] for rank, pages in told.pages.items()],
                "offers": [[rank, offer.hex()] for rank, offer in told.offers.items()],
                "rooms": [astuple(room) for room in rooms],
                "edges": edges.hex(),
            }
        )
        answer = self.hear(wait=True)
        return answer is not None and bool(answer["attached"])

    def tell(self, message: Message, fd: int = -1) -> None:
        try:
            self._messages.send(message, fd)
        except OSError:
            raise self._gone() from None

    def hear(self, wait: bool = False) -> Optional[Message]:
        """What it says next; None where it says nothing now. Raises what it says that went wrong."""
        try:
            message = self._messages.receive(wait)
        except (EOFError, OSError):
            raise self._gone() from None
        if message is not None and "error" in message:
            raise from_wire(message["error"])
        return message

    def _gone(self) -> CaffeOnSparkError:
        """What it said last, or how it ended."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = self._messages.receive(wait=True)
                if message is not None and "error" in message:
                    return from_wire(message["error"])
        how = "was ended"
        if self.pid is not None:
            child, self.pid = self.pid, None
            _, status = os.waitpid(child, 0)
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            how = f"ended with {signal.Signals(number).name if number else f'status {os.WEXITSTATUS(status)}'}"
        return CommunicationError(f"the process that exchanges gradients {how} (killed, or out of memory?)")

    def close(self) -> None:
        """End it."""
        self._messages.close()
        if self.pid is not None:
            reap(self.pid, kill=True)
            self.pid = None


# ---- the process itself


class _Exchanger:
    """The helper's own loop; runs in the forked process."""

    def __init__(self, messages: _Messages) -> None:
        self._messages = messages
        self._links: Dict[int, Link] = {}
        self._comm: Optional[TCPCommunicator] = None
        self._arrays: List[np.ndarray] = []
        self._pending: Deque[Pending] = deque()
        self._waited_for: Optional[float] = None  # since when
        self._orders = {
            "link": self._link,
            "meet": self._meet,
            "attach": self._attach,
            "residual": self._residual,
            "reduce": self._reduce,
            "wait": self._wait,
        }

    def run(self) -> None:
        try:
            while True:
                if self._pending:
                    self._go_on()
                else:
                    self._obey(wait=True)
        except (EOFError, ConnectionError):  # the rank is gone, or has no use for this process any more
            return
        except CaffeOnSparkError as e:
            with contextlib.suppress(OSError):
                self._messages.send({"error": to_wire(e)})

    def _obey(self, wait: bool) -> bool:
        """Do what the rank says next; whether it says something."""
        message = self._messages.receive(wait)
        if message is None:
            return False
        self._orders[message["do"]](message)
        return True

    def _go_on(self) -> None:
        """Move what can be moved, and wait until something can, or the rank says something."""
        comm = self._comm
        assert comm is not None
        while self._obey(wait=False):
            pass
        while self._pending and self._pending[0].progress():
            self._pending.popleft()
            self._messages.send({"done": True})
        if not self._pending:
            self._waited_for = None
            return
        poller = comm._poller()
        events = poller.poll(None if self._waited_for is None else self._patience(comm) * 1000)
        if not events and not self._patience(comm):
            raise comm._stalled()
        if {fd for fd, _ in events} - {self._messages.fileno()} and self._waited_for is not None:
            self._waited_for = time.monotonic()

    def _patience(self, comm: TCPCommunicator) -> float:
        """Seconds in which something has to move; as long as the rank computes, nobody is given up."""
        assert self._waited_for is not None
        return max(0.0, self._waited_for + comm.stall_timeout - time.monotonic())

    # ---- what the rank says

    def _link(self, message: Message) -> None:
        keys, seeds = message["keys"], message["seeds"]
        connection = PeerConnection(
            socket.socket(fileno=self._messages.descriptor()),
            message["peer"],
            Keys(*map(bytes.fromhex, keys)) if keys else None,
            Seeds(*seeds) if seeds else None,
            b"",
        )
        self._links[connection.peer] = link_over(connection)

    def _meet(self, message: Message) -> None:
        hosts = HostGroups(tuple(map(tuple, message["hosts"])))
        self._comm = TCPCommunicator(
            message["rank"],
            message["size"],
            self._links,
            message["order"],
            message["stall"],
            self._messages.fileno(),
            hosts=hosts,
        )
        if self._comm._hierarchy is not None:
            self._comm._hierarchy.model = LinkModel(*message["model"])

    def _attach(self, message: Message) -> None:
        attached = False
        with contextlib.suppress(OSError, ValueError, CommunicationError):
            self._map(message)
            attached = True
        self._messages.send({"attached": attached})

    def _map(self, message: Message) -> None:
        comm = self._comm
        assert comm is not None
        told = SharedMemories(dict(message["pages"]), {rank: bytes.fromhex(offer) for rank, offer in message["offers"]})
        rooms = [Room(*room) for room in message["rooms"]]
        memories = told.open()
        if not memories:
            raise ValueError
        with open_offer(bytes.fromhex(message["edges"])) as (edges, _), open_offer(told.offers[comm.rank]) as (own, _):
            self._arrays = [room.map(edges, own) for room in rooms]
        comm._layouts.clear()  # which keep arrays
        comm.share(self._arrays)
        if comm._hierarchy is not None:
            ranges = told.ranges(memories, [array.dtype for array in self._arrays])
            shared = zip(self._arrays, ranges)
            comm._hierarchy.forget()
            comm._hierarchy.use({array_key(array): found for array, found in shared if found is not None})

    def _residual(self, message: Message) -> None:
        assert self._comm is not None and self._comm._hierarchy is not None
        arrays = [self._arrays[number] for number in message["numbers"]]
        fd = self._messages.descriptor()
        keys = tuple(array_key(array) for array in arrays)
        self._comm._hierarchy.residuals[keys] = floats_in(fd, sum(array.size for array in arrays))
        os.close(fd)

    def _reduce(self, message: Message) -> None:
        assert self._comm is not None
        arrays = [self._arrays[number] for number in message["numbers"]]
        self._pending.append(self._comm.begin_all_reduce(arrays, message["scale"], message["compressed"]))

    def _wait(self, message: Message) -> None:
        if self._pending and self._waited_for is None:
            self._waited_for = time.monotonic()
