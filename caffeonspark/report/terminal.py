"""The progress of a run: a bar on the driver's terminal, and log lines."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import Any, List, Optional, Sequence, TextIO, Tuple

from .base import Observer
from .result import RankTiming, TrainingResult, ValidationResult
from .speed import Speed, clock

__all__ = ["Terminal", "Warnings"]

_log = logging.getLogger(__name__)


class Warnings(Observer):
    """Logs the notes that are warnings, and nothing else: what is left with ``-quiet``."""

    def note(self, text: str) -> None:
        if text.startswith("warning: "):
            _log.warning(text)


class Terminal(Observer):
    """One bar where standard error leads to a terminal, a log line now and then elsewhere; notes are log lines."""

    seconds_between_lines = 5.0

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._screen = screen_of(self._stream)  # a descriptor of the terminal the stream leads to, or None
        self._bar: Any = None
        self._speed = Speed()
        self._last_line = 0.0
        self._last_kind = ""  # of what was being done
        self._parts: List[Tuple[int, str]] = []  # of the bar, the newest
        self._doing = False  # whether they say what is done before the first iteration
        self._tested = ""

    def started(self, result: TrainingResult, about: str) -> None:
        self.note(about)
        if self._screen is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=result.max_iter,
                initial=result.iteration,
                file=self._stream,
                ncols=self._columns(),
                bar_format="{percentage:3.0f}%|{bar}| {n}/{total}{postfix}",
            )
        self._speed.start(result.seconds(), result.iteration)
        self._last_line = time.monotonic()

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        self._speed.start(result.seconds(), result.iteration)
        self._tested = ""

    def note(self, text: str) -> None:
        _log.log(logging.WARNING if text.startswith("warning: ") else logging.INFO, text)

    def log(self, rank: int, lines: List[str]) -> None:
        if lines:
            self.note("\n".join(f"[rank {rank}] {line}" for line in lines))

    def doing(self, result: TrainingResult, what: str) -> None:
        if self._bar is not None:
            self._parts, self._doing = [(0, what)], True
            self._draw(result.iteration)
            return
        kind, now = what.partition(":")[0], time.monotonic()
        if kind != self._last_kind or now - self._last_line > self.seconds_between_lines:
            self._last_kind, self._last_line = kind, now
            self.note(what)

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if rank != 0:
            return
        at = result.iteration
        self._last_kind = ""
        if not new:  # before a validation, the first one perhaps
            if self._bar is not None and self._doing:
                self._parts, self._doing = [], False
                self._draw(at)
            return
        self._doing = False
        self._speed.update(result.seconds(), at, timing.training)
        _, loss, rate = new[-1]
        # the smaller the number, the longer a part stays when the terminal is narrow
        parts = [(0, f"loss {loss:.4g}"), (3, f"lr {rate:.3g}"), *self._pace(result)]
        if self._bar is not None:
            self._parts = parts
            self._draw(at)
            return
        now = time.monotonic()
        if now - self._last_line > self.seconds_between_lines or at >= result.max_iter:
            self._last_line = now
            self.note(f"iteration {at} of {result.max_iter}: {', '.join(text for _, text in parts)}")

    def _pace(self, result: TrainingResult) -> List[Tuple[int, str]]:
        speed, left = self._speed.per_second(), self._speed.left(result.max_iter - result.iteration)
        found = [] if speed is None else [(2, f"{speed * result.samples:.0f} samples/s")]
        return found if left is None else [*found, (1, f"{clock(left)} left")]

    def _draw(self, iteration: int, refresh: bool = True) -> None:
        columns = self._columns()
        parts = [*self._parts, *([(4, self._tested)] if self._tested else [])]
        count = f"{iteration}/{self._bar.total} "
        self._bar.ncols = columns
        self._bar.n = iteration
        self._bar.set_postfix_str(fit(parts, columns - len(count) - len("100%|          |  , ")), refresh)

    def _columns(self) -> int:
        """How wide the terminal is now, without the last column: a full line would make some of them wrap."""
        assert self._screen is not None
        try:
            columns = os.get_terminal_size(self._screen).columns
        except OSError:
            columns = 0
        return max(20, (columns or 80) - 1)

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        values = ", ".join(
            f"{name} {' '.join(f'{v:.4f}' for v in value[:4])}{' …' if len(value) > 4 else ''}"
            for name, value in test.outputs.items()
        )
        which = f" (test net {test.net})" if test.net else ""
        if not test.net:
            self._tested = f"test {values}"
            if self._bar is not None and self._parts:
                self._draw(result.iteration, refresh=False)  # the note does
        self.note(f"iteration {test.iteration}: test on {test.rows} rows{which}: {values}")

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        self._end_bar()

    def finished(self, result: TrainingResult) -> None:
        self._end_bar()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        self._end_bar()
        if self._screen is not None:
            os.close(self._screen)
            self._screen = None


def fit(parts: Sequence[Tuple[int, str]], room: int) -> str:
    """The parts, joined by commas, that fit into so many columns: those with the smallest numbers."""
    chosen = sorted(parts, key=lambda part: part[0])
    while len(chosen) > 1 and len(", ".join(text for _, text in chosen)) > room:
        chosen.pop()
    return ", ".join(text for number, text in parts if (number, text) in chosen)


def screen_of(stream: TextIO) -> Optional[int]:
    """A new descriptor of the terminal that a stream leads to, or None.

    Under spark-submit both standard streams of a Python driver are a pipe to the JVM, its parent, which copies what
    comes to its own standard output (Spark's PythonRunner).
    """
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor, another user's process
        if stream.isatty():
            return os.dup(stream.fileno())
        if "PYSPARK_GATEWAY_PORT" in os.environ and stream.fileno() in (1, 2):
            screen = os.open(f"/proc/{os.getppid()}/fd/1", os.O_RDWR | os.O_NOCTTY)
            if os.isatty(screen):
                return screen
            os.close(screen)
    return None
