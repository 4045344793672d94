"""CoSData layers: all eight types, from every Spark type that means the same."""

import decimal
import io

import numpy as np
import pytest
from PIL import Image
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row
from pyspark.sql import types as T

from caffeonspark.api.config import Config
from caffeonspark.api.sources import DataSource
from caffeonspark.data.records import BadRecords
from caffeonspark.errors import ConfigError, DataError

BLOCKS = {
    "STRING": "type: STRING sample_num_axes: 0",
    "INT": "type: INT sample_num_axes: 0",
    "FLOAT": "type: FLOAT channels: 1 height: 1 width: 1",
    "INT_ARRAY": "type: INT_ARRAY channels: 2 height: 3 sample_num_axes: 2",
    "FLOAT_ARRAY": "type: FLOAT_ARRAY channels: 6 sample_num_axes: 1",
    "TRANSPOSED": "type: FLOAT_ARRAY channels: 6 sample_num_axes: 1 transpose: true",
    "RAW_IMAGE": "type: RAW_IMAGE channels: 3 height: 4 width: 5 transform_param { scale: 2 }",
    "CROPPED": "type: RAW_IMAGE channels: 3 height: 4 width: 5 transform_param { crop_size: 2 }"
    " out_channels: 3 out_height: 2 out_width: 2",
    "ENCODED_IMAGE": "type: ENCODED_IMAGE channels: 3 height: 4 width: 5 transform_param { mean_value: 1 }",
    "ENCODED_IMAGE_WITH_DIM": "type: ENCODED_IMAGE_WITH_DIM channels: 3 height: 4 width: 5 transform_param { }",
}


def source_for(spark, folder, frame, *blocks, **flags):
    """A source whose layer has these top blocks, one for each column of the frame but the id."""
    names = [name for name in frame.columns if name not in ("id", "SampleID")]
    tops = " ".join(f'top: "{name}"' for name in names)
    specs = " ".join(f'top {{ name: "{name}" {block} }}' for name, block in zip(names, blocks))
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    (folder / "net.prototxt").write_text(
        f'layer {{ name: "data" type: "CoSData" {tops} source_class: "DataFrameSource" '
        f"cos_data_param {{ batch_size: 2 {specs} }} }}\n"
        f'layer {{ name: "silence" type: "Silence" {bottoms} }}\n'
    )
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    config = Config(spark, conf=str(folder / "solver.prototxt"), **flags)
    return DataSource(spark).getSource(config, True, frame)


def blobs_of(source):
    """The blobs of all rows of the source's frame as one batch, by top."""
    layer = source.plan.layers[0]
    found = {top.name: [] for top in layer.tops}
    ids = []
    for batch in source.sources[0].frame()._collect_as_arrow():
        records = layer.reader.decode(batch, BadRecords(layer.description))
        ids += records.ids
        for top, column in zip(layer.tops, records.columns):
            out = np.full((len(records), *top.shape), np.nan, np.float32)
            top.fill(column, out, np.zeros((len(records), 3)))
            found[top.name].append(out)
    return ids, {name: np.concatenate(parts) for name, parts in found.items()}


NUMBERS = {
    "byte": (T.ByteType(), 7),
    "short": (T.ShortType(), 7),
    "int": (T.IntegerType(), 7),
    "long": (T.LongType(), 7),
    "float": (T.FloatType(), 7.0),
    "double": (T.DoubleType(), 7.0),
    "decimal": (T.DecimalType(10, 3), decimal.Decimal("7.000")),
    "string": (T.StringType(), " 7 "),
    "boolean": (T.BooleanType(), True),
}


@pytest.mark.parametrize("kind", ["STRING", "INT", "FLOAT"])
def test_scalars(spark, tmp_path, kind):
    schema = T.StructType([T.StructField(name, kind) for name, (kind, _) in NUMBERS.items()])
    frame = spark.createDataFrame([tuple(value for _, value in NUMBERS.values())], schema)
    source = source_for(spark, tmp_path, frame, *[BLOCKS[kind]] * len(NUMBERS))
    _, blobs = blobs_of(source)
    for name, blob in blobs.items():
        assert blob.reshape(-1).tolist() == [1 if name == "boolean" else 7], name
        assert blob.shape == ((1, 1, 1, 1) if kind == "FLOAT" else (1,))


@pytest.mark.parametrize("kind", ["INT_ARRAY", "FLOAT_ARRAY", "TRANSPOSED"])
def test_arrays(spark, tmp_path, kind):
    values = [3, -1, 4, 1, -5, 9]
    rows = [
        Row(
            id=f"r{n}",
            python=[v + n for v in values],
            doubles=[float(v + n) for v in values],
            decimals=[decimal.Decimal(v + n) for v in values],
            dense=Vectors.dense([v + n for v in values]),
            sparse=Vectors.sparse(6, {i: v + n for i, v in enumerate(values) if v + n}),
        )
        for n in range(3)
    ]
    frame = spark.createDataFrame(rows)
    source = source_for(spark, tmp_path, frame, *[BLOCKS[kind]] * 5)
    ids, blobs = blobs_of(source)
    assert ids == ["r0", "r1", "r2"]
    for name, blob in blobs.items():
        expected = np.float32([[v + n for v in values] for n in range(3)])
        np.testing.assert_array_equal(blob.reshape(3, -1), expected, name)
        assert blob.shape[1:] == ((2, 3) if kind == "INT_ARRAY" else (6,))
    top = source.plan.layers[0].tops[0]
    assert top.blob_shape(2) == {"INT_ARRAY": (2, 2, 3), "FLOAT_ARRAY": (2, 6), "TRANSPOSED": (6, 2)}[kind]
    assert source.plan.shapes["python"] == top.blob_shape(2)


