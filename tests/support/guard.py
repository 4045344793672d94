"""Listeners, links and handshakes in the tests' hands."""

import os
import socket
import struct
import threading
import time

import pytest

from caffeonspark.comm import encryption
from caffeonspark.comm.checksum import Checksum
from caffeonspark.comm.credentials import DRIVER, Credentials
from caffeonspark.comm.handshake import Listener, dial
from caffeonspark.comm.link import link_over
from caffeonspark.comm.tcp import TCPCommunicator
from caffeonspark.errors import PeerLost
from tests.support import adversary

WAIT = 15  # seconds for what takes milliseconds; the machine may be busy
MODES = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])


class _Anybody:
    """A public key that is everybody's."""

    def __init__(self, public):
        self._public = public

    def get(self, peer):
        return self._public


def everyone(encrypted=False, checksum=True):
    """Credentials that all parties of a test have, driver and ranks: they even share their key pair."""
    pair = encryption.KeyPair() if encrypted else None
    return Credentials(os.urandom(32), os.urandom(16), pair, _Anybody(pair.public) if encrypted else None, checksum)


def parties(count, encrypted=False, checksum=True):
    """Credentials of registered ranks, as the driver introduces them to one another."""
    secret, nonce = os.urandom(32), os.urandom(16)
    pairs = [encryption.KeyPair() if encrypted else None for _ in range(count)]
    known = {rank: pair.public for rank, pair in enumerate(pairs)} if encrypted else None
    return [Credentials(secret, nonce, pair, known, checksum) for pair in pairs]


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


def pair(encrypted, stall_timeout=1.0):
    """(rank 0's communicator, rank 1's peer connection) of a group of two."""
    credentials = everyone(encrypted)
    with Guard(credentials, me=0) as guard:
        mine = dial(guard.address, credentials, 1, 0, 5)
        guard.wait_for(1)
        theirs = guard.admitted.pop()
    return TCPCommunicator(0, 2, {1: link_over(theirs)}, [0, 1], stall_timeout), mine


def head_of(comm, kind, arrays=()):
    from caffeonspark.comm.layout import layout_checksum

    return struct.pack("!QI", comm._sequence + 1, layout_checksum(list(arrays), kind))


def sender(mine, encrypted):
    """Sends messages as rank 1 would: encrypted where that is the mode, else with checksums."""
    if not encrypted:
        checksum = Checksum(mine.seeds.send)
        return lambda *messages: [mine.sock.sendall(data + checksum.next([data])) for data in messages]
    encryptor = encryption.Encryptor(mine.keys.send)
    return lambda *messages: [mine.sock.sendall(encryptor.encrypt(data)) for data in messages]
