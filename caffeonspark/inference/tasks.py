"""Test and feature extraction: TEST nets in Spark tasks, one row out for every row in.

A task builds the net once in its Python worker, which Spark keeps for the tasks that follow, and streams its
records through it in batches of the prototxt's size; the last batch of a task is as small as what is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from pyspark import StorageLevel
from pyspark.accumulators import AccumulatorParam

from ..causes import explained
from ..data.batches import BatchRandom
from ..data.records import SAMPLE_ID, BadRecord, BadRecords, Records
from ..data.sources.base import FrameReader, FrameSource, RangeReader
from ..data.store import RecordStore, scratch_folder
from ..engines.batching import BatchedNet, add_samples, evened
from ..engines.blas import check_setting, use_for
from ..engines.registry import engine_named
from ..errors import ConfigError, DataError
from ..formats.checksums import read_checked
from ..formats.endings import ending_of, is_hdf5, with_format
from ..nets.inputs import measures
from ..plans.made_data import tell_rank
from ..plans.net_plan import LayerPlan, NetPlan
from ..plans.run_config import RunConfig
from ..plans.weights_match import check_all_there
from ..spark.library_zip import ship_library
from ..spark.partitioning import bounds, has_stable_partitions, limit_arrow_batches, rows_by_layer, rows_for_ranks
from ..spark.workers import inference_environment, worker_environment
from ..storage import EXECUTOR_SETTING, find_file, naming_full_disks

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from ..plans.net_source import NetSource

__all__ = [
    "Task",
    "check_model",
    "check_skipped",
    "features",
    "make_task",
    "mean_outputs",
    "read_model",
    "with_outputs",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What an inference task gets to know.

    Attributes
    ----------
    engine : name of the engine
    kernel : of -blasKernel
    plan : NetPlan of the TEST phase
    blobs : names of the blobs to return
    model : Spark broadcast of the model file's bytes
    ending : of the model file's name
    digest : names engine, net and model, so that a worker knows its net again
    skipped : Spark accumulator of what was skipped: {layer: [counts by cause, examples]}
    batches : how many a task runs of a net that makes its data itself
    """

    engine: str
    kernel: str
    plan: NetPlan
    blobs: Tuple[str, ...]
    model: Any
    ending: str
    digest: str
    skipped: Any
    batches: int = 0


def task_for(source: NetSource, blobs: Sequence[str]) -> Task:
    """The task of running the plan of ``source`` with the model of ``-model``. Raises as ``read_model``."""
    config, batches = source.run_config, source.batches_to_score()
    path, content = read_model(config, source.plan)
    return replace(_make_task(config, source.plan, blobs, content, ending_of(path)), batches=batches)


def read_model(config: RunConfig, plan: NetPlan) -> Tuple[str, bytes]:
    """Where the model of ``-model`` is, and its content.

    Raises ConfigError, or DataError, unless it is what was saved and has every parameter of the net.
    """
    check_setting(config.settings.blasKernel)
    path = check_model(config)
    content = read_checked(config.storage, path)
    check_all_there(plan, path, content)
    return path, content


def check_model(config: RunConfig) -> str:
    """Where the file of ``-model`` is. Raises ConfigError where there is none."""
    if not config.settings.scored:
        raise ConfigError("-model is missing: name the model to use")
    return find_model(config)


def find_model(config: RunConfig) -> str:
    """Where the file of ``-model`` is. Raises ConfigError where there is none.

    A solver's ``snapshot_format`` adds ``.h5`` to a model's name or takes it away: the other name counts where there is
    no file of this one, or where ``-train`` has just written it.
    """
    model = config.settings.scored
    other = with_format(model, not is_hdf5(model))
    names = [model, other]
    if config.settings.train and config.solver is not None and config.model_uri == other:
        names.reverse()
    for name in names:
        with contextlib.suppress(ConfigError):
            return find_file(config.storage, name, "")
    flag = "-model" if config.settings.model else "-weights"
    if "," in model:
        raise ConfigError(f"{flag} {model}: -test and -features take one model, with every layer's parameters")
    return find_file(config.storage, model, f"the model ({flag})")


def make_task(config: RunConfig, plan: NetPlan, blobs: Sequence[str], model: bytes, ending: str) -> Task:
    """The task of running ``plan`` with the model file whose content is ``model``.

    Raises ConfigError, or DataError, unless it has every parameter of the net.
    """
    check_all_there(plan, f"the model{ending}", model)
    return _make_task(config, plan, blobs, model, ending)


def _make_task(config: RunConfig, plan: NetPlan, blobs: Sequence[str], model: bytes, ending: str) -> Task:
    engine, kernel = config.settings.engine, check_setting(config.settings.blasKernel)
    net = f"{engine}\0{plan.indexed}\0".encode() + plan.content
    digest = hashlib.sha256(net + model).hexdigest()
    context = config.spark.sparkContext
    ship_library(context)
    skipped = context.accumulator({}, _MergeSkipped())
    return Task(engine, kernel, plan, tuple(blobs), context.broadcast(model), ending, digest, skipped)


