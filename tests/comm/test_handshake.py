"""Strangers, liars and tampered bytes at a listener, a monitor and a communicator: refused, in bounded memory."""

import ast
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import types

import adversary
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffeonspark
from caffeonspark.comm import encryption
from caffeonspark.comm.handshake import Credentials, Listener, dial
from caffeonspark.comm.link import link_over
from caffeonspark.comm.tcp import TCPCommunicator
from caffeonspark.comm.wire import Frame, FrameBuffer, Wire
from caffeonspark.errors import CommunicationError, PeerLost, RankLost, StallError, TrainingError
from caffeonspark.ranks.sidecar import DRIVER
from caffeonspark.report.base import Observer
from caffeonspark.report.result import TrainingResult
from caffeonspark.runs.attempt import Attempt
from caffeonspark.runs.rank_server import Event, RankServer

WAIT = 15  # seconds for what takes milliseconds; the machine may be busy
MODES = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])


class Guard:
    """A listener that a thread attends to."""

    def __init__(self, credentials, me=DRIVER):
        self.listener = Listener("127.0.0.1", (0, 0), credentials, me)
        self.listener.patience = 0.3
        self.address = self.listener.address
        self.admitted = []
        self.most_pending = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._over.is_set():
            self.admitted += self.listener.accept(0.02)
            self.most_pending = max(self.most_pending, len(self.listener._pending))

    def wait_for(self, count):
        """Until so many were admitted."""
        deadline = time.monotonic() + WAIT
        while len(self.admitted) < count and time.monotonic() < deadline:
            time.sleep(0.002)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()
        for peer in self.admitted:
            peer.sock.close()
        self.listener.close()


class Tap:
    """Stands between a dialler and a listener, passes everything on and keeps it."""

    def __init__(self, address):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.there, self.back = b"", b""
        self._thread = threading.Thread(target=self._run, args=(address,))
        self._thread.start()

    def _run(self, address):
        dialler, _ = self._listener.accept()
        with dialler, socket.create_connection(address) as acceptor:
            for count, source, target in (
                (adversary.GREETING, dialler, acceptor),
                (adversary.ANSWER, acceptor, dialler),
                (adversary.PROOF, dialler, acceptor),
                (1, acceptor, dialler),
            ):
                data = source.recv(count, socket.MSG_WAITALL)
                target.sendall(data)
                if source is dialler:
                    self.there += data
                else:
                    self.back += data

    def recording(self):
        self._thread.join()
        self._listener.close()
        size = adversary.GREETING
        return adversary.Recording(self.there[:size], self.back[: adversary.ANSWER], self.there[size:], b"later")


def record(guard, credentials, me=0, peer=DRIVER):
    """A handshake that succeeded at the listener, recorded."""
    before = len(guard.admitted)
    tap = Tap(guard.address)
    dial(tap.address, credentials, me, peer, 5).sock.close()
    guard.wait_for(before + 1)
    return tap.recording()


def undelivered_greeting(credentials, me=0, peer=DRIVER):
    """A greeting its party sent and an adversary on the way kept from arriving."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caught = []

        def catch():
            sock, _ = listener.accept()
            with sock:
                caught.append(sock.recv(adversary.GREETING, socket.MSG_WAITALL))

        thread = threading.Thread(target=catch)
        thread.start()
        with pytest.raises(PeerLost):
            dial(listener.getsockname(), credentials, me, peer, 0.02)
        thread.join()
    return caught[0]


# ---- strangers at a listener


def test_there_are_many_kinds_of_bad_connections():
    assert len(adversary.ATTACKS) >= 40


@MODES
@pytest.mark.parametrize("name", adversary.ATTACKS)
def test_a_stranger_learns_nothing_and_keeps_nobody_out(name, encrypted, tmp_path):
    credentials = Credentials.new(encrypted=encrypted)
    with Guard(credentials) as guard:
        target = adversary.Target(guard.address, record(guard, credentials), tmp_path)
        before = len(guard.admitted)
        assert adversary.ATTACKS[name](target) == b""
        begin = time.monotonic()
        with dial(guard.address, credentials, 1, DRIVER, 5).sock:  # while what the stranger opened is still open
            assert time.monotonic() - begin < 2
            guard.wait_for(before + 1)
        assert [peer.peer for peer in guard.admitted[before:]] == [1]
        assert guard.most_pending <= Listener.unauthenticated + 1
        target.release()
        deadline = time.monotonic() + WAIT
        while guard.listener._pending and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not guard.listener._pending
    assert not list(tmp_path.iterdir())  # nothing was unpickled


FLOOD = """
import socket, sys, time
held = []
end = time.monotonic() + float(sys.argv[2])
print("on", flush=True)
while time.monotonic() < end:
    try:
        sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=1)
        sock.send(b"CoS2")
        held.append(sock)
    except OSError:
        pass
    if len(held) > 5000:
        held.pop(0).close()
