"""DataFrames of images as CaffeOnSpark's tools write them and ImageDataFrame layers read them.

Columns: ``id`` and ``label`` (string), ``channels``, ``height`` and ``width`` (int, 0 where unknown), ``encoded``
(boolean) and ``data`` (binary): an image file's bytes, or raw pixels in the order height, width, channel. What Caffe
calls float data has ``floats`` (array<float>, in the order channel, height, width) instead of ``data``.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence, Tuple

from ..api.config import Config
from ..causes import explained
from ..data.records import BadRecord
from ..data.sources.datums import datum_array, find_database, holds_floats, look_at, parse_datum, read_entries
from ..data.sources.lmdb_file import shown
from ..errors import ConfigError, DataError
from ..nets.text import lines_of
from ..spark.library_zip import ship_library
from ..spark.partitioning import bounds
from ..storage import spark_path

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["database_rows", "folder_lines", "labelled_rows", "read_label_file"]

_SCHEMA = "id string, label string, channels int, height int, width int, encoded boolean"
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_CHUNK_BYTES = 8 << 20  # of a batch between Python and Spark
_PART_BYTES = 128 << 20  # of a file of images


# ---- from an LMDB or LevelDB


def database_rows(config: Config, path: str, partitions: int) -> DataFrame:
    """The Datums of a database in key order, in ``partitions`` contiguous ranges. Raises ConfigError or DataError."""
    kind, location = find_database(config.run_config.for_sources, path, "the database")
    name = f"{kind} {path}"
    spark = config.spark()
    ship_library(spark.sparkContext)
    planned = look_at(location)
    first = next(read_entries(location, 0, 1, planned=planned), None)
    if first is None:
        raise DataError(f"{name} is empty")
    try:
        floats = holds_floats(parse_datum(first[2], shown(first[1])))
    except BadRecord as e:
        raise DataError(f"{name}: {e.message}") from None

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                span = bounds(planned.entries, partitions, number)
                yield from _datum_batches(read_entries(location, *span, planned=planned), name, floats)

    schema = f"{_SCHEMA}, {'floats array<float>' if floats else 'data binary'}"
    frame: DataFrame = spark.range(0, partitions, 1, partitions).mapInArrow(run, schema)
    return frame


def _datum_batches(entries: Iterator[Tuple[int, bytes, bytes]], name: str, floats: bool) -> Iterator[pa.RecordBatch]:
    rows: List[Tuple[Any, ...]] = []
    size = 0
    for _, key, value in entries:
        try:
            row = _datum_row(value, shown(key), floats)
        except BadRecord as e:
            raise DataError(f"{name}: {e.message}") from None
        rows.append(row)
        size += len(value)
        if size > _CHUNK_BYTES:
            yield _batch(rows, floats)
            rows, size = [], 0
    if rows:
        yield _batch(rows, floats)


def _datum_row(value: bytes, record: str, floats: bool) -> Tuple[Any, ...]:
    datum = parse_datum(value, record)
    if holds_floats(datum) != floats:
        kinds = ("floats", "bytes") if floats else ("bytes", "floats")
        raise BadRecord(record, "mixed Datums", f"the first Datum holds {kinds[0]}, this one {kinds[1]}")
    if datum.encoded:
        content: Any = datum.data
    else:
        pixels = datum_array(datum, record)
        content = pixels.reshape(-1) if floats else pixels.transpose(1, 2, 0).tobytes()
    return (
        record,
        str(datum.label),
        datum.channels,
        datum.height,
        datum.width,
        datum.encoded,
        content,
    )


def _batch(rows: List[Tuple[Any, ...]], floats: bool) -> pa.RecordBatch:
    import pyarrow as pa

    columns = list(zip(*rows))
    kinds = [pa.string(), pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.bool_()]
    kinds.append(pa.list_(pa.float32()) if floats else pa.binary())
    names = ["id", "label", "channels", "height", "width", "encoded", "floats" if floats else "data"]
    return pa.RecordBatch.from_arrays([pa.array(c, k) for c, k in zip(columns, kinds)], names=names)


# ---- from image files


def read_label_file(config: Config, path: str, fields: int) -> List[List[str]]:
    """The lines of a label file, each split into so many fields; the first, a file name, may hold spaces.

    Raises ConfigError for a line that has fewer, or whose label (the second field) is no number.
    """
    lines = []
    for number, line in enumerate(lines_of(config.files.read(path, "the label file (-labelFile)")), 1):
        if not line.strip():
            continue
        parts = line.strip().rsplit(None, fields - 1)
        wanted = " ".join(("filename", "label", "id")[:fields])
        if len(parts) < fields or not re.fullmatch(r"[-+]?[0-9]+", parts[1]):
            raise ConfigError(
                f"{path}:{number}: a line is '{wanted}', the label a whole number, not '{line.strip()[:60]}'"
            )
        lines.append(parts)
    if not lines:
        raise ConfigError(f"{path} is empty")
    return lines


def labelled_rows(config: Config, root: str, lines: Sequence[Sequence[str]], partitions: int = 0) -> DataFrame:
    """The image files below ``root`` that (file name, label, id) lines name, in their order.

    Parameters
    ----------
    config : Config
    root : a folder, on any file system Spark reads; a local one has to be the same on every node
    lines : the file names are relative to ``root``
    partitions : 0 for as many as make files of 128 MB

    Raises ConfigError for a file that is not there.
    """
    from pyspark.sql import functions as F

    spark = config.spark()
    base = root_path(config, root)
    paths = [posixpath.normpath(posixpath.join(base, line[0])) for line in lines]
    # a '*' in a name is just that
    escaped = [re.sub(r"([\\*?\[\]{}])", r"\\\1", path) for path in sorted(set(paths))]
    with explained(f"-imageRoot {root}"):
        files = spark.read.format("binaryFile").load(escaped)
    named = spark.createDataFrame(
        [(number, path, line[2], line[1]) for number, (path, line) in enumerate(zip(paths, lines))],
        "number long, path string, id string, label string",
    )
    if not partitions:
        total = files.agg(F.sum("length")).first()[0]
        partitions = max(1, -(-int(total or 0) // _PART_BYTES))
    size = F.lit(0)  # an image file knows its own
    rows: DataFrame = (
        files.join(F.broadcast(named), "path")
        .repartitionByRange(partitions, "number")
        .sortWithinPartitions("number")
        .select(
            "id",
            "label",
            size.alias("channels"),
            size.alias("height"),
            size.alias("width"),
            F.lit(True).alias("encoded"),
            F.col("content").alias("data"),
        )
    )
    return rows


def root_path(config: Config, root: str) -> str:
    """The folder as Spark's ``binaryFile`` format names what is in it. Raises ConfigError."""
    if not config.storage.is_folder(root):
        raise ConfigError(f"-imageRoot {root} is no folder")
    return config.storage.qualified(spark_path(config.storage, root)).rstrip("/")


def folder_lines(config: Config, root: str) -> Tuple[List[Tuple[str, str, str]], List[str]]:
    """(file name, label, file name) of the images in the folders below ``root``, by name; and the classes by label.

    A class is a folder right below ``root``. Its label is its name where all names are whole numbers, else its position
    among the sorted names. Raises ConfigError where there is no image in a folder.
    """
    base = root_path(config, root)
    found = (
        config.spark()
        .read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .load(spark_path(config.storage, root))
        .select("path")
        .collect()
    )
    names = sorted(row["path"][len(base) + 1 :] for row in found)
    names = [name for name in names if "/" in name and name.lower().endswith(_IMAGES)]
    if not names:
        raise ConfigError(f"-imageRoot {root} holds no folders with images ({', '.join(_IMAGES)})")
    classes = sorted({name.partition("/")[0] for name in names})
    if all(re.fullmatch(r"\d+", one) for one in classes):
        labels = {one: str(int(one)) for one in classes}
    else:
        labels = {one: str(number) for number, one in enumerate(classes)}
    return [(name, labels[name.partition("/")[0]], name) for name in names], classes
