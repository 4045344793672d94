"""A strategy for ``scaling``: what is left of distributed training when nothing is exchanged."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator, List

from caffeonspark import Progress, Strategy


class OnlyMeet(Strategy):
    """Every rank trains alone, and waits for the others in each iteration. The model is rank 0's."""

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        losses: List[float] = []
        self.trainer.step(load, losses.append)
        self.comm.barrier()
        return Progress([(at, losses[0], rate)], False)

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        own = [array.copy() for array in self.trainer.weights]
        self.comm.broadcast(self.trainer.weights)
        yield
        for array, mine in zip(self.trainer.weights, own):
            array[...] = mine
