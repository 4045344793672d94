"""Messages of known size over one non-blocking connection: in clear, with checksums, or encrypted."""

from __future__ import annotations

import socket
from typing import Callable, List, Optional, Sequence

from ..errors import CommunicationError, PeerLost
from .checksum import DIGEST, Checksum, Seeds
from .encryption import RECORD, Decryptor, Encryptor, Keys
from .handshake import PeerConnection

__all__ = ["ChecksummedLink", "EncryptedLink", "Link", "link_over"]

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
        """A message; what is still to leave of the one before goes first."""
        self._out += [view for view in views if len(view)]

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
        self._arrived(count)
        return count

    def _arrived(self, count: int) -> None:
        self._in = _advance(self._in, count)
        if not self._in and self._then is not None:
            then, self._then = self._then, None
            then()

    def close(self) -> None:
        self.sock.close()

    def _lost(self, error: OSError) -> PeerLost:
        return PeerLost(f"the connection to rank {self.peer} broke: {error.strerror or error}")


class ChecksummedLink(Link):
    """The same in clear, with a checksum behind every message: one that arrives changed, or is not the next one that
    the peer sent, raises CommunicationError before anything is made of it."""

    def __init__(self, sock: socket.socket, peer: int, seeds: Seeds) -> None:
        super().__init__(sock, peer)
        self._sent = Checksum(seeds.send)
        self._received = Checksum(seeds.receive)

    def begin_send(self, views: Sequence[memoryview]) -> None:
        super().begin_send([*views, memoryview(self._sent.next(views))])

    def begin_receive(self, views: Sequence[memoryview], then: Optional[Callable[[], None]] = None) -> None:
        digest = bytearray(DIGEST)

        def check() -> None:
            number = self._received.number
            if self._received.next(views) != digest:
                raise self._damaged(number)
            if then is not None:
                then()

        super().begin_receive([*views, memoryview(digest)], check)

    def _damaged(self, number: int) -> CommunicationError:
        return CommunicationError(
            f"message {number} of what rank {self.peer} on {self.sock.getpeername()[0]} sent arrived damaged: bytes "
            "were changed, lost, repeated or moved on the way. When it happens again, look for a faulty network card, "
            "driver or memory between the two"
        )


class EncryptedLink(Link):
    """The same over a connection that is encrypted: messages travel as the records of one stream.

    A record is encrypted when the one before it has left, and decrypted when it is there, so that the peers work
    side by side. Pieces smaller than a record are put together first; nothing else is copied before it is encrypted.
    """

    def __init__(self, sock: socket.socket, peer: int, keys: Keys) -> None:
        super().__init__(sock, peer)
        self._encryptor = Encryptor(keys.send)
        self._decryptor = Decryptor(keys.receive)
        self._encrypted: List[memoryview] = []  # what is left to send of a record
        self._decrypted: List[memoryview] = []  # contents of records that nobody has asked for yet

    @property
    def sending(self) -> bool:
        return bool(self._out or self._encrypted)

    def push(self) -> int:
        if not self._encrypted:
            if not self._out:
                return 0
            self._encrypted = [memoryview(part) for part in self._encryptor.record(self._next_record())]
        try:
            count = self.sock.sendmsg(self._encrypted)
        except BlockingIOError:
            return 0
        except OSError as e:
            raise self._lost(e) from None
        self._encrypted = _advance(self._encrypted, count)
        return count

    def _next_record(self) -> memoryview:
        """The next bytes of the message, up to a record's worth."""
        parts: List[memoryview] = []
        size = 0
        for view in self._out:
            parts.append(view[: RECORD - size])
            size += len(parts[-1])
            if size == RECORD:
                break
        self._out = _advance(self._out, size)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def pull(self) -> int:
        if not self._in:
            return 0
        if self._decrypted:
            return self._deliver()
        try:
            count = self.sock.recv_into(self._decryptor.room())
        except BlockingIOError:
            return 0
        except OSError as e:
            raise self._lost(e) from None
        if count == 0:
            raise PeerLost(f"rank {self.peer} closed its connection")
        try:
            self._decrypted = [memoryview(content) for content in self._decryptor.take(count)]
        except ValueError as e:
            raise CommunicationError(f"the connection to rank {self.peer} is not safe any more: {e}") from None
        self._deliver()
        return count

    def _deliver(self) -> int:
        """Copy what has been decrypted to where the message goes; the bytes copied."""
        delivered = 0
        while self._decrypted and self._in:
            source, target = self._decrypted[0], self._in[0]
            count = min(len(source), len(target))
            target[:count] = source[:count]
            self._decrypted = _advance(self._decrypted, count)
            self._arrived(count)
            delivered += count
        return delivered


def link_over(connection: PeerConnection) -> Link:
    """The link over an authenticated connection."""
    if connection.keys is not None:
        return EncryptedLink(connection.sock, connection.peer, connection.keys)
    if connection.seeds is not None:
        return ChecksummedLink(connection.sock, connection.peer, connection.seeds)
    return Link(connection.sock, connection.peer)
