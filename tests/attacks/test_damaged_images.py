"""Image files that are damaged or that lie, in little memory: each is soon decoded or a bad record, nothing else."""

import functools
import io
import random
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from caffeonspark.data.decode import CannotDecode, decode_image
from caffeonspark.data.pool import drop_bad_images
from caffeonspark.data.records import ENCODED, BadRecord, BadRecordPolicy, BadRecords, Records, pack_image
from caffeonspark.data.store import RecordStore
from caffeonspark.data.tops import ImageTop
from tests.support.damage import in_child

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 40, 56
ROOM = 300 << 20  # bytes that decoding may take; the claims below would take gigabytes
SECONDS = 20.0  # for one image, on a machine with other work
TOP = ImageTop("data", (3, HEIGHT, WIDTH), channels=3)


def encoded(kind, height=HEIGHT, width=WIDTH, mode="RGB", **options):
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


FILES = {
    "JPEG": encoded("JPEG", quality=90),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "grey JPEG": encoded("JPEG", mode="L"),
    "CMYK JPEG": encoded("JPEG", mode="CMYK"),
    "PNG": encoded("PNG"),
    "palette PNG": encoded("PNG", mode="P"),
    "16 bit PNG": encoded("PNG", mode="I"),
    "GIF": encoded("GIF", mode="P"),
    "BMP": encoded("BMP"),
    "WEBP": encoded("WEBP"),
    "TIFF": encoded("TIFF"),
    "packed TIFF": encoded("TIFF", compression="tiff_lzw"),
    "PPM": encoded("PPM"),
}


# ---- lies


def jpeg_that_claims(height, width, kind="JPEG"):
    """The size in the header of the frame (SOF0 or SOF2) is another one, and little follows the start of the scan."""
    data = bytearray(FILES[kind])
    at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data[: data.index(b"\xff\xda") + 60])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height, width, pixels, *more, depth=8, colour=2):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")


def png_bomb(height, width):
    """Every pixel is there, packed a thousand times smaller."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    packed = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def with_number(kind, at, value, layout):
    data = bytearray(FILES[kind])
    struct.pack_into(layout, data, at, *value)
    return bytes(data)


def tiff_that_claims(height, width):
    """Tags 256 and 257 are the width and the height."""
    data = bytearray(FILES["TIFF"])
    (at,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, at)[0]):
        tag = struct.unpack_from("<H", data, at + 2 + 12 * entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", data, at + 2 + 12 * entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


SMALL = bytes((1 + 3 * WIDTH) * HEIGHT)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40000 40000\n%%EndComments\n"
#: Made when they are looked at: some take seconds.
LIES = {
    "JPEG 40000x40000": lambda: jpeg_that_claims(40_000, 40_000),
    "JPEG 65500x65500": lambda: jpeg_that_claims(65_500, 65_500),
    "progressive JPEG 40000x40000": lambda: jpeg_that_claims(40_000, 40_000, "progressive JPEG"),
    "CMYK JPEG 40000x40000": lambda: jpeg_that_claims(40_000, 40_000, "CMYK JPEG"),
    "JPEG within -maxPixels": lambda: jpeg_that_claims(9_900, 9_900),
    "JPEG of one row": lambda: jpeg_that_claims(1, 65_500),
    "JPEG without a row": lambda: jpeg_that_claims(0, 0),
    "PNG 40000x40000": lambda: png(40_000, 40_000, SMALL),
    "PNG 2147483647x2147483647": lambda: png((1 << 31) - 1, (1 << 31) - 1, SMALL),
    "PNG 0x0": lambda: png(0, 0, SMALL),
    "PNG bomb": lambda: png_bomb(40_000, 40_000),
    "PNG bomb within -maxPixels": lambda: png_bomb(9_900, 9_900),
    "PNG whose pixels go on": lambda: png(HEIGHT, WIDTH, bytes(400 << 20)),
    "PNG with a text bomb": lambda: png(
        HEIGHT, WIDTH, SMALL, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(400 << 20)))
    ),
    "PNG with a profile bomb": lambda: png(
        HEIGHT, WIDTH, SMALL, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(400 << 20)))
    ),
    "PNG with a chunk of 2 GB": lambda: png(HEIGHT, WIDTH, SMALL, struct.pack(">I", (1 << 31) - 1) + b"tEXtabc"),
    "GIF 65535x65535": lambda: with_number("GIF", 6, (65_535, 65_535), "<HH"),
    "BMP 40000x40000": lambda: with_number("BMP", 18, (40_000, 40_000), "<ii"),
    "BMP -2147483648": lambda: with_number("BMP", 18, (-(1 << 31), -(1 << 31)), "<ii"),
    "TIFF 40000x40000": lambda: tiff_that_claims(40_000, 40_000),
    "TIFF 4294967295x4294967295": lambda: tiff_that_claims((1 << 32) - 1, (1 << 32) - 1),
    "PPM 40000x40000": lambda: b"P6 40000 40000 255\n" + bytes(1000),
    "PPM of 10^30 pixels": lambda: b"P6 1" + b"0" * 30 + b" 1 255\n" + bytes(1000),
    "EPS, which would start Ghostscript": lambda: EPS,
}


@functools.lru_cache(maxsize=None)
def lie(name):
    return LIES[name]()


# ---- looking at them


def limit_memory():
    """This process may take ROOM beside what it has."""
    with open("/proc/self/statm") as f:
        mapped = int(f.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ROOM, mapped + ROOM))


def looked_at(files):
    """For each file: what became of it as a record, and as a first record; and the seconds that took."""
    limit_memory()
    found = []
    for data in files:
        start = time.monotonic()
        try:
            assert TOP.pixels(pack_image(ENCODED, (0, 0, 0), data), "x").shape == TOP.shape
            record = "decoded"
        except BadRecord as e:
            record = e.cause
        try:
            image = decode_image(data, 0, upright=False)
            assert image.ndim == 3
            assert image.dtype == np.uint8
        except CannotDecode:
            pass
        found.append([record, time.monotonic() - start])
    return found


def survive(files):
    """Each of the files is decoded or a bad record; their causes."""
    found = in_child(lambda: looked_at(files), timeout=SECONDS * len(files))
    if "signal" in found:
        if len(files) == 1:
            pytest.fail(f"signal {found['signal']} for {files[0]!r}")
        half = len(files) // 2
        return survive(files[:half]) + survive(files[half:])
    assert max(seconds for _, seconds in found) < SECONDS
    return [cause for cause, _ in found]


def mutated(data, chance):
    """Bytes changed, cut out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(min(len(changed), 64 if chance.random() < 0.3 else len(changed)))
        kind = chance.choice(["flip", "flip", "flip", "set", "cut", "truncate", "insert", "double"])
        if kind == "flip":
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == "set":
            changed[at : at + 4] = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
        elif kind == "cut":
            del changed[at : at + chance.randint(1, 40)]
        elif kind == "truncate" and at > 8:
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = chance.getrandbits(96).to_bytes(12, "little")
        else:
            changed[at:at] = changed[at : at + chance.randint(1, 200)]
    return bytes(changed)


