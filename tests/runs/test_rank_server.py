"""Ranks that misbehave on their lines to the driver."""

import queue
import socket
import threading
import time
import types

import pytest

from caffeonspark.comm.credentials import DRIVER, Credentials
from caffeonspark.comm.encryption import BROKEN, KeyPair
from caffeonspark.comm.handshake import dial
from caffeonspark.comm.wire import Frame, Wire
from caffeonspark.errors import CommunicationError, PeerLost, RankLost
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.report.base import Observer
from caffeonspark.report.result import TrainingResult
from caffeonspark.runs import rank_server
from caffeonspark.runs.attempt import Attempt
from caffeonspark.runs.failures import first_failure
from caffeonspark.runs.rank_server import Event, RankServer
from caffeonspark.settings import Settings
from tests.support import adversary
from tests.support.guard import WAIT, Guard
from tests.support.tampering import BAD_FRAMES, TAMPERED


@pytest.fixture
def server_and_credentials(request, tmp_path):
    credentials = Credentials.new(encrypted=request.param)
    with RankServer("127.0.0.1", (0, 0), credentials, 3, str(tmp_path)) as server:
        yield server, credentials


BOTH = pytest.mark.parametrize("server_and_credentials", [False, True], ids=["plain", "encrypted"], indirect=True)


class Rank:
    """A rank's end of its line, in the test's hands."""

    def __init__(self, server, credentials, rank):
        self.credentials = credentials.invitation().accept(credentials.secret)
        self.peer = dial(server.address, self.credentials, rank, DRIVER, 5)
        self.sock = self.peer.sock
        self.wire = Wire(self.peer.keys, self.peer.seeds)

    def send(self, kind, /, payload=b"", **data):
        self.sock.sendall(self.wire.pack(Frame(kind, data, payload)))

    def raw(self, data):
        """Bytes that a rank would not send, encrypted or with checksums all the same."""
        adversary.send(self.sock, self.wire.protect(data))

    def is_closed(self):
        self.sock.settimeout(WAIT)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def still_works(server, credentials, rank):
    other = Rank(server, credentials, rank)
    other.send("hello", host="here")
    assert (server.events.get(timeout=WAIT).kind) == "hello"
    other.send("bye")
    assert server.events.get(timeout=WAIT).kind == "bye"
    other.sock.close()


@BOTH
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_end_their_line_and_no_other(server_and_credentials, name):
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    rank.raw(BAD_FRAMES[name])
    event = server.events.get(timeout=WAIT)
    assert (event.rank, event.kind) == (0, "lost")
    assert event.data["why"].startswith("it sent what no rank sends")
    assert rank.is_closed()
    rank.sock.close()
    still_works(server, credentials, 1)


BAD_FILES = {
    "no size": [("<begin", b"", {"kind": "model", "data": {}})],
    "a negative size": [("<begin", b"", {"kind": "model", "size": -1, "data": {}})],
    "a size that is none": [("<begin", b"", {"kind": "model", "size": "x", "data": {}})],
    "more than announced": [("<begin", b"", {"kind": "model", "size": 5, "data": {}}), ("<piece", b"123456", {})],
    "less than announced": [
        ("<begin", b"", {"kind": "model", "size": 5, "data": {}}),
        ("<piece", b"1234", {}),
        ("<end", b"", {}),
    ],
    "a second begin": [("<begin", b"", {"kind": "model", "size": 5, "data": {}})] * 2,
    "a piece of nothing": [("<piece", b"1234", {})],
    "an end of nothing": [("<end", b"", {})],
    "an unknown frame": [("<else", b"", {})],
    "a petabyte": [("<begin", b"", {"kind": "model", "size": 1 << 50, "data": {}})],
}


@BOTH
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_end_their_line_and_leave_nothing(server_and_credentials, name, tmp_path):
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    for kind, payload, data in BAD_FILES[name]:
        rank.sock.sendall(rank.wire.pack(Frame(kind, data, payload)))
    event = server.events.get(timeout=WAIT)
    if name == "a petabyte":
        assert event.kind == "failed"
        assert "cannot be kept" in event.data["message"]
        assert "set TMPDIR" in event.data["message"]
    else:
        assert event.kind == "lost", event
        assert event.data["why"].startswith("it sent what no rank sends")
    assert rank.is_closed()
    rank.sock.close()
    assert not list(tmp_path.iterdir())
    still_works(server, credentials, 1)


