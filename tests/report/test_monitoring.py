"""What real runs leave and show: metrics, event files, curves, and the page in a real browser."""

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest

from caffeonspark import (
    CaffeEstimator,
    CaffeOnSpark,
    Config,
    ConfigError,
    DataSource,
    Interrupted,
    Observer,
    TrainingError,
    read_metrics,
)
from caffeonspark.report.base import Observers
from caffeonspark.report.curve import draw_png, static_page
from caffeonspark.runs.run import train
from tests.support import browser, processes, stock
from tests.support.paths import ROOT
from tests.support.prototxts import COS_LAYER, ESTIMATOR_SOLVER, rows_of
from tests.support.run_records import iteration, start, state_of

SGD = 'type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "step" gamma: 0.5 stepsize: 20 random_seed: 3 '


def make_config(spark, folder, settings, net, ranks=2, **flags):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt"\n{settings}')
    given = {"model": f"file:{folder}/lenet.caffemodel", "clusterSize": ranks, "quiet": True, **flags}
    return Config(spark, conf=str(folder / "solver.prototxt"), **given)


def train_with_validation(spark, config):
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    return cos.result


def records_of(path, event):
    return [record for record in read_metrics(str(path)) if record["event"] == event]


def check_against(path, result, first=0):
    """The metrics file says what the result says."""
    found = [r for r in records_of(path, "iteration") if r["iteration"] >= first]
    assert [(r["iteration"], r["loss"], r["lr"]) for r in found] == result.history
    assert [r["epoch"] for r in found] == [round(result.epoch(at), 6) for at, _, _ in result.history]
    tests = [r for r in records_of(path, "validation") if r["iteration"] >= first]
    assert [(r["iteration"], r["net"], r["rows"], r["outputs"]) for r in tests] == [
        (test.iteration, test.net, test.rows, test.outputs) for test in result.tests
    ]
    seconds = [r["seconds"] for r in found]
    assert seconds == sorted(seconds)


def read_events(folder):
    """The events in a folder of TensorBoard event files, with their checksums checked."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def check(data, masked):
        crc = crc32c(data)
        assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == masked

    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            check(data[:8], *struct.unpack("<I", data[8:12]))
            check(data[12 : 12 + size], *struct.unpack("<I", data[12 + size : 16 + size]))
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return events


def scalars(folder):
    """What TensorBoard shows of a folder: {name: {step: value}}; a start of a session hides what follows its step."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found = {}
    for event in read_events(folder):
        if event.session_log.status == SessionLog.START:
            for points in found.values():
                for step in [step for step in points if step >= event.step]:
                    del points[step]
        for value in event.summary.value:
            points = found.setdefault(value.tag, {})
            assert event.step not in points
            points[event.step] = value.simple_value
    return found


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def check_events(folder, result, first=0):
    found = scalars(folder)
    losses, rates = ({at: float32(entry[column]) for at, *entry in result.history} for column in (0, 1))
    assert {at: v for at, v in found["train/loss"].items() if at >= first}.items() <= losses.items()
    assert {at: v for at, v in found["train/lr"].items() if at >= first}.items() <= rates.items()
    assert result.history[-1][0] in found["train/loss"]
    assert min(found["train/samples_per_second"].values()) > 0
    for name in ("accuracy", "loss"):
        points = {at: v for at, v in found[f"test/{name}"].items() if at >= first}
        assert points == {test.iteration: float32(test.outputs[name][0]) for test in result.tests}


def embedded(path):
    text = path.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    return json.loads(re.search(r'id="state">(.*?)</script>', text, re.S).group(1))


