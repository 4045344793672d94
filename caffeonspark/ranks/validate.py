"""ValidationPlan on a rank: its share of the rows through a test net, the sums over all ranks."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..data.batches import BatchRandom
from ..data.records import BadRecord, Column
from ..data.store import RecordStore
from ..engines.base import Predictor
from ..engines.batching import BatchedNet
from ..errors import DataError
from ..plans.net_plan import NetPlan

__all__ = ["Validator"]


class Validator:
    """Runs one test net over this rank's share of its rows.

    Parameters
    ----------
    plan : of the test net
    net : the test net
    stores : one for each of its data layers: this rank's share
    total : how many rows the source has, over all ranks, skipped ones included
    rows : how many of them a run uses; None, or more than there are, means all
    comm : Communicator
    draws : one for each data layer, for those that crop or mirror at random
    heartbeat : called between batches
    enter : called with each batch's number and records before it runs, and without records after the last
    """

    def __init__(
        self,
        plan: NetPlan,
        net: Predictor,
        stores: Sequence[RecordStore],
        total: int,
        rows: Optional[int],
        comm: Communicator,
        draws: Sequence[BatchRandom],
        heartbeat: Callable[[], None],
        enter: Callable[[int, np.ndarray], None],
    ) -> None:
        self._plan = plan
        self._net = BatchedNet(plan, net)
        self._stores = stores
        self._total = total
        self._rows = total if rows is None else min(rows, total)
        self._comm = comm
        self._draws = draws
        self._tick = heartbeat
        self._enter = enter

    def run(self, number: int) -> Tuple[int, Dict[str, List[float]]]:
        """The ``number``-th validation (from 0): rows used, and each output blob's mean over them.

        Successive runs go on through the rows, as Caffe's data layers do, and start over at the end.
        """
        outputs = self._plan.outputs
        sums = {name: np.zeros(self._net.width(name)) for name in outputs}
        mine = self._local_records(number * self._rows % self._total)
        for start in range(0, len(mine), self._plan.batch_size):
            self._tick()
            records = mine[start : start + self._plan.batch_size]
            self._enter(start // self._plan.batch_size, records)
            columns = [store.read(records) for store in self._stores]
            draws = [d.transforms(number, len(records)) for d in self._draws]
            for name, values in self._forward(columns, draws, records).items():
                sums[name] += values.sum(axis=0, dtype=np.float64)
        self._enter(0, mine[:0])
        count = np.array([float(len(mine))])
        self._comm.all_reduce([count, *sums.values()])
        if not count[0]:
            raise DataError(f"{self._plan.path}: every record of a validation's {self._rows} was skipped: none is left")
        return int(count[0]), {name: [float(v) for v in total / count[0]] for name, total in sums.items()}

    def _forward(
        self, columns: List[List[Column]], draws: List[np.ndarray], records: np.ndarray
    ) -> Dict[str, np.ndarray]:
        try:
            return self._net.run(columns, draws, len(records), self._plan.outputs)
        except BadRecord as e:
            assert e.row is not None
            name = self._stores[e.layer].id_of(int(records[e.row]))
            raise DataError(f"{self._plan.layers[e.layer].description}: {e.named(name).message}") from None

    def _local_records(self, first: int) -> np.ndarray:
        """This rank's records among the run's rows, which go from ``first`` and wrap round."""
        behind = (self._stores[0].indices - first) % self._total
        mine = np.flatnonzero(behind < self._rows)
        found: np.ndarray = mine[np.argsort(behind[mine], kind="stable")]
        return found
