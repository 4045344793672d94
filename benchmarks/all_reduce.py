"""All-reduce of ranks on one machine: ours against gloo and MPICH, and against the machine's memory.

Every side is a group of processes of its own (``all_reduce_rank``), and all of them take turns at each size. The rivals
have an environment of their own (``scripts/environment/rivals.py``); one that cannot be had is said in the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .common import ROOT, SHORT, alternate
from .common import rounds as rounds_of
from .namespaces import Machine, Unavailable
from .results import Result, in_words, ratio

RANKS = (2, 4)
KILO, MEGA = 1 << 10, 1 << 20
_ALL = (KILO, 4 * KILO, 16 * KILO, 64 * KILO, 256 * KILO, MEGA, 4 * MEGA, 16 * MEGA, 64 * MEGA, 244 * MEGA)
SIZES = (KILO, 64 * KILO, MEGA, 16 * MEGA) if SHORT else _ALL
ROUNDS = rounds_of(7)
PATIENCE = 120.0  # seconds for a side to start, and for one measurement
OURS, TCP, MPICH_TCP, BOUND = "ours", "ours over TCP", "mpich over TCP", "memory"
RIVALS = ("gloo", "mpich", MPICH_TCP)

_PROGRAM = pathlib.Path(__file__).parent / "all_reduce_rank.py"
#: MPICH takes shared memory between ranks of a machine unless it, and the library below it, UCX or libfabric, may not.
_MPICH = {
    "mpich": {},
    MPICH_TCP: {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp"},
}


class Side:
    """A group of processes that all-reduce when they are asked to.

    Parameters
    ----------
    name : of ``all_reduce_rank.SIDES``
    ranks : how many
    python : the Python of its environment
    memory : a file in memory, large enough for the arrays of all ranks
    machines : where each rank runs; None for this machine. Of ours only

    Raises Unavailable.
    """

    def __init__(
        self, name: str, ranks: int, python: str, memory: str, machines: Optional[Sequence[Machine]] = None
    ) -> None:
        self._name, self._machines = name, machines
        self._processes: List[subprocess.Popen] = []
        self._streams: Dict[int, Any] = {}
        self._folder = tempfile.mkdtemp(prefix="caffeonspark-")
        self._log = open(os.path.join(self._folder, "log"), "w+")
        try:
            self._start(name, ranks, python, memory)
        except (OSError, ValueError, KeyError) as e:
            self.close(given_up=True)
            raise Unavailable(f"{name}: {e}") from e

    def _start(self, name: str, ranks: int, python: str, memory: str) -> None:
        control = os.path.join(self._folder, "control")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(control)
            listener.listen(ranks)
            listener.settimeout(PATIENCE)
            program = [python, str(_PROGRAM), name, str(ranks), control]
            if name in _MPICH:
                self._run([os.path.join(os.path.dirname(python), "mpiexec"), "-n", str(ranks), *program], _MPICH[name])
            else:
                for rank in range(ranks):
                    on = self._machines[rank] if self._machines else None
                    before, address = (on.before, on.address) if on else ((), "127.0.0.1")
                    self._run([*before, *program, str(rank), address], {})
            introductions = {}
            for _ in range(ranks):
                sock = self._accept(listener)
                stream = sock.makefile("rw")
                sock.close()  # when the stream is
                said = json.loads(stream.readline())
                self._streams[said["rank"]], introductions[said["rank"]] = stream, said["introduction"]
        told = [introductions[rank] for rank in range(ranks)]
        self._ask({"introductions": told, "folder": self._folder, "memory": memory})

    def _run(self, command: Sequence[str], environment: Dict[str, str]) -> None:
        env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", **environment}
        self._processes.append(
            subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        )

    def _accept(self, listener: socket.socket) -> socket.socket:
        """A rank's connection; raises ValueError where a process has ended, with its last words."""
        listener.settimeout(1.0)
        for _ in range(int(PATIENCE)):
            try:
                sock, _ = listener.accept()
                sock.settimeout(PATIENCE)
                return sock
            except socket.timeout:
                if any(process.poll() is not None for process in self._processes):
                    raise ValueError(f"it ended at once: {self._last_words()}") from None
        raise ValueError(f"it did not start within {PATIENCE:.0f} s")

    def _last_words(self) -> str:
        deadline = time.monotonic() + 10  # a process closes its connection before it says why
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            time.sleep(0.05)
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _ask(self, request: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Every rank's answer."""
        for stream in self._streams.values():
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        answers = []
        for stream in self._streams.values():
            line = stream.readline()
            if not line:
                raise ValueError(self._last_words())
            answers.append(json.loads(line))
        return answers

    def milliseconds(self, size: int, repeats: int) -> float:
        """Of one all-reduce of ``size`` bytes, as the slowest rank saw it."""
        try:
            answers = self._ask({"bytes": size, "repeats": repeats})
        except (OSError, ValueError) as e:
            raise RuntimeError(f"{self._name}, {size} bytes: {e}; its last words: {self._last_words()}") from e
        return max(answer["seconds"] for answer in answers) * 1000

    def close(self, given_up: bool = False) -> None:
        """The processes end when nobody asks any more, unless they are ``given_up``."""
        for stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        for process in self._processes:
            if given_up:
                process.terminate()  # mpiexec ends its ranks then
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def rivals_python() -> str:
    """The Python of the rivals' environment, which is made where it is missing. Raises Unavailable."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "environment" / "rivals.py")], stdout=subprocess.PIPE, text=True
    )
    if made.returncode:
        raise Unavailable("their environment cannot be made here (scripts/environment/rivals.py says why)")
    return os.path.join(made.stdout.strip(), "bin", "python")


@contextlib.contextmanager
def sides(ranks: int, largest: int, rivals: Callable[[], str]) -> Iterator[Tuple[Dict[str, Side], List[str]]]:
    """The sides that can be had, by name, and a line for each that cannot."""
    found: Dict[str, Side] = {}
    missing: List[str] = []
    with contextlib.ExitStack() as stack:
        fd = os.memfd_create("arrays")
        stack.callback(os.close, fd)
        os.ftruncate(fd, ranks * largest)
        memory = f"/proc/{os.getpid()}/fd/{fd}"
        pythons = dict.fromkeys((OURS, TCP, BOUND), sys.executable)
        try:
            pythons.update(dict.fromkeys(RIVALS, rivals()))
        except Unavailable as e:
            missing.append(f"Not measured: {', '.join(RIVALS)}: {e}.")
        for name in (OURS, TCP, *RIVALS, BOUND):
            if name in pythons:
                try:
                    found[name] = Side(name, ranks, pythons[name], memory)
                    stack.callback(found[name].close)
                except Unavailable as e:
                    if name in (OURS, TCP, BOUND):
                        raise
                    missing.append(f"Not measured: {e}.")
        yield found, missing


def measure(ranks: int, sizes: Sequence[int], rounds: int, rivals: Callable[[], str] = rivals_python) -> Result:
    """The table of so many ranks; ``rivals`` gives the Python of their environment."""
    rows, compared = [], []
    with sides(ranks, max(sizes), rivals) as (groups, missing):
        for size in sizes:
            repeats = max(1, min(200, 32 * MEGA // size))
            runs = {name: lambda side=side, n=size, k=repeats: side.milliseconds(n, k) for name, side in groups.items()}
            found = alternate(runs, rounds)
            rows.append((in_words(size), tuple(statistics.median(values) for values in found.values())))
            compared += [
                ratio(found, OURS, name, f"{in_words(size)}: ours / {name}", f"ours / {name}", size)
                for name in groups
                if name != OURS
            ]
            if TCP in groups and MPICH_TCP in groups:
                label = f"{TCP} / {MPICH_TCP}"
                compared.append(ratio(found, TCP, MPICH_TCP, f"{in_words(size)}: {label}", label, size))
        names = list(groups)
    about = (
        f"sums of float32 on {ranks} ranks of one machine, ours with checksums, medians of {rounds} rounds; 'memory' "
        "is what reading and writing the arrays in shared memory takes at least, measured here without any waiting"
    )
    columns = tuple(f"{name}, ms" for name in names)
    return Result(
        f"all_reduce_{ranks}",
        f"All-reduce, {ranks} ranks",
        about,
        columns,
        tuple(rows),
        tuple(compared),
        tuple(missing),
    )


def run() -> List[Result]:
    return [measure(ranks, SIZES, ROUNDS) for ranks in RANKS]
