"""Spreading records over ranks: who gets which, and the DataFrame that brings rows to them.

A training layer's records go to the ranks in contiguous ranges, rank r getting those with
``floor(index * ranks / total) == r``, so that each reads storage order. A validation layer's go round robin
(``index % ranks``), so that every window of them is shared by all ranks. Where the data layers of a net have different
batch sizes, whole batches go to the ranks in these ways, not records: what belongs together stays together.
"""

from __future__ import annotations

import contextlib
from functools import reduce
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..causes import explained
from ..data.sources.base import FrameSource, Source
from ..data.sources.frames import quoted
from .arrow_batches import limited_arrow_batches
from .jvm import exchanges_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

__all__ = [
    "bounds",
    "has_stable_partitions",
    "rows_by_layer",
    "rows_for_ranks",
    "rows_of_sources",
]

_LAYER, _INDEX, _KEY = "_layer", "_index", "_key"


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


def rows_for_ranks(
    spark: Any,
    frames: Sequence[Tuple[int, DataFrame, bool]],
    ranks: int,
    steps: Optional[Mapping[int, int]] = None,
) -> DataFrame:
    """A DataFrame of ``ranks`` partitions, the r-th holding the rows of rank r.

    Parameters
    ----------
    spark : SparkSession
    frames : (number of the layer, its DataFrame, whether it is for validation); each one
        ``has_stable_partitions`` or is persisted
    ranks : int
    steps : by the layer's number, how many of its rows go to a rank together, where that is not 1
    """
    if not frames:
        return spark.range(0, ranks, 1, ranks)
    keys = _keys(spark, ranks)
    step: Dict[int, int] = dict(steps or {})
    parts = [_with_key(n, frame, validation, ranks, keys, step.get(n, 1)) for n, frame, validation in frames]
    merged = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
    return merged.repartition(ranks, _KEY)


def rows_of_sources(
    spark: Any, sources: Sequence[Tuple[Source, bool, bool]], ranks: int, cleanup: contextlib.ExitStack
) -> DataFrame:
    """``rows_for_ranks`` of those among a job's sources that are read as rows.

    Parameters
    ----------
    spark : SparkSession
    sources : of every layer, in order: the source, whether its rows are to be persisted in any case, and whether it
        is for validation
    ranks : int
    cleanup : gives up at its end what was persisted, and the setting that keeps Arrow batches small

    Raises
    ------
    CaffeOnSparkError
        If the rows cannot be read; an InfrastructureError where they may be another time.
    """
    from pyspark import StorageLevel

    frames: List[Tuple[int, DataFrame, bool]] = []
    steps = {number: source.step for number, (source, _, _) in enumerate(sources)}
    for number, (source, persistent, validation) in enumerate(sources):
        if isinstance(source, FrameSource):
            with explained(f"{source.where}: {source.description}"):
                frame = source.frame()
                if persistent or not has_stable_partitions(frame):
                    frame = frame.persist(StorageLevel.DISK_ONLY)
                    cleanup.callback(frame.unpersist)
            frames.append((number, frame, validation))
    with explained("the rows of the data cannot be read"):
        cleanup.enter_context(limited_arrow_batches(spark, [frame for _, frame, _ in frames]))
        return rows_for_ranks(spark, frames, ranks, steps)


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


def _with_key(number: int, frame: DataFrame, validation: bool, ranks: int, keys: List[int], step: int) -> DataFrame:
    from pyspark.sql import functions as F

    payload = F.struct(*[F.col(quoted(name)) for name in frame.columns]).alias(_payload(number))
    frame, index, total = _indexed(frame.select(payload), always=ranks > 1 or validation or step > 1)
    rank: Column
    place = index if step == 1 else F.floor(index / step)
    if validation:
        rank = F.pmod(place, F.lit(ranks))
    elif ranks == 1:
        rank = F.lit(0)
    else:
        rank = F.least(F.floor(place * ranks / max(1, -(-total // step))), F.lit(ranks - 1))
    key = F.element_at(F.lit(keys), (rank + 1).cast("int")).cast("long")  # as in _keys: int and long hash apart
    return frame.select(F.lit(number).alias(_LAYER), index.alias(_INDEX), key.alias(_KEY), _payload(number))


def _indexed(frame: DataFrame, always: bool) -> Tuple[DataFrame, Column, int]:
    """``frame`` with what its rows are numbered by, the column of their numbers, and how many rows there are.

    The numbers go from 0 in storage order: files by name (Spark reads the largest first), rows of no file by
    partition. Without ``always`` they may have gaps, and the rows need not be counted, when there is one file at most.
    """
    from pyspark.sql import functions as F

    # partition id << 33 | number in the partition: the order in which Spark reads the rows
    place = F.monotonically_increasing_id()
    if not always and len(frame.inputFiles()) < 2:
        return frame, place, 0
    segment = {"_part": F.spark_partition_id(), "_file": F.input_file_name(), "_block": F.input_file_block_start()}
    tagged = frame.select("*", *[value.alias(name) for name, value in segment.items()], place.alias("_place"))
    counted = tagged.groupBy(*segment).agg(F.min("_place").alias("first"), F.count("*").alias("count")).collect()
    shifts, total = [], 0
    for row in sorted(counted, key=lambda row: (row["_file"], row["_block"], row["_part"])):
        shifts.append((row["_part"], row["_file"], row["_block"], total - row["first"]))
        total += row["count"]
    table = frame.sparkSession.createDataFrame(shifts, "_part int, _file string, _block long, _shift long")
    # a left join: no row is lost even where a DataFrame is not the same when it is computed again
    joined = tagged.join(F.broadcast(table), list(segment), "left")
    return joined, F.col("_place") + F.coalesce(F.col("_shift"), F.lit(0)), total


def has_stable_partitions(frame: DataFrame) -> bool:
    """Whether the frame's partitions are the same in every query: not where rows are exchanged between them, because
    Spark plans that again for the columns a query uses."""
    return not exchanges_rows(frame)
