"""The mean image of a data set, which ``mean_file`` names; what Caffe's compute_image_mean computes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Iterator, List

import numpy as np

from ..api.config import Config
from ..data.records import BadRecord, BadRecords, Records
from ..data.sources.base import FrameReader, FrameSource, RangeReader, RangeSource
from ..data.sources.datums import DatumSource
from ..data.sources.images import ImageDataFrame, ImageSource
from ..data.sources.sequence_file import SequenceFileSource
from ..data.tops import ImageTop, Top, without_bad_values
from ..errors import DataError
from ..nets.net import TEST, Net
from ..nets.schema import NetParameter
from ..spark.arrow_batches import limited_arrow_batches
from ..spark.library_zip import ship_library
from ..spark.partitioning import bounds
from ..storage import spark_path
from .outputs import watched

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["image_mean"]


def open_images(config: Config, path: str, kind: str) -> ImageSource:
    """The images at ``path``, as a data layer would name them.

    Parameters
    ----------
    config : Config
    path : of an LMDB or LevelDB, a folder of SequenceFiles, or a DataFrame
    kind : "lmdb" or "leveldb", "sequence", or the format of a Spark reader
    """
    net = NetParameter()
    layer = net.layer.add(name="data", type="Data")
    layer.top.append("data")
    layer.data_param.source = path
    layer.data_param.batch_size = 1
    whole = Net(net, path, TEST)
    for_sources = config.run_config.for_sources
    source: ImageSource
    if kind in ("lmdb", "leveldb"):
        source = DatumSource(for_sources, whole, layer)
    elif kind == "sequence":
        source = SequenceFileSource(for_sources, whole, layer)
    else:
        frame = config.spark().read.format(kind).load(spark_path(config.storage, path))
        source = ImageDataFrame(for_sources, whole, layer, frame)
    source.open()
    return source


def image_mean(config: Config, path: str, kind: str, partitions: int) -> np.ndarray:
    """The mean over all images, (channels, height, width) float32.

    The sums are exact here; compute_image_mean's are float32, which are the same up to 65,793 images of bytes.
    Raises DataError where an image cannot be decoded or has another size than the first.
    """
    source = open_images(config, path, kind)
    spark = config.spark()
    ship_library(spark.sparkContext)
    tops, description = source.tops, source.description
    top = tops[0]

    def add(chunks: Iterator[Records]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        total, count = np.zeros(math.prod(top.shape)), 0
        for records in chunks:
            records = without_bad_values(tops, records, BadRecords(description))
            total += _sum(records, top, description)
            count += len(records)
        yield pa.RecordBatch.from_arrays(
            [pa.array([count]), pa.array([total], pa.list_(pa.float64()))], names=["count", "total"]
        )

    frames: List[DataFrame] = []
    if isinstance(source, RangeSource):
        ranges, size = source.reader(), source.count()
        rows = spark.range(0, partitions, 1, partitions).mapInArrow(
            lambda batches: add(_range_chunks(ranges, size, partitions, description, batches)), _SUMS
        )
    else:
        assert isinstance(source, FrameSource)
        reader = source.reader()
        frame = source.frame()
        frames = [frame]
        rows = frame.mapInArrow(lambda batches: add(_frame_chunks(reader, description, batches)), _SUMS)
    with limited_arrow_batches(spark, frames), watched(spark, f"mean of {path}"):
        found = rows.collect()
    total: np.ndarray = np.sum([row["total"] for row in found], axis=0)
    mean: np.ndarray = (total.astype(np.float32) / np.float32(sum(row["count"] for row in found))).reshape(top.shape)
    return mean


_SUMS = "count long, total array<double>"


def _range_chunks(
    reader: RangeReader, size: int, parts: int, description: str, batches: Iterator[pa.RecordBatch]
) -> Iterator[Records]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            start, stop = bounds(size, parts, number)
            yield from reader.read(start, stop, 1, BadRecords(description))


def _frame_chunks(reader: FrameReader, description: str, batches: Iterator[pa.RecordBatch]) -> Iterator[Records]:
    for batch in batches:
        yield reader.decode(batch, BadRecords(description))


def _sum(records: Records, top: Top, description: str) -> np.ndarray:
    column = records.columns[0]
    if isinstance(column, np.ndarray):
        exact: np.ndarray = column.sum(axis=0, dtype=np.int64 if column.dtype == np.uint8 else np.float64).reshape(-1)
        return exact
    assert isinstance(top, ImageTop)
    total = np.zeros(math.prod(top.shape))
    for name, entry in zip(records.ids, column):
        try:
            total += top.pixels(entry, name).reshape(-1)
        except BadRecord as e:
            raise DataError(f"{description}: {e.message}") from None
    return total
