"""What an observer of a training run is told."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import without_passwords
from .result import RankTiming, TrainingResult, ValidationResult

__all__ = ["Observer", "Observers", "Record"]

#: One line of the metrics file: JSON-able values, with ``event`` naming its kind (docs/metrics.md).
Record = Dict[str, Any]


class Observer:
    """Told about a training run as it goes; every method does nothing by itself.

    All calls come from one thread. An observer's own failure never ends the run: it is reported once, and the
    observer is dropped.
    """

    def started(self, result: TrainingResult, about: str) -> None:
        """Training is about to begin; ``about`` describes the cluster in one line."""

    def note(self, text: str) -> None:
        """Something worth a line: a saved snapshot, a restart, a wait."""

    def doing(self, result: TrainingResult, what: str) -> None:
        """What happens before the first iteration of an attempt, such as loading records: the newest word counts."""

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        """A rank reported; ``new`` are (iteration, loss, learning rate) since the last report, from rank 0 only."""

    def rank_losses(self, result: TrainingResult, iteration: int, losses: Sequence[float]) -> None:
        """Each rank's own mean loss since it was told last, up to ``iteration``; where the ranks' models differ."""

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        """A validation is done."""

    def saved(self, result: TrainingResult, kind: str, iteration: int, uri: str) -> None:
        """A "snapshot", the "model" or the "best model" so far is at ``uri``; a note says so too."""

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        """After ``error``, training continues from ``result.iteration``; a note says so too."""

    def log(self, rank: int, lines: List[str]) -> None:
        """Lines of a rank's standard error (with -logRanks)."""

    def finished(self, result: TrainingResult) -> None:
        """The run ended well, and the model is in its place."""

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        """The run ended badly, or was stopped."""

    def record(self, record: Record) -> None:
        """One line of the metrics file."""

    def close(self) -> None:
        """Nothing more will come."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, members: Sequence[Observer] = ()) -> None:
        self._members = list(members)

    def add(self, members: Sequence[Observer]) -> None:
        """Tell these as well, after those that are there."""
        self._members += members

    def _tell(self, method: str, *args: object) -> None:
        for member in list(self._members):
            if member not in self._members:  # dropped while the others heard of another's failure
                continue
            try:
                getattr(member, method)(*args)
            except Exception as e:
                self._members.remove(member)
                with contextlib.suppress(Exception):
                    member.close()
                why = " ".join(f"{type(e).__name__}: {e}".split())
                self.note(f"warning: {type(member).__name__} failed and is switched off: {why}")

    def started(self, result: TrainingResult, about: str) -> None:
        self._tell("started", result, about)

    def note(self, text: str) -> None:
        self._tell("note", without_passwords(text))

    def doing(self, result: TrainingResult, what: str) -> None:
        self._tell("doing", result, what)

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        self._tell("progress", result, rank, timing, new)

    def rank_losses(self, result: TrainingResult, iteration: int, losses: Sequence[float]) -> None:
        self._tell("rank_losses", result, iteration, losses)

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        self._tell("tested", result, test)

    def saved(self, result: TrainingResult, kind: str, iteration: int, uri: str) -> None:
        self._tell("saved", result, kind, iteration, uri)

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        self._tell("restarted", result, error)

    def log(self, rank: int, lines: List[str]) -> None:
        self._tell("log", rank, lines)

    def finished(self, result: TrainingResult) -> None:
        self._tell("finished", result)

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        self._tell("failed", result, error)

    def record(self, record: Record) -> None:
        self._tell("record", record)

    def close(self) -> None:
        self._tell("close")
