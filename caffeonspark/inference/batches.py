"""Records through a TEST net, in a Spark task: in batches of the prototxt's size or -scoreBatch, the last one with what
is left.

A task builds the net once in its Python worker, which Spark keeps for the tasks that follow (``nets``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from ..data.ahead import decoded_ahead
from ..data.batches import BatchRandom
from ..data.records import BadRecord, BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.store import RecordStore
from ..engines.batching import BatchedNet
from ..plans.net_plan import LayerPlan, NetPlan
from ..spark.partitioning import bounds, rows_by_layer
from ..storage import EXECUTOR_SETTING, naming_full_disks, scratch_folder
from .decoder import decoder_for
from .nets import net_for
from .tasks import Task, different_counts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["outputs_of", "rows_at_once"]

_CHUNK = 256  # rows at least


def outputs_of(
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
    random = [k for k, layer in enumerate(task.plan.layers) if any(top.is_random for top in layer.tops)]
    forward = None
    passes = chunks if task.plan.steps_differ else _rebatch(chunks, task.batch or task.plan.batch_size)
    tops = [layer.tops for layer in task.plan.layers]
    for done, chunk in enumerate(decoded_ahead(passes, tops, decoder_for(task))):
        forward = forward or net_for(task)
        draws = [
            BatchRandom(0, number, layer).transforms(done, len(mine)) if layer in random else np.zeros((len(mine), 3))
            for layer, mine in enumerate(chunk)
        ]
        records, values = _run_batch(task, forward, chunk, draws, bad)
        if len(records):
            yield records, values
    for one in bad:
        if one.total:
            task.skipped.add({one.source: [one.counts, one.examples]})


def _made(task: Task) -> Iterator[Tuple[Records, Dict[str, np.ndarray]]]:
    """The samples of a net that makes its data itself, numbered."""
    forward, done = net_for(task), 0
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
    """Chunks of the rows of one layer, a few batches each: Spark may bring thousands of large rows at once."""
    layer, done = task.plan.layers[0], 0
    assert isinstance(layer.reader, FrameReader)
    size = rows_at_once(task)
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            rows = batch.slice(start, size)
            records = layer.without_bad_values(layer.reader.decode(rows, bad[0]), bad[0])
            yield [records.positioned(np.arange(done, done + len(rows)))]
            done += len(rows)


def rows_at_once(task: Task) -> int:
    """How many rows of a DataFrame are worked on together, in whole batches."""
    batch = task.batch or task.plan.batch_size
    return -(-_CHUNK // batch) * batch


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
    if len(streams) == 1:
        for records in streams[0]:
            if len(records):
                yield [records]
        return
    waiting: List[Optional[Records]] = [None] * len(streams)
    while True:
        for k, stream in enumerate(streams):
            mine = waiting[k]
            while mine is None or not len(mine):
                mine = next(stream, None)
                if mine is None:
                    break
            waiting[k] = mine
        here = [records for records in waiting if records is not None]
        if not here:
            return
        if len(here) < len(streams):
            if all(not layer.bad.skip for layer in plan.layers):
                raise different_counts(", ".join(layer.description for layer in plan.layers))
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
        raise different_counts(", ".join(layer.description for layer in plan.layers))


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
