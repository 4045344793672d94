"""Lines and the bar on a terminal."""

import io
import os
import pty
import re
import sys
import threading

import pytest

from caffeonspark.report.result import RankTiming, TrainingResult, ValidationResult
from caffeonspark.report.terminal import Terminal, fit, screen_of


def feed(terminal, result, notes=()):
    terminal.started(result, "2 ranks")
    terminal.doing(result, "loading records: 1 of 2 ranks have theirs")
    for number in range(1, 4):
        result.iteration = number * 10
        new = [(result.iteration - 1, 0.123456, 0.01)]
        terminal.progress(result, 0, RankTiming(result.iteration, number * 0.5, 0.1, 0.1), new)
        terminal.progress(result, 1, RankTiming(result.iteration, number * 0.5, 0.1, 0.1), [])
    terminal.tested(result, ValidationResult(30, 0, 100, 1.0, {"accuracy": [0.5], "loss": [1.25]}))
    for note in notes:
        terminal.note(note)
    terminal.log(1, ["one", "two"])
    terminal.finished(result)
    terminal.close()


def test_plain_lines_without_a_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    terminal = Terminal()
    terminal.seconds_between_lines = 0
    feed(terminal, TrainingResult("m", 30, 20))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "2 ranks"
    assert lines[1] == "loading records: 1 of 2 ranks have theirs"
    assert re.fullmatch(r"iteration 10 of 30: loss 0\.1235, lr 0\.01, 400 samples/s, 0:01 left", lines[2])
    assert lines[5:] == [
        "iteration 30: test on 100 rows: accuracy 0.5000, loss 1.2500",
        "[rank 1] one",
        "[rank 1] two",
    ]
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_bar_never_wraps(columns, monkeypatch):
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written = []

    def read():
        try:
            while True:
                written.append(os.read(ours, 1 << 16))
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with open(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        feed(Terminal(), TrainingResult("m", 30, 20), notes=["a note"])
    reader.join(10)
    os.close(ours)
    text = b"".join(written).decode()
    frames = [frame for frame in re.split(r"[\r\n]", text) if "%|" in frame]
    assert frames
    for frame in frames:
        assert len(frame.rstrip()) < columns, frame
    assert "30/30" in frames[-1]
    assert "loss 0.1235" in frames[-1]
    assert ("accuracy 0.5000" in frames[-1]) == (columns == 200)
    assert text.endswith("\n")


def test_streams_that_lead_to_no_terminal(tmp_path, monkeypatch):
    assert screen_of(io.StringIO()) is None
    with open(tmp_path / "f", "w") as stream:
        assert screen_of(stream) is None
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")  # as under spark-submit, whose own output may be a file
    read, write = os.pipe()
    with open(read), open(write, "w") as stream:
        assert screen_of(stream) is None


def test_what_does_not_fit_is_left_out_by_importance():
    parts = [(0, "loss 1"), (3, "lr 0.01"), (2, "5 samples/s"), (1, "0:10 left"), (4, "test accuracy 0.5")]
    assert fit(parts, 100) == "loss 1, lr 0.01, 5 samples/s, 0:10 left, test accuracy 0.5"
    assert fit(parts, 40) == "loss 1, lr 0.01, 5 samples/s, 0:10 left"
    assert fit(parts, 20) == "loss 1, 0:10 left"
    assert fit(parts, 3) == "loss 1"