"""


def test_a_flood_keeps_no_rank_out():
    credentials = Credentials.new()
    with Guard(credentials) as guard:
        command = [sys.executable, "-c", FLOOD, str(guard.address[1]), "6"]
        flood = subprocess.Popen(command, stdout=subprocess.PIPE)
        flood.stdout.readline()
        time.sleep(0.5)
        taken = []
        for rank in range(20):
            begin = time.monotonic()
            dial(guard.address, credentials, rank, DRIVER, 30).sock.close()
            taken.append(time.monotonic() - begin)
        assert flood.poll() is None, "the flood was over too soon to tell"
        flood.kill()
        flood.wait()
        flood.stdout.close()
    print(f"20 handshakes in a flood: {max(taken):.3f} s at most")
    assert max(taken) < 3
    assert guard.most_pending <= Listener.unauthenticated + 20


def test_a_party_is_not_crowded_out_between_its_greeting_and_its_proof():
    credentials = Credentials.new()
    greeting = undelivered_greeting(credentials)
    with Guard(credentials) as guard, socket.create_connection(guard.address) as sock:
        guard.listener.patience = 5
        sock.sendall(greeting)
        answer = sock.recv(adversary.ANSWER, socket.MSG_WAITALL)
        strangers = [socket.create_connection(guard.address) for _ in range(2 * Listener.unauthenticated)]
        deadline = time.monotonic() + 3  # less than the listener's patience
        while guard.most_pending <= Listener.unauthenticated // 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        assert guard.most_pending > Listener.unauthenticated // 2
        sock.sendall(credentials.prove(b"dial", greeting[: adversary.HELLO.size], answer[:32]))
        sock.settimeout(WAIT)
        assert sock.recv(10) == b"\x01"
        for stranger in strangers:
            stranger.close()


def test_a_party_that_stops_after_its_greeting_is_dropped_in_time():
    credentials = Credentials.new()
    greeting = undelivered_greeting(credentials)
    with Guard(credentials) as guard, socket.create_connection(guard.address) as sock:
        sock.sendall(greeting)
        assert len(sock.recv(1000)) == adversary.ANSWER
        sock.settimeout(WAIT)
        assert sock.recv(1) == b""
        assert not guard.admitted


@MODES
def test_an_answer_to_a_caught_greeting_is_worth_nothing(encrypted):
    """On the way between dialler and listener: the answer's proof is not the dialler's, nor good elsewhere."""
    credentials = Credentials.new(encrypted=encrypted)
    first, second = undelivered_greeting(credentials), undelivered_greeting(credentials)
    with Guard(credentials) as guard, Guard(credentials, me=3) as other:
        answers = []
        socks = [socket.create_connection(guard.address) for _ in range(2)]
        for sock, greeting in zip(socks, (first, second)):
            sock.sendall(greeting)
            answers.append(sock.recv(adversary.ANSWER, socket.MSG_WAITALL))
        socks[0].sendall(answers[0][32:])  # reflected
        socks[1].sendall(answers[0][32:])  # crosswise
        for sock in socks:
            sock.settimeout(WAIT)
            assert adversary.said(sock) == b""
            sock.close()
        third = undelivered_greeting(credentials)
        with socket.create_connection(other.address) as sock:  # for the driver, delivered to rank 3
            sock.sendall(third)
            assert adversary.said(sock) == b""
        assert not guard.admitted
        assert not other.admitted


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: Credentials(os.urandom(32), right.nonce),
        lambda right: Credentials(right.secret, os.urandom(16)),  # an earlier attempt of the same job
        lambda right: Credentials(right.secret, right.nonce, encrypted=True),
    ],
    ids=["another secret", "an earlier attempt", "another mode"],
)
def test_wrong_credentials_are_refused(wrong):
    right = Credentials.new()
    with Guard(right) as guard:
        with pytest.raises(PeerLost, match=r"no handshake with 127\.0\.0\.1:\d+ within 0 s"):
            dial(guard.address, wrong(right), 0, DRIVER, 0.2)
        assert not guard.admitted


def test_an_impostor_learns_nothing_from_who_dials_it():
    """Who listens at a rank's address without the secret sees a greeting, and its answer is found out."""
    credentials = Credentials.new()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pose():
            sock, _ = listener.accept()
            with sock:
                greeting = sock.recv(adversary.GREETING, socket.MSG_WAITALL)
                sock.sendall(os.urandom(32) + greeting[adversary.HELLO.size :])  # reflects what it got
                sock.settimeout(WAIT)
                assert sock.recv(100) == b""  # no proof for it

        thread = threading.Thread(target=pose)
        thread.start()
        with pytest.raises(PeerLost, match="is not of this job"):
            dial(listener.getsockname(), credentials, 0, 1, 5)
        thread.join()


