"""The progress of runs in a notebook: one picture below the cell, which replaces itself.

It is plain HTML with a display id, so it needs no widgets, and what a saved notebook shows is how the runs ended.
"""

from __future__ import annotations

import html
import logging
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from .. import log
from .base import Observer
from .display import curve_svg, shown
from .result import RankTiming, TrainingResult, ValidationResult, shown_outputs
from .speed import Speed, pace
from .state import Series
from .terminal import is_warning, prefix_for

__all__ = ["Board", "Notebook", "board_of_cell", "call_when_a_cell_is_interrupted", "notebook_shell"]

_log = logging.getLogger(__name__)

_SECONDS = 0.5  # between two pictures
_MOST_ROWS, _MOST_LINES, _MOST_WORDS = 12, 40, 500

Show = Callable[[str, str, bool], None]


def notebook_shell() -> Any:
    """The IPython shell of the notebook that this process computes for; None elsewhere, as in IPython on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


class _Row:
    """A run, as its board shows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.live = True
        self.iteration, self.max_iter = 0, 0
        self.text = ""
        self.tested = ""
        self.lines: Deque[str] = deque(maxlen=_MOST_LINES)
        self.losses = Series()
        self.tests: Dict[str, List[Tuple[float, float]]] = {}

    def words(self) -> str:
        count = f"{self.iteration}/{self.max_iter}" if self.max_iter else ""
        return ", ".join(filter(None, [count, self.text, self.tested]))[:_MOST_WORDS]

    def curve(self) -> str:
        columns = self.losses.columns()
        return curve_svg(list(zip(columns["iteration"], columns["loss"])), self.tests)


