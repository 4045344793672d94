"""Encrypted records: they come out as they went in, or not at all."""

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffeonspark
from caffeonspark.comm import encryption
from caffeonspark.comm.credentials import Credentials, connection_keys
from tests.support.tampering import KEY, TAMPERED, records


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
    ours, theirs = (connection_keys(bytes(32), b"hello", b"answer", dialling) for dialling in (True, False))
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert ours.send.hex() not in repr(ours)
    assert credentials.secret.hex() not in repr(credentials)


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_record_does_not_open(name):
    decryptor = encryption.Decryptor(KEY)
    parts = TAMPERED[name](records(b"one" * 50, b"two" * 50, b"three" * 50))
    with pytest.raises(ValueError, match=r"record \d (is not what the other end encrypted|has \d+ bytes)"):
        decryptor.feed(b"".join(parts))
    assert len(decryptor.room()) <= encryption.RECORD + 24


def test_the_package_is_required(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(caffeonspark.ConfigError, match=r"pip install 'cryptography>=42'"):
        encryption.require()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=4), st.data())
def test_an_encrypted_stream_is_decrypted_only_as_it_was_encrypted(contents, data):
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
