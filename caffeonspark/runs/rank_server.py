"""The driver's end of the ranks' lines."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import select
import shutil
import socket
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, List, Optional, Tuple

from ..comm.addresses import open_listener
from ..comm.checksum import Damaged
from ..comm.credentials import DRIVER, SECRET, Credentials, introduce
from ..comm.handshake import PeerConnection
from ..comm.wire import Frame, FrameKind, Wire
from ..errors import CaffeOnSparkError, StorageError, to_wire

__all__ = ["Event", "RankServer"]

_LATE = 10.0  # seconds in which a second claim of a rank is still heard when every rank has had a first
_MOST_EVENTS = 100_000  # that wait to be handled; then the ranks have to wait


@dataclass(frozen=True)
class Event:
    """Something a rank said, or that happened to its line.

    Attributes
    ----------
    rank : int
    kind : the frame's kind; "lost" when the line broke without a good-bye, "claimed" when another party came as it
    data : the frame's data
    path : the local file that came with it, or None; whoever takes the event removes it
    """

    rank: int
    kind: str
    data: Dict[str, Any] = field(default_factory=dict)
    path: Optional[str] = None


class _Arrival:
    """A file that is arriving from a rank, in a temporary file of its own."""

    def __init__(self, about: Dict[str, Any], folder: str) -> None:
        self.kind, self.size, self.data = str(about["kind"]), int(about["size"]), dict(about["data"])
        if self.size < 0:
            raise ValueError("a file of a negative size")
        free = shutil.disk_usage(folder).free
        if self.size > free:
            raise OSError(errno.ENOSPC, f"{self.size >> 20} MB are to come, and {free >> 20} MB are free")
        self._file: BinaryIO = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # type: ignore[assignment]
        self._hash = hashlib.sha256()
        self._missing = self.size

    def take(self, piece: bytes) -> None:
        if len(piece) > self._missing:
            raise ValueError(f"a file of {self.size} bytes that does not end there")
        self._file.write(piece)
        self._hash.update(piece)
        self._missing -= len(piece)

    def event(self, rank: int) -> Event:
        """What to say of the file, which is whole."""
        if self._missing:
            raise ValueError(f"a file without its last {self._missing} bytes")
        self._file.close()
        return Event(rank, self.kind, {**self.data, "sha256": self._hash.hexdigest()}, self._file.name)

    def discard(self) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._file.name)


class _Connection:
    """One rank's line: frames in, frames out, and the file that is arriving."""

    def __init__(self, peer: PeerConnection) -> None:
        peer.sock.setblocking(False)
        self.sock = peer.sock
        self.rank = peer.peer
        self.mask = peer.mask
        self.wire = Wire(peer.keys, peer.seeds)
        self.out = bytearray()
        self.said_bye = False
        self.file: Optional[_Arrival] = None


