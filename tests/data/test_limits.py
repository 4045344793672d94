"""Numbers that are not finite, images that claim too much, and records that end the process that decodes them."""

import io
import os
import re
import signal
import struct

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from caffeonspark import (
    ENCODED,
    RAW_FLOATS,
    BadRecord,
    BadRecords,
    Config,
    ConfigError,
    DataError,
    ImageTop,
    NumberTop,
    Records,
    pack_image,
)
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.decode import CannotDecode, decode_image
from caffeonspark.data.pool import PooledBatches, drop_bad_images
from caffeonspark.data.records import BadRecordPolicy
from caffeonspark.data.sources.registry import make_source
from caffeonspark.data.store import RecordStore
from caffeonspark.data.tops import without_bad_values
from caffeonspark.data.transform import Transform
from caffeonspark.errors import HelperLost, InfrastructureError
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.nets.schema import BlobProto, Datum
from tests.support.data_files import png_claiming, write_lmdb

SKIP = BadRecordPolicy(skip=True, maximum=1)


def opened(folder, text, **flags):
    net = parse_net(text.encode(), str(folder / "net.prototxt"))
    source = make_source(
        Config(None, **flags).run_config.for_sources, Net(net, str(folder / "net.prototxt"), TRAIN), net.layer[0]
    )
    source.open()
    return source


def read(source, bad):
    """The ids of the records that can be used."""
    found = []
    for records in source.reader().read(0, source.count(), 1, bad):
        found += without_bad_values(source.tops, records, bad).ids
    return found


# ---- NaN and infinity

HDF5 = 'layer { name: "d" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { source: "list.txt" batch_size: 2 } }'
LMDB = 'layer { name: "d" type: "Data" top: "x" top: "y" data_param { source: "lmdb" batch_size: 2 backend: LMDB } }'


def test_hdf5(tmp_path):
    x, y = np.zeros((6, 2, 3)), np.zeros(6)
    x[1, 1, 0], x[3, 0, 0], y[4], x[5, 0, 1] = np.nan, -np.inf, np.inf, 1e300  # the last only as float32
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["x"], f["y"] = x, y
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n")
    source = opened(tmp_path, HDF5)
    bad = BadRecords("the list", SKIP)
    assert read(source, bad) == ["0", "2"]
    assert bad.counts == {"not finite": 4}
    assert bad.examples[0] == "record '1': top 'x' holds nan (value 4 of 6)"
    assert bad.examples[2] == "record '4': top 'y' is inf"
    with pytest.raises(DataError, match=r"the list: record '1': top 'x' holds nan"):
        read(source, BadRecords("the list"))


def test_floats_in_datums(tmp_path):
    images = np.zeros((4, 1, 2, 2), np.float32)
    images[0, 0, 1, 1], images[2, 0, 0, 0] = np.nan, np.inf
    write_lmdb(tmp_path / "lmdb", images, np.zeros(4), floats=True)
    source = opened(tmp_path, LMDB)
    bad = BadRecords("lmdb", SKIP)
    assert read(source, bad) == ["00000001", "00000003"]
    assert bad.examples == [
        "record '00000000': top 'x' holds nan (value 4 of 4)",
        "record '00000002': top 'x' holds inf (value 1 of 4)",
    ]


def test_floats_that_are_cropped():
    """They stay as they are until they are used."""
    top = ImageTop("x", (1, 2, 2), transform=Transform(crop=2))
    image = np.zeros((1, 3, 3), np.float32)
    top.check(pack_image(RAW_FLOATS, image.shape, image.tobytes()))
    image[0, 2, 2] = np.nan
    with pytest.raises(BadRecord, match=r"record '': top 'x' holds nan \(value 9 of 9\)"):
        top.check(pack_image(RAW_FLOATS, image.shape, image.tobytes()))


