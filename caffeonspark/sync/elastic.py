"""Solvers of their own that are tied to a centre: elastic averaging SGD (Zhang and others, arXiv 1412.6651)."""

from __future__ import annotations

import contextlib
from typing import Callable, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..errors import ConfigError
from ..formats.endings import ending_of
from ..plans.net_plan import NetPlan
from ..settings import Settings
from .base import Progress
from .periodic import Periodic

__all__ = ["BETA", "Elastic"]

#: By default alpha is this, shared out over the ranks: the paper's beta, by which the centre moves to the mean.
BETA = 0.9


class Elastic(Periodic):
    """When the ranks meet, each rank's weights x move toward the centre c, and the centre toward their mean.

    With alpha of ``-elasticAlpha`` and all x and c of before::

        x <- x - alpha * (x - c)
        c <- c + size * alpha * mean over the ranks of (x - c)

    This is the paper's synchronous form (equations 5 and 6) with a communication period; the pull comes after an
    iteration, not within it. All begin at the same weights. The centre is the model. The weights include BatchNorm's
    statistics; the solvers' histories (momentum) stay each rank's own.
    """

    flags: ClassVar[Tuple[str, ...]] = (*Periodic.flags, "elasticAlpha")

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        alpha = BETA / comm.size if settings.elasticAlpha is None else settings.elasticAlpha
        self._alpha = np.float32(alpha)
        self._beta = np.float32(alpha * comm.size)
        self._centre: List[np.ndarray] = []  # in the order of the weights; the same on every rank, to the bit

    @classmethod
    def check_settings(cls, settings: Settings, ranks: int) -> None:
        alpha = settings.elasticAlpha
        if alpha is not None and not 0 < alpha <= 1 / ranks:
            raise ConfigError(
                f"-elasticAlpha {alpha:g} must be above 0 and at most 1 / ranks, which is {1 / ranks:.4g} here: with "
                f"more the centre would move past the ranks' mean. Left out it is {BETA} / ranks"
            )

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """The centre, and the distances from it, or a rank's own weights while the centre is in their place."""
        return 8e-6 * train.parameters

    def start(self, weights: Sequence[str], state: Optional[str], parts: Optional[Mapping[str, str]]) -> None:
        if state is None or parts is None:
            super().start(weights, state, parts)
        else:
            self.trainer.load_weights(weights[0])
        self._centre = [array.copy() for array in self.trainer.weights]
        if state is not None and parts is not None:
            self.trainer.restore(parts[ending_of(weights[0])], parts.get(ending_of(state), state))

    def _meet(self) -> Progress:
        weights = self.trainer.weights
        distances = [own - centre for own, centre in zip(weights, self._centre)]
        for own, away in zip(weights, distances):
            own -= self._alpha * away
        progress = self._exchange(distances)
        for centre, away in zip(self._centre, distances):
            centre += self._beta * away
        return progress

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        with self._keeping_weights():
            self._write(self._centre)
            yield

    def parts(self) -> Dict[str, str]:
        """Its own weights, and its solver state, unless it is rank 0."""
        return self._parts(True, self.comm.rank > 0)