class Board:
    """The runs that a cell started.

    Parameters
    ----------
    show : given HTML, plain text, and whether they replace what was shown before
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._rows: List[_Row] = []
        self._left_out = 0
        self._drawn = -_SECONDS
        self._is_there = False

    def add(self, name: str) -> _Row:
        """A row for a run that begins; the one that it has already, where it has a name."""
        row = _Row(name)
        with self._lock:
            for old in self._rows:
                if name and old.name == name and old.live:
                    return old
            self._rows.append(row)
            over = [old for old in self._rows if not old.live][: max(0, len(self._rows) - _MOST_ROWS)]
            self._rows = [old for old in self._rows if old not in over]
            self._left_out += len(over)
        return row

    def draw(self, now: bool = False) -> None:
        """Show how they stand; without ``now``, not more often than anybody looks."""
        with self._lock:
            if not now and time.monotonic() - self._drawn < _SECONDS:
                return
            self._drawn = time.monotonic()
            self._show(self._html(), self._text(), self._is_there)
            self._is_there = True

    def _text(self) -> str:
        return "\n".join(f"{row.name}: {row.words()}" if row.name else row.words() for row in self._rows)

    def _html(self) -> str:
        live = [row for row in self._rows if row.live]
        alone = live[0] if len(live) == 1 else self._rows[0] if len(self._rows) == 1 and not self._left_out else None
        parts = [f"<div><i>{self._left_out} runs before</i></div>"] if self._left_out else []
        for row in self._rows:
            name = f"<code>{html.escape(shown(row.name))}</code> " if row.name else ""
            bar = f"<progress value='{row.iteration}' max='{row.max_iter}'></progress> " if row.max_iter else ""
            parts.append(f"<div>{name}{bar}{html.escape(row.words())}</div>")
            if row is alone:
                parts.append(row.curve())
                if not row.live and row.lines:
                    lines = html.escape("\n".join(row.lines))
                    parts.append(f"<details><summary>{len(row.lines)} lines</summary><pre>{lines}</pre></details>")
        return "".join(parts)


class Notebook(Observer):
    """Shows a run on a board. Warnings are log lines too; so are all notes where the program handles such lines itself.

    Parameters
    ----------
    board : Board
    name : of the run
    """

    def __init__(self, board: Board, name: str = "") -> None:
        self._board = board
        self._name = name
        self._prefix = prefix_for(name)
        self._row: Optional[_Row] = None
        self._speed = Speed()

    @property
    def row(self) -> _Row:
        """Its row, which is there from the first word on."""
        if self._row is None:
            self._row = self._board.add(self._name)
        return self._row

    def started(self, result: TrainingResult, about: str) -> None:
        self.row.iteration, self.row.max_iter = result.iteration, result.max_iter
        self._speed.start(result.seconds(), result.iteration)
        self.note(about)

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        self._speed.start(result.seconds(), result.iteration)
        row = self.row
        row.iteration, row.tested = result.iteration, ""
        row.losses.cut(result.iteration)
        row.tests = {name: [p for p in points if p[0] < result.iteration] for name, points in row.tests.items()}
        self._board.draw()

    def note(self, text: str) -> None:
        row = self.row
        row.lines.append(shown(text))
        if not row.iteration:
            row.text = shown(text)
        if is_warning(text) or not log.is_shown():
            _log.log(logging.WARNING if is_warning(text) else logging.INFO, self._prefix + text)
        self._board.draw()

    def log(self, rank: int, lines: List[str]) -> None:
        for line in lines:
            self.note(f"[rank {rank}] {line}")

    def doing(self, result: TrainingResult, what: str) -> None:
        self.row.text = what
        self._board.draw()

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if rank != 0 or not new:
            return
        row = self.row
        self._speed.update(result.seconds(), result.iteration, timing.training)
        for iteration, loss, rate in new:
            row.losses.add(iteration, loss, rate, None)
        row.iteration = result.iteration
        parts = [f"loss {new[-1][1]:.4g}", f"lr {new[-1][2]:.3g}", *(text for _, text in pace(self._speed, result))]
        row.text = ", ".join(parts)
        self._board.draw()

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        row, values = self.row, shown_outputs(test.outputs)
        if not test.net:
            row.tested = f"test {values}"
            for name, value in test.outputs.items():
                if len(value) == 1:
                    row.tests.setdefault(name, []).append((float(test.iteration), value[0]))
        which = f" (test net {test.net})" if test.net else ""
        self.note(f"iteration {test.iteration}: test on {test.rows} rows{which}: {values}")

    def finished(self, result: TrainingResult) -> None:
        row = self.row
        loss = f"loss {result.history[-1][1]:.4g}" if result.history else ""
        row.text = ", ".join(filter(None, [loss, f"{result.seconds():.0f} s"]))

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        if self._row is not None:  # else there is nothing to see, and the cell says why
            self._row.text, self._row.tested = " ".join(str(error).split()) or type(error).__name__, ""

    def close(self) -> None:
        if self._row is not None:
            self._row.live = False
            self._board.draw(now=True)


# ---- the cell

_lock = threading.Lock()
_cell: Tuple[int, Optional[Board]] = -1, None  # its number, and its board


def board_of_cell(shell: Any) -> Board:
    """The board of the cell that runs now."""
    global _cell
    with _lock:
        number, board = _cell
        if board is None or number != shell.execution_count:
            board = Board(_display())
            _cell = shell.execution_count, board
        return board


def _display() -> Show:
    from IPython.display import display

    name = f"caffeonspark-{time.monotonic_ns()}"

    def show(page: str, text: str, again: bool) -> None:
        display({"text/html": page, "text/plain": text}, raw=True, display_id=name, update=again)

    return show


_watched: List[Callable[[], None]] = []


def call_when_a_cell_is_interrupted(call: Callable[[], None]) -> None:
    """From now on; a notebook's interruption reaches its main thread only, and its kernel takes PySpark's handler away.

    Does nothing outside of notebooks.
    """
    shell = notebook_shell()
    with _lock:
        if shell is None or call in _watched:
            return
        _watched.append(call)

    def ended(result: Any) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
            call()

    shell.events.register("post_run_cell", ended)
