"""Messages of known size over one non-blocking connection."""

from __future__ import annotations

import socket
from typing import Callable, List, Optional, Sequence

from ..errors import PeerLost

__all__ = ["Link"]

_MAX_PIECES = 512  # of one sendmsg/recvmsg_into; IOV_MAX is 1024


def _advance(views: List[memoryview], count: int) -> List[memoryview]:
    """What is left of ``views`` after their first ``count`` bytes."""
    done = 0
    while done < len(views) and count >= len(views[done]):
        count -= len(views[done])
        done += 1
    rest = views[done:]
    if count:
        rest[0] = rest[0][count:]
    return rest


class Link:
    """One connection to a peer. Both ends know the size of every message, so none carries a length.

    ``begin_send``/``begin_receive`` say what moves next; ``push``/``pull`` move what they can without blocking
    and return how many bytes moved. ``sending``/``receiving`` tell whether something is left to move.
    """

    def __init__(self, sock: socket.socket, peer: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.peer = peer
        self._out: List[memoryview] = []
        self._in: List[memoryview] = []
        self._then: Optional[Callable[[], None]] = None

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def sending(self) -> bool:
        return bool(self._out)

    @property
    def receiving(self) -> bool:
        return bool(self._in)

    def begin_send(self, views: Sequence[memoryview]) -> None:
        self._out = [view for view in views if len(view)]

    def begin_receive(self, views: Sequence[memoryview], then: Optional[Callable[[], None]] = None) -> None:
        """``then`` is called when the message is here; it may begin the next one."""
        self._in = [view for view in views if len(view)]
        self._then = then

    def push(self) -> int:
        if not self._out:
            return 0
        try:
            count = self.sock.sendmsg(self._out[:_MAX_PIECES])
        except BlockingIOError:
            return 0
        except OSError as e:
            raise self._lost(e) from None
        self._out = _advance(self._out, count)
        return count

    def pull(self) -> int:
        if not self._in:
            return 0
        try:
            count = self.sock.recvmsg_into(self._in[:_MAX_PIECES])[0]
        except BlockingIOError:
            return 0
        except OSError as e:
            raise self._lost(e) from None
        if count == 0:
            raise PeerLost(f"rank {self.peer} closed its connection")
        self._in = _advance(self._in, count)
        if not self._in and self._then is not None:
            then, self._then = self._then, None
            then()
        return count

    def close(self) -> None:
        self.sock.close()

    def _lost(self, error: OSError) -> PeerLost:
        return PeerLost(f"the connection to rank {self.peer} broke: {error.strerror or error}")
