"""Solvers of their own that become their mean every few iterations, as in SparkNet (arXiv 1511.06051)."""

from __future__ import annotations

import contextlib
import os
from typing import Callable, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..formats.endings import ending_of
from ..plans.net_plan import NetPlan
from ..settings import Settings
from .base import Entry, Progress, Strategy

__all__ = ["Averaging"]


class Averaging(Strategy):
    """Each rank iterates alone; after every ``-syncInterval`` iterations the weights become the mean over the ranks.

    The weights include BatchNorm's statistics. The solvers' histories (momentum) stay each rank's own. When the ranks
    average is a function of the iteration, so a resumed run does it where an undisturbed one does. The losses since
    the last averaging and the votes to stop travel behind the weights in the same collective.
    """

    flags: ClassVar[Tuple[str, ...]] = ("syncInterval",)
    stops_after: ClassVar[str] = "the next averaging"

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        self._interval = settings.syncInterval
        self._same = True  # whether every rank has the same weights
        self._pending: List[Entry] = []  # this rank's losses since the last exchange

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """A rank's own weights while the mean is in their place."""
        return 4e-6 * train.parameters

    def start(self, weights: Sequence[str], state: Optional[str], parts: Optional[Mapping[str, str]]) -> None:
        if state is None or parts is None:
            super().start(weights, state, parts)
            return
        own_weights, own_state = parts.get(ending_of(weights[0])), parts.get(ending_of(state))
        self.trainer.restore(own_weights or weights[0], own_state or state)
        self._same = self.comm.size == 1 or own_weights is None

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        self.trainer.step(load, lambda loss: self._pending.append((at, loss, rate)))
        self._same = self.comm.size == 1
        if self.trainer.iteration % self._interval:
            return Progress((), False)
        history, votes = self._exchange(self.trainer.weights)
        self._same = True
        return Progress(history, votes > 0)

    def exchange_losses(self) -> Sequence[Entry]:
        return self._exchange([])[0] if self._pending else ()

    def _exchange(self, weights: Sequence[np.ndarray]) -> Tuple[List[Entry], float]:
        """Make the weights the mean over the ranks; the losses that are known with it, and the votes to stop."""
        stats = np.array([*(loss for _, loss, _ in self._pending), self.wants_stop()], np.float32)
        self.comm.all_reduce([*weights, stats], scale=self.scale)
        history = [(at, float(loss), rate) for (at, _, rate), loss in zip(self._pending, stats)]
        self._pending.clear()
        return history, float(stats[-1])

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        if self._same:
            yield
            return
        own = [array.copy() for array in self.trainer.weights]
        self.comm.all_reduce(self.trainer.weights, scale=self.scale)
        try:
            yield
        finally:
            # asked for again: the engine has to know that they are written to
            for array, mine in zip(self.trainer.weights, own):
                array[...] = mine

    def parts(self) -> Dict[str, str]:
        """Its own weights, unless they are everybody's, and its solver state, unless it is rank 0."""
        rank, found = self.comm.rank, {}
        if self._same and rank == 0:
            return {}
        weights, state = self.trainer.snapshot()
        for path, wanted in ((weights, not self._same), (state, rank > 0)):
            if wanted:  # under another name than a snapshot that is made before this file is sent
                folder, name = os.path.split(path)
                found[ending_of(path)] = os.path.join(folder, f"own-{name}")
                os.rename(path, found[ending_of(path)])
            else:
                os.unlink(path)
        return found
