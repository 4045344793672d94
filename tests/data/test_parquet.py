"""Rows in parquet files without Spark: every type, every range, and the same as Spark brings to the readers."""

import decimal
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from caffeonspark import Config
from caffeonspark.data.records import SAMPLE_ID, BadRecordPolicy, BadRecords
from caffeonspark.data.sources.registry import make_source
from caffeonspark.errors import ConfigError, DataError
from caffeonspark.nets.net import TRAIN


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def source_of(folder, layer, without_spark=True, spark=None, **flags):
    """The source of a net's only data layer."""
    tops = " ".join(f'bottom: "{name}"' for name in ("x", "label") if f'top: "{name}"' in layer)
    (folder / "net.prototxt").write_text(f'{layer}\nlayer {{ name: "silence" type: "Silence" {tops} }}\n')
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    run = Config(spark, conf=str(folder / "solver.prototxt"), **flags).run_config
    net = run.net(TRAIN)
    return make_source(run.for_sources, net, net.data_layers()[0], without_spark=without_spark)


def cos_layer(block, path="rows", more=""):
    return (
        f'layer {{ name: "data" type: "CoSData" top: "x" top: "label" source_class: "DataFrameSource" '
        f'cos_data_param {{ source: "{path}" batch_size: 2 {more} top {{ name: "x" {block} }} '
        'top { name: "label" type: FLOAT sample_num_axes: 0 } } }'
    )


def image_layer(more="", path="rows", size=3):
    return (
        'layer { name: "data" type: "MemoryData" top: "x" top: "label" source_class: "ImageDataFrame" '
        f'memory_data_param {{ source: "{path}" batch_size: 2 channels: 1 height: {size} width: {size} {more} }} }}'
    )


def write(folder, table, files=1, group=4):
    """The table in so many files, in row groups of so many rows."""
    (folder / "rows").mkdir()
    (folder / "rows" / "_SUCCESS").write_text("")
    edges = np.linspace(0, len(table), files + 1).astype(int)
    for number, (start, stop) in enumerate(zip(edges, edges[1:])):
        path = folder / "rows" / f"part-{number:05d}.parquet"
        pq.write_table(table.slice(start, stop - start), path, row_group_size=group)


def records_of(source, start=0, stop=None, step=1):
    bad = BadRecords(source.description)
    reader = source.reader()
    found = list(reader.read(start, source.count() if stop is None else stop, step, bad))
    assert not bad.total
    index = np.concatenate([one.index for one in found]) if found else np.zeros(0, np.int64)
    return index, [record for one in found for record in one.ids], found


