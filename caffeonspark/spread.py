"""Spreading records over ranks: who gets which, and the DataFrame that brings rows to them.

A training layer's records go to the ranks in contiguous ranges, rank r getting those with
``floor(index * ranks / total) == r``, so that each reads storage order. A validation layer's go round robin
(``index % ranks``), so that every window of them is shared by all ranks.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

__all__ = ["bounds", "limit_arrow_batches", "rows_by_layer", "rows_for_ranks"]

_LAYER, _INDEX, _KEY = "_layer", "_index", "_key"
_BATCH_BYTES = 8 << 20
_MAX_ROWS = 10_000


def bounds(total: int, ranks: int, rank: int) -> Tuple[int, int]:
    """The range of a rank: the indices i with ``floor(i * ranks / total) == rank``."""
    return -(-total * rank // ranks), -(-total * (rank + 1) // ranks)


def _payload(layer: int) -> str:
    """The struct column that holds the rows of a layer."""
    return f"_rows{layer}"


def rows_by_layer(batch: pa.RecordBatch, layers: int) -> Iterator[Tuple[int, pa.RecordBatch, np.ndarray]]:
    """The rows of each layer in a batch of ``rows_for_ranks``: the layer's number, its columns, the rows' indices."""
    import pyarrow as pa

    if _LAYER not in batch.schema.names:
        return  # no layer reads rows: the batch only carried the task's number
    tags = batch.column(_LAYER).to_numpy(zero_copy_only=False)
    for number in range(layers):
        places = np.flatnonzero(tags == number)
        if not len(places):
            continue
        chosen = batch if len(places) == batch.num_rows else batch.take(pa.array(places))
        payload = chosen.column(_payload(number))
        names = [field.name for field in payload.type]
        index = chosen.column(_INDEX).to_numpy(zero_copy_only=False)
        yield number, pa.RecordBatch.from_arrays(payload.flatten(), names=names), index


def rows_for_ranks(spark: Any, frames: Sequence[Tuple[int, DataFrame, bool]], ranks: int) -> DataFrame:
    """A DataFrame of ``ranks`` partitions, the r-th holding the rows of rank r.

    Parameters
    ----------
    spark : SparkSession
    frames : (number of the layer, its DataFrame, whether it is for validation)
    ranks : int
    """
    if not frames:
        return spark.range(0, ranks, 1, ranks)
    keys = _keys(spark, ranks)
    parts = [_with_key(number, frame, validation, ranks, keys) for number, frame, validation in frames]
    merged = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
    limit_arrow_batches(spark, [frame for _, frame, _ in frames])
    return merged.repartition(ranks, _KEY)


def _keys(spark: Any, ranks: int) -> List[int]:
    """For each rank a number that Spark's hash partitioning sends to its partition."""
    wanted = set(range(ranks))
    found = {}
    rows = spark.range(0, 64 * ranks, 1, 1).selectExpr("id", f"pmod(hash(id), {ranks}) AS part").collect()
    for row in rows:
        if row.part in wanted:
            found[row.part] = row.id
            wanted.discard(row.part)
    assert not wanted, "64 candidates a rank always cover them"
    return [found[rank] for rank in range(ranks)]


def _with_key(number: int, frame: DataFrame, validation: bool, ranks: int, keys: List[int]) -> DataFrame:
    from pyspark.sql import functions as F

    rank: Column
    # partition id << 33 | number in the partition: the order in which Spark reads the rows
    place = F.monotonically_increasing_id()
    if ranks == 1 and not validation:
        index, rank = place, F.lit(0)
    else:
        counts = _partition_counts(frame)
        offsets = [0]
        for count in counts:
            offsets.append(offsets[-1] + count)
        offset = F.element_at(F.lit(offsets), (F.shiftrightunsigned(place, 33) + 1).cast("int"))
        index = offset + place.bitwiseAND((1 << 33) - 1)
        if validation:
            rank = F.pmod(index, F.lit(ranks))
        else:
            rank = F.least(F.floor(index * ranks / max(1, offsets[-1])), F.lit(ranks - 1))
    key = F.element_at(F.lit(keys), (rank + 1).cast("int")).cast("long")  # as in _keys: int and long hash apart
    return frame.select(
        F.lit(number).alias(_LAYER),
        index.alias(_INDEX),
        key.alias(_KEY),
        F.struct(*[F.col(f"`{name}`") for name in frame.columns]).alias(_payload(number)),
    )


def _partition_counts(frame: DataFrame) -> List[int]:
    """How many rows each partition has."""
    from pyspark.sql import functions as F

    counts = [0] * max(1, frame.rdd.getNumPartitions())
    for row in frame.select(F.spark_partition_id().alias("part")).groupBy("part").count().collect():
        counts[row["part"]] = row["count"]
    return counts


def limit_arrow_batches(spark: Any, frames: Sequence[DataFrame]) -> None:
    """Keep the Arrow batches between Spark and Python small where rows are large.

    Spark counts rows, not bytes (spark.sql.execution.arrow.maxRecordsPerBatch), and would put ten thousand
    images into one batch.
    """
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    largest = 1
    for frame in frames:
        row = frame.first()
        largest = max(largest, _size(row) if row is not None else 1)
    rows = max(1, min(_MAX_ROWS, _BATCH_BYTES // largest))
    current = int(spark.conf.get(name))
    if current <= 0 or rows < current:
        spark.conf.set(name, str(rows))


def _size(value: Any) -> int:
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    if isinstance(value, (list, tuple)):  # Row is a tuple
        return sum(_size(v) for v in value[:1000]) * max(1, len(value) // 1000)
    return 8