def test_a_gate_out_of_file_descriptors_recovers():
    import resource

    credentials = Credentials.new()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    with Guard(credentials) as guard:
        clients = subprocess.Popen([sys.executable, "-c", FLOOD, str(guard.address[1]), "1.5"], stdout=subprocess.PIPE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        try:
            clients.stdout.readline()
            time.sleep(1)
            assert guard._thread.is_alive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            clients.wait()
            clients.stdout.close()
        dial(guard.address, credentials, 0, DRIVER, 5).sock.close()


def test_a_closed_gate_refuses():
    credentials = Credentials.new()
    listener = Listener("127.0.0.1", (0, 0), credentials, 0)
    with socket.create_connection(listener.address) as early:
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.address)
        assert adversary.said(early) == b""


def test_gates_listen_on_ipv6_and_skip_busy_ports():
    credentials = Credentials.new()
    with Listener("127.0.0.1", (0, 0), credentials, 0) as held:
        port = held.address[1]
        with Listener("127.0.0.1", (port, port + 20), credentials, 1) as listener:
            assert port < listener.address[1] <= port + 20
        with pytest.raises(OSError, match="in use"):
            Listener("127.0.0.1", (port, port), credentials, 1)
    if not pathlib.Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with Listener("::1", (0, 0), credentials, 0) as listener:
        thread = threading.Thread(target=lambda: [listener.accept(0.2) for _ in range(5)])
        thread.start()
        dial(listener.address, credentials, 1, 0, 5).sock.close()
        thread.join()


# ---- parties that misbehave: links


def pair(encrypted, stall_timeout=1.0):
    """(rank 0's communicator, rank 1's peer connection) of a group of two."""
    credentials = Credentials.new(encrypted=encrypted)
    with Guard(credentials, me=0) as guard:
        mine = dial(guard.address, credentials, 1, 0, 5)
        guard.wait_for(1)
        theirs = guard.admitted.pop()
    return TCPCommunicator(0, 2, {1: link_over(theirs)}, [0, 1], stall_timeout), mine


def head_of(comm, kind, arrays=()):
    from caffeonspark.comm.layout import layout_checksum

    return struct.pack("!QI", comm._sequence + 1, layout_checksum(list(arrays), kind))


