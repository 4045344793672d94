"""How fast a run is, and how long it will take."""

from __future__ import annotations

from collections import deque
from typing import Deque, List, Optional, Tuple

from .result import TrainingResult

__all__ = ["Speed", "clock", "pace"]


class Speed:
    """Speed over the last seconds of training, and the time left by the last minutes with all they held.

    Validations and snapshots do not count for the speed, but for the time left.
    """

    window = 10.0  # seconds over which the speed is measured
    horizon = 600.0  # seconds over which the time left is measured

    def __init__(self) -> None:
        self._marks: Deque[Tuple[float, int, float]] = deque()

    def start(self, now: float, iteration: int) -> None:
        """An attempt begins at ``iteration``; ``now`` in seconds of any clock."""
        self._marks.clear()
        self._marks.append((now, iteration, 0.0))

    def update(self, now: float, iteration: int, training: float) -> None:
        """``iteration`` are done, after ``training`` seconds in iterations in this attempt."""
        if len(self._marks) == 1 and self._marks[0][2] == 0.0 and iteration > self._marks[0][1]:
            # what came before the first iteration, such as loading records, comes only once
            self._marks[0] = (now - training, self._marks[0][1], 0.0)
        self._marks.append((now, iteration, training))
        while len(self._marks) > 2 and now - self._marks[1][0] > self.horizon:
            self._marks.popleft()

    def per_second(self) -> Optional[float]:
        """Iterations a second, or None while nothing is known."""
        if len(self._marks) < 2:
            return None
        _, last, training = self._marks[-1]
        since = self._marks[-2]
        for mark in reversed(self._marks):
            since = mark
            if training - mark[2] >= self.window:
                break
        done, spent = last - since[1], training - since[2]
        return done / spent if done > 0 and spent > 0 else None

    def left(self, iterations: int) -> Optional[float]:
        """Seconds until ``iterations`` more are done, or None while nothing is known."""
        if len(self._marks) < 2:
            return None
        (since, first, _), (now, last, _) = self._marks[0], self._marks[-1]
        return iterations * (now - since) / (last - first) if last > first and now > since else None


def clock(seconds: float) -> str:
    """``75`` as ``1:15``, ``3675`` as ``1:01:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def pace(speed: Speed, result: TrainingResult) -> List[Tuple[int, str]]:
    """How fast a run is and how long it will take, as far as that is known, each with its rank by importance."""
    now, left = speed.per_second(), speed.left(result.max_iter - result.iteration)
    found = [] if now is None else [(2, f"{now * result.samples:.0f} samples/s")]
    return found if left is None else [*found, (1, f"{clock(left)} left")]