def test_a_run_and_one_that_resumes_it(spark, tmp_path, small_lmdb):
    net = stock.lmdb_net(small_lmdb, 10)
    settings = SGD + 'snapshot: 20 snapshot_prefix: "lenet" test_interval: 10 test_iter: 4 '
    board = f"file:{tmp_path}/board"
    config = make_config(spark, tmp_path, settings + "max_iter: 40", net, tensorboard=board)
    first = train_with_validation(spark, config)
    metrics = tmp_path / "lenet.metrics.jsonl"
    check_against(metrics, first)
    check_events(tmp_path / "board", first)
    (start,) = records_of(metrics, "start")
    assert start["max_iter"] == 40
    assert start["samples"] == 20
    assert start["solver"]["base_lr"] == 0.05
    assert start["settings"]["clusterSize"] == 2
    assert set(start["versions"]) == {"caffeonspark", "Caffe", "Python", "Spark"}
    assert records_of(metrics, "hosts")[0]["rows"] == 600
    assert {r["rank"] for r in records_of(metrics, "pace")} == {0, 1}
    assert [(r["what"], r["iteration"]) for r in records_of(metrics, "saved")] == [
        ("snapshot", 20),
        ("snapshot", 40),
        ("model", 40),
    ]
    (end,) = records_of(metrics, "end")
    assert (end["outcome"], end["iteration"], end["error"]) == ("finished", 40, "")
    for record in records_of(metrics, "pace")[-2:]:
        assert record["iteration"] == 40
        assert 0 <= record["waited"] <= record["training"]
        assert 0 <= record["loading"] <= record["training"]
    page = embedded(tmp_path / "lenet.curve.html")
    assert page["phase"] == "finished"
    assert page["train"]["iteration"] == list(range(40))
    assert page["train"]["loss"] == [float(f"{loss:.5g}") for _, loss, _ in first.history]
    assert {curve["name"] for curve in page["tests"]} == {"test/accuracy", "test/loss"}
    assert (tmp_path / "lenet.curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    # on from iteration 20, to another end
    (tmp_path / "lenet_iter_40.solverstate").unlink()
    config = make_config(spark, tmp_path, settings + "max_iter: 60", net, resume=True, tensorboard=board)
    second = train_with_validation(spark, config)
    assert second.resumed == f"file:{tmp_path}/lenet_iter_20.solverstate"
    check_against(metrics, second, first=20)
    check_events(tmp_path / "board", second, first=20)
    assert [r["iteration"] for r in records_of(metrics, "iteration")] == list(range(60))
    assert [r["loss"] for r in records_of(metrics, "iteration")][:20] == [loss for _, loss, _ in first.history][:20]
    assert [r["iteration"] for r in records_of(metrics, "validation")] == list(range(0, 61, 10))
    page = embedded(tmp_path / "lenet.curve.html")
    assert page["train"]["iteration"] == list(range(60))
    assert {"kind": "resumed", "iteration": 20} in page["marks"]
    assert draw_png(page) == (tmp_path / "lenet.curve.png").read_bytes()

    # and one from the beginning: the file is this run's
    config = make_config(spark, tmp_path, SGD + "max_iter: 3", net)
    third = CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    check_against(metrics, third)
    assert len(records_of(metrics, "start")) == 1


def test_a_run_that_fails_says_so(spark, tmp_path, small_lmdb):
    net = stock.lmdb_net(small_lmdb, 10)
    config = make_config(spark, tmp_path, SGD.replace("0.05", "1e20") + "max_iter: 500", net)
    with pytest.raises(TrainingError, match="the loss became"):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    (end,) = records_of(tmp_path / "lenet.metrics.jsonl", "end")
    assert end["outcome"] == "failed"
    assert "the loss became" in end["error"]
    page = embedded(tmp_path / "lenet.curve.html")
    assert page["phase"] == "failed"
    assert "the loss became" in page["error"]


def test_what_cannot_work_is_said_before_training(spark, tmp_path, small_lmdb, monkeypatch):
    net = stock.lmdb_net(small_lmdb, 10)

    def expect(error, match, **flags):
        config = make_config(spark, tmp_path, SGD + "max_iter: 3", net, **flags)
        with pytest.raises(error, match=match):
            CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
        assert not (tmp_path / "lenet.metrics.jsonl").exists()

    expect(ConfigError, r"-web nonsense: give PORT", web="nonsense")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    expect(ConfigError, r"pip install 'tensorboardX>=2\.5,<2\.6'", tensorboard=f"file:{tmp_path}/board")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    expect(ConfigError, r"pip install mlflow-skinny", mlflow=True)


def test_an_observer_of_ones_own(spark, tmp_path, small_lmdb, capsys):
    """The one that docs/monitoring.md shows."""
    config = make_config(spark, tmp_path, SGD + "max_iter: 8 test_interval: 4", stock.lmdb_net(small_lmdb, 10))
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "monitoring.md").read_text(), re.S)
    shown = {"spark": spark}
    exec(code, shown)
    data = DataSource(spark)
    for _ in range(2):  # each training of the same CaffeOnSpark
        capsys.readouterr()
        shown["cos"].trainWithValidation(data.getSource(config, True), data.getSource(config, False))
        lowest, at = shown["best"].best
        assert lowest == min(test.outputs["loss"][0] for test in shown["cos"].result.tests)
        assert capsys.readouterr().out == f"lowest loss {lowest:.4f} at iteration {at}\n"


