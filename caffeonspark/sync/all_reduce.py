"""One solver over the samples of all ranks: the gradients of every iteration are the mean over the ranks."""

from __future__ import annotations

import time
from typing import Callable, ClassVar, List, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator, Pending
from ..engines.base import Trainer
from ..plans.net_plan import NetPlan
from ..settings import Settings
from .base import Progress, Strategy
from .buckets import LEAST, make_buckets
from .trial import Trial

__all__ = ["AllReduce"]


class AllReduce(Strategy):
    """Gradients, BatchNorm's statistics, the loss and the votes to stop are exchanged in every iteration.

    They have come when the gradients are ready, before they are normalised, clipped and applied. All ranks have the
    same weights at any time, so each has the model.

    On one machine it is one collective: the gradients in the net's order, the statistics, loss and votes. Where the
    ranks' communicator works while the solver computes (``Communicator.overlaps``), gradients go in buckets
    (``sync/buckets.py``): of the last layers first, each a collective that is begun while the backward pass still runs.
    In a bucket they have the net's order; the last one has the statistics, loss and votes behind it. When a bucket
    travels changes no sum: what is in it, and so the order of additions, is a function of the net.

    A bucket makes progress between two layers, or in a helper process all the time (``Communicator.begin_aside``): the
    ranks take both ways in turn, and keep the one that takes less (``sync/trial.py``). The last bucket is always
    the rank's own.

    With ``-compress`` gradients go between hosts in 16 bits; what rounding takes is added the next time, and forgotten
    when training is started again.
    """

    flags: ClassVar[Tuple[str, ...]] = ("compress",)
    lockstep: ClassVar[bool] = True
    #: Bytes that a bucket has at least.
    least: ClassVar[int] = LEAST
    #: Whether buckets may go in a helper process: each in turn, the best after that.
    aside: ClassVar[Tuple[bool, ...]] = (False, True)

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        self._stats = np.zeros(2, np.float32)  # loss, votes to stop
        self._pending: List[Pending] = []
        gradients = trainer.gradients
        comm.share([*gradients, *trainer.statistics, self._stats])
        order = trainer.final_order if comm.overlaps else [list(range(len(gradients)))]
        self._buckets = make_buckets(order, [array.nbytes for array in gradients], self.least)
        if len(self._buckets) > 1:
            trainer.watch_backward(self._layer_done)
        self._trial = Trial(self.aside if comm.helps and len(self._buckets) > 1 else (False,), comm)

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """What rounding has left, at a host's first rank."""
        return 4e-6 * train.parameters if settings.compress != "none" and ranks > 1 else 0.0

    @classmethod
    def wants_helper(cls, train: NetPlan) -> bool:
        """Where there may be more than one bucket."""
        return 4 * train.parameters > cls.least

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        begin = time.perf_counter()
        self.trainer.step(load, self._exchange)
        self._trial.took(time.perf_counter() - begin)
        return Progress(((at, float(self._stats[0]), rate),), bool(self._stats[1] > 0))

    def _layer_done(self, final: int) -> None:
        """Begin the buckets that are final, but for the last one, which waits for the loss; and continue those that
        were begun."""
        for bucket in self._buckets[len(self._pending) : -1]:
            if bucket.ready > final:
                break
            self._begin(bucket.numbers)
        if self._pending:
            self._pending[-1].progress()

    def _exchange(self, loss: float) -> None:
        self._stats[0] = loss
        self._stats[1] = self.wants_stop()
        for bucket in self._buckets[len(self._pending) : -1]:
            self._begin(bucket.numbers)
        self._begin(self._buckets[-1].numbers, [*self.trainer.statistics, self._stats])
        for pending in self._pending:
            pending.wait()
        self._pending.clear()

    def _begin(self, numbers: Sequence[int], more: Sequence[np.ndarray] = ()) -> None:
        gradients = self.trainer.gradients
        arrays = [*(gradients[number] for number in numbers), *more]
        compressed = len(numbers) if self.settings.compress != "none" else 0
        aside = self._trial.way and not more
        begin = self.comm.begin_aside if aside else self.comm.begin_all_reduce
        self._pending.append(begin(arrays, self.scale, compressed))
