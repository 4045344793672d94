"""Frames: good ones, bad ones and fuzzed ones, in bounded memory."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffeonspark.comm import encryption
from caffeonspark.comm.wire import Frame, FrameBuffer, Wire
from caffeonspark.errors import TrainingError
from tests.support.guard import MODES
from tests.support.tampering import BAD_FRAMES


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
