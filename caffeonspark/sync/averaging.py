"""Solvers of their own that become their mean every few iterations, as in SparkNet (arXiv 1511.06051)."""

from __future__ import annotations

import contextlib
from typing import Callable, ClassVar, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..formats.endings import ending_of
from ..plans.net_plan import NetPlan
from ..settings import Settings
from .base import Progress
from .periodic import Periodic

__all__ = ["Averaging"]


class Averaging(Periodic):
    """When the ranks meet, the weights become the mean over them, BatchNorm's statistics included.

    The solvers' histories (momentum) stay each rank's own, or with ``-averageHistory`` become the mean too.
    """

    flags: ClassVar[Tuple[str, ...]] = (*Periodic.flags, "averageHistory")

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        self._same = True  # whether every rank has the same weights

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """A rank's own weights while the mean is in their place, and what a history takes that goes through a file:
        measured, of a solver with two arrays for each parameter."""
        return (5 if settings.averageHistory else 1) * 4e-6 * train.parameters

    def start(self, weights: Sequence[str], state: Optional[str], parts: Optional[Mapping[str, str]]) -> None:
        if state is None or parts is None:
            super().start(weights, state, parts)
            return
        own_weights, own_state = parts.get(ending_of(weights[0])), parts.get(ending_of(state))
        self.trainer.restore(own_weights or weights[0], own_state or state)
        self._same = self.comm.size == 1 or own_weights is None

    def _stepped(self) -> None:
        self._same = self.comm.size == 1

    def _meet(self) -> Progress:
        progress = self._exchange(self.trainer.weights)
        if self.settings.averageHistory and self.comm.size > 1:
            self.trainer.change_history(lambda arrays: self.comm.all_reduce(arrays, scale=self.scale))
        self._same = True
        return progress

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        if self._same:
            yield
            return
        with self._keeping_weights():
            self.comm.all_reduce(self.trainer.weights, scale=self.scale)
            yield

    def parts(self) -> Dict[str, str]:
        """Its own weights, unless they are everybody's, and its solver state, unless it is everybody's or rank 0's."""
        everybodys = self._same and self.settings.averageHistory
        return self._parts(not self._same, self.comm.rank > 0 and not everybodys)