def sender(mine, encrypted):
    """Sends bytes as rank 1 would: encrypted where that is the mode."""
    if not encrypted:
        return mine.sock.sendall
    encryptor = encryption.Encryptor(mine.keys.send)
    return lambda data: mine.sock.sendall(encryptor.encrypt(data))


@MODES
@pytest.mark.parametrize("size", [17 << 20, 1 << 40, (1 << 64) - 1])
def test_an_announced_size_is_checked_before_it_is_believed(size, encrypted):
    comm, mine = pair(encrypted)
    sender(mine, encrypted)(head_of(comm, "all_gather") + struct.pack("!Q", size))
    with pytest.raises(CommunicationError, match=f"rank 1 announces {size} bytes, which no rank sends"):
        comm.all_gather(b"mine")
    comm.abort()
    mine.sock.close()


@MODES
def test_another_collective_is_noticed(encrypted):
    comm, mine = pair(encrypted)
    sender(mine, encrypted)(os.urandom(500))
    with pytest.raises(CommunicationError, match="rank 0 and rank 1 are out of step"):
        comm.all_reduce([np.zeros(100, np.float32)])
    comm.abort()
    mine.sock.close()


@MODES
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_peer_that_leaves_in_the_middle_of_a_message(how, encrypted):
    comm, mine = pair(encrypted)
    array = np.zeros(1 << 20, np.float32)
    sender(mine, encrypted)(head_of(comm, "all_reduce", [array]) + bytes(1000))
    if how == "half":
        mine.sock.shutdown(socket.SHUT_WR)
    if how == "reset":
        mine.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how != "half":
        mine.sock.close()
    with pytest.raises(PeerLost, match=r"rank 1"):
        comm.all_reduce([array])
    comm.abort()
    mine.sock.close()


@MODES
def test_a_peer_that_dawdles_is_given_up(encrypted):
    comm, mine = pair(encrypted, stall_timeout=0.4)
    sender(mine, encrypted)(head_of(comm, "all_reduce", [np.zeros(1 << 20, np.float32)]))
    with pytest.raises(StallError, match="heard nothing from rank 1"):
        comm.all_reduce([np.zeros(1 << 20, np.float32)])
    comm.abort()
    mine.sock.close()


# ---- encrypted records


KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def records(*contents):
    encryptor = encryption.Encryptor(KEY)
    return [encryptor.encrypt(content) for content in contents]


def test_a_stream_comes_out_as_it_went_in():
    rng = random.Random(1)
    encryptor, decryptor = encryption.Encryptor(KEY), encryption.Decryptor(KEY)
    sent, got = b"", b""
    for _ in range(60):
        data = rng.randbytes(
            rng.choice([1, 2, 100, 5000, encryption.RECORD - 1, encryption.RECORD, encryption.RECORD + 1, 400_000])
        )
        sent += data
        wire = encryptor.encrypt(data)
        while wire:
            count = rng.choice([1, 3, 4, 5, 20, 4096, 100_000, 1 << 20])
            got += b"".join(decryptor.feed(wire[:count]))
            wire = wire[count:]
    assert got == sent


def test_keys_go_on_to_the_next(monkeypatch):
    monkeypatch.setattr(encryption, "_RECORDS_PER_KEY", 3)
    encrypted = records(*[b"the same words"] * 8)
    assert len(set(encrypted)) == 8
    assert encryption.Decryptor(KEY).feed(b"".join(encrypted)) == [b"the same words"] * 8
    monkeypatch.setattr(encryption, "_RECORDS_PER_KEY", 1 << 19)
    with pytest.raises(ValueError, match="record 3 is not what the other end encrypted"):
        encryption.Decryptor(KEY).feed(b"".join(encrypted))


