"""Image rows (``rows``) to DataFrames, SequenceFiles and LMDBs."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, Iterator, Tuple

import numpy as np

from ..api.config import Config
from ..data.arrow import number_in
from ..data.records import id_column
from ..data.sources.frames import check_unambiguous, or_null
from ..data.sources.lmdb import MAX_KEY, write_entries
from ..data.sources.sequence_file import write_key
from ..errors import ConfigError, DataError, suggest
from ..nets.schema import Datum
from ..spark.jvm import has_native_hadoop
from ..spark.library_zip import ship_library
from ..storage import join, local_path, spark_path
from .codecs import CODECS
from .outputs import new_folder, watched

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["write_frame", "write_lmdb_rows", "write_sequence"]

_log = logging.getLogger(__name__)
_SECONDS = 5.0  # between two lines of progress


def write_frame(config: Config, rows: DataFrame, output: str, kind: str, overwrite: bool) -> None:
    """Write a DataFrame in a format of Spark's."""
    with new_folder(config.storage, output, overwrite) as part, watched(config.spark(), f"writing {output}"):
        rows.write.format(kind).save(spark_path(config.storage, part))


# ---- SequenceFiles


def write_sequence(config: Config, rows: DataFrame, output: str, codec: str, overwrite: bool) -> None:
    """Write SequenceFiles that ``SeqImageDataSource`` reads: Text keys, BytesWritable values, block-compressed."""
    if "data" not in rows.columns:
        raise ConfigError("a SequenceFile holds the bytes of images; these are floats: write a DataFrame instead")
    settings = {"mapreduce.output.fileoutputformat.compress": "false"}
    if CODECS[codec]:
        settings = {
            "mapreduce.output.fileoutputformat.compress": "true",
            "mapreduce.output.fileoutputformat.compress.codec": CODECS[codec],
            "mapreduce.output.fileoutputformat.compress.type": "BLOCK",
        }
    context = config.spark().sparkContext
    if codec == "gzip" and not has_native_hadoop():
        raise ConfigError(
            "-codec gzip: Hadoop writes gzipped SequenceFiles only with its native library, which is not loaded here: "
            "use -codec default, which compresses as well, or set java.library.path to Hadoop's lib/native"
        )
    ship_library(context)
    with new_folder(config.storage, output, overwrite) as part, watched(config.spark(), f"writing {output}"):
        rows.rdd.map(_pair).saveAsNewAPIHadoopFile(
            spark_path(config.storage, part),
            "org.apache.hadoop.mapreduce.lib.output.SequenceFileOutputFormat",
            "org.apache.hadoop.io.Text",
            "org.apache.hadoop.io.BytesWritable",
            conf=settings,
        )


def _pair(row: Any) -> Tuple[str, bytearray]:
    key = (row["id"], row["label"], row["channels"], row["height"], row["width"], row["encoded"])
    return write_key(key), bytearray(row["data"])


# ---- LMDBs


def write_lmdb_rows(config: Config, rows: DataFrame, output: str, overwrite: bool) -> int:
    """Write an LMDB of Datums on the driver, the rows streaming to it; how many there are.

    The key is the row's ``id`` (or ``SampleID``), or its number in eight digits where there is no such column. An LMDB
    is in the order of its keys. Raises DataError for a row that makes no Datum, or a key that is there twice.
    """
    columns = _datum_columns(rows)
    with new_folder(config.storage, output, overwrite) as part, watched(config.spark(), f"reading for {output}"):
        rows_here = enumerate(columns.toLocalIterator(prefetchPartitions=True))
        entries = _with_progress((_entry(number, row) for number, row in rows_here), output)
        if config.storage.on_local_disk(part):
            return write_entries(local_path(part), entries, output)
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
            count = write_entries(folder, entries, output)
            config.storage.store(os.path.join(folder, "data.mdb"), join(part, "data.mdb"))
            return count


_READ = ("label", "channels", "height", "width", "encoded", "floats", "data")


def _datum_columns(rows: DataFrame) -> DataFrame:
    """The columns of image rows; what is missing gets its default. Raises ConfigError."""
    from pyspark.sql import functions as F

    names = rows.columns
    if "data" not in names and "floats" not in names:
        raise ConfigError(f"the DataFrame has no column 'data'. {suggest('data', names)}")
    key = id_column(names)
    check_unambiguous(rows, [name for name in (*([key] if key else []), *_READ) if name in names], "the DataFrame")
    defaults = {"label": "0", "channels": 0, "height": 0, "width": 0, "encoded": False}
    return rows.select(
        (F.col(key).cast("string").cast("binary") if key else F.lit(None).cast("binary")).alias("id"),
        *[
            (or_null(name, kind) if name in names else F.lit(defaults[name]).cast(kind)).alias(name)
            for name, kind in (
                ("label", "string"),
                ("channels", "int"),
                ("height", "int"),
                ("width", "int"),
                ("encoded", "boolean"),
            )
        ],
        (F.col("floats").cast("array<float>") if "floats" in names else F.col("data").cast("binary")).alias("content"),
    )


def _with_progress(entries: Iterator[Tuple[bytes, bytes]], output: str) -> Iterator[Tuple[bytes, bytes]]:
    """The same entries; says now and then how many there were."""
    said = time.monotonic()
    for count, entry in enumerate(entries):
        if time.monotonic() - said > _SECONDS:
            said = time.monotonic()
            _log.info("writing %s: %d entries", output, count)
        yield entry


def _entry(number: int, row: Any) -> Tuple[bytes, bytes]:
    key = bytes(row["id"]) if row["id"] is not None else b"%08d" % number
    where = f"row '{key.decode('utf-8', 'backslashreplace')}'"
    if not 0 < len(key) <= MAX_KEY:
        raise DataError(f"{where}: an LMDB's keys have 1 to {MAX_KEY} bytes, not {len(key)}")
    try:
        given = row["label"]
        value = number_in(given) if isinstance(given, str) else float(given)
        label = int(value)
        exact = label == value
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or not -(2**31) <= label < 2**31:
        raise DataError(f"{where}: label {row['label']!r} is no whole number, which a Datum's label is")
    datum = Datum(label=label)
    shape = (row["channels"] or 0, row["height"] or 0, row["width"] or 0)
    content = row["content"]
    if content is None:
        raise DataError(f"{where}: the image is null")
    if row["encoded"]:
        datum.encoded = True
        datum.data = bytes(content)
        return key, _with_shape(datum, shape).SerializeToString()
    if len(content) != shape[0] * shape[1] * shape[2] or not len(content):
        raise DataError(
            f"{where}: the raw image has {len(content)} values, where channels x height x width is "
            f"{'x'.join(map(str, shape))}"
        )
    if isinstance(content, (bytes, bytearray)):
        pixels = np.frombuffer(content, np.uint8).reshape(shape[1], shape[2], shape[0])
        datum.data = pixels.transpose(2, 0, 1).tobytes()
    else:
        datum.float_data.extend(content)
    return key, _with_shape(datum, shape).SerializeToString()


def _with_shape(datum: Any, shape: Tuple[int, int, int]) -> Any:
    for name, size in zip(("channels", "height", "width"), shape):
        if size:
            setattr(datum, name, size)
    return datum