class RankServer:
    """Listens for the ranks of one attempt and turns what they say into events.

    The first claim of each rank is taken. It stops listening ten seconds after the last rank came: there is nobody else
    to come, and somebody who was in a rank's place before it has been found out.

    Parameters
    ----------
    host : address to listen on, which executors can reach
    ports : (lowest, highest), or (0, 0) for any
    credentials : Credentials of the attempt
    ranks : how many there will be
    folder : where arriving files go
    """

    def __init__(self, host: str, ports: Tuple[int, int], credentials: Credentials, ranks: int, folder: str) -> None:
        self._listener = open_listener(host, ports, credentials, DRIVER, ranks + 1)
        self.address = self._listener.address
        #: What the ranks said, in the order it came.
        self.events: queue.Queue[Event] = queue.Queue()
        self._folder = folder
        self._connections: Dict[int, _Connection] = {}
        self._missing = set(range(ranks))  # ranks that have not had a line
        self._claims: Dict[int, Tuple[bytes, str]] = {}  # by rank: who came as it, and from where
        self._peers_secret = os.urandom(SECRET)
        self._closes: Optional[float] = None  # when it stops listening
        self._listening = True
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="caffeonspark-rank-server", daemon=True)
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
                connection.out += connection.wire.pack(Frame(kind, data))
        os.write(self._wake_write, b"x")

    def send_all(self, kind: str, /, **data: Any) -> None:
        for rank in self.connected:
            self.send(rank, kind, **data)

    def introduce(self, **data: Any) -> None:
        """Tell every rank of the others: what connections between them take, and ``data``. All ranks have a line."""
        identities = [self._claims[rank][0] for rank in sorted(self._claims)]
        with self._lock:
            masks = {rank: connection.mask for rank, connection in self._connections.items()}
        for rank, mask in masks.items():
            self.send(rank, FrameKind.PEERS, **data, **introduce(self._peers_secret, identities, mask))

    @property
    def refused(self) -> Dict[str, int]:
        """The connections that were hung up on so far, by host."""
        return dict(self._listener.refused)

    def close(self) -> None:
        """Close every line."""
        self._closing = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def __enter__(self) -> RankServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wait()
                if self._listening:
                    for peer in self._listener.accept():
                        self._add(peer)
                    self._stop_listening()
                with self._lock:
                    connections = list(self._connections.values())
                for connection in connections:
                    self._serve(connection)
                if self.events.qsize() > _MOST_EVENTS:
                    time.sleep(0.01)
        except Exception as e:  # an error of ours, no connection's: the run must not wait for events that never come
            self.events.put(Event(0, FrameKind.FAILED, {"trace": traceback.format_exc().splitlines(), **to_wire(e)}))
        finally:
            with self._lock:
                connections = list(self._connections.values())
            for connection in connections:
                self._flush(connection)
                self._forget(connection)
            self._listener.close()

    def _stop_listening(self) -> None:
        """Close the port when it has been open for long enough."""
        if not self._missing:
            self._closes = self._closes or time.monotonic() + _LATE
            if time.monotonic() >= self._closes:
                self._listening = False
                self._listener.close()

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for fd in self._listener.filenos() if self._listening else ():
            poller.register(fd, select.POLLIN)
        with self._lock:
            for connection in self._connections.values():
                poller.register(connection.sock, select.POLLIN | (select.POLLOUT if connection.out else 0))
        if any(fd == self._wake_read for fd, _ in poller.poll(1000)):
            os.read(self._wake_read, 4096)

    def _add(self, peer: PeerConnection) -> None:
        with self._lock:
            if peer.peer not in self._missing:
                peer.sock.close()  # a rank has one line, and the one that stands is not given up for another
                self._listener.refused[peer.host] += 1
                identity, first = self._claims.get(peer.peer, (peer.identity, ""))
                if identity != peer.identity:  # otherwise the rank itself, which did not hear that it was taken
                    self.events.put(Event(peer.peer, FrameKind.CLAIMED, {"hosts": [first, peer.host]}))
                return
            self._claims[peer.peer] = peer.identity, peer.host
            self._missing.discard(peer.peer)
            # a lost machine shows within seconds, also while something is on its way to it
            with contextlib.suppress(OSError, AttributeError):
                peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
            self._connections[peer.peer] = _Connection(peer)

    def _serve(self, connection: _Connection) -> None:
        """Take what has come over a line. Whatever is wrong with it ends this line and no other."""
        self._flush(connection)
        try:
            for _ in range(8):  # then the others' turn
                if self.events.qsize() > _MOST_EVENTS:
                    return
                data = self._receive(connection)
                if data is None:
                    return
                if not data:
                    self._end(connection, None if connection.said_bye else Event(connection.rank, FrameKind.LOST))
                    return
                for frame in connection.wire.feed(data):
                    self._on_frame(connection, frame)
        except CaffeOnSparkError as e:
            self._end(connection, Event(connection.rank, FrameKind.FAILED, to_wire(e)))
        except Damaged as e:
            self._end(connection, Event(connection.rank, FrameKind.LOST, {"why": f"what it sent arrived damaged: {e}"}))
        except Exception as e:
            why = str(e) if type(e) is ValueError else repr(e)
            self._end(connection, Event(connection.rank, FrameKind.LOST, {"why": f"it sent what no rank sends: {why}"}))

    def _receive(self, connection: _Connection) -> Optional[bytes]:
        """What is there; None when it is nothing, and no bytes when the line has ended."""
        try:
            return connection.sock.recv(1 << 20)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _flush(self, connection: _Connection) -> None:
        with self._lock:
            if connection.out:
                with contextlib.suppress(OSError):
                    del connection.out[: connection.sock.send(connection.out)]

    def _end(self, connection: _Connection, event: Optional[Event]) -> None:
        self._forget(connection)
        if event is not None:
            self.events.put(event)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.pop(connection.rank, None)
        connection.sock.close()
        if connection.file is not None:
            connection.file.discard()
            connection.file = None

    def _on_frame(self, connection: _Connection, frame: Frame) -> None:
        if frame.kind.startswith("<"):
            try:
                self._on_file_frame(connection, frame)
            except OSError as e:
                raise StorageError(
                    f"what the rank sent cannot be kept in {self._folder} on the driver: {e.strerror}; set TMPDIR to a "
                    "folder with more space"
                ) from None
        elif frame.kind == FrameKind.BYE:
            connection.said_bye = True
            self.events.put(Event(connection.rank, FrameKind.BYE))
        else:
            self.events.put(Event(connection.rank, frame.kind, frame.data))

    def _on_file_frame(self, connection: _Connection, frame: Frame) -> None:
        if frame.kind == FrameKind.FILE_BEGIN and connection.file is None:
            connection.file = _Arrival(frame.data, self._folder)
        elif frame.kind == FrameKind.FILE_PIECE and connection.file is not None:
            connection.file.take(frame.payload)
        elif frame.kind == FrameKind.FILE_END and connection.file is not None:
            event = connection.file.event(connection.rank)
            connection.file = None
            self.events.put(event)
        else:
            raise ValueError(f"a frame {frame.kind}> out of turn")
