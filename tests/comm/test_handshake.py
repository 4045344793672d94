"""Unauthenticated connections, liars and impostors at a listener: refused, in bounded memory and time."""

import dataclasses
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time

import pytest

from caffeonspark.comm.credentials import DRIVER, prove
from caffeonspark.comm.encryption import KeyPair
from caffeonspark.comm.handshake import Listener, dial
from caffeonspark.errors import PeerLost
from tests.support import adversary
from tests.support.guard import MODES, WAIT, Guard, everyone, record, undelivered_greeting


def test_there_are_many_kinds_of_bad_connections():
    assert len(adversary.ATTACKS) >= 40


@MODES
@pytest.mark.parametrize("name", adversary.ATTACKS)
def test_an_unauthenticated_connection_learns_nothing_and_keeps_nobody_out(name, encrypted, tmp_path):
    credentials = everyone(encrypted)
    with Guard(credentials) as guard:
        target = adversary.Target(guard.address, record(guard, credentials), tmp_path)
        before = len(guard.admitted)
        assert adversary.ATTACKS[name](target) == b""
        begin = time.monotonic()
        with dial(guard.address, credentials, 1, DRIVER, 5).sock:  # while what the attacker opened is still open
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
        sock.send(b"CoS3")
        held.append(sock)
    except OSError:
        pass
    if len(held) > 5000:
        held.pop(0).close()
"""


def test_a_flood_keeps_no_rank_out():
    credentials = everyone()
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
    credentials = everyone()
    greeting = undelivered_greeting(credentials)
    with Guard(credentials) as guard, socket.create_connection(guard.address) as sock:
        guard.listener.patience = 5
        sock.sendall(greeting)
        answer = sock.recv(adversary.ANSWER, socket.MSG_WAITALL)
        flood = [socket.create_connection(guard.address) for _ in range(2 * Listener.unauthenticated)]
        deadline = time.monotonic() + 3  # less than the listener's patience
        while guard.most_pending <= Listener.unauthenticated // 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        assert guard.most_pending > Listener.unauthenticated // 2
        sock.sendall(prove(credentials.secret, b"dial", greeting[: adversary.HELLO.size], answer[:32]))
        sock.settimeout(WAIT)
        assert sock.recv(10) == b"\x01"
        for one in flood:
            one.close()


def test_a_party_that_stops_after_its_greeting_is_dropped_in_time():
    credentials = everyone()
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
    credentials = everyone(encrypted)
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


def one_more_pair():
    """What makes credentials those of an encrypted job."""
    pair = KeyPair()
    return {"pair": pair, "known": {DRIVER: pair.public}}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: dataclasses.replace(right, secret=os.urandom(32)),
        lambda right: dataclasses.replace(right, nonce=os.urandom(16)),  # an earlier attempt of the same job
        lambda right: dataclasses.replace(right, **one_more_pair()),
    ],
    ids=["another secret", "an earlier attempt", "another mode"],
)
def test_wrong_credentials_are_refused(wrong):
    right = everyone()
    with Guard(right) as guard:
        with pytest.raises(PeerLost, match=r"no handshake with 127\.0\.0\.1:\d+ within 0 s"):
            dial(guard.address, wrong(right), 0, DRIVER, 0.2)
        assert not guard.admitted


def test_an_impostor_learns_nothing_from_who_dials_it():
    """Who listens at a rank's address without the secret sees a greeting, and its answer is found out."""
    credentials = everyone()
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

    credentials = everyone()
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
    credentials = everyone()
    listener = Listener("127.0.0.1", (0, 0), credentials, 0)
    with socket.create_connection(listener.address) as early:
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.address)
        assert adversary.said(early) == b""


def test_gates_listen_on_ipv6_and_skip_busy_ports():
    credentials = everyone()
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


@MODES
def test_a_thousand_fuzzed_handshakes(encrypted):
    """Whatever is done to a party's greeting or proof, the listener neither admits it nor breaks."""
    credentials = everyone(encrypted)
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


def test_the_attacks_report_as_json():
    assert json.loads(json.dumps(list(adversary.ATTACKS)))