@BOTH
def test_a_line_that_breaks_in_a_file_leaves_nothing(server_and_credentials, tmp_path):
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    rank.send("<begin", kind="model", size=10, data={})
    rank.send("<piece", payload=b"1234")
    deadline = time.monotonic() + WAIT
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir())
    rank.sock.close()
    assert server.events.get(timeout=WAIT).kind == "lost"
    assert not list(tmp_path.iterdir())


@BOTH
def test_a_second_line_of_a_rank_is_refused_and_the_first_stands(server_and_credentials):
    server, credentials = server_and_credentials
    first = Rank(server, credentials, 0)
    first.send("hello")
    assert server.events.get(timeout=WAIT).kind == "hello"
    for name in (3, 77, DRIVER):  # ranks that are not of this job
        other = Rank(server, credentials, name)
        assert other.is_closed()
        other.sock.close()
    with dial(server.address, first.credentials, 0, DRIVER, 5).sock as again:  # the rank itself, which heard no answer
        again.settimeout(WAIT)
        assert again.recv(1) == b""
    first.send("ready")
    assert server.events.get(timeout=WAIT).kind == "ready"
    assert server.connected == [0]
    assert server.refused == {"127.0.0.1": 4}
    first.sock.close()


@BOTH
def test_somebody_else_in_a_ranks_place_is_found_out(server_and_credentials):
    """Whoever came first: the second claim says so, and the attempt's error names both."""
    server, credentials = server_and_credentials
    first, second = Rank(server, credentials, 1), Rank(server, credentials, 1)
    assert second.is_closed()
    event = server.events.get(timeout=WAIT)
    assert (event.rank, event.kind) == (1, "claimed")
    error = first_failure([(1.0, event), (2.0, Event(1, "lost"))], 3, {}, lambda log: "")
    assert isinstance(error, CommunicationError)
    assert error.retryable
    assert error.message.startswith("rank 1 of 3 was claimed twice, from 127.0.0.1 and from 127.0.0.1: ")
    assert server.connected == [1]
    for rank in (first, second):
        rank.sock.close()


@BOTH
def test_ranks_are_introduced_and_only_they_know_each_other(server_and_credentials):
    server, credentials = server_and_credentials
    ranks = [Rank(server, credentials, rank) for rank in range(3)]
    for rank in ranks:
        rank.send("hello")
        server.events.get(timeout=WAIT)
    server.introduce(addresses=[], totals=[7])
    peers, seen = [], b""
    for rank in ranks:
        rank.sock.settimeout(WAIT)
        data = rank.sock.recv(1 << 16)
        seen += data
        (frame,) = rank.wire.feed(data)
        assert (frame.kind, frame.data["totals"]) == ("peers", [7])
        peers.append(rank.credentials.for_peers(frame.data, rank.peer.mask))
    (secret,) = {one.secret for one in peers}
    assert secret != credentials.secret
    assert secret not in seen
    assert secret.hex().encode() not in seen
    with Guard(peers[0], me=0) as guard:
        with dial(guard.address, peers[2], 2, 0, 5).sock:
            guard.wait_for(1)
        assert [peer.peer for peer in guard.admitted] == [2]
        # who knows the bootstrap only, and what everybody may know of the ranks
        known = {rank: one.identity for rank, one in enumerate(peers)}
        thief = Credentials(credentials.secret, credentials.nonce, KeyPair() if credentials.encrypted else None, known)
        with pytest.raises(PeerLost):
            dial(guard.address, thief, 1, 0, 0.2)
        assert len(guard.admitted) == 1
    for rank in ranks:
        rank.sock.close()


