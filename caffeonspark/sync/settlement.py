"""Ranks whose processors round differently: now and then all take rank 0's weights and solver history.

The gradients that the ranks apply are the same on all of them, to the bit: what differs is how each rounds when it
applies them. So weights drift apart by some units in the last place, and a defect shows as much more than that.
"""

from __future__ import annotations

import struct
from typing import Optional

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..errors import TrainingError
from .base import Strategy

__all__ = ["INTERVAL", "MOST_DRIFT", "Settlement", "settlement_for"]

#: Iterations between two settlements at most. One takes the time of two snapshots and two broadcasts.
INTERVAL = 100
#: How far a weight may drift from rank 0's in an iteration, relative to the largest weight of its blob.
MOST_DRIFT = 2.0**-22

_NUMBER = struct.Struct("!d")


def settlement_for(strategy: Strategy, trainer: Trainer, comm: Communicator, digest: str) -> Optional[Settlement]:
    """What ranks need that do not compute alike, or None. Every rank calls it.

    Parameters
    ----------
    strategy : Strategy
    trainer : Trainer
    comm : Communicator
    digest : this rank's ``Engine.arithmetic``
    """
    if comm.size == 1 or not strategy.lockstep:
        return None
    digests = comm.all_gather(digest.encode())
    return Settlement(trainer, comm) if len(set(digests)) > 1 else None


class Settlement:
    """Makes the ranks' trainers rank 0's. Every rank calls the same methods in the same order.

    Attributes
    ----------
    drift : the largest found so far, relative to the largest weight of its blob
    """

    def __init__(self, trainer: Trainer, comm: Communicator) -> None:
        self._trainer = trainer
        self._comm = comm
        self._settled = trainer.iteration  # when they last were the same
        self.drift = 0.0

    def after_iteration(self) -> None:
        """Settle where it is time to."""
        if self._trainer.iteration % INTERVAL == 0:
            self.settle()

    def settle(self) -> None:
        """Give every rank rank 0's weights and history.

        Raises
        ------
        TrainingError
            If a rank's weights are further from rank 0's than rounding explains.
        """
        trainer, comm = self._trainer, self._comm
        since = trainer.iteration - self._settled
        if not since:
            return
        own = [array.copy() for array in trainer.weights]
        comm.broadcast(trainer.weights)
        mine = max((_distance(a, b) for a, b in zip(own, trainer.weights)), default=0.0)
        drifts = [_NUMBER.unpack(found)[0] for found in comm.all_gather(_NUMBER.pack(mine))]
        worst = max(range(comm.size), key=drifts.__getitem__)
        self.drift = max(self.drift, drifts[worst])
        if not drifts[worst] <= MOST_DRIFT * since:
            raise TrainingError(
                f"rank {worst} of {comm.size} came to other weights than rank 0 by iteration {trainer.iteration}: "
                f"{drifts[worst]:.2g} of the largest weight apart after {since} iterations, where different processors "
                f"explain {MOST_DRIFT * since:.2g}: a different Caffe, or a defect"
            )
        trainer.change_history(comm.broadcast)
        self._settled = trainer.iteration


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest value; infinite where there is none."""
    if not mine.size or np.array_equal(mine, theirs, equal_nan=True):
        return 0.0
    largest = float(np.abs(theirs).max())
    apart = float(np.abs(mine - theirs).max())
    return apart / largest if largest > 0 and np.isfinite(apart) else float("inf")