def test_an_observer_of_ones_own_that_fails(spark, tmp_path, small_lmdb):
    class Broken(Observer):
        told = 0

        def progress(self, *args):
            self.told += 1
            raise ValueError("no more")

    class Listener(Observer):
        def __init__(self):
            self.heard = []

        def note(self, text):
            self.heard.append(text)

    config = make_config(spark, tmp_path, SGD + "max_iter: 8", stock.lmdb_net(small_lmdb, 10))
    broken, listener = Broken(), Listener()
    result = CaffeOnSpark(spark, observers=[broken, listener]).train(DataSource(spark).getSource(config, True))
    assert result.iteration == 8
    assert broken.told == 1
    assert "warning: Broken failed and is switched off: ValueError: no more" in listener.heard
    with pytest.raises(ConfigError, match=r"observers: <class .*Broken'> is no instance of a subclass of .*Observer"):
        CaffeOnSpark(spark, observers=[Broken])
    with pytest.raises(ConfigError, match=r"observers: give a list of them, observers=\[…\], not <"):
        CaffeOnSpark(spark, observers=listener)


def test_without_matplotlib_there_is_a_hint(spark, tmp_path, small_lmdb, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    config = make_config(spark, tmp_path, SGD + "max_iter: 3", stock.lmdb_net(small_lmdb, 10), quiet=False)
    CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    assert "lenet.curve.html (for a picture as well: pip install matplotlib)" in capsys.readouterr().err
    assert not (tmp_path / "lenet.curve.png").exists()
    assert (tmp_path / "lenet.curve.html").exists()


def test_an_estimator_without_a_model_leaves_nothing(spark, tmp_path, small_images):
    (tmp_path / "net.prototxt").write_text(COS_LAYER.format(batch=16, source="", scale=stock.SCALE) + stock.LAYERS)
    (tmp_path / "solver.prototxt").write_text(ESTIMATOR_SOLVER.replace("max_iter: 60", "max_iter: 3"))
    frame = spark.createDataFrame(rows_of(*small_images), "id string, data binary, label int")
    conf = str(tmp_path / "solver.prototxt")
    CaffeEstimator(conf=conf, quiet=True, web=True).fit(frame)
    assert {path.name for path in tmp_path.iterdir()} == {"net.prototxt", "solver.prototxt"}
    CaffeEstimator(conf=conf, quiet=True, model=f"file:{tmp_path}/m.caffemodel").fit(frame)
    (metrics,) = tmp_path.glob("m.*.metrics.jsonl")  # by the name of the fit's model
    assert len(records_of(metrics, "iteration")) == 3


def test_on_a_hadoop_file_system(spark, tmp_path, small_lmdb):
    """viewfs is one that needs no servers: files go through Hadoop's client, which cannot append here either."""
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.viewfs.mounttable.monitoring.link./runs", f"file://{tmp_path}")
    place = "viewfs://monitoring/runs"
    settings = SGD + "snapshot: 10 test_interval: 10 test_iter: 4 "
    net = stock.lmdb_net(small_lmdb, 10)
    flags = {"model": f"{place}/lenet.caffemodel", "tensorboard": f"{place}/board"}
    result = train_with_validation(spark, make_config(spark, tmp_path, settings + "max_iter: 20", net, **flags))
    check_against(tmp_path / "lenet.metrics.jsonl", result)
    check_events(tmp_path / "board", result)
    assert (tmp_path / "lenet.curve.png").exists()
    config = make_config(spark, tmp_path, settings + "max_iter: 30", net, resume=True, **flags)
    second = train_with_validation(spark, config)
    check_against(tmp_path / "lenet.metrics.jsonl", second, first=20)
    assert [r["iteration"] for r in records_of(tmp_path / "lenet.metrics.jsonl", "iteration")] == list(range(30))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


class Interrupting(Observer):
    """Gets Ctrl-C in the middle of its work, as any observer can: the first time it is told something of a kind."""

    def __init__(self, kind):
        self.lock = threading.Lock()
        self.notes = []
        self.sent = None
        setattr(self, kind, self.interrupt)

    def interrupt(self, *what):
        with self.lock:
            if self.sent is None:
                self.sent = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)

    def note(self, text):
        assert self.lock.acquire(timeout=10)
        self.notes.append(text)
        self.lock.release()


