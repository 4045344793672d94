"""How machines join a run: who is let in, what they are told, and what becomes of it when one end is gone."""

import contextlib
import os
import socket
import threading
import time
from typing import ClassVar

import pytest

from caffeonspark.comm.credentials import Invitation
from caffeonspark.errors import ConfigError, InfrastructureError, PeerLost, RankLost
from caffeonspark.launchers import joining
from caffeonspark.launchers.job_text import as_text
from caffeonspark.launchers.joining import JoinServer, join
from caffeonspark.launchers.local_processes import StoredFile
from caffeonspark.plans.job import Job, ResumePoint
from caffeonspark.plans.net_plan import NetPlan
from caffeonspark.settings import Settings

PHRASE = b"correct horse battery staple"
NET = NetPlan(b"net" * 700_000, "net.prototxt", (), ("loss",), {}, {}, False, 0, ())
INVITATION = Invitation(b"n" * 16, b"", True)
JOB = Job(3, b"solver", NET, (), 7, ResumePoint(), ("127.0.0.1", 1), INVITATION, Settings(model="m"))


class FakeProcesses:
    """Ranks that are never started."""

    made: ClassVar[list] = []

    def __init__(self, job, secret, ranks, hosts, files, environment):
        self.job, self.secret, self.ranks, self.hosts, self.environment = job, secret, ranks, hosts, environment
        self.files = [file.value for file in files]
        self.alive, self.failed, self.error, self.ended = True, False, None, None
        FakeProcesses.made.append(self)

    def end(self, patience):
        self.alive, self.ended = False, patience


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setattr(joining, "Processes", FakeProcesses)
    monkeypatch.setattr(joining, "_REACH", 1.0)
    monkeypatch.setattr(joining, "_PATIENCE", 0.1)
    FakeProcesses.made = []
    return FakeProcesses.made


@pytest.fixture
def server():
    one = JoinServer("127.0.0.1", (0, 0), PHRASE, 2, 4)
    yield one
    one.close(0, "")


class Machine(threading.Thread):
    """``join`` in a thread; ``said`` and how it ended."""

    def __init__(self, server, count=2, phrase=PHRASE):
        super().__init__(daemon=True)
        self.address, self.count, self.phrase = server.address, count, phrase
        self.said, self.status, self.error = [], None, None
        self.start()

    def run(self):
        try:
            self.status = join(self.address, self.phrase, self.count, self.said.append)
        except Exception as e:
            self.error = e


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(server, files=(), secret=b"s" * 32):
    (machine,) = server.machines
    return machine.start(JOB, secret, [1, 2], ["10.0.0.1", "b", "b"], files, {"A": "1"})


def test_a_machine_gets_its_job_and_says_how_it_ended(server, made, tmp_path):
    machine = Machine(server)
    until(lambda: server.joined == 2)
    (tmp_path / "weights").write_bytes(os.urandom(3_000_000))
    (tmp_path / "empty").write_bytes(b"")
    files = [StoredFile(str(tmp_path / name)) for name in ("weights", "empty")]
    group = start(server, files)
    until(lambda: made)
    (ranks,) = made
    assert as_text(ranks.job) == as_text(JOB) and ranks.secret == b"s" * 32
    assert (ranks.ranks, ranks.hosts, ranks.environment) == ([1, 2], ["10.0.0.1", "b", "b"], {"A": "1"})
    assert ranks.files == [file.value for file in files]
    assert group.alive and not group.failed and group.error is None
    ranks.alive = False
    until(lambda: not group.alive)
    assert not group.failed and group.error is None
    group.end(0.1)
    # the next attempt
    group = start(server)
    until(lambda: len(made) == 2)
    made[1].error, made[1].failed = RankLost("rank 2 of 3 on b: cannot connect"), True
    until(lambda: not group.alive)
    assert group.failed and isinstance(group.error, RankLost) and group.error.message.endswith("cannot connect")
    server.close(0, "")
    machine.join(10)
    assert machine.status == 0
    assert [line.partition(" at ")[0] for line in machine.said] == [
        "joined the run",
        "starting rank 1, 2",
        "starting rank 1, 2",
        "the run",
    ]