class _MergeSkipped(AccumulatorParam[Dict[str, Any]]):
    """Adds up what tasks skipped."""

    def zero(self, value: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def addInPlace(self, value1: Dict[str, Any], value2: Dict[str, Any]) -> Dict[str, Any]:  # noqa: N802
        merged: Dict[str, Any] = {}
        for name in [*value1, *value2]:
            bad = BadRecords(name)
            for value in (value1, value2):
                if name in value:
                    bad.add(*value[name])
            merged[name] = [bad.counts, bad.examples]
        return merged


def check_skipped(task: Task, good: int) -> List[str]:
    """One line about each layer that skipped records; raises DataError where they were too many."""
    lines = []
    for layer in task.plan.layers:
        if layer.description in task.skipped.value:
            bad = BadRecords(layer.description, layer.bad)
            bad.add(*task.skipped.value[layer.description])
            bad.check(good)
            lines.append(bad.describe(good))
    return lines


def features(source: NetSource, blobs: Sequence[str]) -> Tuple[DataFrame, Task]:
    """A DataFrame with ``SampleID`` and an ``array<float>`` for each blob, one row for each record.

    Only the part of the net that the blobs depend on runs. Where no layer reads data, the ids number the samples of
    ``test_iter`` batches from 0. A blob that does not grow with the batch (a loss, an accuracy) has the value of its
    row's batch. The task tells what was skipped once the DataFrame was used.
    """
    from pyspark.sql import types as T

    source = source.for_blobs(blobs)
    task = task_for(source, blobs)
    fields = [T.StructField(name, T.ArrayType(T.FloatType(), False), False) for name in task.blobs]
    schema = T.StructType([T.StructField(SAMPLE_ID, T.StringType(), False), *fields])
    rows, parts, names = _task_rows(source)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records, values in _outputs(task, parts, _named(batches, names)):
            yield _as_arrow(records.ids, values)

    with _workers(source.run_config):
        return rows.mapInArrow(run, schema), task


def mean_outputs(source: NetSource) -> Dict[str, List[float]]:
    """The mean over all records of each output blob of the TEST net."""
    task = task_for(source, source.plan.outputs)
    rows, parts, names = _task_rows(source)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        count = 0
        sums: Dict[str, np.ndarray] = {}
        for records, values in _outputs(task, parts, _named(batches, names)):
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
    with explained():
        with _workers(source.run_config):
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


def with_outputs(frame: DataFrame, source: NetSource, task: Task) -> DataFrame:
    """``frame`` with a column for each of the task's blobs.

    Parameters
    ----------
    frame : DataFrame
    source : made with ``frame`` as its DataFrame, for the blobs
    task : Task

    A row that is skipped has null there.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    reader = source.sources[0]
    assert isinstance(reader, FrameSource)
    payload = F.struct(*reader.columns(frame))
    schema = T.StructType([T.StructField(name, T.ArrayType(T.FloatType())) for name in task.blobs])

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        import pandas as pd
        import pyarrow as pa

        for rows in batches:
            batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
            found: Dict[str, List[Any]] = {name: [None] * len(rows) for name in task.blobs}
            for records, values in _outputs(task, 0, iter([batch])):
                for name, value in values.items():
                    for row, numbers in zip(records.index, value):
                        found[name][row] = numbers
            yield pd.DataFrame(found, index=rows.index)

    limit_arrow_batches(frame.sparkSession, [frame])
    outputs = "_caffe_outputs"
    with _workers(source.run_config):
        computed = frame.withColumn(outputs, _iterator_udf(run, schema)(payload))
    # not selected by their names: columns that share one, and are not used, do no harm
    return computed.withColumns({name: F.col(outputs)[name] for name in task.blobs}).drop(outputs)


def _iterator_udf(run: Any, schema: Any) -> Any:
    """A pandas UDF over batches; its kind is given by type hints that have to be evaluated."""
    import pandas as pd
    from pyspark.sql.functions import pandas_udf

    run.__annotations__ = {"batches": Iterator[pd.DataFrame], "return": Iterator[pd.DataFrame]}
    return pandas_udf(run, schema)


def _workers(config: RunConfig) -> ContextManager[None]:
    """What is handed to Spark meanwhile runs in the workers that ``-blasKernel`` asks for."""
    context = config.spark.sparkContext
    return worker_environment(context, inference_environment(config.settings.blasKernel, context.applicationId))


# ---- rows for tasks


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
        limit_arrow_batches(spark, [frame])
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
        raise _different_counts(", ".join(f"{count} in {name}" for name, count in known.items()))


def _different_counts(found: str) -> DataError:
    return DataError(
        f"the data layers have different numbers of records, and -test and -features take each record once: {found}"
    )


# ---- in the task


def _named(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(names)) if names else batch


_nets: Dict[str, BatchedNet] = {}


def _net_for(task: Task) -> BatchedNet:
    """The worker's net for this task, built if the worker has another one."""
    if task.digest not in _nets or not task.plan.layers:  # layers that make all data know how far they came
        _nets.clear()
        tell_rank(0, 1)
        with tempfile.NamedTemporaryFile(suffix=task.ending, dir=scratch_folder()) as f:
            f.write(task.model.value)
            f.flush()
            use_for(task.kernel)
            _nets[task.digest] = BatchedNet(task.plan, engine_named(task.engine).predictor(task.plan.message(), f.name))
    return _nets[task.digest].for_plan(task.plan)  # whose transformations are no part of the net


def _outputs(
    task: Task, parts: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[Tuple[Records, Dict[str, np.ndarray]]]:
    """The task's records (of the first data layer) and their blobs, in their order, a batch at a time."""
    with naming_full_disks(scratch_folder(), EXECUTOR_SETTING):
        yield from _computed(task, parts, batches)


def _computed(
    task: Task, parts: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[Tuple[Records, Dict[str, np.ndarray]]]:
    from pyspark import TaskContext

    if not task.plan.layers:
        for _ in batches:  # Spark starts tasks with rows
            pass
        yield from _made(task)
        return
    context = TaskContext.get()
    number = context.partitionId() if context is not None else 0
    bad = [BadRecords(layer.description, layer.bad) for layer in task.plan.layers]
    if parts == 0:
        chunks = _frame_chunks(task, batches, bad)
    else:
        chunks = _spread_chunks(task, number, parts, batches, bad)
    forward = None
    for done, chunk in enumerate(chunks if task.plan.steps_differ else _rebatch(chunks, task.plan.batch_size)):
        forward = forward or _net_for(task)
        draws = [BatchRandom(0, number, layer).transforms(done, len(mine)) for layer, mine in enumerate(chunk)]
        records, values = _run_batch(task, forward, chunk, draws, bad)
        if len(records):
            yield records, values
    for one in bad:
        if one.total:
            task.skipped.add({one.source: [one.counts, one.examples]})


def _made(task: Task) -> Iterator[Tuple[Records, Dict[str, np.ndarray]]]:
    """The samples of a net that makes its data itself, numbered."""
    forward, done = _net_for(task), 0
    for _ in range(task.batches):
        values = forward.run([], [], task.plan.batch_size, task.blobs)
        numbers = np.arange(done, done + len(values[task.blobs[0]]))
        done += len(numbers)
        yield Records([str(number) for number in numbers], [], numbers), values


#: The same records of each data layer; a batch of each, where they have different batch sizes.
Chunk = List[Records]


def _run_batch(
    task: Task, forward: BatchedNet, chunk: Chunk, draws: List[np.ndarray], bad: List[BadRecords]
) -> Tuple[Records, Dict[str, np.ndarray]]:
    """The records and blobs of a batch, without the records whose images cannot be used."""
    while len(chunk[0]):
        try:
            return chunk[0], forward.run([records.columns for records in chunk], draws, len(chunk[0]), task.blobs)
        except BadRecord as e:
            assert e.row is not None
            bad[e.layer].report(e.named(chunk[e.layer].ids[e.row]))
            if task.plan.steps_differ:  # what belongs to the record is not known
                return chunk[0].keep(slice(0)), {}
            keep = np.delete(np.arange(len(chunk[0])), e.row)
            chunk = [records.keep(keep) for records in chunk]
            draws = [numbers[keep] for numbers in draws]
    return chunk[0], {}


def _frame_chunks(task: Task, batches: Iterator[pa.RecordBatch], bad: List[BadRecords]) -> Iterator[Chunk]:
    layer = task.plan.layers[0]
    assert isinstance(layer.reader, FrameReader)
    for batch in batches:
        yield [layer.without_bad_values(layer.reader.decode(batch, bad[0]), bad[0])]


def _spread_chunks(
    task: Task, number: int, parts: int, batches: Iterator[pa.RecordBatch], bad: List[BadRecords]
) -> Iterator[Chunk]:
    """Chunks of several layers side by side, or of numbered records."""
    layers = task.plan.layers
    stores = {k: RecordStore(layer.tops, keep_ids=True) for k, layer in enumerate(layers) if layer.count is None}
    for batch in batches:
        for k, rows, index in rows_by_layer(batch, len(layers)):
            reader = layers[k].reader
            assert isinstance(reader, FrameReader)
            stores[k].append(layers[k].without_bad_values(reader.decode(rows, bad[k]).positioned(index), bad[k]))
    streams: List[Iterator[Records]] = []
    for k, layer in enumerate(layers):
        if isinstance(layer.reader, RangeReader):
            assert layer.count is not None
            start, stop = bounds(layer.steps(layer.count), parts, number)
            chunks = layer.reader.read(start * layer.step, min(stop * layer.step, layer.count), 1, bad[k])
            streams.append(_checked(layer, chunks, bad[k]))
        else:
            stores[k].finish()
            streams.append(stores[k].chunks(256))
    yield from (_passes if task.plan.steps_differ else _side_by_side)(streams, task.plan)


def _checked(layer: LayerPlan, chunks: Iterator[Records], bad: BadRecords) -> Iterator[Records]:
    for records in chunks:
        yield layer.without_bad_values(records, bad)


def _side_by_side(streams: List[Iterator[Records]], plan: NetPlan) -> Iterator[Chunk]:
    """Chunks of the same records from every layer's stream.

    Records belong together by their position in the source, so one that a layer skipped is skipped in all.
    """
    waiting: List[Optional[Records]] = [None] * len(streams)
    while True:
        for k, stream in enumerate(streams):
            records = waiting[k]
            while records is None or not len(records):
                records = next(stream, None)
                if records is None:
                    break
            waiting[k] = records
        here = [records for records in waiting if records is not None]
        if not here:
            return
        if len(here) < len(streams):
            if all(not layer.bad.skip for layer in plan.layers):
                raise _different_counts(", ".join(layer.description for layer in plan.layers))
            return
        upto = min(int(records.index[-1]) for records in here)
        common = here[0].index
        for records in here[1:]:
            common = np.intersect1d(common, records.index)
        common = common[common <= upto]
        chosen = [records.keep(np.flatnonzero(np.isin(records.index, common))) for records in here]
        waiting = [records.keep(np.flatnonzero(records.index > upto)) for records in here]
        if len(common):
            yield chosen


def _passes(streams: List[Iterator[Records]], plan: NetPlan) -> Iterator[Chunk]:
    """A batch of each layer, where they have different batch sizes; one of which a record was skipped is left out."""
    batches = [_by_step(stream, layer.step) for stream, layer in zip(streams, plan.layers)]
    ends = object()
    waiting: List[Any] = [next(one, ends) for one in batches]
    while not any(one is ends for one in waiting):
        step = max(int(records.index[0]) // layer.step for records, layer in zip(waiting, plan.layers))
        late = [int(records.index[0]) // layer.step < step for records, layer in zip(waiting, plan.layers)]
        if not any(late):
            if all(_is_whole(records, layer) for records, layer in zip(waiting, plan.layers)):
                yield list(waiting)
            late = [True] * len(late)
        waiting = [next(one, ends) if behind else mine for one, behind, mine in zip(batches, late, waiting)]
    if not all(one is ends for one in waiting) and all(not layer.bad.skip for layer in plan.layers):
        raise _different_counts(", ".join(layer.description for layer in plan.layers))


def _is_whole(records: Records, layer: LayerPlan) -> bool:
    """Whether no record of a batch was skipped."""
    whole = len(records) == layer.step or int(records.index[-1]) + 1 == layer.count
    return not layer.bad.skip or (whole and int(records.index[-1]) % layer.step == len(records) - 1)


def _by_step(stream: Iterator[Records], size: int) -> Iterator[Records]:
    """The same records, those of each step together."""
    left: Optional[Records] = None
    for records in stream:
        left = records if left is None else left + records
        while len(left) and int(left.index[0]) // size < int(left.index[-1]) // size:
            mine = int(np.searchsorted(left.index // size, int(left.index[0]) // size, "right"))
            yield left.keep(slice(mine))
            left = left.keep(slice(mine, None))
    if left is not None and len(left):
        yield left


def _rebatch(chunks: Iterator[Chunk], size: int) -> Iterator[Chunk]:
    """The same records in batches of ``size``, the last one smaller."""
    left: Chunk = []
    for chunk in chunks:
        left = [a + b for a, b in zip(left, chunk)] if left and len(left[0]) else chunk
        while len(left[0]) >= size:
            yield [records.keep(slice(size)) for records in left]
            left = [records.keep(slice(size, None)) for records in left]
    if left and len(left[0]):
        yield left


def _as_arrow(ids: Sequence[str], values: Dict[str, np.ndarray]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array(ids, pa.string()), *[as_lists(value) for value in values.values()]]
    return pa.RecordBatch.from_arrays(arrays, names=[SAMPLE_ID, *values])


def as_lists(values: np.ndarray) -> pa.Array:
    """(n, k) float32 as an Arrow array of n lists."""
    import pyarrow as pa

    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1), pa.float32()))
