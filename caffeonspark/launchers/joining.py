"""Machines that join a run without Spark: ``caffeonspark join HOST:PORT``.

Both ends know a secret, from a file or the environment. By it they find each other in the handshake of all connections,
and everything on theirs is encrypted. Then the driver sends frames: the job as text (``job_text``), the files it starts
from, and what to do; nothing of it is unpickled, and nothing at all is read of who does not know the secret. A machine
stays over all attempts of the run: it starts its ranks again when it is told to.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .._version import __version__
from ..comm.addresses import bare_host, open_listener
from ..comm.credentials import DRIVER, SharedSecret
from ..comm.handshake import PeerConnection, dial
from ..comm.wire import PIECE, Frame, FrameKind, Wire
from ..errors import CaffeOnSparkError, ConfigError, InfrastructureError, PeerLost, RankLost, from_wire, to_wire
from ..plans.job import Job
from .job_text import as_text, from_text
from .local_processes import Group, Machine, Processes, StoredFile

__all__ = ["JoinServer", "join"]

_PURPOSE = "join"
_JOINER = 0  # its name in handshakes
_REACH = 10.0  # seconds in which a driver has to be reached
_SILENT = 30.0  # seconds in which a machine has to take what is sent to it
_PATIENCE = 3.0  # seconds in which the others of a failed rank end by themselves
_MARGIN = 2.0  # seconds a machine may take to say that its ranks have ended

# What the two ends send, besides files:
_OFFER = "join"  # from a machine: how many ranks it takes, and its version
_ACCEPTED = "joined"
_REFUSED = "refused"  # and why
_START = "start"  # ranks, with the files that came before: the job, and what it starts from
_ENDED = "ended"  # from a machine: all ranks of an attempt
_END = "end"  # the ranks, after so many seconds
_OVER = "over"  # the run, with what the machine's command is to say


class _Line:
    """One end of a connection: frames, which threads may send at the same time."""

    def __init__(self, peer: PeerConnection) -> None:
        self.sock = peer.sock
        self.sock.settimeout(_SILENT)
        with contextlib.suppress(OSError, AttributeError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
        self._wire = Wire(peer.keys, peer.seeds)
        self._sending = threading.Lock()

    def send(self, *frames: Frame) -> None:
        """Raises OSError."""
        with self._sending:
            for frame in frames:
                self.sock.sendall(self._wire.pack(frame))

    def say(self, kind: str, **data: Any) -> None:
        self.send(Frame(kind, data))

    def send_file(self, size: int, pieces: Iterator[bytes]) -> None:
        self.send(Frame(FrameKind.FILE_BEGIN, {"size": size}))
        for piece in pieces:
            self.send(Frame(FrameKind.FILE_PIECE, {}, piece))
        self.send(Frame(FrameKind.FILE_END))

    def receive(self, timeout: Optional[float]) -> List[Frame]:
        """The frames that are there; none where nothing comes in so many seconds. Raises OSError at the end."""
        ready, _, _ = select.select([self.sock], [], [], timeout)
        if not ready:
            return []
        data = self.sock.recv(1 << 20)
        if not data:
            raise ConnectionResetError("it closed the connection")
        try:
            return list(self._wire.feed(data))
        except ValueError as e:
            raise OSError(f"what it sent is not what it encrypted: {e}") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def _pieces_of(path: str) -> Iterator[bytes]:
    with open(path, "rb") as f:
        while True:
            piece = f.read(PIECE)
            if not piece:
                return
            yield piece


# ---- at the driver


class _Joined(Machine):
    """A machine that has joined, as the driver sees it."""

    def __init__(self, line: _Line, host: str, count: int) -> None:
        self.host = host
        self.count = count
        self.line = line
        self.gone = threading.Event()
        self.attempt: Optional[_Remote] = None
        self._attempts = 0

    def start(
        self,
        job: Job,
        secret: bytes,
        ranks: Sequence[int],
        hosts: Sequence[str],
        files: Sequence[StoredFile],
        environment: Mapping[str, str],
    ) -> Group:
        self._attempts += 1
        attempt = self.attempt = _Remote(self, self._attempts, ranks)
        text = as_text(job)
        try:
            self.line.send_file(len(text), _pieces(text))
            for file in files:
                self.line.send_file(os.path.getsize(file.path), _pieces_of(file.path))
            self.line.say(
                _START,
                attempt=self._attempts,
                secret=secret.hex(),
                ranks=list(ranks),
                hosts=list(hosts),
                environment=dict(environment),
            )
        except OSError:
            self.lose()
        return attempt

    def listen(self) -> None:
        """Take what the machine says, until it is gone."""
        try:
            while True:
                for frame in self.line.receive(None):
                    if frame.kind == _ENDED and self.attempt is not None:
                        self.attempt.on_end(frame.data)
        except (OSError, ValueError, KeyError, TypeError):
            self.lose()

    def lose(self) -> None:
        self.gone.set()
        self.line.close()
        if self.attempt is not None:
            self.attempt.ended.set()


class _Remote(Group):
    """The ranks of an attempt on a machine that has joined."""

    def __init__(self, machine: _Joined, number: int, ranks: Sequence[int]) -> None:
        self._machine = machine
        self._number = number
        self._ranks = ranks
        self.ended = threading.Event()
        self._failed = False
        self._error: Optional[CaffeOnSparkError] = None

    def on_end(self, data: Mapping[str, Any]) -> None:
        if data["attempt"] != self._number:
            return
        if data["error"] is not None:
            self._error = from_wire(dict(data["error"]))
        self._failed = bool(data["failed"])
        self.ended.set()

    @property
    def alive(self) -> bool:
        return not self.ended.is_set()

    @property
    def failed(self) -> bool:
        return self._failed or self._machine.gone.is_set()

    @property
    def error(self) -> Optional[CaffeOnSparkError]:
        if self._error is None and self._machine.gone.is_set():
            who = ", ".join(map(str, self._ranks))
            return RankLost(f"rank {who} on {self._machine.host}: the machine that joined is gone")
        return self._error

    def end(self, patience: float) -> None:
        if self.ended.wait(patience):
            return
        with contextlib.suppress(OSError):
            self._machine.line.say(_END)
        if not self.ended.wait(_MARGIN):
            self._machine.lose()  # another machine may take its place


class JoinServer:
    """Waits for machines that join a run.

    Parameters
    ----------
    host : this machine's address for them
    ports : (lowest, highest) to listen on; (0, 0) for any
    phrase : the secret
    wanted : how many ranks they are to take, all together
    needed : how many ports the run needs here

    Attributes
    ----------
    address : (host, port) of where they join

    Raises
    ------
    ConfigError
        Where it cannot listen there, or nothing can be encrypted.
    """

    def __init__(self, host: str, ports: Tuple[int, int], phrase: bytes, wanted: int, needed: int) -> None:
        _require_encryption()
        self.wanted = wanted
        self._listener = open_listener(host, ports, SharedSecret.of(phrase, _PURPOSE), DRIVER, needed)
        self.address = self._listener.address
        self._machines: List[_Joined] = []
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="caffeonspark-join", daemon=True)
        self._thread.start()

    @property
    def machines(self) -> List[_Joined]:
        """Those that are there, in the order in which they came."""
        with self._lock:
            self._machines = [machine for machine in self._machines if not machine.gone.is_set()]
            return list(self._machines)

    @property
    def joined(self) -> int:
        """How many ranks the machines take that are there."""
        return sum(machine.count for machine in self.machines)

    @property
    def refused(self) -> Dict[str, int]:
        """The connections that were hung up on so far, by host: they did not know the secret."""
        return dict(self._listener.refused)

    def close(self, status: int, message: str) -> None:
        """The run is over: the machines' commands end with this status, and say this where it is not 0."""
        self._closing = True
        self._thread.join()
        self._listener.close()
        for machine in self.machines:
            with contextlib.suppress(OSError):
                machine.line.say(_OVER, status=status, message=message)
            machine.lose()

    def _run(self) -> None:
        while not self._closing:
            for peer in self._listener.accept(0.2):
                threading.Thread(target=self._serve, args=(peer,), name="caffeonspark-joined", daemon=True).start()

    def _serve(self, peer: PeerConnection) -> None:
        line = _Line(peer)
        try:
            machine = self._admit(line, peer.host)
        except (OSError, ValueError, KeyError, TypeError):
            machine = None
        if machine is None:
            line.close()
        else:
            machine.listen()

    def _admit(self, line: _Line, host: str) -> Optional[_Joined]:
        frames = line.receive(_SILENT)
        if not frames or frames[0].kind != _OFFER:
            return None
        offer = frames[0].data
        count, version = int(offer["ranks"]), str(offer["version"])[:100]
        machine = _Joined(line, host, count)
        with self._lock:
            there = sum(one.count for one in self._machines if not one.gone.is_set())
            why = _why_not(count, self.wanted - there, version)
            if not why:
                self._machines.append(machine)
        if why:
            line.say(_REFUSED, why=why)
            return None
        line.say(_ACCEPTED)
        return machine


