"""The metrics file and its copies."""

import json
import os
import shutil
import time

import pytest

from caffeonspark.errors import Interrupted, StorageError, TrainingError, to_wire, without_passwords
from caffeonspark.report import file_uploader, metrics, read_metrics
from caffeonspark.report.base import Observer, Observers
from caffeonspark.report.file_uploader import FileUploader
from caffeonspark.report.metrics import MetricsFile
from caffeonspark.report.records import Recorder, one_line, shown_settings
from caffeonspark.report.result import TrainingResult
from caffeonspark.settings import Settings
from caffeonspark.storage import Storage
from tests.support.run_records import end, iteration, rank_losses, restart, saved, start, validation


def write(path, records, rest=b""):
    lines = [json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records]
    path.write_bytes(b"".join(lines) + rest)


def test_a_reader_sees_what_counts_once(tmp_path):
    records = [start(), *(iteration(n) for n in range(8)), validation(5)]
    records += [rank_losses(3, 1.0, 2.0), rank_losses(7, 3.0, 4.0)]
    records += [restart(4), *(iteration(n, loss=7) for n in range(4, 7)), validation(5, 0.9), end(7)]
    records += [start(6), *(iteration(n, loss=8) for n in range(6, 9)), restart(8), iteration(8, loss=9)]
    write(tmp_path / "m.jsonl", records, rest=b'{"event":"iteration","iter')
    found = list(read_metrics(str(tmp_path / "m.jsonl")))
    losses = [(r["iteration"], r["loss"]) for r in found if r["event"] == "iteration"]
    assert losses == [(n, 1 / (n + 1)) for n in range(4)] + [(4, 7), (5, 7), (6, 8), (7, 8), (8, 9)]
    assert [r["losses"] for r in found if r["event"] == "rank_losses"] == [[1.0, 2.0]]
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


def test_a_folder_that_vanishes_comes_back_with_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_LOOK_SECONDS", 0.0)
    folder, said = tmp_path / "a" / "b", []
    file = MetricsFile(Storage(), f"file:{folder}/m.jsonl", said.append)
    file.record(start())
    file.record(iteration(0))
    for number in (1, 2):
        shutil.rmtree(tmp_path / "a")
        if number == 2:  # something is in the way, for a while
            (tmp_path / "a").write_bytes(b"")
            file.record(validation(1))
            file.record(validation(2))
            assert said[1:] == [
                f"warning: {folder}/m.jsonl was removed, and cannot be put back: Not a directory",
            ]
            (tmp_path / "a").unlink()
        file.record(iteration(number))
        file.progress(None, 0, None, [(number, 1.0, 1.0)])
        assert len(said) == (1, 3)[number - 1]
        assert said[-1] == f"warning: {folder}/m.jsonl was removed while the run goes on: it is put back"
    os.unlink(folder / "m.jsonl")
    file.record(end(3))
    file.close()
    found = [(r["event"], r.get("iteration")) for r in read_metrics(str(folder / "m.jsonl"))]
    expected = [("iteration", 0), ("iteration", 1), ("validation", 1), ("validation", 2), ("iteration", 2), ("end", 3)]
    assert found[1:] == expected


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
        "readerOptions": ["url=jdbc:x://me:secret@host/db", "password=secret", "apiToken=secret"],
        "devices": 2,
        "model": "ftp://me:secret@host/m.caffemodel",
    }
    assert shown_settings(Settings.of(given)) == {
        "mlflow": "https://…@host/x",
        "readerOptions": ["url=jdbc:x://me@host/db", "password=…", "apiToken=…"],
        "devices": 2,
        "model": "ftp://me@host/m.caffemodel",
    }


def test_a_password_with_an_at_sign_is_left_out_whole():
    given = {"mlflow": "https://me:se@cret@host/x", "model": "ftp://me:se@cret@host/m@2.caffemodel"}
    assert shown_settings(Settings.of(given)) == {
        "mlflow": "https://…@host/x",
        "model": "ftp://me@host/m@2.caffemodel",
    }
    line = "hdfs://nn:8020/a of me@home, ftp://me:se@cret@host/b and s3a://bucket/c@1"
    assert without_passwords(line) == "hdfs://nn:8020/a of me@home, ftp://me@host/b and s3a://bucket/c@1"


def test_passwords_in_places_are_in_no_record_and_no_line():
    records, lines = [], []

    class Told(Observer):
        def note(self, text):
            lines.append(text)

    uri = "ftp://me:secret@host/run_iter_5.solverstate"
    recorder = Recorder(None, records.append)
    observers = Observers([Told(), recorder])
    observers.note(f"saved {uri}")
    observers.saved(TrainingResult(model=uri), "snapshot", 5, uri)
    error = StorageError(f"{uri}: connection refused")
    error.args = (f"{error.message} at {uri}",)  # as where more is said of it later
    observers.restarted(TrainingResult(model=uri), error)
    assert lines == ["saved ftp://me@host/run_iter_5.solverstate"]
    said = [*map(str, records), str(error), error.message, str(to_wire(error))]
    assert "ftp://me@host/run_iter_5.solverstate" in said[0] and not [text for text in said if "secret" in text]


def test_one_line_of_an_error():
    assert one_line(TrainingError("a\n  b")) == "a b"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(Interrupted("stopped by SIGINT")) == "stopped by SIGINT"


def test_an_event_folder_that_vanishes_is_said_once(tmp_path):
    pytest.importorskip("tensorboardX")
    from caffeonspark.report.tensorboard import TensorBoard

    said = []
    board = TensorBoard(Storage(), f"file:{tmp_path}/board", said.append)
    board.record(start())
    shutil.rmtree(tmp_path / "board")
    board.record(validation(1))
    board.record(validation(2))
    board.record(end(3))
    board.close()
    assert said == [f"warning: {tmp_path}/board was removed: nothing more of this run comes to TensorBoard"]
