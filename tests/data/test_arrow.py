"""Columns of Arrow to arrays: all rows at once where they are alike, and one by one otherwise, are the same."""

import numpy as np
import pyarrow as pa
import pytest

from caffeonspark.data.arrow import fixed_bytes, numbers
from caffeonspark.data.records import SAMPLE_ID, BadRecordPolicy, BadRecords
from caffeonspark.data.sources.dataframe import CoSDataReader, CoSTop
from caffeonspark.data.sources.images import ImageRowsReader
from caffeonspark.data.tops import NumberTop

SHAPE = (3, 4, 6)
IMAGES = np.random.default_rng(1).integers(0, 256, (9, *SHAPE)).astype(np.uint8)
RAW = NumberTop("data", SHAPE, dtype="uint8")


def content(rows):
    return [image.transpose(1, 2, 0).tobytes() for image in IMAGES[rows]]


def decoded(reader, batch):
    records = reader.decode(batch, BadRecords("here", BadRecordPolicy(skip=True)))
    return records.index.tolist(), records.columns[0]


def test_fixed_bytes():
    values = pa.array([b"abc", b"def", b"ghi", b"jkl"], pa.binary())
    assert fixed_bytes(values.slice(1, 2), 3).tobytes() == b"defghi"
    for other in ([b"abc", b"de"], [b"abc", None], []):
        assert fixed_bytes(pa.array(other, pa.binary()), 3) is None


@pytest.mark.parametrize("hole", [False, True])
def test_raw_images_of_a_cos_layer(hole):
    values = content(slice(None))
    if hole:
        values[4] = None
    batch = pa.record_batch([pa.array(map(str, range(9))), pa.array(values, pa.binary())], names=[SAMPLE_ID, "data"])
    index, images = decoded(CoSDataReader((CoSTop("data", "RAW_IMAGE", RAW, SHAPE),)), batch.slice(2, 6))
    assert index == ([0, 1, 3, 4, 5] if hole else list(range(6)))
    np.testing.assert_array_equal(images, IMAGES[2:8][index])


SIZES = {
    "not stated": [None] * 9,
    "stated": [4] * 9,
    "stated by some": [4, None, 0, 4, 4, None, 4, 4, 0],
}


@pytest.mark.parametrize("stated", SIZES)
def test_raw_images_of_an_image_layer(stated):
    heights = SIZES[stated]
    widths = [height and 6 for height in heights]
    columns = {
        SAMPLE_ID: pa.array(map(str, range(9))),
        "data": pa.array(content(slice(None)), pa.binary()),
        "channels": pa.array([None if height is None else 3 for height in heights], pa.int32()),
        "height": pa.array(heights, pa.int32()),
        "width": pa.array(widths, pa.int32()),
        "encoded": pa.array([False] * 9),
    }
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    index, images = decoded(ImageRowsReader(RAW, False), batch)
    assert index == list(range(9))
    np.testing.assert_array_equal(images, IMAGES)
    wrong = batch.set_column(3, "height", pa.array([4] * 8 + [5], pa.int32()))
    bad = [8] if widths[8] else []  # a size is height and width
    assert decoded(ImageRowsReader(RAW, False), wrong)[0] == [row for row in range(9) if row not in bad]


def test_arrays_of_a_slice():
    values = pa.array([[1.0, 2.0], [3.0, 4.0], None, [5.0], [6.0, 7.0]], pa.list_(pa.float32()))
    batch = pa.record_batch([pa.array(map(str, range(5))), values], names=[SAMPLE_ID, "x"])
    reader = CoSDataReader((CoSTop("x", "FLOAT_ARRAY", NumberTop("x", (2,))),))
    index, found = decoded(reader, batch.slice(1, 4))
    assert (index, found.tolist()) == ([0, 3], [[3, 4], [6, 7]])
    index, found = decoded(reader, batch.slice(1, 1))
    assert (index, found.tolist()) == ([0], [[3, 4]])


@pytest.mark.parametrize("text", ["1_0", "٣", "0x1", "1d", "1e", "", " ", "1 0", "--1", "e5", "infinit"])
def test_text_that_is_no_number(text):
    """Not even what Python's float takes and Spark and Caffe do not."""
    said = []
    assert numbers(pa.array([text, "2"]), lambda *told: said.append(told)).tolist() == [0, 2]
    assert said == [(0, "not a number", f"is '{text}', no number")]


@pytest.mark.parametrize(
    ("text", "value"), [(" 1 ", 1), ("+1.50", 1.5), (".5", 0.5), ("5.", 5), ("1E+2", 100), ("-0", 0)]
)
def test_text_that_is_a_number(text, value):
    assert numbers(pa.array([text]), None).tolist() == [value]