def test_each_direction_and_each_conversation_has_its_own_keys():
    keys = {
        encryption.derive(bytes(32), bytes(93)),
        encryption.derive(bytes(32), bytes(92) + b"\1"),
        encryption.derive(b"\1" * 32, bytes(93)),
    }
    assert len({key for both in keys for key in both}) == 6
    credentials = Credentials.new(encrypted=True)
    ours, theirs = (credentials.keys(b"hello", b"answer", dialling) for dialling in (True, False))
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert ours.send.hex() not in repr(ours)
    assert credentials.secret.hex() not in repr(credentials)


TAMPERED = {
    "flipped in the content": lambda r: [r[0], _flip(r[1], 20), r[2]],
    "flipped in the tag": lambda r: [r[0], _flip(r[1], -1), r[2]],
    "flipped in the length": lambda r: [r[0], _flip(r[1], 3), r[2]],
    "replayed": lambda r: [r[0], r[0], r[1]],
    "reordered": lambda r: [r[1], r[0]],
    "dropped": lambda r: [r[0], r[2]],
    "cut short": lambda r: [r[0], r[1][:-1], r[2]],
    "of another key": lambda r: [r[0], encryption.Encryptor(OTHER_KEY).encrypt(b"two" * 50)],
    "of the other direction": lambda r: [r[0], encryption.Encryptor(KEY[::-1]).encrypt(b"two" * 50)],
    "in clear": lambda r: [r[0], b"\0\0\0\x10" + bytes(32)],
    "without content": lambda r: [r[0], bytes(20)],
    "oversized": lambda r: [r[0], struct.pack("!I", encryption.RECORD + 1)],
    "huge": lambda r: [r[0], b"\xff\xff\xff\xff"],
    "two halves joined": lambda r: [r[0], r[1][:40] + r[2][40:]],
}


def _flip(data, at):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_record_does_not_open(name):
    decryptor = encryption.Decryptor(KEY)
    parts = TAMPERED[name](records(b"one" * 50, b"two" * 50, b"three" * 50))
    with pytest.raises(ValueError, match=r"record \d (is not what the other end encrypted|has \d+ bytes)"):
        decryptor.feed(b"".join(parts))
    assert len(decryptor.room()) <= encryption.RECORD + 24


@pytest.mark.parametrize("name", TAMPERED)
def test_a_link_with_a_tampered_record_breaks(name):
    comm, mine = pair(encrypted=True)
    array = np.zeros(1 << 20, np.float32)
    encryptor = encryption.Encryptor(mine.keys.send)
    good = [encryptor.encrypt(part) for part in (head_of(comm, "all_reduce", [array]), bytes(1000), bytes(1000))]
    mine.sock.sendall(b"".join(TAMPERED[name](good)))
    with pytest.raises(
        CommunicationError, match=r"the connection to rank 1 is not safe any more: record \d|out of step"
    ):
        comm.all_reduce([array])
    assert not array.any()  # nothing of it got to where it goes
    comm.abort()
    mine.sock.close()