def _why_not(count: int, missing: int, version: str) -> str:
    """Why a machine with so many ranks cannot join; "" if it can."""
    if version != __version__:
        return f"the run has caffeonspark {__version__}, and this machine {version}: install the same"
    if not missing:
        return "the run has all its ranks"
    if not 0 < count <= missing:
        return f"the run waits for {missing} more {'rank' if missing == 1 else 'ranks'}, not {count}: give that to -np"
    return ""


def _require_encryption() -> None:
    from ..comm import encryption

    encryption.require()


# ---- at the machine that joins


def join(address: Tuple[str, int], phrase: bytes, count: int, say: Callable[[str], None]) -> int:
    """Join a run with so many ranks, until it is over; what its command ended with.

    Parameters
    ----------
    address : (host, port) of its driver
    phrase : the secret
    count : int
    say : told what happens

    Raises
    ------
    ConfigError
        Where the driver does not take these ranks.
    PeerLost
        Where the driver cannot be reached, has another secret, or goes without a word.
    CaffeOnSparkError
        What ended the run.
    """
    _require_encryption()
    where = f"{address[0]}:{address[1]}"
    try:
        line = _Line(
            dial((bare_host(address[0]), address[1]), SharedSecret.of(phrase, _PURPOSE), _JOINER, DRIVER, _REACH)
        )
    except PeerLost as e:
        raise PeerLost(
            f"{e.message}: is a run waiting there for ranks to join, and is its secret the same as here?"
        ) from None
    with contextlib.closing(line), tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        member = _Member(line, folder, say)
        try:
            line.say(_OFFER, ranks=count, version=__version__)
            return member.serve(where)
        except OSError as e:
            raise PeerLost(f"the run at {where} is gone: {e.strerror or e}") from None
        finally:
            member.end(0.0)