def png(pixels):
    """(height, width, 3) RGB as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_images(spark, tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    rows = [
        Row(
            raw=bytearray(p.tobytes()),
            cropped=bytearray(p.tobytes()),
            encoded=bytearray(png(p)),
            with_dim=Row(height=4, width=5, image=bytearray(png(p))),
        )
        for p in pixels
    ]
    frame = spark.createDataFrame(rows)
    kinds = ("RAW_IMAGE", "CROPPED", "ENCODED_IMAGE", "ENCODED_IMAGE_WITH_DIM")
    source = source_for(spark, tmp_path, frame, *[BLOCKS[kind] for kind in kinds])
    _, blobs = blobs_of(source)
    chw = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(blobs["raw"], chw * 2)
    np.testing.assert_array_equal(blobs["cropped"], chw[:, :, 0:2, 0:2])  # the TRAIN phase, offsets drawn as 0
    np.testing.assert_array_equal(blobs["encoded"], chw[:, ::-1] - 1)  # BGR
    np.testing.assert_array_equal(blobs["with_dim"], chw[:, ::-1])


def test_images_of_other_sizes_need_resize(spark, tmp_path):
    pixels = np.full((8, 10, 3), 77, np.uint8)
    frame = spark.createDataFrame([Row(id="big", image=bytearray(png(pixels)))])
    with pytest.raises(DataError, match=r"the image is 8x10, not 4x5; -resize would resize it"):
        blobs_of(source_for(spark, tmp_path, frame, BLOCKS["ENCODED_IMAGE"]))
    _, blobs = blobs_of(source_for(spark, tmp_path, frame, BLOCKS["ENCODED_IMAGE"], resize=True))
    np.testing.assert_array_equal(blobs["image"], np.full((1, 3, 4, 5), 76, np.float32))


def test_rows_without_an_id_get_one(spark, tmp_path):
    frame = spark.createDataFrame([(1,), (2,), (3,)], "x int").repartition(2)
    ids, _ = blobs_of(source_for(spark, tmp_path, frame, BLOCKS["INT"]))
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("column", "value", "block", "message"),
    [
        ("x double", None, "INT", r"record '.*': column 'x' is null"),
        ("x double", float("nan"), "FLOAT", r"column 'x' is nan"),
        ("x double", 3.5, "INT", r"column 'x' is 3.5 where top 'x' is INT"),
        ("x string", "seven", "STRING", r"column 'x' is 'seven', no number"),
        ("x string", "1_0", "STRING", r"column 'x' is '1_0', no number"),
        ("x string", "٣", "STRING", r"column 'x' is '٣', no number"),
        ("x array<int>", [1, 2, 3], "FLOAT_ARRAY", r"column 'x' has 3 values; top 'x' takes 6 \(6\)"),
        ("x array<double>", [1.0, None, 1.0, 1.0, 1.0, 1.0], "FLOAT_ARRAY", r"holds a null, NaN or infinite value"),
        ("x binary", bytearray(59), "RAW_IMAGE", r"column 'x' has 59 bytes; top 'x' takes 3x4x5"),
        ("x binary", bytearray(b""), "ENCODED_IMAGE", r"the image cannot be decoded: it is empty"),
        ("x binary", bytearray(b"nonsense"), "ENCODED_IMAGE", r"cannot be decoded: it is in no image format"),
        (
            "x struct<height:int,width:int,image:binary>",
            (3, 5, bytearray(png(np.zeros((4, 5, 3), np.uint8)))),
            "ENCODED_IMAGE_WITH_DIM",
            r"the image is 4x5 where the record says 3x5",
        ),
    ],
)
def test_bad_values(spark, tmp_path, column, value, block, message):
    frame = spark.createDataFrame([("a", value)], f"id string, {column}")
    with pytest.raises(DataError, match=message):
        blobs_of(source_for(spark, tmp_path, frame, BLOCKS[block]))


@pytest.mark.parametrize(
    ("column", "block", "message"),
    [
        ("x array<int>", "INT", r"column 'x' is array<int>, which cannot fill top 'x' of type INT"),
        ("x int", "RAW_IMAGE", r"column 'x' is int, which cannot fill top 'x' of type RAW_IMAGE"),
        ("x binary", "ENCODED_IMAGE_WITH_DIM", r"column 'x' is binary"),
    ],
)
def test_columns_of_the_wrong_type(spark, tmp_path, column, block, message):
    frame = spark.createDataFrame([], column)
    with pytest.raises(ConfigError, match=message):
        _ = source_for(spark, tmp_path, frame, BLOCKS[block]).plan


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("type: FLOAT_ARRAY channels: 3 sample_num_axes: 2", r"height must be at least 1 with sample_num_axes 2"),
        ("type: FLOAT_ARRAY channels: 3 transform_param { }", r"transform_param goes with image types"),
        ("type: FLOAT channels: 2 sample_num_axes: 1", r"FLOAT is one number a sample"),
        ("type: RAW_IMAGE channels: 3", r"RAW_IMAGE needs channels, height and width"),
        (
            "type: RAW_IMAGE channels: 3 height: 4 width: 4 transform_param { crop_size: 5 }",
            r"smaller than crop_size 5",
        ),
        ("type: RAW_IMAGE channels: 3 height: 4 width: 4 out_height: 3", r"out_height and out_width say 3x3x4"),
        ("type: INT_ARRAY channels: 3 height: 2 sample_num_axes: 2 transpose: true", r"transpose goes with"),
    ],
)
def test_top_blocks_that_make_no_sense(spark, tmp_path, block, message):
    frame = spark.createDataFrame([(1,)], "x int")
    with pytest.raises(ConfigError, match=message):
        _ = source_for(spark, tmp_path, frame, block).plan
