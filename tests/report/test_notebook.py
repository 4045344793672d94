"""What a cell shows of the runs it starts, and which lines come besides."""

import logging
import re
import sys
import threading
import types

import pytest

from caffeonspark import Config, errors, log
from caffeonspark.errors import ConfigError, Interrupted
from caffeonspark.report import notebook, observers_for
from caffeonspark.report.notebook import Board, Notebook, call_when_a_cell_is_interrupted, notebook_shell
from caffeonspark.report.result import TrainingResult
from caffeonspark.report.terminal import Terminal, Warnings
from tests.report.test_terminal import feed
from tests.support import stock


class Shown:
    """What was shown, as (HTML, text, whether it replaced the one before)."""

    def __init__(self):
        self.pictures = []

    def __call__(self, page, text, again):
        self.pictures.append((page, text, again))


class Shell:
    """As much of a kernel's shell as is asked."""

    kernel = object()
    execution_count = 1

    def __init__(self):
        self.events, self.callbacks = self, []

    def register(self, event, call):
        assert event == "post_run_cell"
        self.callbacks.append(call)

    def cell_ends(self, error=None):
        for call in self.callbacks:
            call(types.SimpleNamespace(error_in_exec=error))


@pytest.fixture
def shell(monkeypatch):
    found = Shell()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: found))
    monkeypatch.setattr(notebook, "_watched", [])
    monkeypatch.setattr(notebook, "_cell", (-1, None))
    monkeypatch.setattr(notebook, "_display", Shown)
    return found


@pytest.fixture
def lines(capsys):
    return lambda: capsys.readouterr().err.splitlines()


def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_one_picture_that_replaces_itself_and_no_lines(lines, monkeypatch):
    monkeypatch.setattr(notebook, "_SECONDS", 0.0)
    show = Shown()
    result = TrainingResult("m", 30, 20)
    result.history = [(29, 0.123456, 0.01)]
    feed(Notebook(Board(show), "CaffeModel_1f"), result, notes=["saved m", "warning: odd"])
    assert lines() == ["warning: odd"]
    assert [again for _, _, again in show.pictures] == [False] + [True] * (len(show.pictures) - 1)
    page, text, _ = show.pictures[-1]
    assert "<progress value='30' max='30'>" in page and "<code>CaffeModel_1f</code>" in page and "<svg" in page
    assert re.fullmatch(r"CaffeModel_1f: 30/30, loss 0\.1235, \d+ s, test accuracy 0\.5000, loss 1\.2500", text)
    assert "saved m" in page and "[rank 1] two" in page  # to unfold
    assert "loading records: 1 of 2 ranks have theirs" in show.pictures[1][1]
    assert max(len(page) for page, _, _ in show.pictures) < 20_000


def test_it_is_drawn_twice_a_second():
    show = Shown()
    row = Board(show)
    for _ in range(1000):
        row.draw()
    assert len(show.pictures) == 1


def test_many_runs_in_a_cell_stay_small():
    show = Shown()
    board = Board(show)
    for number in range(40):
        one = Notebook(board, f"CaffeModel_{number}")
        feed(one, TrainingResult("m", 30, 20), notes=["x" * 500] * 50)
    page, text, _ = show.pictures[-1]
    assert len(page) < 20_000
    assert page.count("<progress") == 12 and "28 runs before" in page
    assert text.count("\n") == 11


def test_a_run_that_fails_says_why_and_one_that_never_began_shows_nothing():
    show = Shown()
    one = Notebook(Board(show))
    one.failed(TrainingResult("m"), ConfigError("wrong"))
    one.close()
    assert show.pictures == []
    two = Notebook(Board(show))
    two.doing(TrainingResult("m"), "loading")
    two.failed(TrainingResult("m"), Interrupted("stopped by <request>"))
    two.close()
    assert show.pictures[-1][1] == "stopped by <request>" and "&lt;request&gt;" in show.pictures[-1][0]


def test_a_program_with_handlers_of_its_own_gets_all_lines(monkeypatch):
    heard = []

    class Own(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    logger = logging.getLogger("caffeonspark")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, Own()])
    assert not log.is_shown()
    Notebook(Board(Shown())).note("saved m")
    assert heard == ["saved m"]


def test_the_runs_of_a_cell_share_a_board(shell):
    first = notebook.board_of_cell(shell)
    assert notebook.board_of_cell(shell) is first
    shell.execution_count = 2
    assert notebook.board_of_cell(shell) is not first


def test_an_interrupted_cell_is_told_once(shell):
    told = []

    def tell():
        told.append(1)

    for _ in range(3):
        call_when_a_cell_is_interrupted(tell)
    shell.cell_ends()
    shell.cell_ends(ValueError())
    assert told == []
    shell.cell_ends(KeyboardInterrupt())
    assert told == [1]


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook_shell() is None
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert notebook_shell() is None


# ---- what is asked for


@pytest.fixture
def config(tmp_path):
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 9')
    return lambda **flags: Config(
        None, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/m.caffemodel", **flags
    ).run_config


def kinds(observer):
    return [member for member in observer._members if isinstance(member, (Terminal, Warnings, Notebook))]


def test_progress_says_what_is_shown(config, shell, lines):
    def shown(progress, **flags):
        observer = observers_for(config(**flags), keep=False, progress=progress, name="CaffeModel_1f")
        (one,) = kinds(observer)
        return one

    assert type(shown(True)) is Notebook and type(shown("bar")) is Notebook
    assert type(shown(False)) is Warnings and type(shown(True, quiet=True)) is Warnings
    assert type(shown("log")) is Terminal
    with pytest.raises(ConfigError, match=r"^progress: True, False, 'bar' or 'log', not 'bars'$"):
        shown("bars")
    shell.kernel = None
    assert type(shown(True)) is Terminal
    feed(shown("bar"), TrainingResult("m", 30, 20))
    assert any("100%|" in line and "30/30" in line for line in lines())


def test_lines_of_fits_in_threads_carry_their_name(lines):
    for kind in (lambda: Terminal("CaffeModel_1f"), lambda: Warnings("CaffeModel_1f")):
        in_thread(kind).note("warning: odd")
        kind().note("warning: odd")
    terminal = in_thread(lambda: Terminal("CaffeModel_1f", bar=False))
    terminal.log(1, ["one", "two"])
    assert lines() == [
        "[CaffeModel_1f] warning: odd",
        "warning: odd",
        "[CaffeModel_1f] warning: odd",
        "warning: odd",
        "[CaffeModel_1f] [rank 1] one",
        "[CaffeModel_1f] [rank 1] two",
    ]


def test_a_bar_of_a_fit_in_a_thread_has_its_name(lines):
    terminal = in_thread(lambda: Terminal("CaffeModel_{1f}", bar=True))
    feed(terminal, TrainingResult("m", 30, 20))
    frames = [frame for line in lines() for frame in line.split("\r") if "%|" in frame]
    assert "[CaffeModel_{1f}] 100%|" in frames[-1]
    assert max(len(frame.rstrip()) for frame in frames) < 80


# ---- errors


def test_an_error_in_a_cell_is_the_way_through_the_cells_code_and_one_line(config):
    def users_function():
        config(clusterSize="two")

    with pytest.raises(ConfigError) as e:
        users_function()
    text = "\n".join(e.value._render_traceback_())
    assert text.startswith("Traceback (most recent call last):")
    assert 'config(clusterSize="two")' in text and "caffeonspark/api" not in text
    assert text.splitlines()[-1] == f"ConfigError: {e.value.message}"
    assert errors.Interrupted("stopped")._render_traceback_() == ["Interrupted: stopped"]