@BOTH
def test_the_driver_stops_listening_when_every_rank_is_there(server_and_credentials, monkeypatch):
    server, credentials = server_and_credentials
    monkeypatch.setattr(rank_server, "_LATE", 0.2)
    ranks = [Rank(server, credentials, rank) for rank in range(3)]
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            socket.create_connection(server.address).close()
            time.sleep(0.01)
        except ConnectionRefusedError:
            break
    else:
        raise AssertionError("it still listens")
    for rank in ranks:
        rank.send("hello")
    assert sorted(server.events.get(timeout=WAIT).rank for _ in ranks) == [0, 1, 2]
    ranks[1].sock.close()
    event = server.events.get(timeout=WAIT)
    assert (event.rank, event.kind) == (1, "lost")
    server.send(0, "stop")
    ranks[0].sock.settimeout(WAIT)
    assert [frame.kind for frame in ranks[0].wire.feed(ranks[0].sock.recv(1000))] == ["stop"]
    for rank in ranks:
        rank.sock.close()


@pytest.mark.parametrize("server_and_credentials", [True], ids=["encrypted"], indirect=True)
@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_line_is_lost(server_and_credentials, name):
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    encrypted = [rank.wire.pack(Frame("loading", {"padding": "x" * 300})) for _ in range(3)]
    for part in TAMPERED[name](encrypted):
        adversary.send(rank.sock, part)
    event = server.events.get(timeout=WAIT)
    while event.kind == "loading":
        event = server.events.get(timeout=WAIT)
    assert event.kind == "lost"
    assert "record" in event.data["why"]
    rank.sock.close()
    still_works(server, credentials, 1)


@BOTH
def test_a_line_cut_off_without_a_good_bye_is_lost(server_and_credentials):
    """A connection's end can be forged by who is on the way, so it counts for nothing: the good-bye does."""
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    rank.send("done", iteration=10)
    rank.sock.shutdown(socket.SHUT_WR)
    assert [server.events.get(timeout=WAIT).kind for _ in range(2)] == ["done", "lost"]
    rank.sock.close()


@BOTH
def test_the_driver_is_not_filled_up_by_a_rank(server_and_credentials, monkeypatch):
    monkeypatch.setattr("caffeonspark.runs.rank_server._MOST_EVENTS", 1000)
    server, credentials = server_and_credentials
    rank = Rank(server, credentials, 0)
    rank.sock.settimeout(0.5)
    with pytest.raises(socket.timeout):  # nobody handles the events, so the rank has to wait
        for _ in range(10_000):
            rank.sock.sendall(b"".join(rank.wire.pack(Frame("loading")) for _ in range(500)))
    assert server.events.qsize() < 200_000
    rank.sock.close()


def test_broken_seals_and_refused_connections_are_counted():
    why = f"it sent what no rank sends: record 7 {BROKEN}: it was changed, lost, repeated or moved"
    server = types.SimpleNamespace(events=queue.Queue(), refused={"10.0.0.7": 5}, send_all=lambda kind, **data: None)
    launched = types.SimpleNamespace(running=True, error=None, stuck=lambda missing, started: {})
    launcher = types.SimpleNamespace(fresh=False)
    config = types.SimpleNamespace(ranks=2, settings=Settings(), solver=SolverParameter())
    result = TrainingResult(model="")
    attempt = Attempt(config, [], launcher, result, Observer(), "", None, threading.Event())
    threading.Timer(0.5, server.events.put, [Event(1, "lost", {"why": why})]).start()
    with pytest.raises(RankLost, match="record 7 is not what the other end encrypted"):
        attempt.watch(server, launched)
    assert (result.refused, result.tampered) == (5, 1)


@pytest.mark.parametrize(
    "kind, data",
    [
        ("nonsense", {}),
        ("progress", {}),
        ("progress", {"iteration": "x"}),
        ("test", {"iteration": []}),
        ("hello", {}),
        ("hello", {"host": "a", "blas": {}}),
        ("hello", {"host": "a", "blas": "OpenBLAS"}),
        ("engine", {}),
    ],
)
def test_what_no_rank_says_ends_the_attempt_with_its_rank(kind, data):
    config = types.SimpleNamespace(ranks=2, settings=Settings(), solver=SolverParameter())
    launcher = types.SimpleNamespace(fresh=False)
    attempt = Attempt(config, [], launcher, TrainingResult(model=""), Observer(), "", None, threading.Event())
    with pytest.raises(RankLost, match=f"rank 1 of 2 sent a '{kind}' that no rank sends"):
        attempt.on_event(Event(1, kind, data), None)
