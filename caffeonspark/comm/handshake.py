"""Authenticated connections between parties that share a secret.

The party that dials sends a greeting: a magic number, whether the connection is to be encrypted, its name and the name
of the party it means (two numbers), the job's nonce, a fresh nonce, and an HMAC-SHA256 over them. The party that
accepts answers with a fresh nonce of its own and an HMAC over everything said; the dialler checks it and
proves itself the same way. Every proof has a label of its own, so that none can be reflected. Both nonces make a
recorded connection worthless, the job's nonce keeps an earlier attempt's ranks out, and what was said is what
the keys are derived from. Everything before the last proof has a fixed size and a deadline, and nothing is parsed
beyond fixed fields.

By the greeting's own HMAC the listener tells the job's parties from others before it answers, so that no number of
unauthenticated connections keeps a party out. A greeting can be recorded and sent again, but a listener takes each
only once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import select
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Set, Tuple

from ..errors import PeerLost
from .checksum import Seeds, derive_seeds
from .encryption import Keys, derive

__all__ = ["Credentials", "Listener", "PeerConnection", "dial", "set_socket_options"]

_MAGIC = b"CoS2"
_PLAIN, _CHECKSUMMED, _ENCRYPTED = b"P", b"C", b"S"
_HELLO = struct.Struct("!4scII16s32s")  # magic, mode, dialler, acceptor, job nonce, fresh nonce
_NONCE = 32
_PROOF = hashlib.sha256().digest_size
_GREETING = _HELLO.size + _PROOF
_ACCEPTED = b"\x01"
_RETRY = 0.05  # seconds between two tries to connect
_TRY = 10.0  # seconds one of them may take


@dataclass(frozen=True)
class Credentials:
    """What the parties of one attempt of a job share.

    Attributes
    ----------
    secret : 32 random bytes of the job
    nonce : 16 random bytes of the attempt
    encrypted : whether every connection is encrypted; a party that thinks otherwise is refused
    checksum : whether what travels in clear has checksums; likewise
    """

    secret: bytes = field(repr=False)
    nonce: bytes
    encrypted: bool = False
    checksum: bool = True

    @classmethod
    def new(cls, secret: Optional[bytes] = None, encrypted: bool = False, checksum: bool = True) -> Credentials:
        """Credentials of a new attempt; of a new job without ``secret``."""
        return cls(secret or os.urandom(32), os.urandom(16), encrypted, checksum)

    @property
    def mode(self) -> bytes:
        if self.encrypted:
            return _ENCRYPTED
        return _CHECKSUMMED if self.checksum else _PLAIN

    def prove(self, label: bytes, hello: bytes, answer: bytes = b"") -> bytes:
        """The proof of knowing the secret in this conversation."""
        message = b"".join(struct.pack("!I", len(part)) + part for part in (label, hello, answer))
        return hmac.new(self.secret, message, hashlib.sha256).digest()

    def keys(self, hello: bytes, answer: bytes, dialling: bool) -> Optional[Keys]:
        """The keys of this conversation's connection for one of its ends; None where it is not encrypted."""
        if not self.encrypted:
            return None
        dialler, acceptor = derive(self.secret, hello + answer)
        return Keys(dialler, acceptor) if dialling else Keys(acceptor, dialler)

    def seeds(self, hello: bytes, answer: bytes, dialling: bool) -> Optional[Seeds]:
        """The seeds of the connection's checksums for one of its ends; None where it has none."""
        if self.mode != _CHECKSUMMED:
            return None
        dialler, acceptor = derive_seeds(hello + answer)
        return Seeds(dialler, acceptor) if dialling else Seeds(acceptor, dialler)


@dataclass(frozen=True)
class PeerConnection:
    """An authenticated connection.

    Attributes
    ----------
    sock : connected socket
    peer : the other end's name
    keys : to encrypt with, or None
    seeds : of the checksums, or None
    """

    sock: socket.socket
    peer: int
    keys: Optional[Keys]
    seeds: Optional[Seeds] = None