def test_the_package_is_required(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(caffeonspark.ConfigError, match=r"pip install 'cryptography>=42'"):
        encryption.require()


# ---- frames


BAD_FRAMES = {
    "garbage": os.urandom(64),
    "another magic": b"CoSX" + bytes(100),
    "an oversized body": adversary.FRAME.pack(b"CoSF", (4 << 20) + 1, 0),
    "an oversized payload": adversary.FRAME.pack(b"CoSF", 2, (1 << 20) + 1),
    "the largest sizes": adversary.FRAME.pack(b"CoSF", 0xFFFFFFFF, 0xFFFFFFFF),
    "no JSON": adversary.FRAME.pack(b"CoSF", 4, 0) + b"abcd",
    "no UTF-8": adversary.FRAME.pack(b"CoSF", 4, 0) + b'"\xff\xfe"',
    "no body": adversary.FRAME.pack(b"CoSF", 0, 0),
    "a number": adversary.FRAME.pack(b"CoSF", 1, 0) + b"1",
    "one element": adversary.FRAME.pack(b"CoSF", 9, 0) + b'["hello"]',
    "a kind that is no string": adversary.FRAME.pack(b"CoSF", 6, 0) + b"[1,{}]",
    "data that is no object": adversary.FRAME.pack(b"CoSF", 9, 0) + b'["a",[1]]',
    "deep JSON": adversary.FRAME.pack(b"CoSF", 1 << 20, 0) + b"[" * (1 << 20),
    "a number of a million digits": adversary.FRAME.pack(b"CoSF", 1 << 20, 0) + b"9" * (1 << 20),
    "a pickle": adversary.FRAME.pack(b"CoSF", 0, 40) + bytes(40),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_what_is_no_frame_raises_value_error(name):
    begin = time.monotonic()
    with pytest.raises(ValueError):
        list(FrameBuffer().feed(BAD_FRAMES[name]))
    assert time.monotonic() - begin < 1


def test_a_message_too_long_is_refused_where_it_is_made():
    with pytest.raises(TrainingError, match=r"'test' takes 4 MB, and 4 MB is the most"):
        Frame("test", {"outputs": "x" * (4 << 20)}).pack()


@MODES
def test_ten_thousand_fuzzed_frames(encrypted):
    """Frames changed at random: what comes out is a frame, or ValueError, and never more memory than a frame."""
    rng = random.Random(4)
    key = bytes(32)
    good = [
        Frame("progress", {"iteration": 5, "history": [[1, 0.5, 0.01]] * 20}).pack(),
        Frame("<piece", {}, bytes(3000)).pack(),
        Frame("hello", {"host": "näh", "versions": {"Python": "3.9"}}).pack(),
        Frame("bye").pack(),
    ]
    outcomes = {"frame": 0, "refused": 0, "waiting": 0}
    for _ in range(10_000):
        frames = rng.choices(good, k=2)
        encryptor = encryption.Encryptor(key)
        data = bytearray(b"".join(map(encryptor.encrypt, frames) if encrypted else frames))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data)) if data else 0
            change = rng.randrange(6)
            if change == 0:
                data[at : at + 1] = bytes([(data[at] if data else 0) ^ 1 << rng.randrange(8)])
            elif change == 1:
                data[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
            elif change == 2:
                del data[at : at + rng.randrange(1, 40)]
            elif change == 3:
                data[at:at] = data[: rng.randrange(1, 60)]
            elif change == 4:
                data[at:at] = rng.choice([b"\xff\xff\xff\xff", b"[" * 3000, b"{}", b"\0" * 16, b"CoSF"])
            else:
                data = data[: max(1, at)]
        wire = Wire(encryption.Keys(key, key) if encrypted else None)
        try:
            frames = [f for start in range(0, len(data), 700) for f in wire.feed(bytes(data[start : start + 700]))]
            outcomes["frame" if frames else "waiting"] += 1
            assert all(isinstance(f.kind, str) and isinstance(f.data, dict) for f in frames)
        except ValueError:
            outcomes["refused"] += 1
        assert len(wire._buffer._data) <= 2 * 6000
    assert min(outcomes.values()) > 100, outcomes


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 6))
def test_any_bytes_are_frames_or_refused(data, keep):
    head = Frame("hello", {"host": "a"}).pack()
    buffer = FrameBuffer()
    try:
        for frame in buffer.feed(head[: len(head) - keep] + data):
            assert isinstance(frame, Frame)
    except ValueError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), st.data())
