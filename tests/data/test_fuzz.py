"""Mutated records: each is a correct sample or a counted bad record, and its neighbours stay as they are."""

import io

import lmdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from caffeonspark.data.decode import CannotDecode, decode_image
from caffeonspark.data.records import BadRecord, BadRecordPolicy, BadRecords, unpack_image
from caffeonspark.data.sources.dataframe import CoSDataReader, CoSTop
from caffeonspark.data.sources.datums import DatumReader
from caffeonspark.data.sources.images import ImageRowsReader
from caffeonspark.data.sources.sequence_file import parse_key, write_key
from caffeonspark.data.tops import ImageTop, NumberTop
from caffeonspark.nets.schema import Datum

EXAMPLES = settings(
    max_examples=500, deadline=60_000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SHAPE = (3, 6, 7)


@st.composite
def mutations(draw, data):
    """Bytes with some of them changed, cut out, doubled or added."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.sampled_from(["set", "cut", "truncate", "insert", "double"]))
        if kind == "set" and changed:
            changed[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[at : at + draw(st.integers(1, 20))]
        elif kind == "truncate":
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = draw(st.binary(min_size=1, max_size=12))
        else:
            changed[at:at] = changed[at : at + draw(st.integers(1, 30))]
    return bytes(changed)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)


def encoded(image, kind, **options):
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[::-1].transpose(1, 2, 0))).save(out, kind, **options)
    return out.getvalue()


JPEG = encoded(picture(0), "JPEG", quality=95)
PNG = encoded(picture(0), "PNG")


def datum_bytes(label, image, **fields):
    channels, height, width = SHAPE
    return Datum(
        channels=channels, height=height, width=width, data=image.tobytes(), label=label, **fields
    ).SerializeToString()


RAW_TOP = NumberTop("data", SHAPE, dtype="uint8")
IMAGE_TOP = ImageTop("data", SHAPE, channels=3)


def skipping():
    return BadRecords("test", BadRecordPolicy(skip=True, maximum=1.0))


def read_lmdb(folder, values, top):
    """The records of an LMDB with these values."""
    with lmdb.open(str(folder), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        transaction.drop(env.open_db(None, transaction), delete=False)
        for number, value in enumerate(values):
            transaction.put(b"%04d" % number, value)
    bad = skipping()
    chunks = list(DatumReader(str(folder), top, True).read(0, len(values), 1, bad))
    ids = [name for chunk in chunks for name in chunk.ids]
    columns = [[row for chunk in chunks for row in chunk.columns[k]] for k in range(2)]
    return ids, columns, bad


@pytest.mark.parametrize("kind", ["raw", "float", "encoded"])
def test_datums(tmp_path, kind):
    if kind == "encoded":
        mine = Datum(encoded=True, data=PNG, label=5).SerializeToString()
    elif kind == "float":
        mine = Datum(channels=1, height=2, width=3, float_data=[1, 2, 3, 4, 5, 6.5], label=5).SerializeToString()
    else:
        mine = datum_bytes(5, picture(0))
    top = IMAGE_TOP if kind == "encoded" else RAW_TOP
    neighbours = [datum_bytes(3, picture(1)), datum_bytes(8, picture(2))]

    @settings(EXAMPLES, max_examples=170)
    @given(mutations(mine))
    def check(value):
        ids, (images, labels), bad = read_lmdb(tmp_path / "lmdb", [neighbours[0], value, neighbours[1]], top)
        assert ids in (["0000", "0002"], ["0000", "0001", "0002"])
        assert bad.total == 3 - len(ids)
        assert (labels[0], labels[-1]) == (3, 8)
        for image, seed in ((images[0], 1), (images[-1], 2)):
            pixels = image if kind != "encoded" else IMAGE_TOP.pixels(image, "")
            np.testing.assert_array_equal(pixels, picture(seed))
        if len(ids) == 3:
            datum = Datum.FromString(value)
            assert labels[1] == np.float32(datum.label)
            if datum.encoded:
                assert kind == "encoded" or images[1].shape == SHAPE
            elif kind != "encoded":
                np.testing.assert_array_equal(images[1].tobytes(), datum.data)
            if kind == "encoded":
                check_pixels(images[1])

    check()


def check_pixels(entry):
    """An entry is an image of the right shape or a bad record."""
    try:
        assert IMAGE_TOP.pixels(entry, "x").shape == SHAPE
    except BadRecord as e:
        assert e.cause in ("undecodable image", "wrong image size")


@pytest.mark.parametrize("original", [JPEG, PNG], ids=["JPEG", "PNG"])
def test_image_files(original):
    @settings(EXAMPLES, max_examples=250)
    @given(mutations(original), st.sampled_from([0, 1, 3]))
    def check(data, channels):
        try:
            image = decode_image(data, channels)
        except CannotDecode:
            return
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[0] in ((1, 3) if channels == 0 else (channels,))

    check()


values = st.one_of(
    st.none(),
    st.integers(-5, 300).map(float),
    st.floats(width=32),
)


@settings(EXAMPLES)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-3, 12).map(str), st.text(max_size=4), st.just("1e400")),
            st.one_of(st.none(), st.lists(values, min_size=0, max_size=5), st.just([1.0, 2.0, 3.0])),
            st.one_of(
                st.none(), st.binary(max_size=30), st.just(picture(4).transpose(1, 2, 0).tobytes()), st.just(PNG)
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rows(rows):
    """Every row is bad for a reason or has exactly its own values."""
    tops = (
        CoSTop("label", "STRING", NumberTop("label", ())),
        CoSTop("array", "FLOAT_ARRAY", NumberTop("array", (3,))),
        CoSTop("image", "RAW_IMAGE", NumberTop("image", SHAPE, dtype="uint8"), SHAPE),
    )
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([f"r{n}" for n in range(len(rows))]),
            pa.array([row[0] for row in rows], pa.string()),
            pa.array([row[1] for row in rows], pa.list_(pa.float32())),
            pa.array([row[2] for row in rows], pa.binary()),
        ],
        names=["SampleID", "label", "array", "image"],
    )
    bad = skipping()
    records = CoSDataReader(tops).decode(batch, bad)
    assert len(records) + bad.total == len(rows)
    for position, name in enumerate(records.ids):
        label, array, image = rows[int(name[1:])]
        assert records.columns[0][position] == np.float32(float(label))
        np.testing.assert_array_equal(records.columns[1][position], np.float32(array))
        assert records.columns[2][position].transpose(1, 2, 0).tobytes() == image
        assert records.index[position] == int(name[1:])
    for number, (label, array, image) in enumerate(rows):
        if f"r{number}" not in records.ids:
            continue
        assert None not in (label, array, image)
        assert len(array) == 3
        assert np.isfinite(np.float32(array)).all()


@settings(EXAMPLES, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.sampled_from(["3", "x", "-1"])),
            st.one_of(st.none(), st.integers(-1, 4)),
            st.one_of(st.none(), st.integers(-1, 8)),
            st.one_of(st.none(), st.integers(-1, 8)),
            st.booleans(),
            st.one_of(st.none(), mutations(PNG), st.just(PNG), st.just(picture(4).transpose(1, 2, 0).tobytes())),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_image_rows(rows):
    names = ["label", "channels", "height", "width", "encoded", "data"]
    types = [pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.bool_(), pa.binary()]
    arrays = [pa.array([row[k] for row in rows], kind) for k, kind in enumerate(types)]
    ids = pa.array([f"r{n}" for n in range(len(rows))])
    batch = pa.RecordBatch.from_arrays([ids, *arrays], names=["SampleID", *names])
    bad = skipping()
    records = ImageRowsReader(IMAGE_TOP, True).decode(batch, bad)
    assert len(records) + bad.total == len(rows)
    for entry, label, name in zip(records.columns[0], records.columns[1], records.ids):
        row = rows[int(name[1:])]
        assert label == float(row[0])
        kind, _, data = unpack_image(entry)
        if kind == b"E":
            assert bytes(data) == row[5]
        check_pixels(entry)


KEYS = [
    b"\xac\xed\x00\x05sr\x00\x1acom.yahoo.ml.dl.caffe.Pair\x00\x00\x00\x00\x00\x00\x00\x01\x02\x00\x02L\x00\x05firstt"
    b"\x00\x12Ljava/lang/Object;L\x00\x06secondq\x00~\x00\x01xpt\x00\x02idt\x00\x015",
    write_key(("id", "5", 3, 20, 30, True)).encode(),
]


@pytest.mark.parametrize("original", KEYS, ids=["java", "text"])
def test_keys(original):
    @settings(EXAMPLES, max_examples=250)
    @given(mutations(original))
    def check(data):
        try:
            name, label, channels, height, width, is_encoded = parse_key(data)
        except BadRecord as e:
            assert e.cause == "unreadable key"
            return
        assert isinstance(name, str)
        assert isinstance(label, str)
        assert all(isinstance(size, int) for size in (channels, height, width))
        assert isinstance(is_encoded, bool)

    check()
