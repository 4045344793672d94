"""ValidationPlan on a rank: its share of the rows through a test net, the sums over all ranks."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..data.batches import BatchRandom
from ..data.records import BadRecord, Column
from ..data.store import RecordStore
from ..engines.base import Predictor
from ..engines.batching import BatchedNet, add_samples, evened
from ..errors import DataError
from ..plans.net_plan import NetPlan

__all__ = ["Validator"]


class Validator:
    """Runs one test net over this rank's share of its rows; one that makes its data itself, as often as its rows say.

    Parameters
    ----------
    plan : of the test net
    net : the test net
    stores : one for each of its data layers: this rank's share
    totals : how many rows each source has, over all ranks, skipped ones included
    rows : how many of them a run uses (each rank, where no layer reads data); None, or more than there are, means all
    comm : Communicator
    draws : one for each data layer, for those that crop or mirror at random
    heartbeat : called between batches
    enter : called with each batch's number and each layer's records before it runs, and with None after the last

    Raises
    ------
    DataError
        As ``NetPlan.check_shared``.
    """

    def __init__(
        self,
        plan: NetPlan,
        net: Predictor,
        stores: Sequence[RecordStore],
        totals: Sequence[int],
        rows: Optional[int],
        comm: Communicator,
        draws: Sequence[BatchRandom],
        heartbeat: Callable[[], None],
        enter: Callable[[int, Optional[Sequence[np.ndarray]]], None],
    ) -> None:
        self._plan = plan
        self._net = BatchedNet(plan, net)
        self._stores = stores
        #: How many steps of each layer there are, and how many a run uses.
        self._steps = [layer.steps(total) for layer, total in zip(plan.layers, totals)] or [rows or 0]
        asked = None if rows is None else plan.layers[0].steps(rows) if plan.layers else rows
        self._used = min(self._steps) if asked is None else min(asked, max(self._steps))
        self._comm = comm
        self._draws = draws
        self._tick = heartbeat
        self._enter = enter
        plan.check_shared(totals, comm.size)

    def run(self, number: int) -> Tuple[int, Dict[str, List[float]]]:
        """The ``number``-th validation (from 0): rows used, and each output blob's mean over them.

        Successive runs go on through the rows, as Caffe's data layers do, and start over at the end.
        """
        outputs = self._plan.outputs
        sums = {name: np.zeros(self._net.width(name)) for name in outputs}
        done = 0
        for batch, records in enumerate(self._batches(number)):
            self._tick()
            self._enter(batch, records)
            columns = [store.read(mine) for store, mine in zip(self._stores, records)]
            draws = [d.transforms(number, len(mine)) for d, mine in zip(self._draws, records)]
            samples = len(records[0]) if records else self._plan.batch_size
            values = self._forward(columns, draws, records, samples)
            add_samples(sums, values if records else evened(values, samples))
            done += samples
        self._enter(0, None)
        count = np.array([float(done)])
        self._comm.all_reduce([count, *sums.values()])
        if not count[0]:
            rows = self._used * self._plan.layers[0].step
            raise DataError(f"{self._plan.path}: every record of a validation's {rows} was skipped: none is left")
        return int(count[0]), {name: [float(v) for v in total / count[0]] for name, total in sums.items()}

    def _forward(
        self, columns: List[List[Column]], draws: List[np.ndarray], records: Sequence[np.ndarray], samples: int
    ) -> Dict[str, np.ndarray]:
        try:
            return self._net.run(columns, draws, samples, self._plan.outputs)
        except BadRecord as e:
            assert e.row is not None
            name = self._stores[e.layer].id_of(int(records[e.layer][e.row]))
            raise DataError(f"{self._plan.layers[e.layer].description}: {e.named(name).message}") from None

    def _batches(self, number: int) -> Iterator[List[np.ndarray]]:
        """For each pass of a run, the numbers of each layer's records in their stores."""
        if not self._plan.layers:
            for _ in range(self._used // self._plan.batch_size):
                yield []
            return
        # the run's steps, of which each rank has those that were dealt to it, without those that were skipped
        steps = np.arange(number * self._used, (number + 1) * self._used)
        steps = steps[steps % self._steps[0] % self._comm.size == self._comm.rank]
        first, last = [], []
        for layer, count, store in zip(self._plan.layers, self._steps, self._stores):
            here = store.indices // layer.step
            first.append(np.searchsorted(here, steps % count, "left"))
            last.append(np.searchsorted(here, steps % count, "right"))
        there = np.flatnonzero((np.array(last) > np.array(first)).all(axis=0))
        size = self._plan.batch_size // self._plan.layers[0].step
        for start in range(0, len(there), size):
            chosen = there[start : start + size]
            yield [
                np.concatenate([np.arange(low[at], high[at]) for at in chosen]) if layer.step > 1 else low[chosen]
                for layer, low, high in zip(self._plan.layers, first, last)
            ]
