"""Telling the driver what is in the batch that a rank died of in an attempt before."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from ..comm.wire import FrameKind
from ..data.batches import Feed
from ..data.store import RecordStore
from ..plans.job import Job
from ..plans.net_plan import LayerPlan
from .sidecar import DriverConnection

__all__ = ["watch_suspect"]


def watch_suspect(
    job: Job, rank: int, connection: DriverConnection, stores: Sequence[RecordStore], feeds: Sequence[Feed]
) -> None:
    """Where ``job.suspect`` is this rank's, name its batch to the driver when the rank comes there."""
    suspect = job.suspect
    if suspect is None or suspect.rank != rank:
        return
    numbers = list(range(len(job.train.layers)))
    if suspect.net:
        validation, first = job.validation_layers()[suspect.net - 1]
        numbers = list(range(first, first + len(validation.net.layers)))
    layers = job.layers()

    def tell(records: Optional[Sequence[np.ndarray]]) -> None:
        mine = [feed.records(feed.used) for feed in feeds] if records is None else records
        described = [_describe(layers[number], stores[number], chosen) for number, chosen in zip(numbers, mine)]
        connection.send(FrameKind.SUSPECT, batch="; ".join(described))

    connection.whereabouts.watch((suspect.iteration, suspect.net, suspect.batch), tell)


def _describe(layer: LayerPlan, store: RecordStore, records: np.ndarray) -> str:
    first, last = store.id_of(int(records[0])), store.id_of(int(records[-1]))
    return f"{layer.description}: {len(records)} records, '{first}' to '{last}'"