def test_whole_ones_are_decoded_in_that_memory():
    assert survive(list(FILES.values())) == ["decoded"] * len(FILES)


@pytest.mark.parametrize("name", LIES)
def test_lies(name):
    (cause,) = survive([lie(name)])
    if name.startswith("PNG w") or name == "JPEG of one row":
        assert cause in ("decoded", "undecodable image", "wrong image size", "image too large")
    else:
        assert cause in ("undecodable image", "wrong image size", "image too large")


@pytest.mark.parametrize("seed", range(5))
def test_500_mutated(seed):
    chance = random.Random(seed)
    kinds = ["JPEG", "progressive JPEG", "grey JPEG", "PNG", "palette PNG", "PNG", "JPEG", *FILES]
    files = [mutated(FILES[kinds[number % len(kinds)]], chance) for number in range(100)]
    causes = survive(files)
    assert set(causes) <= {"decoded", "undecodable image", "wrong image size", "image too large"}
    assert len(set(causes)) > 1


@pytest.mark.parametrize("helpers", [0, 2])
def test_they_are_skipped_and_the_rest_is_used(tmp_path, helpers):
    """By way of a rank's store, with helper processes or without."""
    chance = random.Random(7)
    damaged = [mutated(chance.choice(list(FILES.values())), chance) for _ in range(100)] + [
        lie() for lie in LIES.values()
    ]
    records = [pack_image(ENCODED, (0, 0, 0), data) for data in (*damaged, *FILES.values())]

    def work():
        limit_memory()
        store = RecordStore([TOP], str(tmp_path))
        store.append(Records([str(n) for n in range(len(records))], [records], np.arange(len(records))))
        store.finish()
        bad = BadRecords("images", BadRecordPolicy(skip=True, maximum=1))
        drop_bad_images(store, bad, helpers)
        blob = np.empty((1, *TOP.shape), np.float32)
        for number in range(len(store)):
            TOP.fill(store.read(np.array([number]))[0], blob, np.zeros((1, 3)))
            assert np.isfinite(blob).all()
        return [bad.counts, store.indices.tolist()]

    counts, used = in_child(work, timeout=240)
    assert set(counts) <= {"undecodable image", "wrong image size", "image too large"}
    assert len(used) + sum(counts.values()) == len(records)
    assert used[-len(FILES) :] == list(range(len(damaged), len(records)))  # whole ones, whatever came before
    assert sum(counts.values()) > len(LIES) - 5
