"""Images that another process decodes: the same pixels, and the same errors where there are none."""

import io
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from caffeonspark.data.ahead import Decoder, decoded_ahead
from caffeonspark.data.records import ENCODED, RAW_BYTES, BadRecord, Records, pack_image
from caffeonspark.data.tops import ImageTop, NumberTop
from caffeonspark.data.transform import Transform

SHAPE = (3, 20, 24)
TOP = ImageTop("data", (3, 8, 8), transform=Transform(crop=8, mean=np.ones((3, 1, 1), np.float32)), channels=3)
LABEL = NumberTop("label", ())


def encoded(seed, kind="PNG"):
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SHAPE[1], SHAPE[2], 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return pack_image(ENCODED, (0, 0, 0), out.getvalue())


def chunk(entries, first=0):
    count = len(entries)
    ids = [f"r{number}" for number in range(first, first + count)]
    return [Records(ids, [list(entries), np.arange(count, dtype=np.float32)], np.arange(first, first + count))]


@pytest.fixture
def decoder():
    one = Decoder()
    yield one
    one.close()


def filled(chunk, top=TOP):
    column = chunk[0].columns[0]
    out = np.zeros((len(column), *top.shape), np.float32)
    top.fill(column, out, np.zeros((len(column), 3)))
    return out


def ahead(chunks, decoder, top=TOP):
    """What is filled of each chunk, while it is given; and whether its images were decoded."""
    found = []
    for one in decoded_ahead(iter(chunks), [(top, LABEL)], decoder):
        decoded = [isinstance(entry, np.ndarray) for entry in one[0].columns[0]]
        found.append((filled(one, top), decoded, one[0].ids, one[0].columns[1].tolist()))
    return found


def test_the_same_pixels_in_the_same_order(decoder):
    chunks = [
        chunk([encoded(10 * k + n, "JPEG" if n % 2 else "PNG") for n in range(size)], 10 * k)
        for k, size in enumerate([4, 4, 1, 3, 4, 2])
    ]
    found = ahead(chunks, decoder)
    assert len(found) == len(chunks)
    for (pixels, decoded, ids, labels), given in zip(found, chunks):
        assert all(decoded)
        np.testing.assert_array_equal(pixels, filled(given))
        assert (ids, labels) == (given[0].ids, given[0].columns[1].tolist())


@pytest.mark.parametrize(
    "top",
    [
        ImageTop("data", SHAPE, channels=3, transform=Transform(scale=0.5, mean=np.ones(SHAPE, np.float32))),
        ImageTop("data", SHAPE, channels=3, expect=SHAPE[1:]),
        ImageTop("data", tuple(np.array(SHAPE)), channels=np.int32(3), max_pixels=np.int64(10**9)),
        ImageTop("data", (1, 9, 7), channels=1, resize=(9, 7), upright=False),
        ImageTop("data", (1, 5, 5), channels=1, resize=(9, 7), transform=Transform(crop=5, train=True, mirror=True)),
    ],
)
def test_tops_of_all_kinds(decoder, top):
    given = chunk([encoded(1), encoded(2, "JPEG")])
    ((pixels, decoded, _, _),) = ahead([given], decoder, top)
    assert all(decoded)
    np.testing.assert_array_equal(pixels, filled(given, top))


@pytest.mark.parametrize(
    "top",
    [
        ImageTop("data", SHAPE, channels=3, expect=(20, 20)),
        ImageTop("data", SHAPE, channels=3, max_pixels=100),
        ImageTop("data", (3, 30, 30), channels=3, transform=Transform(crop=30)),
        ImageTop("data", SHAPE, channels=3, transform=Transform(mean=np.ones((3, 9, 9), np.float32))),
    ],
)
def test_images_that_a_top_refuses(decoder, top):
    (given,) = decoded_ahead(iter([chunk([encoded(1)])]), [(top, LABEL)], decoder)
    assert isinstance(given[0].columns[0][0], bytes)
    with pytest.raises(BadRecord):
        filled(given, top)


def test_one_process_for_one_task_after_the_other(decoder):
    other = ImageTop("data", (1, 20, 24), channels=1)
    chunks = [chunk([encoded(n)]) for n in range(3)]
    first = ahead(chunks, decoder)
    child = decoder._process.pid
    second = ahead(chunks, decoder, other)
    assert decoder._process.pid == child
    assert [one[0].shape for one in first + second] == [(1, 3, 8, 8)] * 3 + [(1, 1, 20, 24)] * 3
    for (pixels, decoded, _, _), given in zip(second, chunks):
        assert all(decoded)
        np.testing.assert_array_equal(pixels, filled(given, other))