def test_means_and_scales(tmp_path):
    write_lmdb(tmp_path / "lmdb", np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2))
    mean = BlobProto(num=1, channels=1, height=2, width=2, data=[0, 1, float("nan"), 2])
    (tmp_path / "mean").write_bytes(mean.SerializeToString())
    for param, match in (
        ('mean_file: "mean"', r"mean_file mean holds NaN or infinite values"),
        ("scale: nan", "scale and mean_value are finite"),
        ("mean_value: inf", "scale and mean_value are finite"),
    ):
        with pytest.raises(ConfigError, match=match):
            opened(tmp_path, LMDB.replace("data_param", f"transform_param {{ {param} }} data_param"))


def test_the_first_record_is_skipped_like_others(tmp_path):
    good = Datum(channels=1, height=2, width=2, data=b"abcd").SerializeToString()
    for first in (b"\xff\xff", Datum(encoded=True, data=png_claiming(40_000, 40_000)).SerializeToString()):
        folder = tmp_path / f"lmdb{len(first)}"
        with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
            transaction.put(b"a", first)
            transaction.put(b"b", good)
        text = LMDB.replace('"lmdb"', f'"{folder.name}"')
        with pytest.raises(DataError, match="record 'a'"):
            opened(tmp_path, text)
        source = opened(tmp_path, text, badRecords="skip")
        bad = BadRecords("lmdb", SKIP)
        assert read(source, bad) == ["b"]
        assert bad.total == 1


def test_image_lists(tmp_path):
    """Files that are none, and that no image could fill, are bad records, also the first one."""
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "huge.png", "wb") as f:
        f.truncate(1 << 40)
    names = ["pipe.png", "huge.png", "good.png", "none.png", "pipe.png"]
    (tmp_path / "list.txt").write_text("".join(f"{name} 1\n" for name in names))
    text = (
        'layer { name: "d" type: "ImageData" top: "x" top: "y" image_data_param { source: "list.txt" '
        f'root_folder: "{tmp_path}/" is_color: false }} }}'
    )
    with pytest.raises(DataError, match=r"pipe\.png: the image cannot be read: it is no file"):
        opened(tmp_path, text)
    source = opened(tmp_path, text, badRecords="skip")
    bad = BadRecords("the list", SKIP)
    assert read(source, bad) == ["good.png"]
    assert bad.counts == {"unreadable file": 3, "image too large": 1}
    assert "has 1099511627776 bytes, too many for -maxPixels 100000000" in bad.examples[1]


# ---- HDF5 that claims too much


