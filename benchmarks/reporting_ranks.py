"""Ranks that meet and report as any others, and compute nothing: all processes of ranks on this machine, no solver.

Each has its connection to the driver and the sidecar that holds it, connects to its neighbours as ranks do, and then
reports as often as ranks do. They are forked from one process, so 64 of them need little memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from caffeonspark.comm.addresses import open_listener
from caffeonspark.comm.credentials import Invitation
from caffeonspark.comm.tcp import connect
from caffeonspark.comm.wire import FrameKind
from caffeonspark.launchers.base import Launcher, RunningRanks
from caffeonspark.process import fork, reap, write_all
from caffeonspark.ranks.sidecar import DriverConnection

PER_HOST = 8
#: Seconds between a rank's reports, as in ``ranks/loop.py``, and iterations of which rank 0 tells in each.
REPORT, ENTRIES = 0.25, 10


class Part(NamedTuple):
    """What the ranks play.

    Attributes
    ----------
    ranks : how many
    seconds : for which they report
    facts, versions : what each says of its BLAS and of its engine
    """

    ranks: int
    seconds: float
    facts: Dict[str, Any]
    versions: Dict[str, str]

    @property
    def hosts(self) -> List[str]:
        """Addresses of the loopback's network, ``PER_HOST`` ranks each."""
        return [f"127.0.0.{1 + rank // PER_HOST}" for rank in range(self.ranks)]


class Reporting(Launcher):
    """Starts such ranks.

    Attributes
    ----------
    times : of each rank, once they have ended: when it "began", had "opened" its connection to the driver, was "told"
        of the others, and was "connected" to its neighbours, in seconds of one clock
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self.times: List[Dict[str, float]] = []

    driver_host = bind_host = "127.0.0.1"  # type: ignore[assignment]

    def start(self, job: Any, secret: bytes) -> RunningRanks:
        return _Processes(self._part, job.driver, job.invitation, secret, self.times)

    def replace(self, executors: Sequence[str]) -> None:
        raise NotImplementedError  # no attempt follows


class _Processes(RunningRanks):
    def __init__(
        self, part: Part, driver: Tuple[str, int], invitation: Invitation, secret: bytes, times: List[Dict[str, float]]
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._told, tell = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_play, args=(tell, part, driver, invitation, secret))
        self._process.start()
        tell.close()
        self._times = times

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def executors(self) -> Dict[int, str]:
        return {}

    def end(self, patience: float) -> List[str]:
        self._process.join(patience + 30.0)
        self._process.kill()
        self._process.join()
        if self._told.poll():
            self._times += self._told.recv()
        return []


def _play(tell: Any, part: Part, driver: Tuple[str, int], invitation: Invitation, secret: bytes) -> None:
    """Fork the ranks, and tell when each was where."""
    reading, children = [], []
    for rank in range(part.ranks):
        read, write = os.pipe()
        children.append(fork(lambda: _rank(write, part, driver, invitation, secret, rank), [write]))  # noqa: B023
        os.close(write)
        reading.append(read)
    found = []
    for read in reading:
        with open(read) as f:
            found.append(json.loads(f.read() or "{}"))
    for child in children:
        reap(child)
    tell.send(found)


def _rank(write: int, part: Part, driver: Tuple[str, int], invitation: Invitation, secret: bytes, rank: int) -> None:
    """One rank, as ``ranks/rank.py`` and ``ranks/loop.py`` have it, without what computes."""
    hosts, times = part.hosts, {"began": time.monotonic()}
    connection = DriverConnection.open(driver, invitation.accept(secret), rank)
    times["opened"] = time.monotonic()
    host = hosts[rank]
    connection.send(FrameKind.HELLO, host=host, machine=host, pid=os.getpid(), blas=part.facts)
    with open_listener(host, (0, 0), None, rank, hosts.count(host) + 1) as listener:
        address = list(listener.address)
        connection.send(FrameKind.READY, address=address, rows=[], epoch=1000, totals=[], bad=[])
        peers = connection.wait(FrameKind.PEERS, timeout=120)
        times["told"] = time.monotonic()
        addresses = [(str(name), int(port)) for name, port in peers.data["addresses"]]
        credentials = connection.credentials_for_peers(peers)
        comm = connect(rank, addresses, listener, credentials, watch=connection.fileno(), on_watch=connection.check)
    comm.barrier()
    times["connected"] = time.monotonic()
    connection.send(FrameKind.ENGINE, versions=part.versions, digest="", kernel="", threads=1)
    iteration = report(connection, rank, part.seconds)
    connection.send(FrameKind.DONE, iteration=iteration, stopped="")
    comm.barrier()
    comm.close()
    connection.close()
    write_all(write, json.dumps(times).encode())


def report(connection: DriverConnection, rank: int, seconds: float) -> int:
    """Report for so long; the iteration it has come to."""
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        number += 1
        training = time.monotonic() - begun
        history = [((number - 1) * ENTRIES + k, 1.0 / number, 0.01) for k in range(ENTRIES)] if rank == 0 else []
        connection.send(
            FrameKind.PROGRESS,
            iteration=number * ENTRIES,
            history=history,
            passes=[],
            training=training,
            waited=training / 10,
            loading=training / 100,
        )
        connection.check()
        time.sleep(REPORT)
    return number * ENTRIES
