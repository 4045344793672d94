"""The driver's end of the ranks' lines."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import select
import socket
import tempfile
import threading
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, List, Optional, Tuple

from ..comm.handshake import Credentials, Gate
from .keeper import DRIVER
from .wire import Frame, FrameBuffer

__all__ = ["Event", "Monitor"]


@dataclass(frozen=True)
class Event:
    """Something a rank said, or that happened to its line.

    Attributes
    ----------
    rank : int
    kind : the frame's kind; "lost" when the line broke without a good-bye
    data : the frame's data
    path : the local file that came with it, or None; whoever takes the event removes it
    """

    rank: int
    kind: str
    data: Dict[str, Any] = field(default_factory=dict)
    path: Optional[str] = None


class _Connection:
    """One rank's line: frames in, frames out, and the file that is arriving."""

    def __init__(self, sock: socket.socket, rank: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.rank = rank
        self.buffer = FrameBuffer()
        self.out = bytearray()
        self.said_bye = False
        self.file: Optional[BinaryIO] = None
        self.file_about: Dict[str, Any] = {}
        self.file_hash = hashlib.sha256()


class Monitor:
    """Listens for the ranks of one attempt and turns what they say into events.

    Parameters
    ----------
    host : address to listen on, which executors can reach
    ports : (lowest, highest), or (0, 0) for any
    credentials : Credentials of the attempt
    ranks : how many there will be
    folder : where arriving files go
    """

    def __init__(self, host: str, ports: Tuple[int, int], credentials: Credentials, ranks: int, folder: str) -> None:
        self._gate = Gate(host, ports, credentials, DRIVER)
        self.address = self._gate.address
        #: What the ranks said, in the order it came.
        self.events: queue.Queue[Event] = queue.Queue()
        self._ranks = ranks
        self._folder = folder
        self._connections: Dict[int, _Connection] = {}
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="caffeonspark-monitor", daemon=True)
        self._thread.start()

    # ---- for the training loop

    @property
    def connected(self) -> List[int]:
        """The ranks whose lines stand."""
        with self._lock:
            return sorted(self._connections)

    def send(self, rank: int, kind: str, /, **data: Any) -> None:
        """Send a frame to a rank; nothing happens if its line is gone."""
        with self._lock:
            connection = self._connections.get(rank)
            if connection is not None:
                connection.out += Frame(kind, data).pack()
        os.write(self._wake_write, b"x")

    def send_all(self, kind: str, /, **data: Any) -> None:
        for rank in self.connected:
            self.send(rank, kind, **data)

    def close(self) -> None:
        """Close every line."""
        self._closing = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wait()
                for admitted in self._gate.admit():
                    self._add(admitted.sock, admitted.peer)
                with self._lock:
                    connections = list(self._connections.values())
                for connection in connections:
                    self._serve(connection)
        finally:
            with self._lock:
                connections = list(self._connections.values())
            for connection in connections:
                self._flush(connection)
                self._forget(connection)
            self._gate.close()

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for fd in self._gate.filenos():
            poller.register(fd, select.POLLIN)
        with self._lock:
            for connection in self._connections.values():
                poller.register(connection.sock, select.POLLIN | (select.POLLOUT if connection.out else 0))
        if any(fd == self._wake_read for fd, _ in poller.poll(1000)):
            os.read(self._wake_read, 4096)

    def _add(self, sock: socket.socket, rank: int) -> None:
        with self._lock:
            if rank in self._connections or rank >= self._ranks:
                sock.close()
                return
            # a lost machine shows within seconds, also while something is on its way to it
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
            self._connections[rank] = _Connection(sock, rank)

    def _serve(self, connection: _Connection) -> None:
        self._flush(connection)
        for _ in range(64):  # then the others' turn
            try:
                data = connection.sock.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._forget(connection)
                if not connection.said_bye:
                    self.events.put(Event(connection.rank, "lost"))
                return
            try:
                for frame in connection.buffer.feed(data):
                    self._on_frame(connection, frame)
            except ValueError:
                self._forget(connection)
                self.events.put(Event(connection.rank, "lost", {"why": "it sent what no rank sends"}))
                return

    def _flush(self, connection: _Connection) -> None:
        with self._lock:
            if connection.out:
                with contextlib.suppress(OSError):
                    del connection.out[: connection.sock.send(connection.out)]

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.pop(connection.rank, None)
        connection.sock.close()
        if connection.file is not None:
            connection.file.close()
            os.unlink(connection.file.name)
            connection.file = None

    def _on_frame(self, connection: _Connection, frame: Frame) -> None:
        if frame.kind == "<begin":
            connection.file_about = frame.data
            connection.file_hash = hashlib.sha256()
            connection.file = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # type: ignore[assignment]
        elif frame.kind == "<piece" and connection.file is not None:
            connection.file.write(frame.payload)
            connection.file_hash.update(frame.payload)
        elif frame.kind == "<end" and connection.file is not None:
            path, about = connection.file.name, connection.file_about
            connection.file.close()
            connection.file = None
            if os.path.getsize(path) != about["size"]:
                raise ValueError("a file came incomplete")
            digest = connection.file_hash.hexdigest()
            self.events.put(Event(connection.rank, str(about["kind"]), {**about["data"], "sha256": digest}, path))
        elif frame.kind == "bye":
            connection.said_bye = True
            self.events.put(Event(connection.rank, "bye"))
        else:
            self.events.put(Event(connection.rank, frame.kind, frame.data))