def test_hdf5_that_claims_more_than_it_can_hold(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n")
    whole = 1 << 36
    for options, match in (
        ({"chunks": (1, 1 << 20), "compression": "gzip"}, "more than the file can hold"),
        ({}, "more than the file can hold"),
        ({"chunks": (1, 1 << 20)}, "more than the file can hold"),
        ({"chunks": (1, 1 << 29), "compression": "lzf"}, r"chunks of \d+ bytes"),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as f:
            f.create_dataset("x", (4, whole // 4), "f4", **options)
            f["y"] = np.zeros(4)
        with pytest.raises(DataError, match=rf"layer 'd': .*/a\.h5 is no HDF5Data file.*{match}"):
            opened(tmp_path, HDF5)
    with h5py.File(tmp_path / "a.h5", "w") as f:  # as much as deflate can make small
        f.create_dataset("x", data=np.zeros((4, 1 << 20), np.float32), compression="gzip", chunks=(1, 1 << 18))
        f["y"] = np.zeros(4)
    assert opened(tmp_path, HDF5).count() == 4


def test_large_records_come_in_smaller_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("caffeonspark.data.sources.hdf5._CHUNK_BYTES", 200)
    monkeypatch.setattr("caffeonspark.data.sources.datums._CHUNK_BYTES", 200)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["x"], f["y"] = np.arange(60.0).reshape(10, 6), np.arange(10)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n")
    write_lmdb(tmp_path / "lmdb", np.zeros((10, 1, 9, 9), np.uint8), np.zeros(10))
    source = opened(tmp_path, HDF5)
    for start, stop, step in ((0, 10, 1), (1, 10, 3)):
        chunks = list(source.reader().read(start, stop, step, BadRecords("d")))
        assert max(map(len, chunks)) == 3
        together = np.concatenate([records.columns[0] for records in chunks])
        np.testing.assert_array_equal(together, np.arange(60.0).reshape(10, 6)[start:stop:step])
        assert [int(n) for records in chunks for n in records.ids] == list(range(start, stop, step))
    chunks = list(opened(tmp_path, LMDB).reader().read(0, 10, 1, BadRecords("d")))
    assert len(chunks) > 2 and sum(map(len, chunks)) == 10


# ---- images that claim too much


def jpeg_claiming(height, width):
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG")
    content = bytearray(out.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("claiming", [jpeg_claiming, png_claiming])
def test_headers_are_read_before_memory_is_taken(claiming, monkeypatch):
    """The decoders are never asked."""
    data = claiming(40_000, 40_000)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(CannotDecode, match="its header says 40000x40000, which is more than -maxPixels 100000000"):
        decode_image(data)
    with pytest.raises(CannotDecode, match="its header says 9x8, which is more than -maxPixels 71"):
        decode_image(claiming(9, 8), max_pixels=71)
    entry = pack_image(ENCODED, (0, 0, 0), data)
    whole = ImageTop("x", (1, 8, 8), channels=1)
    for top, cause, found in (
        (whole, "wrong image size", "the image is 40000x40000 and does not fill the blob's 1x8x8"),
        (ImageTop("x", (1, 8, 8), channels=1, expect=(8, 8)), "wrong image size", "40000x40000, not 8x8"),
        (ImageTop("x", (1, 8, 8), channels=1, resize=(8, 8)), "undecodable image", "-maxPixels 100000000"),
        (ImageTop("x", (1, 8, 8), channels=1, transform=Transform(crop=8)), "undecodable image", "-maxPixels"),
    ):
        with pytest.raises(BadRecord, match=re.escape(found)) as raised:
            top.check(entry)
        assert raised.value.cause == cause
    with pytest.raises(BadRecord, match="40000x40000 where the record says 8x8"):
        whole.check(pack_image(ENCODED, (0, 8, 8), data))


def test_max_pixels_is_a_flag(tmp_path):
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    write_lmdb(tmp_path / "lmdb", np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2), encoded=lambda image: out.getvalue())
    assert opened(tmp_path, LMDB, maxPixels=64).tops[0].max_pixels == 64
    with pytest.raises(DataError, match=r"record '00000000': .* its header says 8x8, which is more than -maxPixels 63"):
        opened(tmp_path, LMDB, maxPixels=63)


def test_turned_images_are_compared_as_they_will_be():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 4)).save(out, "JPEG", exif=exif)
    entry = pack_image(ENCODED, (0, 0, 0), out.getvalue())
    assert ImageTop("x", (1, 8, 4), channels=1).pixels(entry).shape == (1, 8, 4)
    with pytest.raises(BadRecord, match="the image is 8x4 "):
        ImageTop("x", (1, 4, 8), channels=1).pixels(entry)


def test_formats_that_start_programs_are_not_read():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
    with pytest.raises(CannotDecode, match="it is EPS"):
        decode_image(eps)


def test_no_memory_is_a_bad_record(monkeypatch):
    def none_left(*args):
        raise MemoryError

    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG")
    entry = pack_image(ENCODED, (0, 0, 0), out.getvalue())
    monkeypatch.setattr("simplejpeg.decode_jpeg", none_left)
    with pytest.raises(BadRecord, match="not enough memory"):
        ImageTop("x", (1, 8, 8), channels=1).check(entry)
    monkeypatch.undo()
    monkeypatch.setattr("caffeonspark.data.tops.resize", none_left)
    with pytest.raises(BadRecord, match="not enough memory"):
        ImageTop("x", (1, 4, 4), channels=1, resize=(4, 4)).check(entry)


# ---- records that end their decoder


class Poisoned(ImageTop):
    """Its images are a signal each, 0 for none."""

    def pixels(self, entry, record="", row=None):
        number = entry[-1]
        if number:
            os.kill(os.getpid(), number)
        return np.zeros((1, 2, 2), np.uint8)


def poisoned(folder, signals):
    store = RecordStore([Poisoned("x", (1, 2, 2))], str(folder))
    entries = [pack_image(ENCODED, (0, 0, 0), bytes([number])) for number in signals]
    store.append(Records([f"r{n}" for n in range(len(entries))], [entries], np.arange(len(entries))))
    store.finish()
    return store


@pytest.mark.parametrize("helpers", [1, 2, 3])
def test_they_are_skipped_before_training(tmp_path, helpers):
    signals = [0] * 100
    for place, number in ((3, signal.SIGSEGV), (4, signal.SIGKILL), (40, signal.SIGABRT), (99, signal.SIGBUS)):
        signals[place] = number
    store, bad = poisoned(tmp_path, signals), BadRecords("the source", SKIP)
    drop_bad_images(store, bad, helpers)
    assert bad.counts == {"crash of the decoder": 4}
    assert bad.examples[0] == "record 'r3': decoding the image ends the process with SIGSEGV"
    assert len(store) == 96 and store.indices.tolist() == [n for n in range(100) if not signals[n]]
    with pytest.raises(DataError, match=r"the source: record 'r3': decoding the image ends the process with SIGSEGV"):
        drop_bad_images(poisoned(tmp_path, signals), BadRecords("the source"), helpers)


@pytest.mark.parametrize("helpers", [1, 2])
@pytest.mark.parametrize(
    "number, kind, match",
    [
        (signal.SIGSEGV, DataError, "the source: a decoder process ended at record 'r5' with SIGSEGV"),
        (signal.SIGKILL, HelperLost, "at record 'r5' with SIGKILL .killed, or out of memory"),
    ],
)
def test_they_are_named_in_training(tmp_path, helpers, number, kind, match):
    store = poisoned(tmp_path, [0] * 5 + [number] + [0] * 2)
    pool = PooledBatches(Batches(store, 2, BatchRandom(1, 0, 0), shuffle=False, name="the source"), helpers)
    blobs = [np.empty((2, 1, 2, 2), np.float32)]
    pool.load(blobs)
    pool.load(blobs)
    with pytest.raises(kind, match=match) as raised:
        pool.load(blobs)
    assert isinstance(raised.value, InfrastructureError) == (kind is HelperLost)
    pool.close()


@pytest.mark.parametrize(
    ("columns", "index"),
    [
        ([np.zeros((2, 3))], 2),  # three values where two are taken
        ([np.zeros((1, 2))], 2),
        ([np.zeros((4, 1))], 2),  # as many numbers, of other records
        ([np.zeros((2, 2))] * 2, 2),
        ([np.zeros((2, 2))], 1),
    ],
)
def test_own_sources_give_what_their_tops_are_of(columns, index):
    records = Records(["a", "b"], columns, np.arange(index))
    with pytest.raises(DataError, match=r"^own: the reader gave "):
        without_bad_values([NumberTop("x", (2,))], records, BadRecords("own", SKIP))


def test_numbers_of_own_sources_are_checked_as_float32():
    top = NumberTop("x", (2,))
    bad = BadRecords("own", SKIP)
    records = Records(["a", "b"], [np.array([[0, 1e39], [0, 1]])], np.arange(2))
    assert without_bad_values([top], records, bad).ids == ["b"]
    assert bad.examples == ["record 'a': top 'x' holds inf (value 2 of 2)"]
