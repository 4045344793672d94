"""What strategies share whose ranks are solvers of their own and meet every few iterations."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from typing import Callable, ClassVar, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..formats.endings import ending_of
from ..settings import Settings
from .base import Entry, Progress, Strategy

__all__ = ["Periodic"]


class Periodic(Strategy):
    """Each rank iterates alone; after every ``-syncInterval`` iterations the ranks meet.

    When they meet is a function of the iteration, so a resumed run does it where an undisturbed one does. The losses
    since they last met and the votes to stop travel behind the weights in the same collective.
    """

    flags: ClassVar[Tuple[str, ...]] = ("syncInterval",)
    stops_after: ClassVar[str] = "the next averaging"

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        super().__init__(trainer, comm, settings, wants_stop)
        self._interval = settings.syncInterval
        self._pending: List[Entry] = []  # this rank's losses since the last exchange

    def iterate(self, load: Callable[[], None]) -> Progress:
        at, rate = self.trainer.iteration, self.trainer.rate
        self.trainer.step(load, lambda loss: self._pending.append((at, loss, rate)))
        self._stepped()
        return Progress((), False) if self.trainer.iteration % self._interval else self._meet()

    def _stepped(self) -> None:
        """This rank's weights are another iteration's now."""

    @abstractmethod
    def _meet(self) -> Progress:
        """Exchange weights, by one call of ``_exchange``; what that returns."""

    def exchange_losses(self) -> Sequence[Entry]:
        return self._exchange([]).history if self._pending else ()

    def _exchange(self, arrays: Sequence[np.ndarray]) -> Progress:
        """Make the arrays the mean over the ranks, in place; what is known with it.

        Behind them travel ``[losses since then…, votes to stop, this rank's mean loss in its own of size places…]``.
        """
        losses, size = [loss for _, loss, _ in self._pending], self.comm.size
        stats = np.zeros(len(losses) + 1 + (size if size > 1 else 0), np.float32)
        stats[: len(losses)] = losses
        stats[len(losses)] = self.wants_stop()
        ranks = stats[len(losses) + 1 :]
        if size > 1:
            ranks[self.comm.rank] = np.mean(losses)
        self.comm.all_reduce([*arrays, stats], scale=self.scale)
        history = [(at, float(loss), rate) for (at, _, rate), loss in zip(self._pending, stats)]
        self._pending.clear()
        return Progress(history, bool(stats[len(losses)] > 0), [float(loss) for loss in ranks * np.float32(size)])

    @contextlib.contextmanager
    def _keeping_weights(self) -> Iterator[None]:
        """Afterwards the trainer's weights are what they were, to the bit."""
        own = [array.copy() for array in self.trainer.weights]
        try:
            yield
        finally:
            self._write(own)

    def _write(self, arrays: Sequence[np.ndarray]) -> None:
        # asked for again: the engine has to know that they are written to
        for mine, array in zip(self.trainer.weights, arrays):
            mine[...] = array

    def _parts(self, own_weights: bool, own_state: bool) -> Dict[str, str]:
        """New files of what this rank has of its own, as ``parts`` gives them."""
        found: Dict[str, str] = {}
        if not (own_weights or own_state):
            return found
        for path, wanted in zip(self.trainer.snapshot(), (own_weights, own_state)):
            if wanted:  # under another name than a snapshot that is made before this file is sent
                folder, name = os.path.split(path)
                found[ending_of(path)] = os.path.join(folder, f"own-{name}")
                os.rename(path, found[ending_of(path)])
            else:
                os.unlink(path)
        return found