def test_a_task_that_stops_half_way(decoder):
    chunks = [chunk([encoded(n)]) for n in range(5)]
    stopped = decoded_ahead(iter(chunks), [(TOP, LABEL)], decoder)
    next(stopped)
    stopped.close()
    again = ahead(chunks[2:], decoder)
    for (pixels, decoded, _, _), given in zip(again, chunks[2:]):
        assert all(decoded)
        np.testing.assert_array_equal(pixels, filled(given))


def test_two_at_a_time(decoder):
    """The one that comes second is given what there is, as it is."""
    one, other = (decoded_ahead(iter([chunk([encoded(n)]) for n in range(3)]), [(TOP, LABEL)], decoder) for _ in "ab")
    kinds = [[type(given[0].columns[0][0]) for given in both] for both in zip(one, other)]
    assert kinds == [[np.ndarray, bytes]] * 3


def test_what_cannot_be_decoded_is_found_by_who_needs_it(decoder):
    bad = pack_image(ENCODED, (0, 0, 0), b"no image")
    raw = pack_image(RAW_BYTES, SHAPE, np.full(SHAPE, 7, np.uint8).tobytes())
    (given,) = decoded_ahead(iter([chunk([encoded(1), bad, raw])]), [(TOP, LABEL)], decoder)
    column = given[0].columns[0]
    assert [isinstance(entry, np.ndarray) for entry in column] == [True, False, False]
    assert column[1:] == [bad, raw]
    with pytest.raises(BadRecord, match="cannot be decoded") as e:
        filled(given)
    assert e.value.row == 1


def test_raw_images_need_no_process(decoder):
    raw = pack_image(RAW_BYTES, SHAPE, np.full(SHAPE, 7, np.uint8).tobytes())
    (found,) = ahead([chunk([raw, raw])], decoder)
    assert found[1] == [False, False]
    assert decoder._process is None


def test_images_of_any_size_are_left_alone(decoder):
    top = ImageTop("data", (3, 0, 0), channels=3, any_size=True)
    (given,) = decoded_ahead(iter([chunk([encoded(1)])]), [(top, LABEL)], decoder)
    assert isinstance(given[0].columns[0][0], bytes)


def test_more_pixels_than_there_is_room_for(decoder):
    big = ImageTop("data", (3, 3000, 3000), channels=3, resize=(3000, 3000))
    (given,) = decoded_ahead(iter([chunk([encoded(n) for n in range(4)])]), [(big, LABEL)], decoder)
    assert [isinstance(entry, np.ndarray) for entry in given[0].columns[0]] == [True, True, False, False]


def test_a_process_that_was_killed(decoder):
    chunks = [chunk([encoded(n)]) for n in range(6)]
    found = []
    for number, one in enumerate(decoded_ahead(iter(chunks), [(TOP, LABEL)], decoder)):
        found.append(filled(one))
        if number == 1:
            os.kill(decoder._process.pid, signal.SIGKILL)
    assert decoder.ended
    assert len(found) == len(chunks)
    for pixels, given in zip(found, chunks):
        np.testing.assert_array_equal(pixels, filled(given))


def test_it_ends_with_the_process_that_started_it():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        decoder = Decoder()
        list(decoded_ahead(iter([chunk([encoded(1)])]), [(TOP, LABEL)], decoder))
        os.write(write, str(decoder._process.pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    helper = int(os.read(read, 100))
    for fd in (read, write):
        os.close(fd)
    for _ in range(100):
        if not os.path.exists(f"/proc/{helper}") or "zombie" in open(f"/proc/{helper}/status").read():
            return
        time.sleep(0.1)
    pytest.fail("the process is still there")


def test_nothing_is_left(decoder):
    before = set(os.listdir("/proc/self/fd"))
    one = Decoder()
    ahead([chunk([encoded(1)])], one)
    assert not os.path.exists(f"/proc/{one._process.pid}") or one._process.poll() is None
    one.close()
    assert not os.path.exists(f"/proc/{one._process.pid}")
    assert set(os.listdir("/proc/self/fd")) == before


def test_without_a_decoder_nothing_is_asked_for_early():
    asked = []

    def chunks():
        for number in range(3):
            asked.append(number)
            yield chunk([encoded(number)])

    given = decoded_ahead(chunks(), [(TOP, LABEL)], None)
    next(given)
    assert asked == [0]