def set_socket_options(sock: socket.socket) -> None:
    """Socket options of every connection: no delay, and probes that find a silent machine within 5 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    # bbr, the default of some systems, paces loopback to two thirds of cubic's speed
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def _receive(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("it closed the connection during the handshake")
        data += piece
    return data


def dial(address: Tuple[str, int], credentials: Credentials, me: int, peer: int, timeout: float) -> PeerConnection:
    """Connect to the party ``peer`` at ``address``.

    Tries again until ``timeout`` seconds have passed, because the peer may not listen yet, or be flooded.
    Raises PeerLost when it cannot be reached or does not know the secret.
    """
    deadline = time.monotonic() + timeout
    where = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
    while True:
        sock: Optional[socket.socket] = None
        try:
            sock = socket.create_connection(address, timeout=max(0.001, min(5.0, deadline - time.monotonic())))
            return _greet(sock, where, credentials, me, peer, min(deadline, time.monotonic() + _TRY))
        except OSError as e:
            what = "cannot connect to" if sock is None else "no handshake with"
            why = e.strerror or str(e)
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        if time.monotonic() + _RETRY > deadline:
            raise PeerLost(f"{what} {where} within {timeout:.0f} s: {why}")
        time.sleep(_RETRY)


def _greet(
    sock: socket.socket, where: str, credentials: Credentials, me: int, peer: int, deadline: float
) -> PeerConnection:
    """The dialler's part of the handshake."""
    set_socket_options(sock)
    hello = _HELLO.pack(_MAGIC, credentials.mode, me, peer, credentials.nonce, os.urandom(_NONCE))
    sock.sendall(hello + credentials.prove(b"hello", hello))
    answer = _receive(sock, _NONCE + _PROOF, deadline)
    nonce, proof = answer[:_NONCE], answer[_NONCE:]
    if not hmac.compare_digest(proof, credentials.prove(b"accept", hello, nonce)):
        raise PeerLost(f"who listens at {where} is not of this job")
    sock.sendall(credentials.prove(b"dial", hello, nonce))
    if _receive(sock, len(_ACCEPTED), deadline) != _ACCEPTED:
        raise PeerLost(f"{where} refused the connection")
    sock.settimeout(None)
    return PeerConnection(
        sock, peer, credentials.keys(hello, nonce, dialling=True), credentials.seeds(hello, nonce, dialling=True)
    )


@dataclass
class _Pending:
    """A connection in the middle of its handshake; ``hello`` is set once its greeting was that of a party."""

    sock: socket.socket
    host: str
    deadline: float
    need: int = _GREETING
    data: bytes = b""
    hello: bytes = b""
    answer: bytes = b""


