"""A rank's records: read from its sources, checked, and kept in local stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from ..data.pool import drop_bad_images, needs_decoding
from ..data.records import BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.store import RecordStore
from ..errors import DataError
from ..plans.job import Job
from ..plans.net_plan import LayerPlan
from ..spark.partitioning import bounds, rows_by_layer

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["load_records"]


def load_records(
    job: Job,
    rank: int,
    batches: Iterable[pa.RecordBatch],
    bad: Sequence[BadRecords],
    heartbeat: Callable[[], None],
    enter: Callable[[int, int], None],
    may_be_empty: bool = False,
) -> Tuple[List[RecordStore], List[int]]:
    """Every layer's records of a rank, in local stores; and how many there were with those that are not used.

    Parameters
    ----------
    job : Job
    rank : int
    batches : the rows of frame sources, by ``rows_for_ranks``
    bad : one for each layer of ``job.layers()``: filled with the records that cannot be used
    heartbeat : called between pieces of work
    enter : called before each with the layer's number and how many of its records came before
    may_be_empty : whether a rank can train without a record

    Raises
    ------
    DataError
        For bad records that are not to be skipped, and where a layer of the train net has no record for this rank.
    """
    layers = job.layers()
    training = len(job.train.layers)
    named = job.suspect is not None and job.suspect.rank == rank
    stores = [RecordStore(layer.tops, keep_ids=named) for layer in layers]
    seen = [0] * len(layers)
    for batch in batches:
        for number, rows, index in rows_by_layer(batch, len(layers)):
            enter(number, seen[number])
            seen[number] += len(index)
            reader = layers[number].reader
            assert isinstance(reader, FrameReader)
            records = reader.decode(rows, bad[number]).positioned(index)
            stores[number].append(layers[number].without_bad_values(records, bad[number]))
        heartbeat()
    for number, (layer, store) in enumerate(zip(layers, stores)):
        enter(number, seen[number])
        if isinstance(layer.reader, RangeReader):
            for records in _read_range(layer, number < training, job.ranks, rank, bad[number]):
                store.append(layer.without_bad_values(records, bad[number]))
                heartbeat()
                seen[number] += len(records)
                enter(number, seen[number])
        store.finish()
        if layer.bad.skip and needs_decoding(store):
            drop_bad_images(store, bad[number], job.settings.decoders, heartbeat)
    totals = [len(store) + one.total for store, one in zip(stores, bad)]
    _align(layers[:training], stores[:training], bad)
    for validation, first in job.validation_layers():
        count = len(validation.net.layers)
        _align(validation.net.layers, stores[first : first + count], bad[first : first + count])
    for layer, store in zip(layers[:training], stores):
        if not len(store) and not may_be_empty:
            raise DataError(
                f"{layer.description} has no record for rank {rank} of {job.ranks}: train with fewer ranks, or with "
                "more data"
            )
    return stores, totals


def _read_range(layer: LayerPlan, training: bool, ranks: int, rank: int, bad: BadRecords) -> Iterator[Records]:
    reader, count = layer.reader, layer.count
    assert isinstance(reader, RangeReader) and count is not None
    if training:
        start, stop = bounds(layer.steps(count), ranks, rank)
        yield from reader.read(start * layer.step, min(stop * layer.step, count), 1, bad)
    elif layer.step == 1:
        yield from reader.read(rank, count, ranks, bad)
    else:
        for step in range(rank, layer.steps(count), ranks):
            yield from reader.read(step * layer.step, min((step + 1) * layer.step, count), 1, bad)


def _align(layers: Sequence[LayerPlan], stores: Sequence[RecordStore], bad: Sequence[BadRecords]) -> None:
    """Where layers of one net had the same number of records, keep only those that none of them skipped; batches, where
    these have different sizes.

    Images and labels in databases of their own belong together by their positions.
    """
    if len(stores) < 2 or not any(one.total for one in bad[: len(stores)]):
        return
    before = {layer.steps(len(store) + one.total) for layer, store, one in zip(layers, stores, bad)}
    if len(before) > 1:
        return
    steps = [store.indices // layer.step for layer, store in zip(layers, stores)]
    common = steps[0]
    for layer, mine, one in zip(layers, steps, bad):
        whole, counts = np.unique(mine, return_counts=True)
        common = np.intersect1d(common, whole[counts == layer.step] if one.total else whole)
    for store, mine in zip(stores, steps):
        store.keep(np.flatnonzero(np.isin(mine, common)))