def test_a_sealed_stream_opens_only_as_it_was_sealed(contents, data):
    stream = b"".join(records(*contents))
    at = data.draw(st.integers(0, len(stream) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(stream)
    changed[at] ^= 1 << bit
    decryptor, got = encryption.Decryptor(KEY), []
    try:
        for start in range(0, len(changed), 7):
            got += decryptor.feed(bytes(changed[start : start + 7]))
    except ValueError:
        pass
    assert got == contents[: len(got)]
    assert len(got) < len(contents)


@MODES
def test_a_thousand_fuzzed_handshakes(encrypted):
    """Whatever is done to a party's greeting or proof, the listener neither admits it nor breaks."""
    credentials = Credentials.new(encrypted=encrypted)
    rng = random.Random(5)
    greetings = [undelivered_greeting(credentials) for _ in range(5)]
    with Guard(credentials) as guard:
        for number in range(1000):
            data = bytearray(rng.choice(greetings))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(data))
                data[at : at + 1] = rng.choice([bytes([data[at] ^ 1 << rng.randrange(8)]), b"", rng.randbytes(3)])
            if bytes(data[: adversary.GREETING]) in greetings:
                continue
            with socket.create_connection(guard.address) as sock:
                adversary.send(sock, data)
                if number % 20 == 0:
                    sock.settimeout(0.02)
                    assert adversary.said(sock) == b""
        assert not guard.admitted
        dial(guard.address, credentials, 0, DRIVER, 5).sock.close()


# ---- parties that misbehave: lines to the driver


@pytest.fixture
def monitor_and_credentials(request, tmp_path):
    credentials = Credentials.new(encrypted=request.param)
    with RankServer("127.0.0.1", (0, 0), credentials, 3, str(tmp_path)) as monitor:
        yield monitor, credentials


BOTH = pytest.mark.parametrize("monitor_and_credentials", [False, True], ids=["plain", "encrypted"], indirect=True)


class Rank:
    """A rank's end of its line, in the test's hands."""

    def __init__(self, monitor, credentials, rank):
        self.peer = dial(monitor.address, credentials, rank, DRIVER, 5)
        self.sock = self.peer.sock
        self.wire = Wire(self.peer.keys)

    def send(self, kind, /, payload=b"", **data):
        self.sock.sendall(self.wire.pack(Frame(kind, data, payload)))

    def raw(self, data):
        """Bytes that a rank would not send, encrypted all the same."""
        adversary.send(self.sock, data if self.wire._encryptor is None else self.wire._encryptor.encrypt(data))

    def is_closed(self):
        self.sock.settimeout(WAIT)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def still_works(monitor, credentials, rank):
    other = Rank(monitor, credentials, rank)
    other.send("hello", host="here")
    assert (monitor.events.get(timeout=WAIT).kind) == "hello"
    other.send("bye")
    assert monitor.events.get(timeout=WAIT).kind == "bye"
    other.sock.close()


@BOTH
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_end_their_line_and_no_other(monitor_and_credentials, name):
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    rank.raw(BAD_FRAMES[name])
    event = monitor.events.get(timeout=WAIT)
    assert (event.rank, event.kind) == (0, "lost")
    assert event.data["why"].startswith("it sent what no rank sends")
    assert rank.is_closed()
    rank.sock.close()
    still_works(monitor, credentials, 1)


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
def test_bad_files_end_their_line_and_leave_nothing(monitor_and_credentials, name, tmp_path):
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    for kind, payload, data in BAD_FILES[name]:
        rank.sock.sendall(rank.wire.pack(Frame(kind, data, payload)))
    event = monitor.events.get(timeout=WAIT)
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
    still_works(monitor, credentials, 1)


@BOTH
def test_a_line_that_breaks_in_a_file_leaves_nothing(monitor_and_credentials, tmp_path):
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    rank.send("<begin", kind="model", size=10, data={})
    rank.send("<piece", payload=b"1234")
    deadline = time.monotonic() + WAIT
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir())
    rank.sock.close()
    assert monitor.events.get(timeout=WAIT).kind == "lost"
    assert not list(tmp_path.iterdir())


@BOTH
def test_a_second_line_of_a_rank_is_refused_and_the_first_stands(monitor_and_credentials):
    monitor, credentials = monitor_and_credentials
    first = Rank(monitor, credentials, 0)
    first.send("hello")
    assert monitor.events.get(timeout=WAIT).kind == "hello"
    for name in (0, 3, 77, DRIVER):  # rank 0 once more, and ranks that are not of this job
        other = Rank(monitor, credentials, name)
        assert other.is_closed()
        other.sock.close()
    first.send("ready")
    assert monitor.events.get(timeout=WAIT).kind == "ready"
    assert monitor.connected == [0]
    first.sock.close()


