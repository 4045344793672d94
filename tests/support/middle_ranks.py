"""Ranks and a driver in processes of their own, with somebody in the middle of their connection. No Spark, no Caffe."""

import contextlib
import hashlib
import multiprocessing
import os
import queue
import tempfile
import time

import numpy as np

from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import InfrastructureError, Interrupted
from caffeonspark.ranks import sidecar
from caffeonspark.runs.rank_server import RankServer
from tests.support import adversary
from tests.support.guard import everyone, parties
from tests.support.middle import BACK, THERE, Middle, faults

HANDSHAKE = {THERE: adversary.GREETING + adversary.PROOF, BACK: adversary.ANSWER + 1}
RIGHT, WRONG = "right", "WRONG"
_STALL = 1.5  # seconds
_fork = multiprocessing.get_context("fork")


def _in_processes(*works):
    """What each work sends, from a process of its own."""
    pipes, processes = [], []
    for work in works:
        mine, theirs = _fork.Pipe(duplex=False)
        processes.append(_fork.Process(target=_send, args=(work, theirs)))
        processes[-1].start()
        theirs.close()
        pipes.append(mine)
    found = []
    for pipe, process in zip(pipes, processes):
        found.append(pipe.recv() if pipe.poll(60) else "hangs")
        process.kill() if found[-1] == "hangs" else None
        process.join()
    return found


def _send(work, pipe):
    try:
        pipe.send(work())
    except (InfrastructureError, Interrupted) as e:
        pipe.send(f"found: {e.message}")
    except BaseException as e:
        pipe.send(f"{type(e).__name__}: {e}")


# ---- two ranks


def _arrays(rank):
    rng = np.random.default_rng([3, rank])
    return [rng.standard_normal(size).astype(np.float32) for size in (3, 5000, 40_000, 330_000)]


def _collectives(comm):
    """All kinds of collectives; WRONG with what is not as it has to be."""
    both = [_arrays(rank) for rank in range(2)]
    for turn in range(2):
        mine = _arrays(comm.rank)
        for number, array in enumerate(mine):
            comm.all_reduce([array], scale=0.5)
            if not np.array_equal(array, (both[0][number] + both[1][number]) * np.float32(0.5)):
                return f"{WRONG} sum {number} of turn {turn}"
        sent = [array.copy() for array in both[comm.rank]]
        comm.broadcast(sent, root=turn)
        if not all(np.array_equal(a, b) for a, b in zip(sent, both[turn])):
            return f"{WRONG} broadcast of turn {turn}"
        if comm.all_gather(b"%d" % comm.rank * 3000) != [b"0" * 3000, b"1" * 3000]:
            return f"{WRONG} gathered of turn {turn}"
    return RIGHT


def ranks_with(fault, encrypted=False, checksum=True):
    """(what each of two ranks found, the Middle) with a fault, or None, on their connection."""
    credentials = parties(2, encrypted, checksum)
    listeners = [Listener("127.0.0.1", (0, 0), None, rank) for rank in range(2)]
    with Middle(listeners[0].address, fault) as middle:

        def work(rank):
            listeners[1 - rank].close()
            addresses = [middle.address if rank else listeners[0].address, listeners[1].address]
            with connect(rank, addresses, listeners[rank], credentials[rank], 20, _STALL) as comm:
                return _collectives(comm)

        found = _in_processes(lambda: work(0), lambda: work(1))
    for listener in listeners:
        listener.close()
    return found, middle


# ---- a rank and the driver

_FRAMES = [{"number": number, "padding": "x" * (number * 97 % 3000)} for number in range(60)]
_FILE = np.random.default_rng(4).bytes(300_000)


def _as_rank(address, credentials):
    """The rank: tells the driver what it has to tell, and hears what the driver has to say."""
    sidecar._PARTING = _STALL
    connection = sidecar.DriverConnection.open(address, credentials, 0)
    try:
        for frame in _FRAMES[:30]:
            connection.send("progress", **frame)
        with tempfile.NamedTemporaryFile(delete=False) as f:
            f.write(_FILE)
        connection.send_file("model", f.name)
        for frame in _FRAMES[30:]:
            connection.send("progress", **frame)
        for frame in _FRAMES:
            if connection.wait("peers", _STALL).data != frame:
                return f"{WRONG} frame from the driver"
        return RIGHT
    finally:
        connection.close()


def rank_and_driver_with(fault, encrypted=False, checksum=True):
    """([what the driver found, what the rank found], the Middle) with a fault, or None, on their connection."""
    credentials = everyone(encrypted, checksum)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(RankServer("127.0.0.1", (0, 0), credentials, 1, folder))
        middle = stack.enter_context(Middle(server.address, fault))
        mine, theirs = _fork.Pipe(duplex=False)
        process = _fork.Process(target=_send, args=(lambda: _as_rank(middle.address, credentials), theirs))
        process.start()
        theirs.close()
        driver = _as_driver(server)
        rank = mine.recv() if mine.poll(60) else "hangs"
        process.kill() if rank == "hangs" else None
        process.join()
    return [driver, rank], middle


def _as_driver(server):
    """What the driver makes of what the rank says: all of it right, nothing of it wrong, or an end before that."""
    expected = [("progress", frame) for frame in _FRAMES]
    expected.insert(30, ("model", {"sha256": hashlib.sha256(_FILE).hexdigest()}))
    told, deadline = False, time.monotonic() + 10 * _STALL
    while expected:
        try:
            event = server.events.get(timeout=2 * _STALL)
        except queue.Empty:
            return "found: silence"
        if event.path:
            os.unlink(event.path)
        if event.kind in ("lost", "failed", "died", "bye"):
            return f"found: {event.kind} {event.data.get('why', event.data.get('message', ''))}"
        if not told:  # the rank's handshake is over
            told = True
            for frame in _FRAMES:
                server.send(0, "peers", **frame)
        if (event.kind, event.data) != expected.pop(0):
            return f"{WRONG} {event}"
        if time.monotonic() > deadline:
            return "hangs"
    return RIGHT


#: The connections that a fault can be on.
LINKS = {"rank and rank": ranks_with, "rank and driver": rank_and_driver_with}


def attack(link, seed, count, encrypted):
    """Faults of all kinds at random places: nobody takes what was not said, and who could notice does."""
    (first, second), middle = LINKS[link](None, encrypted)
    assert (first, second) == (RIGHT, RIGHT)
    applied = 0
    for fault in faults(seed, count, middle.passed, HANDSHAKE):
        found, middle = LINKS[link](fault, encrypted)
        assert all(one == RIGHT or one.startswith("found: ") for one in found), (fault, found)
        # what comes back to a rank that has said and heard everything is for nobody
        if middle.applied and (fault.kind != "reflect" or link == "rank and rank"):
            assert found != [RIGHT, RIGHT], fault
        applied += middle.applied
    assert applied > count * 0.7
