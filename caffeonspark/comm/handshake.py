"""Connections between parties that share a secret, and nobody else.

The party that dials sends a fixed-size hello: a magic number, its name and the name of the party it means (two
numbers), the job's nonce and a fresh nonce. The party that accepts answers with a fresh nonce of its own and
an HMAC-SHA256 over everything said; the dialler checks it and proves itself the same way, with another label,
so that no answer can be reflected. Both nonces make a recorded connection worthless, the job's nonce keeps an
earlier attempt's ranks out. Everything before the proof has a fixed size and a deadline, and nothing is parsed
beyond fixed fields.
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
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from ..errors import PeerLost

__all__ = ["Admitted", "Credentials", "Gate", "dial", "tune"]

_MAGIC = b"CoS1"
_HELLO = struct.Struct("!4sII16s32s")  # magic, dialler, acceptor, job nonce, fresh nonce
_NONCE = 32
_PROOF = hashlib.sha256().digest_size
_ACCEPTED = b"\x01"


@dataclass(frozen=True)
class Credentials:
    """What the parties of one attempt of a job share.

    Attributes
    ----------
    secret : 32 random bytes of the job
    nonce : 16 random bytes of the attempt
    """

    secret: bytes = field(repr=False)
    nonce: bytes

    @classmethod
    def new(cls, secret: Optional[bytes] = None) -> Credentials:
        """Credentials of a new attempt; of a new job without ``secret``."""
        return cls(secret or os.urandom(32), os.urandom(16))

    def prove(self, label: bytes, hello: bytes, answer: bytes) -> bytes:
        """The proof of knowing the secret in this conversation."""
        message = b"".join(struct.pack("!I", len(part)) + part for part in (label, hello, answer))
        return hmac.new(self.secret, message, hashlib.sha256).digest()


@dataclass(frozen=True)
class Admitted:
    """A connection whose other end proved itself."""

    sock: socket.socket
    peer: int


def tune(sock: socket.socket) -> None:
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
            raise ConnectionResetError("closed during the handshake")
        data += piece
    return data


def dial(address: Tuple[str, int], credentials: Credentials, me: int, peer: int, timeout: float) -> socket.socket:
    """Connect to the party ``peer`` at ``address``.

    Tries again until ``timeout`` seconds have passed, because the peer may not listen yet. Raises PeerLost
    when it cannot be reached or does not know the secret.
    """
    deadline = time.monotonic() + timeout
    where = f"{address[0]}:{address[1]}"
    while True:
        try:
            sock = socket.create_connection(address, timeout=max(0.001, min(5.0, deadline - time.monotonic())))
        except OSError as e:
            if time.monotonic() + 0.05 > deadline:
                raise PeerLost(f"cannot connect to {where}: {e.strerror or e}") from None
            time.sleep(0.05)
            continue
        try:
            tune(sock)
            hello = _HELLO.pack(_MAGIC, me, peer, credentials.nonce, os.urandom(_NONCE))
            sock.sendall(hello)
            answer = _receive(sock, _NONCE + _PROOF, deadline)
            nonce, proof = answer[:_NONCE], answer[_NONCE:]
            if not hmac.compare_digest(proof, credentials.prove(b"accept", hello, nonce)):
                raise PeerLost(f"who listens at {where} is not of this job")
            sock.sendall(credentials.prove(b"dial", hello, nonce))
            if _receive(sock, len(_ACCEPTED), deadline) != _ACCEPTED:
                raise PeerLost(f"{where} refused the connection")
            sock.settimeout(None)
            return sock
        except OSError as e:
            sock.close()
            if isinstance(e, ConnectionError) and time.monotonic() + 0.05 < deadline:
                time.sleep(0.05)  # the peer's queue of unproven connections was full, or it is starting anew
                continue
            raise PeerLost(f"{where} did not answer the handshake: {e}") from None
        except BaseException:
            sock.close()
            raise


@dataclass
class _Pending:
    """A connection that has not proved itself."""

    sock: socket.socket
    deadline: float
    need: int = _HELLO.size
    data: bytes = b""
    hello: bytes = b""
    expected: bytes = b""
    dialler: int = 0


class Gate:
    """A listening socket that hands out only connections whose other end proved itself.

    Strangers cost a bounded amount: at most ``max_pending`` connections of a few hundred bytes, each for at
    most ``patience`` seconds; the oldest goes first when more come.

    Parameters
    ----------
    host : address to listen on
    ports : (lowest, highest) port to try; (0, 0) for any
    credentials : Credentials
    me : this party's name
    """

    patience = 5.0
    max_pending = 64

    def __init__(self, host: str, ports: Tuple[int, int], credentials: Credentials, me: int) -> None:
        self._credentials = credentials
        self._me = me
        self._pending: Dict[int, _Pending] = {}
        self._listener = _listen(host, ports)
        self._listener.setblocking(False)
        #: (host, port) that peers dial.
        self.address: Tuple[str, int] = (host, self._listener.getsockname()[1])

    def filenos(self) -> List[int]:
        """What to wait on before calling ``admit``."""
        return [self._listener.fileno(), *self._pending]

    def admit(self, timeout: float = 0.0) -> List[Admitted]:
        """Move every handshake on; the connections that became proven. Waits up to ``timeout`` seconds for news."""
        poller = select.poll()
        for fd in self.filenos():
            poller.register(fd, select.POLLIN)
        events = poller.poll(max(0.0, timeout) * 1000)
        admitted = []
        for fd, _ in events:
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._pending:
                done = self._advance(self._pending[fd])
                if done is not None:
                    admitted.append(done)
        now = time.monotonic()
        for pending in [p for p in self._pending.values() if p.deadline < now]:
            self._drop(pending)
        return admitted

    def close(self) -> None:
        for pending in list(self._pending.values()):
            self._drop(pending)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            if len(self._pending) >= self.max_pending:
                self._drop(min(self._pending.values(), key=lambda p: p.deadline))
            self._pending[sock.fileno()] = _Pending(sock, time.monotonic() + self.patience)

    def _drop(self, pending: _Pending) -> None:
        self._pending.pop(pending.sock.fileno(), None)
        pending.sock.close()

    def _advance(self, pending: _Pending) -> Optional[Admitted]:
        try:
            piece = pending.sock.recv(pending.need - len(pending.data))
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        if not piece:
            self._drop(pending)
            return None
        pending.data += piece
        if len(pending.data) < pending.need:
            return None
        try:
            if not pending.hello:
                self._answer(pending)
                return None
            if not hmac.compare_digest(pending.data, pending.expected):
                raise PermissionError
            tune(pending.sock)
            pending.sock.sendall(_ACCEPTED)
        except OSError:
            self._drop(pending)
            return None
        del self._pending[pending.sock.fileno()]
        return Admitted(pending.sock, pending.dialler)

    def _answer(self, pending: _Pending) -> None:
        magic, dialler, acceptor, nonce, _ = _HELLO.unpack(pending.data)
        if magic != _MAGIC or acceptor != self._me or not hmac.compare_digest(nonce, self._credentials.nonce):
            raise PermissionError
        answer = os.urandom(_NONCE)
        hello = pending.data
        pending.sock.sendall(answer + self._credentials.prove(b"accept", hello, answer))
        pending.hello, pending.data, pending.need = hello, b"", _PROOF
        pending.expected = self._credentials.prove(b"dial", hello, answer)
        pending.dialler = dialler


def _listen(host: str, ports: Tuple[int, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: Optional[OSError] = None
    for port in range(ports[0], ports[1] + 1):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(128)
            return sock
        except OSError as e:
            sock.close()
            error = e
    span = "any port" if ports == (0, 0) else f"ports {ports[0]}-{ports[1]}"
    raise PeerLost(f"cannot listen on {host}, {span}: {error}")
