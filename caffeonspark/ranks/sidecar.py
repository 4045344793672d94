"""The process at each rank's side that holds its connection to the driver.

pycaffe keeps the GIL for seconds and may end its process at any moment with a failed native CHECK, so the rank
cannot answer for itself. Its sidecar is forked before anything else, is never in Caffe, and

* passes frames between the rank and the driver, and streams the files the rank hands over,
* takes the rank's standard error, passes it on to the executor's log and keeps the last lines,
* reports the rank's death with those lines, native CHECK text included,
* ends a rank that the driver calls off and that does not end by itself,
* removes the temporary files of a rank that was killed or crashed.

It exits when the rank does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shutil
import signal
import socket
import time
import traceback
from collections import deque
from typing import Any, Deque, Dict, Optional, Tuple

from ..comm.credentials import DRIVER, Credentials
from ..comm.handshake import PeerConnection, dial
from ..comm.wire import PIECE, Frame, FrameBuffer, FrameKind, Wire
from ..errors import CaffeOnSparkError, CommunicationError, Interrupted, PeerLost, RankLost, to_wire
from ..process import fork, reap
from .whereabouts import Whereabouts

__all__ = ["DriverConnection"]

_LINES = 100  # of standard error kept for reports
_LINE_BYTES = 4096  # of one line; programs that draw progress bars write megabytes without ending one
_HEARTBEAT_SECONDS = 1.0  # between two signs of life
_PATIENCE = 1.0  # seconds a rank has to end after it was called off
_PARTING = 10.0  # seconds the sidecar has to deliver what is left when the rank is gone


class DriverConnection:
    """A rank's connection to the driver: ``open`` forks the sidecar, ``close`` says good-bye.

    Attributes
    ----------
    stopping : whether the driver asked for a stop at the next iteration
    whereabouts : the batch this rank is at, which the sidecar tells when the rank dies
    """

    def __init__(
        self,
        sock: socket.socket,
        sidecar: int,
        stderr: int,
        whereabouts: Whereabouts,
        credentials: Credentials,
        mask: bytes,
    ) -> None:
        self._credentials = credentials
        self._mask = mask
        self._sock = sock
        self._sidecar = sidecar
        self._stderr = stderr
        self._buffer = FrameBuffer()
        self._frames: Deque[Frame] = deque()
        self._last_heartbeat = time.monotonic()
        self.stopping = False
        self.whereabouts = whereabouts

    @classmethod
    def open(cls, driver: Tuple[str, int], credentials: Credentials, rank: int, folder: str = "") -> DriverConnection:
        """Connect to the driver. Raises PeerLost when it cannot be reached.

        Parameters
        ----------
        driver : (host, port)
        credentials : of this rank
        rank : int
        folder : of its temporary files, which goes with a rank that ends without a good-bye; "" for none
        """
        try:
            uplink = dial(driver, credentials, rank, DRIVER, timeout=30)
        except PeerLost as e:
            raise PeerLost(
                f"{e.message}: executors have to reach the driver there (-port LOW-HIGH fixes the ports for a "
                "firewall), and once it has all its ranks it takes no more"
            ) from None
        ours, theirs = socket.socketpair()
        log_read, log_write = os.pipe()
        stderr = os.dup(2)
        me = os.getpid()
        whereabouts = Whereabouts()
        keep = (theirs.fileno(), log_read, stderr, uplink.sock.fileno())
        # PySpark ends its workers by SIGHUP to the whole group; the sidecar still has to report that
        child = fork(
            lambda: _Sidecar(me, theirs, uplink, log_read, stderr, whereabouts, folder).run(),
            keep,
            ignore_signals=True,
        )
        theirs.close()
        uplink.sock.close()
        os.close(log_read)
        os.dup2(log_write, 2)
        os.close(log_write)
        return cls(ours, child, stderr, whereabouts, credentials, uplink.mask)

    def fileno(self) -> int:
        return self._sock.fileno()

    def credentials_for_peers(self, peers: Frame) -> Credentials:
        """This rank's credentials for the other ranks, from the driver's frame that introduces them."""
        return self._credentials.for_peers(peers.data, self._mask)

    # ---- frames

    def send(self, kind: str, /, **data: Any) -> None:
        """Send a frame to the driver."""
        try:
            self._sock.sendall(Frame(kind, data).pack())
        except OSError as e:
            raise RankLost(f"the connection to the driver broke: {e.strerror}") from None

    def send_file(self, kind: str, path: str, /, **data: Any) -> None:
        """Hand a file over: the sidecar removes it, and sends it while the rank goes on."""
        self.send(FrameKind.FILE, kind=kind, path=path, data=data)

    def check(self) -> None:
        """Receive what the driver said, without waiting. Raises Interrupted when the run was called off."""
        while True:
            try:
                data = self._sock.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as e:
                raise RankLost(f"the connection to the driver broke: {e.strerror}") from None
            self._receive(data)

    def heartbeat(self) -> None:
        """Between pieces of work: tell the driver that this rank is at it, and hear what it wants."""
        self.check()
        now = time.monotonic()
        if now - self._last_heartbeat > _HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            self.send(FrameKind.HEARTBEAT)

    def wait(self, kind: str, timeout: float) -> Frame:
        """The next frame of a kind. Raises PeerLost when it does not come in time."""
        deadline = time.monotonic() + timeout
        while True:
            for frame in list(self._frames):
                if frame.kind == kind:
                    self._frames.remove(frame)
                    return frame
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._sock.recv(1 << 16)
            except socket.timeout:
                raise PeerLost(f"the driver did not answer within {timeout:g} s") from None
            finally:
                self._sock.settimeout(None)
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if not data:
            raise RankLost("the sidecar of this rank is gone")
        for frame in self._buffer.feed(data):
            if frame.kind == FrameKind.ABORT:
                raise Interrupted(str(frame.data.get("reason", "called off by the driver")))
            if frame.kind == FrameKind.STOP:
                self.stopping = True
            else:
                self._frames.append(frame)

    def close(self) -> None:
        """Say good-bye, and wait until everything has been delivered."""
        with contextlib.suppress(RankLost):
            self.send(FrameKind.BYE)
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        reap(self._sidecar)
        self._sock.close()


class _Sidecar:
    """The sidecar's own loop; runs in the forked process."""

    def __init__(
        self,
        rank_pid: int,
        local: socket.socket,
        uplink: PeerConnection,
        log: int,
        stderr: int,
        whereabouts: Whereabouts,
        folder: str,
    ) -> None:
        self.rank_pid = rank_pid
        self.whereabouts = whereabouts
        self.folder = folder
        self.local = local
        self.uplink: Optional[socket.socket] = uplink.sock
        self.wire = Wire(uplink.keys, uplink.seeds)
        self.log: Optional[int] = log
        self.stderr = stderr
        self.lines: Deque[str] = deque(maxlen=_LINES)
        self.partial = b""
        self.from_rank = FrameBuffer()
        self.rank_is_here = True
        self.said_bye = False
        self.stream_log = False
        self.kill_at: Optional[float] = None
        self.killed = False  # here, and by nothing that it worked on
        local.setblocking(True)
        uplink.sock.settimeout(60)
        self.selector = selectors.DefaultSelector()
        self.selector.register(local, selectors.EVENT_READ, self._on_rank)
        self.selector.register(uplink.sock, selectors.EVENT_READ, self._on_driver)
        self.selector.register(log, selectors.EVENT_READ, self._on_log)

    def run(self) -> None:
        while self.rank_is_here:
            timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            for key, _ in self.selector.select(timeout):
                key.data()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.rank_pid, signal.SIGKILL)
                self.killed = True
                self.kill_at = time.monotonic() + _PARTING
        self._drain_log()
        if not self.said_bye:
            at = None if self.killed else self.whereabouts.read()
            self._to_driver(Frame(FrameKind.DIED, {"log": list(self.lines), "at": at}))
            if self.folder:  # an executor may live for weeks, and what its ranks left with it
                shutil.rmtree(self.folder, ignore_errors=True)
        if self.uplink is not None:
            with contextlib.suppress(OSError):
                self.uplink.shutdown(socket.SHUT_WR)
                self.uplink.settimeout(_PARTING)
                while self.uplink.recv(1 << 16):
                    pass

    # ---- the three things to listen to

    def _on_rank(self) -> None:
        try:
            data = self.local.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.rank_is_here = False
            return
        for frame in self.from_rank.feed(data):
            if frame.kind == FrameKind.FILE:
                self._send_file(frame)
            elif frame.kind == FrameKind.BYE:
                self.said_bye = True
                self._to_driver(frame)
            elif frame.kind == FrameKind.FAILED:
                self._drain_log()
                self._to_driver(Frame(FrameKind.FAILED, {**frame.data, "log": list(self.lines)}))
            else:
                self._to_driver(frame)

    def _on_driver(self) -> None:
        if self.uplink is None:  # lost while another event of the same round was handled
            return
        try:
            data = self.uplink.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._lose_driver("the connection to the driver was lost")
            return
        try:
            for frame in self.wire.feed(data):
                self._on_order(frame)
        except ValueError as e:
            broken = CommunicationError(f"what the driver sent did not arrive as it was sent: {e}")
            self._to_driver(Frame(FrameKind.FAILED, to_wire(broken)))
            self._lose_driver(broken.message)

    def _on_order(self, frame: Frame) -> None:
        if frame.kind == FrameKind.LOG:
            self.stream_log = True
            return
        if frame.kind == FrameKind.ABORT:
            self.kill_at = time.monotonic() + _PATIENCE
        self._to_rank(frame)

    def _on_log(self) -> None:
        assert self.log is not None
        data = os.read(self.log, 1 << 16)
        if not data:
            self.selector.unregister(self.log)
            self.log = None
            return
        self._on_log_data(data)

    # ---- sending

    def _to_rank(self, frame: Frame) -> None:
        with contextlib.suppress(OSError):
            self.local.sendall(frame.pack())

    def _to_driver(self, frame: Frame) -> None:
        if self.uplink is None:
            return
        try:
            self.uplink.sendall(self.wire.pack(frame))
        except OSError:
            self._lose_driver("the connection to the driver was lost")

    def _lose_driver(self, reason: str) -> None:
        """Without the driver the rank's work is for nothing."""
        if self.uplink is not None:
            self.selector.unregister(self.uplink)
            self.uplink.close()
            self.uplink = None
            self._to_rank(Frame(FrameKind.ABORT, {"reason": reason}))
            self.kill_at = time.monotonic() + _PATIENCE

    def _send_file(self, frame: Frame) -> None:
        path, kind, data = (str(frame.data["path"]), str(frame.data["kind"]), dict(frame.data["data"]))
        with open(path, "rb") as f:
            os.unlink(path)
            self._to_driver(
                Frame(FrameKind.FILE_BEGIN, {"kind": kind, "size": os.fstat(f.fileno()).st_size, "data": data})
            )
            while True:
                piece = f.read(PIECE)
                if not piece:
                    break
                self._to_driver(Frame(FrameKind.FILE_PIECE, {}, piece))
        self._to_driver(Frame(FrameKind.FILE_END))

    # ---- standard error

    def _on_log_data(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.stderr, data)
        *whole, self.partial = (self.partial + data).split(b"\n")
        if len(self.partial) > _LINE_BYTES:
            whole.append(self.partial)
            self.partial = b""
        new = [line[:_LINE_BYTES].decode(errors="replace") for line in whole]
        self.lines.extend(new)
        if self.stream_log and new:
            self._to_driver(Frame(FrameKind.LOG, {"lines": new}))

    def _drain_log(self) -> None:
        if self.log is None:
            return
        os.set_blocking(self.log, False)
        while True:
            try:
                data = os.read(self.log, 1 << 16)
            except OSError as e:
                if e.errno != errno.EAGAIN:
                    raise
                break
            if not data:
                break
            self._on_log_data(data)
        os.set_blocking(self.log, True)
        if self.partial:
            self.lines.append(self.partial.decode(errors="replace"))
            self.partial = b""


def describe(error: BaseException) -> Dict[str, Any]:
    """What a failed frame says about an error."""
    if isinstance(error, KeyboardInterrupt):  # whoever stops the job does so on the driver
        error = RankLost("its process was interrupted by SIGINT, which nobody sends to end the job")
    wire = to_wire(error)
    if not isinstance(error, CaffeOnSparkError):
        wire["trace"] = traceback.format_exception(type(error), error, error.__traceback__)
    return wire