class Listener:
    """A listening socket that hands out authenticated connections only.

    Others cost a bounded amount: at most ``unauthenticated`` connections of a hundred bytes, each for at most
    ``patience`` seconds. When more come, the host that has the most of them loses its oldest. A connection whose
    greeting was a party's does not count among them and stays.

    Parameters
    ----------
    host : address or name to listen on
    ports : (lowest, highest) port to try; (0, 0) for any
    credentials : Credentials
    me : this party's name

    Raises
    ------
    OSError
        When no port can be had.
    """

    patience = 5.0
    unauthenticated = 256

    def __init__(self, host: str, ports: Tuple[int, int], credentials: Credentials, me: int) -> None:
        self._credentials = credentials
        self._me = me
        self._pending: Dict[int, _Pending] = {}
        self._greetings: Set[bytes] = set()  # the fresh nonces of those taken
        self._listener = _listen(host, ports)
        self._listener.setblocking(False)
        #: (host, port) that peers dial.
        self.address: Tuple[str, int] = (host, self._listener.getsockname()[1])

    def filenos(self) -> List[int]:
        """What to wait on before calling ``accept``."""
        return [self._listener.fileno(), *self._pending]

    def accept(self, timeout: float = 0.0) -> List[PeerConnection]:
        """Go on with every handshake; the connections that are authenticated now. Waits up to ``timeout`` seconds."""
        poller = select.poll()
        for fd in self.filenos():
            poller.register(fd, select.POLLIN)
        events = poller.poll(max(0.0, timeout) * 1000)
        accepted = []
        for fd, _ in events:
            if fd in self._pending:
                done = self._advance(self._pending[fd])
                if done is not None:
                    accepted.append(done)
        if any(fd == self._listener.fileno() for fd, _ in events):
            self._accept()
        now = time.monotonic()
        for pending in [p for p in self._pending.values() if p.deadline < now]:
            self._drop(pending)
        return accepted

    def close(self) -> None:
        for pending in list(self._pending.values()):
            self._drop(pending)
        self._listener.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        for _ in range(64):  # then the handshakes' turn
            try:
                sock, address = self._listener.accept()
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return
            except OSError:  # no file descriptors or memory left: wait for better times, but not in a busy loop
                self._evict()
                time.sleep(0.02)
                return
            sock.setblocking(False)
            if sum(not p.hello for p in self._pending.values()) >= self.unauthenticated:
                self._evict()
            pending = _Pending(sock, str(address[0]), time.monotonic() + self.patience)
            self._pending[sock.fileno()] = pending
            self._advance(pending)  # a party's greeting comes with the connection

    def _evict(self) -> None:
        """Close an unauthenticated connection: the oldest of the host that has the most."""
        found = [p for p in self._pending.values() if not p.hello]
        if found:
            ((host, _),) = Counter(p.host for p in found).most_common(1)
            self._drop(min((p for p in found if p.host == host), key=lambda p: p.deadline))

    def _drop(self, pending: _Pending) -> None:
        self._pending.pop(pending.sock.fileno(), None)
        pending.sock.close()

    def _advance(self, pending: _Pending) -> Optional[PeerConnection]:
        try:
            piece = pending.sock.recv(pending.need - len(pending.data))
            if not piece:
                raise ConnectionResetError
            pending.data += piece
            if len(pending.data) < pending.need:
                return None
            if not pending.hello:
                self._answer(pending)
                return None
            expected = self._credentials.prove(b"dial", pending.hello, pending.answer)
            if not hmac.compare_digest(pending.data, expected):
                raise PermissionError
            set_socket_options(pending.sock)
            pending.sock.sendall(_ACCEPTED)
        except BlockingIOError:
            return None
        except OSError:
            self._drop(pending)
            return None
        del self._pending[pending.sock.fileno()]
        _, _, dialler, _, _, _ = _HELLO.unpack(pending.hello)
        return PeerConnection(
            pending.sock,
            dialler,
            self._credentials.keys(pending.hello, pending.answer, dialling=False),
            self._credentials.seeds(pending.hello, pending.answer, dialling=False),
        )

    def _answer(self, pending: _Pending) -> None:
        """Answer a greeting; raises PermissionError unless it is a party's, meant for this listener, and new."""
        hello, proof = pending.data[: _HELLO.size], pending.data[_HELLO.size :]
        magic, mode, _, acceptor, nonce, fresh = _HELLO.unpack(hello)
        if magic != _MAGIC or not hmac.compare_digest(proof, self._credentials.prove(b"hello", hello)):
            raise PermissionError
        if acceptor != self._me or nonce != self._credentials.nonce or mode != self._credentials.mode:
            raise PermissionError
        if fresh in self._greetings:
            raise PermissionError
        self._greetings.add(fresh)
        pending.answer = os.urandom(_NONCE)
        pending.sock.sendall(pending.answer + self._credentials.prove(b"accept", hello, pending.answer))
        pending.hello, pending.data, pending.need = hello, b"", _PROOF
        pending.deadline = time.monotonic() + self.patience


def _listen(host: str, ports: Tuple[int, int]) -> socket.socket:
    """A socket that listens on the first port of the range that is free. Raises OSError."""
    families = {found[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6  # of a name with both, as Spark does
    error = OSError(0, "no port")
    for port in range(ports[0], ports[1] + 1):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(1024)
            return sock
        except OSError as e:
            sock.close()
            error = e
    raise error
