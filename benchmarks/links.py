"""All-reduce of two machines with two ranks each over links of 1 and 10 Gbit/s: ours, the same with bf16 between the
machines, and one ring of all ranks, against what the link takes.

The machines are network namespaces of this one (``namespaces``): both, and the link, share its processors.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Sequence

from .common import ROOT, SHORT, alternate
from .namespaces import Machine, Unavailable, machines, payload, spread
from .results import Result, ratio

MEGA = 1 << 20
SIZES = (MEGA, 16 * MEGA) if SHORT else (64 << 10, MEGA, 16 * MEGA, 244 * MEGA)
ROUNDS = 2 if SHORT else 5
SPEEDS = (1.0, 10.0)  # Gbit/s
HOSTS, RANKS = 2, 4
SIDES = ("ours", "ours, bf16", "one ring", "link")
PATIENCE = 120.0  # seconds for the ranks to start, and for one measurement

_PROGRAM = pathlib.Path(__file__).parent / "links_rank.py"


class Group:
    """Ranks on machines that all-reduce when they are asked to.

    Parameters
    ----------
    on : the machine of each rank
    sizes : bytes of what they reduce
    """

    def __init__(self, on: Sequence[Machine], sizes: Sequence[int]) -> None:
        self._processes: List[subprocess.Popen] = []
        self._streams: List[Any] = []
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder, socket.socket(socket.AF_UNIX) as listener:
            control = os.path.join(folder, "control")  # a file, which all network namespaces see
            listener.bind(control)
            listener.listen(len(on))
            listener.settimeout(PATIENCE)
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            for rank, machine in enumerate(on):
                words = [str(rank), str(len(on)), machine.address, control, *map(str, sizes)]
                program = [*machine.before, sys.executable, str(_PROGRAM), *words]
                self._processes.append(subprocess.Popen(program, env=environment, stdin=subprocess.DEVNULL))
            try:
                self._introduce(listener, len(on))
            except BaseException:
                self.close()
                raise

    def _introduce(self, listener: socket.socket, count: int) -> None:
        introductions = {}
        streams = {}
        for _ in range(count):
            sock, _ = listener.accept()
            sock.settimeout(PATIENCE)
            with sock:
                stream = sock.makefile("rw")
            said = json.loads(stream.readline())
            streams[said["rank"]], introductions[said["rank"]] = stream, said["introduction"]
        self._streams = [streams[rank] for rank in range(count)]
        self._ask([introductions[rank] for rank in range(count)])

    def _ask(self, request: Any) -> List[Dict[str, Any]]:
        """Every rank's answer. Raises RuntimeError where one has ended; it has said why on standard error."""
        for stream in self._streams:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        lines = [stream.readline() for stream in self._streams]
        if not all(lines):
            raise RuntimeError(f"a rank ended while it was asked for {request}")
        return [json.loads(line) for line in lines]

    def milliseconds(self, side: str, size: int) -> float:
        """Of an all-reduce of ``size`` bytes, as the slowest rank saw it."""
        return max(answer["seconds"] for answer in self._ask({"side": side, "bytes": size})) * 1000

    def close(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def group(speed: float, sizes: Sequence[int]) -> Iterator[Group]:
    """Ranks on machines with links of so many Gbit/s. Raises Unavailable."""
    with machines(HOSTS, speed) as some:
        ranks = Group(spread(RANKS, some), sizes)
        try:
            yield ranks
        finally:
            ranks.close()


def bound(size: int, speed: float) -> float:
    """Milliseconds that the link needs for what every machine has to send of so many bytes: 2 (H - 1) / H of them."""
    return 2 * (HOSTS - 1) / HOSTS * size / payload(speed) * 1000


def in_words(size: int) -> str:
    return f"{size // MEGA} MB" if size >= MEGA else f"{size >> 10} KB"


def measure(speed: float, sizes: Sequence[int], rounds: int) -> Result:
    """The table of one speed. Raises Unavailable."""
    rows, compared = [], []
    with group(speed, sizes) as ranks:
        for size in sizes:
            runs = {side: lambda side=side, n=size: ranks.milliseconds(side, n) for side in SIDES}
            found = alternate(runs, rounds)
            found["bandwidth"] = [bound(size, speed)] * rounds
            rows.append((in_words(size), tuple(statistics.median(values) for values in found.values())))
            compared += [
                ratio(found, side, rival, f"{in_words(size)}: {side} / {rival}", f"{side} / {rival}", size)
                for side, rival in (
                    ("ours", "bandwidth"),
                    ("ours", "link"),
                    ("ours, bf16", "ours"),
                    ("ours", "one ring"),
                )
            ]
    about = (
        f"sums of float32 on {HOSTS} machines with {RANKS // HOSTS} ranks each, with checksums, medians of {rounds} "
        f"rounds; network namespaces on one machine of {os.cpu_count()} cores, their links token buckets (tc tbf); "
        f"'bandwidth' is 2 (H - 1) / H of the bytes by {speed:g} Gbit/s less headers, 'link' the same bytes sent and "
        "received by the first rank of each machine with nothing added up, 'one ring' all four ranks in one ring"
    )
    return Result(
        f"links_{speed:g}",
        f"Between machines, {speed:g} Gbit/s",
        about,
        tuple(f"{side}, ms" for side in (*SIDES, "bandwidth")),
        tuple(rows),
        tuple(compared),
    )


def run() -> List[Result]:
    results = []
    for speed in SPEEDS:
        try:
            results.append(measure(speed, SIZES, ROUNDS))
        except Unavailable as e:
            title = f"Between machines, {speed:g} Gbit/s"
            results.append(Result(f"links_{speed:g}", title, "not measured", (), (), notes=(f"Not measured: {e}.",)))
    return results
