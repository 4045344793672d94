"""Passes through all records of all ranks, and plain gradient descent by them (``-fullBatch``)."""

from __future__ import annotations

from typing import Any, Callable, ClassVar, List, Sequence

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..plans.net_plan import NetPlan
from ..plans.whole_data import check_whole_data
from .base import Progress, Strategy

__all__ = ["FullBatch", "FullPass"]


class FullPass:
    """One rank's part in passes through all records: each once, block by block.

    With N records in all, b a block of n_b of them and g_b the gradient of their mean loss, the gradient of a pass is
    the sum over all blocks of all ranks of n_b / N times g_b. The engine adds gradients up where they are: in front of
    a block of another size they are brought to its weight, and at the end to that of the whole. So there is no second
    copy of them.

    Parameters
    ----------
    trainer : Trainer
    comm : Communicator
    blocks : how many records each of this rank's blocks has; of one size, but for the last
    """

    def __init__(self, trainer: Trainer, comm: Communicator, blocks: Sequence[int]) -> None:
        self._trainer = trainer
        self._comm = comm
        comm.share(trainer.gradients)
        self.blocks = list(blocks)
        total = np.array([float(sum(blocks))])
        comm.all_reduce([total])
        self._rows = max(1.0, float(total[0]))
        self._next = 0

    def loading(self, load: Callable[[], None]) -> Callable[[], None]:
        """What loads the blocks of a pass that begins now; more than there are, where the engine wants more, are
        whatever is there already."""
        self._next = 0

        def load_block() -> None:
            number, self._next = self._next, self._next + 1
            if number >= len(self.blocks):
                return
            size, before = self.blocks[number], self.blocks[max(0, number - 1)]
            if size != before:
                self._scale_gradients(before / size)
            load()

        return load_block

    def reduce(self, losses: Sequence[float], more: Sequence[float] = ()) -> List[float]:
        """End a pass: ``gradients`` become those of all records; the mean loss over them, and the sums over the ranks
        of ``more``."""
        if self.blocks:
            self._scale_gradients(self.blocks[-1] / self._rows)
        else:
            for gradient in self._trainer.gradients:
                gradient[...] = 0
        loss = sum(size * one for size, one in zip(self.blocks, losses)) / self._rows
        sums = np.array([loss, *more], np.float64)
        self._comm.all_reduce([sums])
        self._comm.all_reduce(self._trainer.gradients)
        return [float(value) for value in sums]

    def _scale_gradients(self, factor: float) -> None:
        if factor != 1:
            for gradient in self._trainer.gradients:
                gradient *= np.float32(factor)


class FullBatch(Strategy):
    """The solver's own rule, on the gradient of all records: an iteration is one pass."""

    lockstep: ClassVar[bool] = True
    whole_data: ClassVar[bool] = True

    @classmethod
    def check(cls, solver: Any, train: NetPlan, where: str) -> List[str]:
        check_whole_data(train, "-fullBatch", same_each_pass=False)
        if solver.iter_size > 1:
            return [
                f"iter_size: {solver.iter_size} has no effect with -fullBatch: an iteration is a pass over all data"
            ]
        return []

    @classmethod
    def engine_solver(cls, solver: Any) -> Any:
        made = type(solver)()
        made.CopyFrom(solver)
        made.iter_size = 1  # whatever number of passes there are, their gradients come as their mean
        return made

    def begin(self, blocks: Sequence[int], solver: Any) -> None:
        self._pass = FullPass(self.trainer, self.comm, blocks)
        self._sums = [0.0, 0.0]  # loss, votes to stop

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        # the solver makes a pass at least, also where this rank has no record: its gradient then does not count
        passes = max(1, len(self._pass.blocks))
        self.trainer.step_over(passes, self._pass.loading(load), self._exchange)
        return Progress(((at, self._sums[0], rate),), self._sums[1] > 0)

    def _exchange(self, losses: Sequence[float]) -> None:
        self._sums = self._pass.reduce(losses, [float(self.wants_stop())])
