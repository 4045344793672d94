"""What an observer of a training run is told."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from ..result import Pace, Test, TrainingResult

__all__ = ["Observer", "Observers"]


class Observer:
    """Told about a training run as it goes; every method does nothing by itself.

    An observer's own failure never ends the run: it is reported once, and the observer is dropped.
    """

    def started(self, result: TrainingResult, about: str) -> None:
        """Training is about to begin; ``about`` describes the cluster in one line."""

    def note(self, text: str) -> None:
        """Something worth a line: a saved snapshot, a restart, a wait."""

    def progress(self, result: TrainingResult, rank: int, pace: Pace, new: Sequence[Tuple[int, float, float]]) -> None:
        """A rank reported; ``new`` are (iteration, loss, learning rate) since the last report, from rank 0 only."""

    def tested(self, result: TrainingResult, test: Test) -> None:
        """A validation is done."""

    def log(self, rank: int, lines: List[str]) -> None:
        """Lines of a rank's standard error (with -logRanks)."""

    def finished(self, result: TrainingResult) -> None:
        """The run ended well, and the model is in its place."""

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        """The run ended badly, or was stopped."""

    def close(self) -> None:
        """Nothing more will come."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, members: Sequence[Observer]) -> None:
        self._members = list(members)

    def _tell(self, method: str, *args: object) -> None:
        for member in list(self._members):
            try:
                getattr(member, method)(*args)
            except Exception as e:
                self._members.remove(member)
                self.note(f"warning: {type(member).__name__} failed and is switched off: {type(e).__name__}: {e}")

    def started(self, result: TrainingResult, about: str) -> None:
        self._tell("started", result, about)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def progress(self, result: TrainingResult, rank: int, pace: Pace, new: Sequence[Tuple[int, float, float]]) -> None:
        self._tell("progress", result, rank, pace, new)

    def tested(self, result: TrainingResult, test: Test) -> None:
        self._tell("tested", result, test)

    def log(self, rank: int, lines: List[str]) -> None:
        self._tell("log", rank, lines)

    def finished(self, result: TrainingResult) -> None:
        self._tell("finished", result)

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        self._tell("failed", result, error)

    def close(self) -> None:
        self._tell("close")
