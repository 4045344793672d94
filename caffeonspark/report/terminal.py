"""The progress of a run on the driver's terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any, Deque, List, Optional, Sequence, TextIO, Tuple

from ..result import Pace, Test, TrainingResult
from .base import Observer

__all__ = ["Terminal"]


class Terminal(Observer):
    """One bar on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    stream : where to write; standard error by default
    """

    seconds_between_lines = 5.0
    window = 10.0  # seconds over which speed is measured

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._shown = 0
        self._last_line = 0.0
        self._tested = ""
        self._marks: Deque[Tuple[float, int]] = deque()

    def started(self, result: TrainingResult, about: str) -> None:
        self.note(about)
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=result.max_iter,
                initial=result.iteration,
                file=self._stream,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {n}/{total} {postfix}",
            )
        self._shown = result.iteration
        self._last_line = time.monotonic()

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def log(self, rank: int, lines: List[str]) -> None:
        for line in lines:
            self.note(f"[rank {rank}] {line}")

    def progress(self, result: TrainingResult, rank: int, pace: Pace, new: Sequence[Tuple[int, float, float]]) -> None:
        if rank != 0 or not new:
            return
        now = time.monotonic()
        at = result.iteration
        if at < self._shown:  # the run was started anew from a snapshot
            self._marks.clear()
        self._marks.append((now, at))
        while len(self._marks) > 2 and now - self._marks[1][0] > self.window:
            self._marks.popleft()
        _, loss, rate = new[-1]
        text = f"loss {loss:.4g}, lr {rate:.3g}, {self._pace(result)}"
        if self._bar is not None:
            self._bar.n = at
            self._bar.set_postfix_str(text + self._tested, refresh=True)
        elif now - self._last_line > self.seconds_between_lines or (at >= result.max_iter > self._shown):
            self._last_line = now
            self.note(f"iteration {at} of {result.max_iter}: {text}")
        self._shown = at

    def _pace(self, result: TrainingResult) -> str:
        """Samples a second, and the time left, from the last seconds."""
        (since, first), (now, at) = self._marks[0], self._marks[-1]
        if at <= first:
            return "…"
        speed = (at - first) / max(1e-9, now - since)
        seconds = int((result.max_iter - at) / speed)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
        return f"{speed * result.samples:.0f} samples/s, {left} left"

    def tested(self, result: TrainingResult, test: Test) -> None:
        values = ", ".join(
            f"{name} {' '.join(f'{v:.4f}' for v in value[:4])}{' …' if len(value) > 4 else ''}"
            for name, value in test.outputs.items()
        )
        which = f" (test net {test.net})" if test.net else ""
        if not test.net:
            self._tested = f", test {values}"
        self.note(f"iteration {test.iteration}: test on {test.rows} rows{which}: {values}")

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
