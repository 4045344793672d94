"""One solver over the samples of all ranks: the gradients of every iteration are the mean over the ranks."""

from __future__ import annotations

from typing import Callable, ClassVar, Tuple

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..plans.net_plan import NetPlan
from ..settings import Settings
from .base import Progress, Strategy

__all__ = ["AllReduce"]


class AllReduce(Strategy):
    """Gradients, BatchNorm's statistics, the loss and the votes to stop are exchanged in one collective.

    It comes when the gradients are ready, before they are normalised, clipped and applied. All ranks have the same
    weights at any time, so each has the model. With ``-compress`` gradients go between hosts in 16 bits; what rounding
    takes is added the next time, and forgotten when training is started again.
    """

    flags: ClassVar[Tuple[str, ...]] = ("compress",)
    lockstep: ClassVar[bool] = True

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        self._stats = np.zeros(2, np.float32)  # loss, votes to stop
        comm.share(trainer.gradients)

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """What rounding has left, at a host's first rank."""
        return 4e-6 * train.parameters if settings.compress != "none" and ranks > 1 else 0.0

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        self.trainer.step(load, self._exchange)
        return Progress(((at, float(self._stats[0]), rate),), bool(self._stats[1] > 0))

    def _exchange(self, loss: float) -> None:
        self._stats[0] = loss
        self._stats[1] = self.wants_stop()
        gradients = self.trainer.gradients
        arrays = [*gradients, *self.trainer.statistics, self._stats]
        self.comm.all_reduce(arrays, self.scale, len(gradients) if self.settings.compress != "none" else 0)
