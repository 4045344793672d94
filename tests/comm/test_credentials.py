"""Who can speak as whom, with what of an attempt's secrets and keys somebody may have."""

import pickle
import threading
import time

import pytest

from caffeonspark.comm.credentials import DRIVER, Credentials, connection_keys
from caffeonspark.comm.encryption import Decryptor, Encryptor, KeyPair
from caffeonspark.comm.handshake import Listener, dial
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import PeerLost
from tests.support import adversary
from tests.support.guard import MODES, Guard, Tap, parties


@MODES
def test_what_tasks_carry_is_no_secret(encrypted):
    driver = Credentials.new(encrypted)
    carried = pickle.dumps(driver.invitation())
    assert driver.secret not in carried
    assert driver.secret.hex().encode() not in carried
    assert pickle.loads(carried) == driver.invitation()
    assert driver.secret.hex() not in repr(driver)
    rank = driver.invitation().accept(driver.secret)
    assert rank.encrypted == encrypted
    if encrypted:
        with pytest.raises(TypeError, match="a private key stays in its process"):
            pickle.dumps(driver)
        with pytest.raises(TypeError, match="a private key stays in its process"):
            pickle.dumps(rank)


@MODES
def test_the_secret_lets_a_rank_in_and_another_one_does_not(encrypted):
    driver = Credentials.new(encrypted)
    with Guard(driver) as guard:
        dial(guard.address, driver.invitation().accept(driver.secret), 4, DRIVER, 5).sock.close()
        guard.wait_for(1)
        with pytest.raises(PeerLost):
            dial(guard.address, driver.invitation().accept(bytes(32)), 5, DRIVER, 0.2)
        assert [peer.peer for peer in guard.admitted] == [4]


def test_no_rank_speaks_as_another():
    zero, one, two = parties(3, encrypted=True)
    with Guard(zero, me=0) as guard:
        with pytest.raises(PeerLost):
            dial(guard.address, two, 1, 0, 0.2)  # rank 2 says that it is rank 1
        told = Credentials(two.secret, two.nonce, two.pair, {0: zero.identity})
        as_one = Credentials(two.secret, two.nonce, _WithPublic(two.pair, one.identity), told.known)
        with pytest.raises(PeerLost):
            dial(guard.address, as_one, 1, 0, 0.2)  # and shows rank 1's public key
        assert not guard.admitted
        assert guard.listener.refused["127.0.0.1"] >= 2
        dial(guard.address, one, 1, 0, 5).sock.close()
    with Guard(two, me=0) as guard, pytest.raises(PeerLost):  # rank 2 at rank 0's address
        dial(guard.address, one, 1, 0, 0.2)


class _WithPublic:
    """A key pair that shows a public key which is not its own."""

    def __init__(self, pair, public):
        self._pair, self.public = pair, public

    def shared(self, *others):
        return self._pair.shared(*others)


def test_who_knows_the_bootstrap_is_not_taken_for_the_driver():
    driver = Credentials.new(encrypted=True)
    rank = driver.invitation().accept(driver.secret)
    thief = Credentials(driver.secret, driver.nonce, KeyPair())
    for pair in (thief.pair, _WithPublic(thief.pair, driver.identity)):
        impostor = Credentials(driver.secret, driver.nonce, pair)
        with Guard(impostor) as guard, pytest.raises(PeerLost):
            dial(guard.address, rank, 0, DRIVER, 0.2)
        assert not guard.admitted


def test_what_was_recorded_opens_nothing_when_the_bootstrap_is_known_later():
    driver = Credentials.new(encrypted=True)
    rank = driver.invitation().accept(driver.secret)
    with Guard(driver) as guard:
        tap = Tap(guard.address)
        sent = dial(tap.address, rank, 0, DRIVER, 5)
        sealed = Encryptor(sent.keys.send).encrypt(b"gradients")
        sent.sock.close()
        guard.wait_for(1)
        assert Decryptor(guard.admitted[0].keys.receive).feed(sealed) == [b"gradients"]
        recording = tap.recording()
    hello, answer = recording.greeting[: adversary.HELLO.size], recording.answer[:32]
    thief = KeyPair()
    known = [driver.secret, driver.identity, rank.identity]
    known += [thief.shared(public, driver.secret, driver.nonce) for public in (driver.identity, rank.identity)]
    for secret in known:
        for dialling in (True, False):
            keys = connection_keys(secret, hello, answer, dialling)
            for key in (keys.send, keys.receive):
                with pytest.raises(ValueError, match="is not what the other end encrypted"):
                    Decryptor(key).feed(sealed)


def test_parties_that_are_not_known_share_nothing():
    (one,) = parties(1, encrypted=True)
    with pytest.raises(PermissionError):
        one.shared(7)
    with pytest.raises(PermissionError):
        one.shared(0, bytes(32))
    anybody = Credentials.new(encrypted=True)
    for public in (None, b"", bytes(32), bytes(31), b"\1" + bytes(31)):
        with pytest.raises(PermissionError):
            anybody.shared(0, public)


@MODES
def test_sixty_four_ranks_connect_within_seconds(encrypted):
    """All in one process, which does the work of 64 machines."""
    count = 64
    credentials = parties(count, encrypted)
    listeners = [Listener("127.0.0.1", (0, 0), None, rank) for rank in range(count)]
    addresses = [listener.address for listener in listeners]
    comms = [None] * count

    def join(rank):
        comms[rank] = connect(rank, addresses, listeners[rank], credentials[rank], connect_timeout=30)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(count)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    assert all(comms)
    for comm in comms:
        comm.close()
    print(f"{count} ranks connected in {seconds:.2f} s")
    assert seconds < 15


def test_a_listener_without_credentials_accepts_nobody():
    with Listener("127.0.0.1", (0, 0), None, 0) as listener, pytest.raises(RuntimeError):
        listener.accept()