LABELS = [float(n) for n in range(5)]
FLOATS = "type: FLOAT_ARRAY channels: 3 sample_num_axes: 1"
VECTOR = pa.struct(
    [("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64()))]
)
ROWS = [[n, n + 0.5, -n] for n in range(5)]
COLUMNS = {
    "doubles": (FLOATS, pa.array(ROWS, pa.list_(pa.float64())), ROWS),
    "floats": (FLOATS, pa.array(ROWS, pa.list_(pa.float32())), ROWS),
    "large list": (FLOATS, pa.array(ROWS, pa.large_list(pa.float64())), ROWS),
    "fixed": (FLOATS, pa.array(ROWS, pa.list_(pa.float32(), 3)), ROWS),
    "longs": (FLOATS, pa.array([[n, 1 << 40, 3] for n in range(5)]), [[n, 1 << 40, 3] for n in range(5)]),
    "vectors": (
        FLOATS,
        pa.array(
            [{"type": 1, "values": row} for row in ROWS[:3]]
            + [{"type": 0, "size": 3, "indices": [1], "values": [n + 0.5]} for n in range(2)],
            VECTOR,
        ),
        [*ROWS[:3], [0, 0.5, 0], [0, 1.5, 0]],
    ),
    "one number": ("type: FLOAT_ARRAY channels: 1 sample_num_axes: 1", pa.array(LABELS), [[n] for n in LABELS]),
    "int": ("type: INT sample_num_axes: 0", pa.array([1, 2, 3, 4, 5], pa.int16()), [1, 2, 3, 4, 5]),
    "boolean": ("type: INT sample_num_axes: 0", pa.array([True, False] * 2 + [True]), [1, 0, 1, 0, 1]),
    "decimal": ("type: FLOAT sample_num_axes: 0", pa.array([decimal.Decimal("7.25")] * 5), [7.25] * 5),
    "text": ("type: STRING sample_num_axes: 0", pa.array(["1", " 2 ", "3.5", "4", "5"]), [1, 2, 3.5, 4, 5]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_of_column(tmp_path, name):
    block, column, expected = COLUMNS[name]
    write(tmp_path, pa.table({"x": column, "label": LABELS}))
    source = source_of(tmp_path, cos_layer(block))
    source.open()
    index, ids, found = records_of(source)
    assert index.tolist() == list(range(5)) and ids == list("01234")
    values = np.concatenate([one.columns[0] for one in found]).reshape(5, -1)
    np.testing.assert_array_equal(values, np.array(expected, np.float32).reshape(5, -1))


@pytest.mark.parametrize("files, group", [(1, 100), (1, 7), (3, 4), (5, 1)])
@pytest.mark.parametrize("start, stop, step", [(0, 23, 1), (5, 17, 1), (2, 23, 3), (0, 23, 4), (22, 23, 4), (3, 3, 1)])
def test_ranks_read_their_rows(tmp_path, files, group, start, stop, step):
    write(
        tmp_path,
        pa.table({"id": [f"row {n}" for n in range(23)], "x": list(range(23)), "label": [0] * 23}),
        files,
        group,
    )
    source = source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0"))
    source.open()
    assert source.count() == 23
    index, ids, found = records_of(source, start, stop, step)
    assert index.tolist() == list(range(start, stop, step))
    assert ids == [f"row {n}" for n in index]
    assert [value for one in found for value in one.columns[0].reshape(-1)] == index.tolist()


def test_images_in_every_form(tmp_path):
    images = np.arange(5 * 9, dtype=np.uint8).reshape(5, 3, 3)
    raw = [image.tobytes() for image in images]
    spark = [{"origin": f"f{n}", "height": 3, "width": 3, "nChannels": 1, "mode": 0, "data": raw[n]} for n in range(5)]
    tables = {
        "raw": ({"data": raw}, ""),
        "sized": (
            {"data": raw, "height": [3] * 5, "width": ["3"] * 5, "channels": [1] * 5, "encoded": [False] * 5},
            "",
        ),
        "files": ({"data": [png(one) for one in images], "encoded": [True] * 5}, ""),
        "by the layer": ({"data": [png(one) for one in images]}, "image_encoded: true"),
        "binaryFile": ({"path": [f"p{n}" for n in range(5)], "content": [png(one) for one in images]}, ""),
        "image": ({"image": spark}, ""),
    }
    for name, (columns, more) in tables.items():
        folder = tmp_path / name
        folder.mkdir()
        write(folder, pa.table({**columns, "label": ["0", "1", "2", "3", "4"]}))
        source = source_of(folder, image_layer(more))
        source.open()
        _, ids, found = records_of(source)
        out = np.concatenate([filled(source.tops[0], one) for one in found])
        np.testing.assert_array_equal(out[:, 0], images, err_msg=name)
        assert np.concatenate([one.columns[1] for one in found]).tolist() == [0, 1, 2, 3, 4]
        assert ids[1] == {"binaryFile": "p1", "image": "f1"}.get(name, "1")


def filled(top, records):
    out = np.full((len(records), *top.shape), np.nan, np.float32)
    top.fill(records.columns[0], out, np.zeros((len(records), 3)))
    return out


def test_bad_rows_are_reported(tmp_path):
    write(tmp_path, pa.table({"x": pa.array([[1.0], None, [1.0, 2.0], [float("nan")], [2.0]]), "label": LABELS}))
    source = source_of(tmp_path, cos_layer("type: FLOAT_ARRAY channels: 1 sample_num_axes: 1"), badRecords="skip")
    source.open()
    bad = BadRecords(source.description, BadRecordPolicy(True, 1.0))
    found = list(source.reader().read(0, 5, 1, bad))
    assert [one for chunk in found for one in chunk.index] == [0, 4]
    assert bad.total == 3


@pytest.mark.parametrize(
    "columns, layer, kind, line",
    [
        (
            {"y": [1.0]},
            cos_layer("type: FLOAT sample_num_axes: 0"),
            ConfigError,
            r"top 'x' reads column 'x', which DataFrame rows does not",
        ),
        ({"x": [1.0]}, cos_layer(FLOATS), ConfigError, r"top 'label' reads column 'label', which"),
        (
            {"x": ["a"], "label": [1]},
            cos_layer(FLOATS),
            ConfigError,
            r"column 'x' is string, which cannot be an array of",
        ),
        (
            {"x": [[1]], "label": [1]},
            cos_layer("type: FLOAT sample_num_axes: 0"),
            ConfigError,
            r"column 'x' is list<.*>, which cannot be a n",
        ),
        ({"x": [], "label": []}, cos_layer("type: FLOAT sample_num_axes: 0"), DataError, r"DataFrame rows is empty"),
        ({"x": [1]}, image_layer(), ConfigError, r"DataFrame rows has no column 'data'"),
        ({"data": [b"1"]}, image_layer(), ConfigError, r"DataFrame rows has no column 'label' for top 'label'"),
        ({"data": [1], "label": [1]}, image_layer(), ConfigError, r"column 'data' is int64, which cannot be an image"),
        ({"data": [b"1"], "label": [1]}, image_layer(), DataError, r"the raw image has 1 bytes, which are not 1x3x3"),
        (
            {"data": [b"1"], "label": [1]},
            image_layer('dataframe_column_select: "data"'),
            ConfigError,
            r"dataframe_column_select is SQL of Spark's",
        ),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, columns, layer, kind, line):
    write(tmp_path, pa.table(columns))
    source = source_of(tmp_path, layer)
    with pytest.raises(kind, match=line) as caught:
        source.open()
    assert caught.value.message.startswith(source.where) and caught.value.message.count(source.where) == 1


def test_files_that_are_none_or_change(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    with pytest.raises(DataError, match="is empty"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0")).open()
    (folder / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"a\.parquet: this is no whole parquet file"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0")).open()
    (folder / "a.parquet").unlink()
    os.mkfifo(folder / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: this is no parquet file: it is a pipe"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0")).open()
    (folder / "a.parquet").unlink()
    pq.write_table(pa.table({"x": [1, 2], "label": [0, 0]}), folder / "a.parquet")
    source = source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0"))
    source.open()
    pq.write_table(pa.table({"x": [1, 2, 3], "label": [0, 0, 0]}), folder / "a.parquet")
    with pytest.raises(DataError, match="something has written to it since the run began"):
        records_of(source)
    pq.write_table(pa.table({"x": [1, 2], "label": ["0", "0"]}), folder / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet has other columns than a\.parquet"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0")).open()
    (folder / "label=3").mkdir()
    with pytest.raises(ConfigError, match=r"has the folder label=3 in it, as partitionBy makes them"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0")).open()
    with pytest.raises(ConfigError, match=r"source nowhere does not exist"):
        source_of(tmp_path, cos_layer("type: INT sample_num_axes: 0", path="nowhere")).open()


def test_the_readers_get_what_spark_brings(spark, tmp_path):
    """The same columns of the same files, by Spark and by pyarrow."""
    from pyspark.ml.linalg import Vectors
    from pyspark.sql import Row

    rows = [
        Row(
            id=n,
            x=Vectors.dense([n / 3, 1.0, -n]) if n % 2 else Vectors.sparse(3, {1: n / 7}),
            a=[n / 3, None if n == 4 else 1e300, -2.0],
            s=f"{n}.5",
            i=n,
            image=bytearray(range(9)),
        )
        for n in range(20)
    ]
    spark.createDataFrame(rows).repartition(3).write.parquet(f"file:{tmp_path}/rows")
    tops = {
        "x": FLOATS,
        "a": FLOATS,
        "s": "type: STRING sample_num_axes: 0",
        "i": "type: INT_ARRAY channels: 1 sample_num_axes: 1",
        "image": "type: RAW_IMAGE channels: 1 height: 3 width: 3",
    }
    layer = (
        'layer { name: "data" type: "CoSData" '
        + " ".join(f'top: "{name}"' for name in tops)
        + ' source_class: "DataFrameSource" cos_data_param { source: "rows" batch_size: 2 '
        + " ".join(f'top {{ name: "{name}" {block} }}' for name, block in tops.items())
        + " } }"
    )
    theirs = source_of(tmp_path, layer, without_spark=False, spark=spark)
    theirs.open()
    mine = source_of(tmp_path, layer)
    mine.open()
    frame = theirs.frame()
    expected = {row[SAMPLE_ID]: row for row in frame.collect()}
    found = [row for batch, _ in mine._table.read(0, mine.count(), 1) for row in batch.to_pylist()]
    assert len(found) == 20
    names = [name for name in frame.columns if name != SAMPLE_ID]
    for row in found:
        for name in names:
            np.testing.assert_array_equal(_number(row[name]), _number(expected[row[SAMPLE_ID]][name]), err_msg=name)


def _number(value):
    if isinstance(value, list):
        return np.array([np.nan if one is None else one for one in value], np.float32)
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value