def kill_a_rank():
    for pid in processes.ranks(os.getpid())[:1]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["progress", "doing", "restarted"])
def test_ctrl_c_while_an_observer_is_told(spark, tmp_path, small_lmdb, kind):
    config = make_config(spark, tmp_path, SGD + "max_iter: 1000000", stock.lmdb_net(small_lmdb, 10))
    observer = Interrupting(kind)
    if kind == "restarted":
        observer.progress = lambda *what: kill_a_rank()
    with pytest.raises(Interrupted, match=r"stopped by SIGINT at iteration \d+: (\w+ )?snapshot "):
        train(config.run_config, DataSource(spark).getSource(config, True), [], Observers([observer]))
    assert time.monotonic() - observer.sent < 8
    training = "stopping after this iteration; a second signal stops at once" in observer.notes
    assert training == (kind == "progress")


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow in a folder of its own, behind the environment, which leaves it out for its size and its many versions."""
    if importlib.util.find_spec("mlflow") is None:
        folder = str(tmp_path / "mlflow")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "mlflow-skinny==3.1.4"]
        installed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if installed.returncode:
            pytest.skip(f"mlflow-skinny cannot be installed: {installed.stdout}")
        monkeypatch.setattr(sys, "path", [*sys.path, folder])


def test_mlflow(spark, tmp_path, small_lmdb, mlflow):
    from mlflow.tracking import MlflowClient

    uri = f"file:{tmp_path}/mlruns"
    net = stock.lmdb_net(small_lmdb, 10)
    config = make_config(spark, tmp_path, SGD + "max_iter: 40 test_interval: 10 test_iter: 4", net, mlflow=uri)
    result = train_with_validation(spark, config)
    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "lenet"
    assert run.data.params["base_lr"] == "0.05"
    assert run.data.params["ranks"] == "2"
    for name in ("accuracy", "loss"):
        points = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, f"test/{name}")]
        assert points == [(test.iteration, test.outputs[name][0]) for test in result.tests]
    losses = {at: loss for at, loss, _ in result.history}
    points = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "train/loss")}
    assert points.items() <= losses.items()
    assert 39 in points
    assert set(run.data.metrics) == {
        "train/loss",
        "train/lr",
        "train/samples_per_second",
        "test/accuracy",
        "test/loss",
    }
    config = make_config(spark, tmp_path, SGD.replace("0.05", "1e20") + "max_iter: 500", net, mlflow=uri)
    with pytest.raises(TrainingError):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    run = client.search_runs(["0"], order_by=["attributes.start_time DESC"])[0]
    assert run.info.status == "FAILED"
    assert "the loss became" in run.data.tags["caffeonspark.error"]


# ---- the page


@pytest.fixture
def tab():
    if browser.find() is None:
        pytest.skip("no Chromium is installed: scripts/install-chromium installs it")
    with browser.Browser() as opened:
        yield opened


def test_the_page_of_lbfgs(tab, tmp_path):
    told = [{**iteration(number), "passes": 1 + number % 2, "gradient_norm": 1 / (1 + number)} for number in range(9)]
    page = static_page(state_of(start(solver={"type": "LBFGS"}), *told).page())
    (tmp_path / "curve.html").write_text(page)
    tab.open(f"file://{tmp_path}/curve.html")
    titles = tab.run("[...document.querySelectorAll('#charts h2')].map(title => title.textContent)")
    assert titles == ["Loss", "Step length", "Gradient norm", "Passes in an iteration", "Samples per second"]
    assert "step length" in tab.text("#tiles").lower()
    assert tab.run("document.querySelectorAll('#charts path').length") >= 5


def in_a_thread(work):
    """Run something beside the test; the list of its outcomes, and the thread."""
    outcomes = []

    def run():
        try:
            outcomes.append(work())
        except BaseException as e:
            outcomes.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcomes


def wait_for_url(capsys, thread):
    deadline = time.monotonic() + 60
    text = ""
    while "the run's page: " not in text:
        text += capsys.readouterr().err
        assert time.monotonic() < deadline and thread.is_alive(), text
        time.sleep(0.05)
    return re.search(r"the run's page: (\S+)", text).group(1)


def test_the_page_of_a_run_in_a_browser(spark, tmp_path, small_lmdb, tab, capsys):
    net = stock.lmdb_net(small_lmdb, 32)
    settings = SGD + 'max_iter: 6000 snapshot: 400 snapshot_prefix: "lenet" test_interval: 200 test_iter: 4'
    config = make_config(spark, tmp_path, settings, net, web=True)
    thread, outcomes = in_a_thread(lambda: train_with_validation(spark, config))
    url = wait_for_url(capsys, thread)
    tab.open(url)
    assert tab.text("#phase") != ""
    tab.wait_for("state.phase == 'training' && state.iteration > 450 && state.marks.length > 0", 60)
    tab.resize(1200, 900)
    shown = int(re.search(r"iteration ([\d\u202f]+)", tab.text("#count")).group(1).replace("\u202f", ""))
    assert 450 < shown <= 6000
    assert "of 6\u202f000" in tab.text("#count")
    assert tab.text("h1") == "lenet"
    assert tab.text("#phase") == "training"
    assert re.search(r"\d:\d\d left", tab.text("#time"))
    assert re.search(r"Slowest: rank [01] on \S+\. It waits \d+ % of its time", tab.text("#slowest"))
    assert tab.run("document.querySelectorAll('#ranks tr').length") == 3
    titles = tab.run("[...document.querySelectorAll('#charts h2')].map(title => title.textContent)")
    assert titles == ["Loss", "Validation", "Learning rate", "Samples per second"]
    assert tab.run("document.querySelectorAll('#charts path').length") >= 5
    assert "lenet_iter_400.solverstate" in tab.text("#notes")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    tab.resize(380, 800, dark=True)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    tab.resize(1200, 900)

    # the browser is not asked to look again: the page hears of the end by itself
    tab.wait_for("document.querySelector('#phase').textContent == 'finished'", 90)
    thread.join(30)
    result = outcomes[0]
    assert tab.text("#count").startswith("iteration 6\u202f000 of 6\u202f000 · 100 %")
    assert "finished after" in tab.text("#time")
    accuracy = result.tests[-1].outputs["accuracy"][0]
    assert tab.run("state.tests.find(test => test.name == 'test/accuracy').points.pop()") == [
        6000,
        float(f"{accuracy:.5g}"),
    ]
    tab.wait_for("document.querySelector('footer').textContent.includes('this page shows its end')")
    assert tab.text("#phase") == "finished"
    assert tab.run("document.querySelector('#lost').hidden")
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "caffeonspark" in name and name != "caffeonspark-forgotten-models"]
    assert [c for c in tab.complaints() if "ERR_CONNECTION_REFUSED" not in json.dumps(c)] == []

    # the page that is left beside the model shows the same
    tab.open(f"file://{tmp_path}/lenet.curve.html")
    assert tab.text("#phase") == "finished"
    assert tab.text("#count").startswith("iteration 6\u202f000 of 6\u202f000 · 100 %")
    assert tab.run("document.querySelectorAll('#charts path').length") >= 5


def test_the_page_shows_errors_and_runs_nothing_in_them(spark, tmp_path, small_lmdb, tab, capsys):
    net = stock.lmdb_net(small_lmdb, 10)
    hostile = "<img src=x onerror=alert(1)>"
    folder = tmp_path / hostile
    folder.mkdir()
    settings = SGD + "max_iter: 1000000 snapshot: 50"
    config = make_config(spark, folder, settings, net, web=True, maxRestarts=0, keepSnapshots=1)
    thread, _ = in_a_thread(lambda: CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True)))
    tab.open(wait_for_url(capsys, thread))
    tab.wait_for("document.querySelectorAll('#notes li').length > 1", 60)
    assert hostile in tab.text("#about")
    assert hostile in tab.text("#notes")
    os.kill(processes.ranks(os.getpid())[0], signal.SIGKILL)
    thread.join(60)
    tab.wait_for("state.phase == 'failed'")
    assert re.search(r"rank [01]", tab.text("#error"))
    assert tab.text("#phase") == "failed"
    assert tab.run("document.images.length") == 0
    tab.open("file://" + urllib.parse.quote(f"{folder}/lenet.curve.html"))
    assert hostile in tab.text("#notes")
    assert tab.run("document.images.length") == 0


def test_a_driver_that_is_gone_is_said(tab):
    from caffeonspark.report.web import Web

    state = state_of(start(), iteration(0))
    server = Web("0", state)
    tab.open(server.url)
    assert tab.text("#phase") == "training"
    server._server.desk.close = lambda linger: None  # as if it were killed
    server.close()
    tab.wait_for("document.querySelector('#phase').textContent == 'no connection'")
    assert "The driver has not answered since" in tab.text("#lost")
    assert tab.text("#count").startswith("iteration 1 of")
