"""What is recorded and shown of a run: records, bounded curves, terminal lines, and who may see the page."""

import http.client
import io
import json
import math
import os
import pty
import random
import re
import socket
import threading
import time
import types

import pytest

from caffeonspark.errors import ConfigError, Interrupted, StorageError, TrainingError
from caffeonspark.flags import FLAGS
from caffeonspark.report import file_uploader, read_metrics
from caffeonspark.report.base import Observer, Observers
from caffeonspark.report.curve import draw_png, static_page
from caffeonspark.report.downsampler import Downsampler
from caffeonspark.report.file_uploader import FileUploader
from caffeonspark.report.metrics import MetricsFile
from caffeonspark.report.page import page_html
from caffeonspark.report.records import one_line, settings
from caffeonspark.report.result import RankTiming, TrainingResult, ValidationResult
from caffeonspark.report.speed import Speed, clock
from caffeonspark.report.state import RunState, Series, smooth
from caffeonspark.report.terminal import Terminal, fit, screen_of
from caffeonspark.report.web import Web, parse_address
from caffeonspark.storage import Storage

# ---- records as a run makes them


def start(iteration=0, **values):
    record = {
        "event": "start",
        "seconds": 0.5,
        "format": 1,
        "time": 1.7e9,
        "iteration": iteration,
        "max_iter": 1000,
        "samples": 20,
        "ranks": 2,
        "cluster": "2 ranks",
        "net": "net",
        "model": "file:/models/lenet.caffemodel",
        "resumed": "",
        "settings": {},
        "solver": {},
        "versions": {},
    }
    return {**record, **values}


def iteration(number, loss=None, speed=100.0):
    return {
        "event": "iteration",
        "seconds": 1 + number / 10,
        "iteration": number,
        "epoch": number / 30,
        "loss": 1 / (number + 1) if loss is None else loss,
        "lr": 0.01,
        "samples_per_second": speed,
    }


def validation(number, value=0.5, net=0, **outputs):
    outputs = outputs or {"accuracy": [value]}
    return {
        "event": "validation",
        "seconds": 2.0,
        "iteration": number,
        "epoch": 0.0,
        "net": net,
        "rows": 10,
        "outputs": outputs,
    }


def saved(number, what="snapshot", place=""):
    return {"event": "saved", "seconds": 3.0, "what": what, "iteration": number, "place": place}


def restart(number):
    return {"event": "restart", "seconds": 4.0, "iteration": number, "restarts": 1, "error": "rank 1 is lost"}


def end(number, outcome="finished", error=""):
    record = {"event": "end", "seconds": 9.0, "time": 1.7e9, "outcome": outcome, "iteration": number, "error": error}
    return {**record, "stopped": "", "restarts": 0}


def state_of(*records):
    state = RunState()
    for record in records:
        state.record(record)
    return state


def write(path, records, rest=b""):
    lines = [json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records]
    path.write_bytes(b"".join(lines) + rest)


# ---- the metrics file


def test_a_reader_sees_what_counts_once(tmp_path):
    records = [start(), *(iteration(n) for n in range(8)), validation(5)]
    records += [restart(4), *(iteration(n, loss=7) for n in range(4, 7)), validation(5, 0.9), end(7)]
    records += [start(6), *(iteration(n, loss=8) for n in range(6, 9)), restart(8), iteration(8, loss=9)]
    write(tmp_path / "m.jsonl", records, rest=b'{"event":"iteration","iter')
    found = list(read_metrics(str(tmp_path / "m.jsonl")))
    losses = [(r["iteration"], r["loss"]) for r in found if r["event"] == "iteration"]
    assert losses == [(n, 1 / (n + 1)) for n in range(4)] + [(4, 7), (5, 7), (6, 8), (7, 8), (8, 9)]
    assert [r["outputs"]["accuracy"] for r in found if r["event"] == "validation"] == [[0.9]]
    assert [r["event"] for r in found if r["event"] in ("start", "restart", "end")] == [
        "start",
        "restart",
        "end",
        "start",
        "restart",
    ]


def make_file(path, resumed="", at=0):
    file = MetricsFile(Storage(), f"file:{path}", print)
    file.record(start(at, resumed=resumed))
    return file