def test_ranks_that_do_not_end_are_ended(server, made):
    Machine(server)
    until(lambda: server.joined == 2)
    group = start(server)
    until(lambda: made)
    begun = time.monotonic()
    group.end(0.3)
    assert time.monotonic() - begun < 2
    assert made[0].ended == 0.0 and not group.alive
    assert server.joined == 2  # the machine is there for the next attempt


def test_a_machine_that_is_gone(server, made):
    machine = Machine(server)
    until(lambda: server.joined == 2)
    group = start(server)
    until(lambda: made)
    server.machines[0].line.sock.shutdown(socket.SHUT_RDWR)
    until(lambda: group.failed)
    assert group.error.message == "rank 1, 2 on 127.0.0.1: the machine that joined is gone"
    assert server.joined == 0 and not group.alive
    machine.join(10)
    assert isinstance(machine.error, PeerLost) and "is gone" in machine.error.message
    assert made[0].ended is not None  # its ranks are not left
    Machine(server)
    until(lambda: server.joined == 2)


def test_how_the_run_ended_is_told(server):
    machine = Machine(server)
    until(lambda: server.joined == 2)
    server.close(1, "stopped by SIGINT at iteration 7")
    machine.join(10)
    assert isinstance(machine.error, InfrastructureError)
    assert machine.error.message.endswith("ended: stopped by SIGINT at iteration 7")


def test_who_does_not_know_the_secret(server):
    machine = Machine(server, phrase=b"correct horse battery stable")
    machine.join(10)
    assert isinstance(machine.error, PeerLost)
    assert machine.error.message.endswith("waiting there for ranks to join, and is its secret the same as here?")
    assert server.refused["127.0.0.1"] > 0 and server.joined == 0


@pytest.mark.parametrize(
    "count, version, why",
    [
        (3, None, "the run waits for 2 more ranks, not 3: give that to -np"),
        (1, "0.0.1", "this machine 0.0.1: install the same"),
    ],
)
def test_what_is_refused(server, monkeypatch, count, version, why):
    if version:
        monkeypatch.setattr(joining._Line, "say", offering(version))
    machine = Machine(server, count)
    machine.join(10)
    assert isinstance(machine.error, ConfigError) and machine.error.message.endswith(why)
    assert server.joined == 0


def offering(version):
    say = joining._Line.say

    def changed(self, kind, **data):
        say(self, kind, **({**data, "version": version} if kind == "join" else data))

    return changed


def test_a_run_with_all_its_ranks_takes_no_more(server):
    for _ in range(2):
        Machine(server, 1)
    until(lambda: server.joined == 2)
    late = Machine(server, 1)
    late.join(10)
    assert late.error.message.endswith("the run has all its ranks")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.0\r\n\r\n", b"CoS3" + b"\x00" * 200], ids=["nothing", "http", "a greeting"]
)
def test_strangers_are_hung_up_on(server, sent):
    with socket.create_connection(server.address, 5) as sock:
        sock.sendall(sent)
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""
    assert server.joined == 0


@pytest.mark.parametrize("offer", [{"ranks": "x", "version": "1"}, {}, {"ranks": -1}, {"ranks": [1], "version": 0}])
def test_who_knows_the_secret_and_says_nonsense(server, offer, monkeypatch):
    say = joining._Line.say
    monkeypatch.setattr(
        joining._Line, "say", lambda self, kind, **data: say(self, kind, **(offer if kind == "join" else data))
    )
    machine = Machine(server)
    machine.join(10)
    assert machine.error is not None and server.joined == 0
    monkeypatch.setattr(joining._Line, "say", say)
    Machine(server)
    until(lambda: server.joined == 2)
