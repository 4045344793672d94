"""Test and feature extraction: a row out for every record, or the means over all of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ContextManager, Dict, Iterator, List, Sequence, Tuple

import numpy as np
from pyspark import StorageLevel

from ..causes import explained
from ..data.records import SAMPLE_ID
from ..data.sources.base import FrameSource
from ..engines.batching import add_samples, evened
from ..errors import DataError
from ..nets.inputs import measures
from ..plans.net_plan import NetPlan
from ..spark.arrow_batches import limited_arrow_batches, note_large_rows
from ..spark.partitioning import has_stable_partitions, rows_for_ranks
from .batches import outputs_of
from .tasks import Task, check_skipped, different_counts, row_bytes, task_for, workers_for

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from ..plans.net_source import NetSource

__all__ = ["features", "mean_outputs", "small_batches"]

_log = logging.getLogger(__name__)


def features(source: NetSource, blobs: Sequence[str]) -> Tuple[DataFrame, Task]:
    """A DataFrame with ``SampleID`` and an ``array<float>`` for each blob, one row for each record.

    Only the part of the net that the blobs depend on runs. Where no layer reads data, the ids number the samples of
    ``test_iter`` batches from 0. A blob that does not grow with the batch (a loss, an accuracy) has the value of its
    row's batch. The task tells what was skipped once the DataFrame was used.

    Where rows are large, it is best used in a block of ``small_batches``.
    """
    from pyspark.sql import types as T

    source = source.for_blobs(blobs)
    task = task_for(source, blobs)
    fields = [T.StructField(name, T.ArrayType(T.FloatType(), False), False) for name in task.blobs]
    schema = T.StructType([T.StructField(SAMPLE_ID, T.StringType(), False), *fields])
    rows, parts, names = _task_rows(source)
    note_large_rows(source.run_config.spark, row_bytes(task.plan))

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records, values in outputs_of(task, parts, _named(batches, names)):
            yield _as_arrow(records.ids, values)

    with workers_for(source.run_config):
        return rows.mapInArrow(run, schema), task


def mean_outputs(source: NetSource) -> Dict[str, List[float]]:
    """The mean over all records of each output blob of the TEST net."""
    task = task_for(source, source.plan.outputs)
    rows, parts, names = _task_rows(source)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        count = 0
        sums: Dict[str, np.ndarray] = {}
        for records, values in outputs_of(task, parts, _named(batches, names)):
            made = not task.plan.layers
            count += task.plan.batch_size if made else len(records)
            add_samples(sums, evened(values, task.plan.batch_size) if made else values)
        if count:
            columns = [list(sums), [count] * len(sums), [list(total) for total in sums.values()]]
            types = [pa.string(), pa.int64(), pa.list_(pa.float64())]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, types)]
            yield pa.RecordBatch.from_arrays(arrays, names=["blob", "count", "sums"])

    totals: Dict[str, np.ndarray] = {}
    counts: Dict[str, int] = {}
    with explained(), small_batches(source):
        with workers_for(source.run_config):
            sums_of_parts = rows.mapInArrow(run, "blob string, count long, sums array<double>")
        parts_of_sums = sums_of_parts.collect()
    for row in parts_of_sums:
        totals[row["blob"]] = totals.get(row["blob"], 0.0) + np.array(row["sums"])
        counts[row["blob"]] = counts.get(row["blob"], 0) + row["count"]
    for line in check_skipped(task, max(counts.values(), default=0)):
        _log.warning(line)
    if not measures(source.net):
        _log.warning(
            "caffeonspark: %s has no loss and no accuracy: these are the means of its outputs, as in caffe test",
            source.net.path,
        )
    if not totals:
        raise DataError(f"{source!r} has no record")
    return {name: [float(v) for v in totals[name] / counts[name]] for name in source.plan.outputs}


def small_batches(source: NetSource) -> ContextManager[None]:
    """A block whose jobs get the source's rows in Arrow batches that are small where rows are large."""
    frames = [one.frame() for one in source.sources if isinstance(one, FrameSource)]
    return limited_arrow_batches(source.run_config.spark, frames)


def _task_rows(source: NetSource) -> Tuple[DataFrame, int, Sequence[str]]:
    """The DataFrame whose partitions the tasks work on, how many tasks share numbered records, and for ``_named`` the
    columns' names, where they are not theirs: PySpark does not take any name for what it gives to Arrow.

    Rows of a single frame source are used where they are (0 tasks); otherwise records are spread over tasks as
    they are over ranks. A net that makes its data itself runs in one task.
    """
    config = source.run_config
    spark = config.spark
    if not source.sources:
        return spark.range(0, 1, 1, 1), 1, ()
    frames = [(number, one.frame(), False) for number, one in enumerate(source.sources) if isinstance(one, FrameSource)]
    if len(source.sources) == 1 and frames:
        frame = frames[0][1]
        names = frame.columns
        return frame.toDF(*[f"column{number}" for number in range(len(names))]), 0, names
    check_counts(source.plan)
    parts = int(config.settings.lmdb_partitions or config.ranks)
    frames = [
        (n, one if has_stable_partitions(one) else one.persist(StorageLevel.DISK_ONLY), test) for n, one, test in frames
    ]
    steps = {number: one.step for number, one in enumerate(source.sources)}
    return rows_for_ranks(spark, frames, parts, steps), parts, ()


def check_counts(plan: NetPlan) -> None:
    """Raise DataError where data layers have different numbers of records, as far as that is known."""
    known = {layer.description: layer.count for layer in plan.layers if layer.count is not None}
    counts = {layer.steps(layer.count) for layer in plan.layers if layer.count is not None}
    if len(counts) > 1:
        raise different_counts(", ".join(f"{count} in {name}" for name, count in known.items()))


def _named(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(names)) if names else batch


def _as_arrow(ids: Sequence[str], values: Dict[str, np.ndarray]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array(ids, pa.string()), *[as_lists(value) for value in values.values()]]
    return pa.RecordBatch.from_arrays(arrays, names=[SAMPLE_ID, *values])


def as_lists(values: np.ndarray) -> pa.Array:
    """(n, k) float32 as an Arrow array of n lists."""
    import pyarrow as pa

    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1), pa.float32()))