def test_the_file_goes_on_only_with_a_snapshot_it_knows(tmp_path):
    path, place = tmp_path / "m.jsonl", f"file:{tmp_path}/run_iter_3.solverstate"
    first = make_file(path)
    for record in (*(iteration(n) for n in range(3)), saved(3, place=place), iteration(3)):
        first.record(record)
    first.close()
    with open(path, "ab") as f:
        f.write(b'{"event":"iteration","iteration":4,"lo')  # the driver was killed here
    again = make_file(path, resumed=f"file://{tmp_path}/run_iter_3.solverstate", at=3)
    assert [r["iteration"] for r in again.earlier() if r["event"] == "iteration"] == [0, 1, 2, 3]
    again.record(iteration(3, loss=5))
    again.close()
    found = [(r["iteration"], r["loss"]) for r in read_metrics(str(path)) if r["event"] == "iteration"]
    assert found == [(0, 1), (1, 1 / 2), (2, 1 / 3), (3, 5)]
    for resumed, at in ((place.replace("run", "other"), 3), (place, 4)):  # another run's snapshot
        file = make_file(path, resumed=resumed, at=at)
        assert not list(file.earlier())
        file.record(saved(3, place=place))
        file.close()
        assert [r["event"] for r in read_metrics(str(path))] == ["start", "saved"]
    make_file(path).close()  # a run from the beginning
    assert [r["event"] for r in read_metrics(str(path))] == ["start"]


def test_somebody_elses_file_is_replaced(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"event":"saved"}\nno json\n')
    make_file(path, resumed="file:/x_iter_3.solverstate", at=3).close()
    assert [r["event"] for r in read_metrics(str(path))] == ["start"]


class SlowStorage(Storage):
    """Stores with a delay, and fails as often as it is told."""

    def __init__(self, failures=0):
        super().__init__()
        self.failures = failures
        self.stored = []

    def on_local_disk(self, uri):
        return False

    def store(self, source, uri):
        time.sleep(0.1)
        if self.failures:
            self.failures -= 1
            raise StorageError("no such name node")
        with open(source, "rb") as f:
            self.stored.append(f.read())


def test_mirrors_store_whole_lines_and_hold_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(file_uploader, "_PAUSE", 0.05)
    monkeypatch.setattr(file_uploader, "_SHARE", 0.0)
    storage, said = SlowStorage(failures=2), []
    file = MetricsFile(storage, "hdfs:/m.jsonl", said.append)
    begin = time.monotonic()
    file.record(start())
    for number in range(50):
        file.record(iteration(number))
        file.record(validation(number))
    assert time.monotonic() - begin < 0.1
    deadline = time.monotonic() + 10
    while not storage.stored and time.monotonic() < deadline:
        time.sleep(0.01)
    file.record(iteration(50))
    file.close()
    assert said == ["warning: hdfs:/m.jsonl is not stored: no such name node"]
    for content in storage.stored:
        assert content.endswith(b"}\n")
    assert len(storage.stored[-1].splitlines()) == 102


def test_a_store_that_never_works_is_said_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(file_uploader, "_PAUSE", 0.05)
    said = []
    (tmp_path / "f").write_bytes(b"x")
    copy = FileUploader(SlowStorage(failures=99), "hdfs:/f", str(tmp_path / "f"), said.append)
    copy.ask(1)
    copy.close()
    assert said[-1] == "warning: hdfs:/f is not stored: no such name node"


def test_settings_without_passwords():
    given = {
        "mlflow": "https://me:secret@host/x",
        "readerOptions": ["url=jdbc:x", "password=secret", "apiToken=secret"],
        "devices": 2,
    }
    assert settings(types.SimpleNamespace(changed=given)) == {
        "mlflow": "https://…@host/x",
        "readerOptions": ["url=jdbc:x", "password=…", "apiToken=…"],
        "devices": 2,
    }


# ---- curves in bounded memory