@BOTH
def test_the_driver_stops_listening_when_every_rank_is_there(monitor_and_credentials):
    monitor, credentials = monitor_and_credentials
    ranks = [Rank(monitor, credentials, rank) for rank in range(3)]
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            socket.create_connection(monitor.address).close()
            time.sleep(0.01)
        except ConnectionRefusedError:
            break
    else:
        raise AssertionError("it still listens")
    for rank in ranks:
        rank.send("hello")
    assert sorted(monitor.events.get(timeout=WAIT).rank for _ in ranks) == [0, 1, 2]
    ranks[1].sock.close()
    event = monitor.events.get(timeout=WAIT)
    assert (event.rank, event.kind) == (1, "lost")
    monitor.send(0, "stop")
    ranks[0].sock.settimeout(WAIT)
    assert [frame.kind for frame in ranks[0].wire.feed(ranks[0].sock.recv(1000))] == ["stop"]
    for rank in ranks:
        rank.sock.close()


@pytest.mark.parametrize("monitor_and_credentials", [True], ids=["encrypted"], indirect=True)
@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_line_is_lost(monitor_and_credentials, name):
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    encrypted = [rank.wire.pack(Frame("loading", {"padding": "x" * 300})) for _ in range(3)]
    for part in TAMPERED[name](encrypted):
        adversary.send(rank.sock, part)
    event = monitor.events.get(timeout=WAIT)
    while event.kind == "loading":
        event = monitor.events.get(timeout=WAIT)
    assert event.kind == "lost"
    assert "record" in event.data["why"]
    rank.sock.close()
    still_works(monitor, credentials, 1)


@BOTH
def test_a_line_cut_off_without_a_good_bye_is_lost(monitor_and_credentials):
    """A connection's end can be forged by who is on the way, so it counts for nothing: the good-bye does."""
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    rank.send("done", iteration=10)
    rank.sock.shutdown(socket.SHUT_WR)
    assert [monitor.events.get(timeout=WAIT).kind for _ in range(2)] == ["done", "lost"]
    rank.sock.close()


@BOTH
def test_the_driver_is_not_filled_up_by_a_rank(monitor_and_credentials, monkeypatch):
    monkeypatch.setattr("caffeonspark.runs.rank_server._MOST_EVENTS", 1000)
    monitor, credentials = monitor_and_credentials
    rank = Rank(monitor, credentials, 0)
    rank.sock.settimeout(0.5)
    with pytest.raises(socket.timeout):  # nobody handles the events, so the rank has to wait
        for _ in range(10_000):
            rank.sock.sendall(b"".join(rank.wire.pack(Frame("loading")) for _ in range(500)))
    assert monitor.events.qsize() < 200_000
    rank.sock.close()


@pytest.mark.parametrize(
    "kind, data",
    [("nonsense", {}), ("progress", {}), ("progress", {"iteration": "x"}), ("test", {"iteration": []}), ("hello", {})],
)
def test_what_no_rank_says_ends_the_attempt_with_its_rank(kind, data):
    config = types.SimpleNamespace(ranks=2, versions={})
    attempt = Attempt(config, TrainingResult(model=""), Observer(), "", None, threading.Event())
    with pytest.raises(RankLost, match=f"rank 1 of 2 sent a '{kind}' that no rank sends"):
        attempt.on_event(Event(1, kind, data), None)


# ---- the source


def test_nothing_in_the_library_unpickles():
    package = pathlib.Path(caffeonspark.__file__).parent
    banned = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not banned & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "np.load", "numpy.load", "yaml.load"), path


def test_the_attacks_report_as_json():
    assert json.loads(json.dumps(list(adversary.ATTACKS)))