class _Member:
    """A machine that has joined, as it sees itself."""

    def __init__(self, line: _Line, folder: str, say: Callable[[str], None]) -> None:
        self._line = line
        self._folder = folder
        self._say = say
        self._ranks: Optional[Processes] = None
        self._attempt = 0
        self._files: List[str] = []  # that have come since the last start
        self._file: Optional[BinaryIO] = None

    def serve(self, where: str) -> int:
        """Do what the driver says; what the run ended with. Raises OSError where the connection ends before."""
        while True:
            for frame in self._line.receive(0.2):
                if frame.kind == _OVER:
                    if int(frame.data["status"]):
                        raise InfrastructureError(f"the run at {where} ended: {frame.data['message']}")
                    self._say(f"the run at {where} is over")
                    return 0
                if frame.kind == _REFUSED:
                    raise ConfigError(f"{where}: {frame.data['why']}")
                if frame.kind == _ACCEPTED:
                    self._say(f"joined the run at {where}")
                self._on_frame(frame)
            ranks = self._ranks
            if ranks is not None and (ranks.failed or not ranks.alive):
                self.end(_PATIENCE)

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind == FrameKind.FILE_BEGIN:
            self._files.append(os.path.join(self._folder, f"file{len(self._files)}"))
            self._file = open(self._files[-1], "wb")
        elif frame.kind == FrameKind.FILE_PIECE and self._file is not None:
            self._file.write(frame.payload)
        elif frame.kind == FrameKind.FILE_END and self._file is not None:
            self._file.close()
            self._file = None
        elif frame.kind == _START:
            self._start(frame.data)
        elif frame.kind == _END:
            self.end(0.0)

    def _start(self, data: Mapping[str, Any]) -> None:
        self.end(0.0)
        self._attempt = int(data["attempt"])
        text, *files = self._files
        self._files = []
        ranks = [int(rank) for rank in data["ranks"]]
        self._say(f"starting rank {', '.join(map(str, ranks))}")
        try:
            with open(text, "rb") as f:
                job = from_text(f.read())
            if not isinstance(job, Job):
                raise ConfigError("what came is no job")
            self._ranks = Processes(
                job,
                bytes.fromhex(data["secret"]),
                ranks,
                [str(host) for host in data["hosts"]],
                [StoredFile(path) for path in files],
                {str(name): str(value) for name, value in data["environment"].items()},
            )
        except CaffeOnSparkError as e:
            self._line.say(_ENDED, attempt=self._attempt, failed=True, error=to_wire(e))

    def end(self, patience: float) -> None:
        """Have the ranks ended, where there are any, and tell the driver."""
        ranks, self._ranks = self._ranks, None
        if ranks is None:
            return
        ranks.end(patience)
        error = ranks.error
        with contextlib.suppress(OSError):
            self._line.say(
                _ENDED, attempt=self._attempt, failed=ranks.failed, error=None if error is None else to_wire(error)
            )