@pytest.mark.parametrize("count", [1, 799, 800, 801, 12_345])
def test_series_are_bounded_and_right(count):
    random.seed(count)
    losses = [random.random() for _ in range(count)]
    series = Series()
    for number, loss in enumerate(losses):
        series.add(number, loss, number, None if number < 3 else 50.0)
    assert len(series) <= 800
    assert len(series) == -(-count // series.width)
    columns = series.columns()
    for place, first in enumerate(columns["iteration"]):
        part = losses[first : first + series.width]
        assert first == place * series.width
        assert columns["loss"][place] == pytest.approx(sum(part) / len(part), rel=1e-4)
        assert columns["low"][place] == pytest.approx(min(part), rel=1e-4)
        assert columns["high"][place] == pytest.approx(max(part), rel=1e-4)
    assert columns["lr"][-1] == float(f"{count - 1:.5g}")
    assert {speed for speed in columns["speed"] if speed is not None} <= {50.0}


def test_smoothing_keeps_straight_lines_straight():
    line = [2.0 - 0.01 * n for n in range(200)]
    found = smooth(line)
    assert found[:195] == pytest.approx(line[:195])
    assert found[-1] == pytest.approx(sum(line[-6:]) / 6)
    assert smooth([3.0]) == [3.0]
    assert smooth([]) == []


def test_long_runs_stay_small():
    state = state_of(start(max_iter=1_000_000))
    record = iteration(0)
    begin = time.perf_counter()
    for number in range(300_000):
        record["iteration"] = number
        state.record(record)
        if number % 100 == 0:
            state.record(validation(number, 0.123456789))
        if number % 1000 == 0:
            state.record(saved(number))
            state.record({"event": "note", "seconds": 1.0, "text": "x" * 50})
    assert len(json.dumps(state.page())) < 200_000
    assert (time.perf_counter() - begin) / 300_000 < 50e-6
    assert state.page()["tests"][0]["points"][-1] == [299_900, 0.12346]


@pytest.mark.parametrize("count", [50, 5000])
def test_curves_after_a_restart_are_those_of_a_run_that_never_failed(count):
    random.seed(1)
    losses = [random.random() for _ in range(count)]
    half = count // 2 + 3

    def run(first, last):
        return [iteration(number, losses[number]) for number in range(first, last)]

    smooth_run = state_of(start(), *run(0, half), saved(half), *run(half, count))
    rough = state_of(start(), *run(0, half), saved(half))
    for record in (*run(half, count - 5), validation(half + 1), restart(half), *run(half, count)):
        rough.record(record)
    expected, found = smooth_run.page(), rough.page()
    assert found["train"] == expected["train"]
    assert not found["tests"]
    assert found["marks"][-1] == {
        "kind": "restart",
        "iteration": half,
        "from": count - 5,
        "why": "rank 1 is lost",
    }
    never_saved = state_of(start(), *run(0, half), restart(0), *run(0, 10))
    assert never_saved.page()["train"]["iteration"] == list(range(10))


def test_earlier_runs_are_part_of_the_curve():
    earlier = [start(), *(iteration(n) for n in range(10)), validation(0), saved(10), end(10)]
    state = RunState(lambda: iter(earlier))
    state.record(start(10, resumed="file:/run_iter_10.solverstate"))
    assert state.phase == "starting"
    state.record(iteration(10))
    page = state.page()
    assert page["train"]["iteration"] == list(range(11))
    assert page["tests"][0]["points"] == [[0, 0.5]]
    assert [mark["kind"] for mark in page["marks"]] == ["snapshot", "resumed"]
    assert page["phase"] == "training"


def test_the_rank_that_waits_least_is_the_slowest():
    result = TrainingResult("m", 100, 20, {0: "a", 1: "b"})
    state = state_of(start(), {"event": "hosts", "seconds": 1.0, "hosts": ["a", "b"], "rows": 100})
    rows = state.page()["ranks"]
    assert [(row["host"], row["iteration"], row["slowest"]) for row in rows] == [("a", None, False), ("b", None, False)]
    state.progress(result, 0, RankTiming(50, 10.0, 4.0, 0.5), [])
    assert not any(row["slowest"] for row in state.page()["ranks"])
    state.progress(result, 1, RankTiming(50, 10.0, 1.0, 0.5), [])
    rows = state.page()["ranks"]
    assert [row["slowest"] for row in rows] == [False, True]
    assert [row["waiting_share"] for row in rows] == [0.4, 0.1]
    assert [row["alone"] for row in rows] == [round(50 * 10 / 6, 1), round(50 * 10 / 9, 1)]


def test_values_that_json_cannot_hold():
    state = state_of(start(), iteration(0), validation(0, loss=[None], accuracy=[0.1]), iteration(1))
    assert state.page()["tests"][0]["points"] == [[0, None]]
    page = state_of(start(), validation(0, prob=[0.1] * 1000), iteration(0)).page()
    assert page["tests"] == []  # too wide to draw
    assert draw_png(state.page()).startswith(b"\x89PNG")


def test_pictures_of_every_kind_of_run():
    for records in (
        [start(), iteration(0)],
        [start(), iteration(0, loss=-1), iteration(1, loss=0)],
        [start(5), *(iteration(n) for n in range(5, 2000)), saved(7), saved(9, "best model"), restart(9)],
        [start(), iteration(0), validation(0, loss=[1.0], top=[0.1, 0.2]), end(1, "failed", "boom")],
    ):
        assert draw_png(state_of(*records).page()).startswith(b"\x89PNG")


HOSTILE = '</script><script>alert(1)</script>&<!--"\u2028'


def test_nothing_of_a_run_ends_the_pages_data():
    state = state_of(start(model=HOSTILE), iteration(0), validation(0, **{HOSTILE: [0.5]}), end(1, "failed", HOSTILE))
    text = static_page(state.page())
    assert text.count("<script") == text.count("</script>") == 2
    content = re.search(r'<script type="application/json" id="state">(.*?)</script>', text, re.S).group(1)
    assert json.loads(content)["error"] == HOSTILE
    assert "{" not in page_html("0").split("<style>")[0]


# ---- speed


def test_speed_leaves_validations_out_and_time_left_does_not():
    speed = Speed()
    speed.start(100.0, 50)
    assert speed.per_second() is None
    assert speed.left(10) is None
    speed.update(160.0, 52, 1.0)  # 59 seconds of loading come only once
    assert speed.per_second() == pytest.approx(2.0)
    assert speed.left(10) == pytest.approx(5.0)
    speed.update(161.0, 54, 2.0)
    speed.update(171.0, 56, 3.0)  # nine seconds of validation
    assert speed.per_second() == pytest.approx(2.0)
    assert speed.left(6) == pytest.approx(12.0)
    speed.start(200.0, 50)
    assert speed.per_second() is None


def test_speed_is_that_of_the_last_seconds():
    speed = Speed()
    speed.start(0.0, 0)
    for second in range(1, 100):
        speed.update(second, 10 * second if second <= 50 else 500 + 2 * (second - 50), second)
    assert speed.per_second() == pytest.approx(2.0)
    assert len(speed._marks) <= 700


def test_clock():
    assert [clock(s) for s in (0.4, 59.6, 61, 3675)] == ["0:00", "1:00", "1:01", "1:01:15"]


def test_points_are_thinned_and_the_newest_is_there():
    thinned = Downsampler(20.0)
    for number in range(1000):
        thinned.add(iteration(number))
    points = [point for point in thinned.take() if point.name == "train/loss"]
    assert 150 <= len(points) <= 200  # ten seconds' worth at the beginning
    assert points[-1].iteration == 999
    assert all(point.value == 1 / (point.iteration + 1) for point in points)
    thinned.add(iteration(1000))
    assert not thinned.take()
    assert [point.iteration for point in thinned.take(last=True)] == [1000, 1000, 1000]


# ---- observers


class Broken(Observer):
    closed = False

    def note(self, text):
        raise ValueError("two\nlines")

    def close(self):
        self.closed = True


def test_failing_observers_are_dropped_with_one_note():
    heard, broken = [], [Broken(), Broken()]

    class Listener(Observer):
        def note(self, text):
            heard.append(text)

    observers = Observers([broken[0], Listener(), broken[1]])
    observers.note("hello")
    observers.note("again")
    warning = "warning: Broken failed and is switched off: ValueError: two lines"
    assert sorted(heard) == sorted(["hello", "again", warning, warning])
    assert broken[0].closed and broken[1].closed


def test_flags_that_may_stand_alone():
    assert FLAGS.parse_args(["-web", "-train"]) == {"web": "0", "train": True}
    assert FLAGS.parse_args(["-web", "8080", "-mlflow"]) == {"web": "8080", "mlflow": "default"}
    assert FLAGS.parse_mapping({"web": True, "mlflow": False}) == {"web": "0", "mlflow": ""}
    with pytest.raises(ConfigError, match="needs a value"):
        FLAGS.parse_args(["-tensorboard", "-web"])


def test_long_runs_keep_a_bounded_number_of_paces():
    result = TrainingResult("m")
    for number in range(50_000):
        result.record_timing(0, RankTiming(number, number, 0.0, 0.0))
    paces = result.timing[0]
    assert len(paces) <= 5000
    assert paces[0].iteration == 0
    assert paces[-1].iteration == 49_999
    assert [pace.iteration for pace in paces] == sorted(pace.iteration for pace in paces)


# ---- the terminal


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


def test_plain_lines_without_a_terminal():
    stream = io.StringIO()
    terminal = Terminal(stream)
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
def test_the_bar_never_wraps(columns):
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
        feed(Terminal(stream), TrainingResult("m", 30, 20), notes=["a note"])
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


def test_one_line_of_an_error():
    assert one_line(TrainingError("a\n  b")) == "a b"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(Interrupted("stopped by SIGINT")) == "stopped by SIGINT"


# ---- the page's server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:81", ("::1", 81)),
        ("localhost:82", ("localhost", 82)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["x", ":80", "1.2.3.4", "host:", "host:70000", "-1", "127.0.0.1:8o"])
def test_wrong_addresses(text):
    with pytest.raises(ConfigError, match="give PORT or ADDRESS:PORT"):
        parse_address(text)


@pytest.fixture
def web(capsys):
    """Makes servers over a state, and closes them."""
    made = []

    def make(address, state, name=""):
        made.append(Web(address, state, name))
        assert made[-1].url in capsys.readouterr().err
        return made[-1]

    yield make
    for server in made:
        server.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "caffeonspark-web"]


