"""Five hundred images with flipped bytes, cuts and lying headers, under a memory limit: bad records, nothing else."""

import io
import json
import random
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from caffeonspark import ENCODED, BadRecords, ImageTop, Records, pack_image
from caffeonspark.data.pool import drop_bad_images
from caffeonspark.data.records import BadRecordPolicy
from caffeonspark.data.store import RecordStore
from caffeonspark.data.transform import Transform
from caffeonspark.process import run_in_child

COUNT = 500
ROOM = 400 << 20  # bytes that the process may take beside what it has
FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM")


def images():
    rng = np.random.default_rng(5)
    for kind in FORMATS:
        for mode, shape in (("L", (24, 20)), ("RGB", (24, 20, 3))):
            out = io.BytesIO()
            image = Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8), mode)
            try:
                image.save(out, kind)
            except (KeyError, OSError):  # a format this Pillow does not write
                continue
            yield kind, out.getvalue()


def lying(draw, kind, content):
    """Its header claims another size."""
    height, width = (draw.choice((1, 23, 9_000, 10_001, 40_000, 65_535)) for _ in range(2))
    content = bytearray(content)
    if kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        content[18:26] = struct.pack("<II", width, height)
    elif kind == "PPM":
        content[:] = content.replace(b"20 24", b"%d %d" % (width, height), 1)
    return bytes(content)


def mutated(draw, kind, content):
    way = draw.randrange(4)
    if way == 0:
        return content[: draw.randrange(len(content))]
    if way == 1:
        return lying(draw, kind, content)
    damaged = bytearray(lying(draw, kind, content) if way == 2 else content)
    for _ in range(draw.choice((1, 3, 20))):
        damaged[draw.randrange(len(damaged) if draw.random() < 0.5 else 64)] = draw.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("helpers", [0, 2])
def test_damaged_images(tmp_path, helpers):
    draw, good = random.Random(7), list(images())
    chosen = [draw.choice(good) for _ in range(COUNT)]
    entries = [pack_image(ENCODED, (0, 0, 0), mutated(draw, *one)) for one in chosen]
    whole = [pack_image(ENCODED, (0, 0, 0), content) for _, content in good]

    def check(send):
        with open("/proc/self/statm") as f:
            has = int(f.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + ROOM, has + ROOM))
        store = RecordStore([ImageTop("x", (3, 16, 16), transform=Transform(crop=16), channels=3)], str(tmp_path))
        records = entries + whole
        store.append(Records([str(n) for n in range(len(records))], [records], np.arange(len(records))))
        store.finish()
        bad = BadRecords("images", BadRecordPolicy(skip=True, maximum=1))
        drop_bad_images(store, bad, helpers)
        blob, used = np.empty((1, 3, 16, 16), np.float32), 0
        for number in range(len(store)):
            store.tops[0].fill(store.read(np.array([number]))[0], blob, np.zeros((1, 3)))
            used += np.isfinite(blob).all()
        send(json.dumps([bad.counts, used + 0, store.indices[-len(whole) :].tolist()], default=int).encode())

    out, err, status = run_in_child(check, 240)
    assert status == 0, err.decode(errors="replace")[-2000:]
    counts, used, last = json.loads(out)
    assert used + sum(counts.values()) == COUNT + len(whole)
    assert last == list(range(COUNT, COUNT + len(whole)))  # whole ones can be used, whatever came before
    assert used > len(whole) + 20 and sum(counts.values()) > 100
    assert "crash of the decoder" not in counts, counts
    print(counts)
