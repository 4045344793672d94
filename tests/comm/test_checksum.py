"""Checksums of what travels in clear: damage shows before anything is made of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffeonspark.comm.checksum import Checksum, Damaged, Stamper, Verifier
from caffeonspark.comm.credentials import Credentials, connection_seeds

SEED = (1 << 64) - 2  # the third message's seed is past the last


def stamped(*messages, seed=SEED):
    stamper = Stamper(seed)
    return [stamper.stamp(message) for message in messages]


def test_a_stream_comes_out_as_it_went_in():
    rng = random.Random(1)
    messages = [rng.randbytes(rng.choice([0, 1, 100, 5000, 1 << 20])) for _ in range(60)]
    stream, verifier, got = b"".join(stamped(*messages)), Verifier(SEED), []
    while stream:
        count = rng.choice([1, 3, 12, 20, 4096, 1 << 20])
        got += verifier.feed(stream[:count])
        stream = stream[count:]
    assert got == messages


def test_the_parts_of_a_message_do_not_matter():
    whole, parts = Checksum(5), Checksum(5)
    data = random.Random(1).randbytes(1000)
    for cut in (0, 1, 500, 1000):
        assert whole.next([data]) == parts.next([data[:cut], memoryview(data)[cut:]])


ONE, TWO, THREE = stamped(b"one" * 50, b"two" * 50, b"three" * 50)
DAMAGED = {
    "flipped in the size": [ONE, bytes([1]) + TWO[1:]],
    "flipped in the size's checksum": [ONE, TWO[:5] + bytes([TWO[5] ^ 1]) + TWO[6:]],
    "flipped in the content": [ONE, TWO[:20] + bytes([TWO[20] ^ 1]) + TWO[21:]],
    "flipped in the checksum": [ONE, TWO[:-1] + bytes([TWO[-1] ^ 1])],
    "repeated": [ONE, ONE],
    "swapped": [TWO, ONE],
    "dropped": [ONE, THREE],
    "cut short": [ONE, TWO[:-1], THREE],
    "of the other direction": [ONE, stamped(b"one" * 50, b"two" * 50, seed=7)[1]],
    "without a checksum": [ONE, bytes(30)],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_message_is_found(name):
    got, verifier = [], Verifier(SEED)
    with pytest.raises(Damaged, match=r"bytes of message [012] were changed, lost, repeated or moved"):
        for part in DAMAGED[name]:
            got += verifier.feed(part)
    assert got in ([], [b"one" * 50])


def test_nobody_is_made_to_wait_for_a_size_that_is_not_meant():
    verifier = Verifier(SEED)
    with pytest.raises(ValueError, match="a message of 4294967295 bytes, which nobody sends"):
        verifier.feed(b"\xff\xff\xff\xff" + Checksum(SEED).next([b"\xff\xff\xff\xff"]))


def test_each_direction_and_each_conversation_has_its_own_seeds():
    ours, theirs = (connection_seeds(b"hello", b"answer", dialling) for dialling in (True, False))
    other = connection_seeds(b"hello", b"another", True)
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert len({ours.send, ours.receive, other.send, other.receive}) == 4
    assert len({Credentials.new(encrypted=e, checksum=c).mode for e in (True, False) for c in (True, False)}) == 3


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.data())
def test_a_stream_with_a_flipped_bit_is_never_taken_whole(messages, data):
    stream = bytearray(b"".join(stamped(*messages)))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    verifier, got = Verifier(SEED), []
    with pytest.raises(Damaged):
        for start in range(0, len(stream), 7):
            got += verifier.feed(stream[start : start + 7])
    assert got == messages[: len(got)]
    assert len(got) < len(messages)