def ask(server, path, method="GET", **headers):
    port = server._server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def test_only_the_page_and_its_state_can_be_asked_for(web):
    server = web("0", state_of(start(), iteration(0)))
    status, content, headers = ask(server, "/")
    assert status == 200
    assert b'id="state"' in content
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    status, content, _ = ask(server, "/state")
    assert json.loads(content)["iteration"] == 1
    assert ask(server, "/", "HEAD")[:2] == (200, b"")
    assert ask(server, "/etc/passwd")[0] == 404
    assert ask(server, "/../../etc/passwd")[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, "/", method)[0] == 501


def test_foreign_host_names_are_refused_on_loopback(web):
    server = web("127.0.0.1:0", state_of(start()))
    for host in ("localhost", "localhost:9999", "127.0.0.1", "127.0.0.2:80", "[::1]:80"):
        assert ask(server, "/state", Host=host)[0] == 200
    for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1", "[", "", "a b"):
        status, content, _ = ask(server, "/state", Host=host)
        assert status == 403
        assert b"http://localhost:PORT" in content


def test_other_addresses_need_the_token(web):
    server = web("0.0.0.0:0", state_of(start()), name="driver.example")
    assert re.fullmatch(r"http://driver\.example:\d+/\?token=[\w-]{32}", server.url)
    token = server.url.partition("token=")[2]
    for path in ("/", "/state", "/state?after=1", f"/?token={token[:-1]}", f"/?token={token}x", "/?token=", "/nothing"):
        status, content, _ = ask(server, path, Host="driver.example")
        assert status == 403
        assert b"needs its token" in content
        assert b"lenet" not in content
    status, content, _ = ask(server, f"/?token={token}", Host="driver.example")
    assert status == 200
    assert token.encode() not in content
    assert ask(server, f"/state?token={token}", Host="10.1.2.3")[0] == 200


def test_a_port_that_is_taken(web):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on port {port} of 127.0.0.1 \(Address already in use\)"):
            Web(str(port), RunState())
    with pytest.raises(ConfigError, match="'no such host' is no address of this machine"):
        Web("no such host:80", RunState())
    with pytest.raises(ConfigError, match=r"cannot listen on port 80 of 203.0.113.7"):
        Web("203.0.113.7:80", RunState())


def test_news_come_when_there_are_some(web):
    state = state_of(start())
    server = web("0", state)
    version = json.loads(ask(server, "/state")[1])["version"]
    found = []
    thread = threading.Thread(target=lambda: found.append(json.loads(ask(server, f"/state?after={version}&page=a")[1])))
    begin = time.monotonic()
    thread.start()
    time.sleep(0.7)
    assert not found
    state.record(iteration(0))
    thread.join(5)
    assert found[0]["iteration"] == 1
    assert time.monotonic() - begin < 3


def test_pages_that_are_looked_at_hear_of_the_end(web):
    state = state_of(start(), iteration(0))
    server = web("0", state)
    found = []

    def look():
        version = -1
        while not found or found[-1]["phase"] != "finished":
            found.append(json.loads(ask(server, f"/state?after={max(0, version)}&page=a")[1]))
            version = found[-1]["version"]
            time.sleep(0.4)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    time.sleep(1.0)
    state.record(end(1))
    server.close()
    thread.join(5)
    assert found[-1]["phase"] == "finished"
    with pytest.raises(OSError):
        ask(server, "/")
    begin = time.monotonic()
    nobody = Web("0", state_of(start()))
    nobody.close()
    assert time.monotonic() - begin < 1


def test_clients_that_never_speak_hold_up_nothing(web):
    server = web("0", state_of(start()))
    port = server._server.server_address[1]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    try:
        assert ask(server, "/state")[0] == 200
        many = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        time.sleep(0.5)
        assert threading.active_count() < 100
        for sock in many:
            sock.close()
    finally:
        for sock in idle:
            sock.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert ask(server, "/state")[0] == 200
            break
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    else:
        raise AssertionError("the server does not recover")


def test_math_of_time_left_is_shown_only_while_training():
    state = state_of(start(), iteration(0))
    result = TrainingResult("m", 1000, 20)
    state.progress(result, 0, RankTiming(10, 1.0, 0.0, 0.0), [(9, 1.0, 0.1)])
    left = state.page()["left"]
    assert left is None or math.isfinite(left)
    state.record(end(10))
    assert state.page()["left"] is None
