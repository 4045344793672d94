"""The progress of a run: a bar on the driver's terminal, and log lines."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import Any, List, Optional, Sequence, TextIO, Tuple

from .base import Observer
from .result import RankTiming, TrainingResult, ValidationResult, shown_outputs
from .speed import Speed, pace

__all__ = ["Terminal", "Warnings", "is_warning", "prefix_for"]

_log = logging.getLogger(__name__)


def prefix_for(name: str) -> str:
    """What a run's lines begin with: its name where it runs in parallel with others, as fits in a pool's threads do."""
    return f"[{name}] " if name and threading.current_thread() is not threading.main_thread() else ""


def is_warning(text: str) -> bool:
    """Whether a note is one."""
    return text.startswith("warning: ")


class Warnings(Observer):
    """Logs the notes that are warnings, and nothing else: what is left with ``-quiet``.

    Parameters
    ----------
    name : of the run
    """

    def __init__(self, name: str = "") -> None:
        self._prefix = prefix_for(name)

    def note(self, text: str) -> None:
        if is_warning(text):
            _log.warning(self._prefix + text)


class Terminal(Observer):
    """One bar where standard error leads to a terminal, a log line now and then elsewhere; notes are log lines.

    Parameters
    ----------
    name : of the run
    bar : whether there is a bar; None where standard error leads to a terminal
    """

    seconds_between_lines = 5.0

    def __init__(self, name: str = "", bar: Optional[bool] = None) -> None:
        self._prefix = prefix_for(name)
        self._stream = sys.stderr
        # a descriptor of the terminal the stream leads to, or None
        self._screen = None if bar is False else screen_of(self._stream)
        self._wants_bar = self._screen is not None if bar is None else bar
        self._bar: Any = None
        self._speed = Speed()
        self._last_line = 0.0
        self._last_kind = ""  # of what was being done
        self._parts: List[Tuple[int, str]] = []  # of the bar, the newest
        self._doing = False  # whether they say what is done before the first iteration
        self._tested = ""

    def started(self, result: TrainingResult, about: str) -> None:
        self.note(about)
        if self._wants_bar:
            from tqdm import tqdm

            self._bar = tqdm(
                total=result.max_iter,
                initial=result.iteration,
                file=self._stream,
                ncols=self._columns(),
                desc=self._prefix,
                bar_format="{desc}{percentage:3.0f}%|{bar}| {n}/{total}{postfix}",
            )
        self._speed.start(result.seconds(), result.iteration)
        self._last_line = time.monotonic()

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        self._speed.start(result.seconds(), result.iteration)
        self._tested = ""

    def note(self, text: str) -> None:
        lines = "\n".join(self._prefix + line for line in text.split("\n"))
        _log.log(logging.WARNING if is_warning(text) else logging.INFO, lines)

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
        parts = [(0, f"loss {loss:.4g}"), (3, f"lr {rate:.3g}"), *pace(self._speed, result)]
        if self._bar is not None:
            self._parts = parts
            self._draw(at)
            return
        now = time.monotonic()
        if now - self._last_line > self.seconds_between_lines or at >= result.max_iter:
            self._last_line = now
            self.note(f"iteration {at} of {result.max_iter}: {', '.join(text for _, text in parts)}")

    def _draw(self, iteration: int, refresh: bool = True) -> None:
        columns = self._columns()
        parts = [*self._parts, *([(4, self._tested)] if self._tested else [])]
        others = f"{self._prefix}100%|          | {iteration}/{self._bar.total} , "
        self._bar.ncols = columns
        self._bar.n = iteration
        self._bar.set_postfix_str(fit(parts, columns - len(others)), refresh)

    def _columns(self) -> int:
        """How wide the terminal is now, without the last column: a full line would make some of them wrap."""
        columns = 0
        if self._screen is not None:
            with contextlib.suppress(OSError):
                columns = os.get_terminal_size(self._screen).columns
        return max(20, (columns or 80) - 1)

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        values = shown_outputs(test.outputs)
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
