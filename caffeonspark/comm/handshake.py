"""Authenticated connections between parties that share a secret.

The party that dials sends a greeting: a magic number, whether the connection is to be encrypted, its name and the name
of the party it means (two numbers), the attempt's nonce, a fresh nonce, its identity, and an HMAC-SHA256 over them. The
secret is the attempt's, or the two parties' own where connections are encrypted (``credentials``). The party that
accepts answers with a fresh nonce of its own and an HMAC over everything said; the dialler checks it and
proves itself the same way. Every proof has a label of its own, so that none can be reflected. Both nonces make a
recorded connection worthless, the attempt's nonce keeps an earlier attempt's ranks out, and what was said is what
the keys are derived from. Everything before the last proof has a fixed size and a deadline, and nothing is parsed
beyond fixed fields.

By the greeting's own HMAC the listener tells the job's parties from others before it answers, so that no number of
unauthenticated connections keeps a party out. A greeting can be recorded and sent again, but a listener takes each
only once.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import select
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Counter as CounterOf
from typing import Dict, List, Optional, Set, Tuple

from ..errors import PeerLost
from .checksum import Seeds
from .credentials import CHECKSUMMED, ENCRYPTED, SECRET, Credentials, connection_keys, connection_seeds, prove
from .encryption import Keys

__all__ = ["Listener", "PeerConnection", "dial", "set_socket_options"]

_MAGIC = b"CoS3"
#: Magic, mode, dialler, acceptor, the attempt's nonce, a fresh nonce, the dialler's identity.
_HELLO = struct.Struct("!4scII16s32s32s")
_NONCE = 32
_PROOF = SECRET
_GREETING = _HELLO.size + _PROOF
_ACCEPTED = b"\x01"
_RETRY = 0.05  # seconds between two tries to connect
_TRY = 10.0  # seconds one of them may take


@dataclass(frozen=True)
class PeerConnection:
    """An authenticated connection.

    Attributes
    ----------
    sock : connected socket
    peer : the other end's name
    keys : to encrypt with, or None
    seeds : of the checksums, or None
    mask : 32 bytes that only the two ends know, for one secret to be sent in clear
    identity : the other end's, where it dialled; otherwise b""
    host : where it dialled from; otherwise ""
    """

    sock: socket.socket
    peer: int
    keys: Optional[Keys]
    seeds: Optional[Seeds]
    mask: bytes = field(repr=False)
    identity: bytes = b""
    host: str = ""


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
    secret = credentials.shared(peer)
    deadline = time.monotonic() + timeout
    where = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
    while True:
        sock: Optional[socket.socket] = None
        try:
            sock = socket.create_connection(address, timeout=max(0.001, min(5.0, deadline - time.monotonic())))
            return _greet(sock, where, credentials, secret, me, peer, min(deadline, time.monotonic() + _TRY))
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
    sock: socket.socket, where: str, credentials: Credentials, secret: bytes, me: int, peer: int, deadline: float
) -> PeerConnection:
    """The dialler's part of the handshake."""
    set_socket_options(sock)
    fresh = os.urandom(_NONCE)
    hello = _HELLO.pack(_MAGIC, credentials.mode, me, peer, credentials.nonce, fresh, credentials.identity)
    sock.sendall(hello + prove(secret, b"hello", hello))
    answer = _receive(sock, _NONCE + _PROOF, deadline)
    nonce, proof = answer[:_NONCE], answer[_NONCE:]
    if not hmac.compare_digest(proof, prove(secret, b"accept", hello, nonce)):
        raise PeerLost(f"who listens at {where} is not of this job")
    sock.sendall(prove(secret, b"dial", hello, nonce))
    if _receive(sock, len(_ACCEPTED), deadline) != _ACCEPTED:
        raise PeerLost(f"{where} refused the connection")
    sock.settimeout(None)
    keys = connection_keys(secret, hello, nonce, dialling=True) if credentials.encrypted else None
    seeds = connection_seeds(hello, nonce, dialling=True) if credentials.mode == CHECKSUMMED else None
    return PeerConnection(sock, peer, keys, seeds, prove(secret, b"mask", hello, nonce))


@dataclass
class _Pending:
    """A connection in the middle of its handshake; ``hello`` and ``secret`` are set once its greeting was a party's."""

    sock: socket.socket
    host: str
    deadline: float
    need: int = _GREETING
    data: bytes = b""
    hello: bytes = b""
    secret: bytes = b""
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
    credentials : this party's; None for a party that gets them later, and accepts nobody before
    me : this party's name

    Attributes
    ----------
    refused : connections that were hung up on so far, by host: no party's, or too slow to tell

    Raises
    ------
    OSError
        When no port can be had.
    """

    patience = 5.0
    unauthenticated = 256

    def __init__(self, host: str, ports: Tuple[int, int], credentials: Optional[Credentials], me: int) -> None:
        self.credentials = credentials
        self.refused: CounterOf[str] = Counter()
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
        if self.credentials is None:
            raise RuntimeError("a listener without credentials accepts nobody")
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
            self._refuse(pending)
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
            self._refuse(min((p for p in found if p.host == host), key=lambda p: p.deadline))

    def _refuse(self, pending: _Pending) -> None:
        known = pending.host in self.refused or len(self.refused) < 100
        self.refused[pending.host if known else "other hosts"] += 1
        self._drop(pending)

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
            if not hmac.compare_digest(pending.data, prove(pending.secret, b"dial", pending.hello, pending.answer)):
                raise PermissionError
            set_socket_options(pending.sock)
            pending.sock.sendall(_ACCEPTED)
        except BlockingIOError:
            return None
        except OSError:
            self._refuse(pending)
            return None
        del self._pending[pending.sock.fileno()]
        _, mode, dialler, _, _, _, identity = _HELLO.unpack(pending.hello)
        conversation = pending.hello, pending.answer
        keys = connection_keys(pending.secret, *conversation, dialling=False) if mode == ENCRYPTED else None
        mask = prove(pending.secret, b"mask", *conversation)
        seeds = connection_seeds(*conversation, dialling=False) if mode == CHECKSUMMED else None
        return PeerConnection(pending.sock, dialler, keys, seeds, mask, identity, pending.host)

    def _answer(self, pending: _Pending) -> None:
        """Answer a greeting; raises PermissionError unless it is a party's, meant for this listener, and new."""
        credentials = self.credentials
        assert credentials is not None
        hello, proof = pending.data[: _HELLO.size], pending.data[_HELLO.size :]
        magic, mode, dialler, acceptor, nonce, fresh, identity = _HELLO.unpack(hello)
        if magic != _MAGIC or acceptor != self._me or nonce != credentials.nonce or mode != credentials.mode:
            raise PermissionError
        secret = credentials.shared(dialler, identity)
        if not hmac.compare_digest(proof, prove(secret, b"hello", hello)) or fresh in self._greetings:
            raise PermissionError
        self._greetings.add(fresh)
        pending.secret, pending.answer = secret, os.urandom(_NONCE)
        pending.sock.sendall(pending.answer + prove(secret, b"accept", hello, pending.answer))
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
