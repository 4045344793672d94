"""Runs and the places they write to, through Spark: who has one, what is kept, and what a cancelled job ends."""

import json
import os
import tempfile
import threading
import time

import numpy as np
import pytest

from caffeonspark import CaffeEstimator, CaffeOnSpark, Config, ConfigError, DataSource
from caffeonspark.errors import Interrupted, StorageError
from caffeonspark.report.base import Observer
from tests.support import stock
from tests.support.prototxts import COS_LAYER, rows_of
from tests.support.training import train

SOLVER = 'base_lr: {rate} momentum: 0.9 lr_policy: "fixed" random_seed: 1 max_iter: {iterations} {more}'


class At(Observer):
    """Does something once when an iteration is done."""

    def __init__(self, iteration, do):
        self.iteration, self.do, self.done = iteration, do, threading.Event()

    def progress(self, result, rank, timing, new):
        if rank == 0 and result.iteration >= self.iteration and not self.done.is_set():
            self.done.set()
            self.do()


def in_thread(work):
    """(thread, list that gets what it raised)."""
    errors = []

    def run():
        try:
            work()
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_run_is_refused_and_a_cancelled_one_ends(spark, tmp_path, small_lmdb):
    solver = SOLVER.format(rate=0.01, iterations=1_000_000, more='snapshot: 10 snapshot_prefix: "p"')
    begun = At(15, lambda: None)
    net = stock.lmdb_net(small_lmdb, 10)
    thread, errors = in_thread(lambda: train(spark, tmp_path, solver, net, 1, [begun], keepSnapshots=2))
    assert begun.done.wait(60), errors
    metrics = tmp_path / "model.metrics.jsonl"
    size = metrics.stat().st_size
    with pytest.raises(ConfigError, match=r"model.caffemodel is in use by another run \(application \S+, process \d+"):
        train(spark, tmp_path, solver, net, 1)
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/another", clusterSize=1)
    with pytest.raises(ConfigError, match=r"p_iter is in use by another run .* snapshot_prefix \(in the solver\)"):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    assert metrics.stat().st_size >= size
    spark.sparkContext.cancelAllJobs()
    thread.join(60)
    (error,) = errors
    assert isinstance(error, Interrupted)
    assert "stopped by Spark (Job " in error.message and "-resume continues from it" in error.message
    events = [json.loads(line)["event"] for line in metrics.read_text().splitlines()]
    assert "restart" not in events and events.count("start") == 1
    assert not list(tmp_path.glob(".*"))


def test_resume_knows_its_net(spark, tmp_path, small_lmdb):
    def go(net, iterations, **flags):
        solver = SOLVER.format(rate=0.01, iterations=iterations, more='snapshot: 10 snapshot_prefix: "p"')
        return train(spark, tmp_path, solver, net, 1, **flags)[0]

    net = stock.lmdb_net(small_lmdb, 10)
    go(net, 10)
    longer = go(net.replace('"pool"', '"pooling"').replace("batch_size: 10", "batch_size: 20"), 12, resume=True)
    assert [entry[0] for entry in longer.history] == [10, 11]
    other = net.replace("num_output: 150", "num_output: 160")
    with pytest.raises(ConfigError, match=r"-resume: \S+p_iter_12.solverstate is of another net: its layer 'ip1' has"):
        go(other, 20, resume=True)
    state, weights = f"file:{tmp_path}/p_iter_10.solverstate", f"file:{tmp_path}/p_iter_10.caffemodel"
    with pytest.raises(ConfigError, match=r"p_iter_10.solverstate is of another net: its layer 'ip1' has"):
        go(other, 20, snapshot=state, weights=weights)


def test_a_model_that_cannot_be_put_in_its_place_is_kept(spark, tmp_path, small_lmdb, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = SOLVER.format(rate=0.01, iterations=60, more="")
    occupy = At(5, lambda: (tmp_path / "model.caffemodel").mkdir())
    net = stock.lmdb_net(small_lmdb, 10)
    with pytest.raises(StorageError, match=r"cannot write \S+/model.caffemodel: .*is kept on \S+ as ") as e:
        train(spark, tmp_path, solver, net, 1, [occupy])
    place = e.value.message.rpartition(" as ")[2]
    assert place.startswith(f"{tmp_path}/caffeonspark-kept-")
    os.rmdir(tmp_path / "model.caffemodel")
    _, model = train(spark, tmp_path, solver, net, 1)
    for kept, saved in zip(
        stock.load_weights(place, stock.input_net(10)), stock.load_weights(model, stock.input_net(10))
    ):
        np.testing.assert_array_equal(kept, saved)


@pytest.fixture
def estimator(tmp_path):
    """Makes an estimator over a solver of its own."""
    (tmp_path / "net.prototxt").write_text(COS_LAYER.format(batch=16, source="", scale=stock.SCALE) + stock.LAYERS)

    def make(name="solver", rate=0.05, iterations=20, **flags):
        path = tmp_path / f"{name}.prototxt"
        path.write_text('net: "net.prototxt" ' + SOLVER.format(rate=rate, iterations=iterations, more="snapshot: 10"))
        return CaffeEstimator(conf=str(path), clusterSize=1, quiet=True, **flags)

    return make


@pytest.fixture
def frame(spark, small_images):
    rows = rows_of(*small_images)[:200]
    return spark.createDataFrame(rows, "id string, data binary, label int").coalesce(1).cache()


def test_fits_at_once_with_one_model_do_not_meet(spark, tmp_path, estimator, frame):
    place = f"file:{tmp_path}/out/m.caffemodel"
    one = estimator(model=place)
    alone = []
    for rate in (0.001, 0.05):
        alone.append(estimator("solver", rate).fit(frame)._content)
    for folder, rate in (("a", 0.001), ("b", 0.05)):  # one name in two folders: snapshots of one name
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.prototxt").write_text((tmp_path / "net.prototxt").read_text())
        text = 'net: "net.prototxt" ' + SOLVER.format(rate=rate, iterations=20, more="snapshot: 10")
        (tmp_path / folder / "solver.prototxt").write_text(text)
    maps = [{one.conf: str(tmp_path / folder / "solver.prototxt")} for folder in ("a", "b")]
    found, threads = {}, []
    for number in range(2):

        def fit(number=number):
            found[number] = one.fit(frame, maps[number])

        threads.append(in_thread(fit))
    for thread, errors in threads:
        thread.join(120)
        assert not errors
    assert [found[number]._content for number in range(2)] == alone
    assert alone[0] != alone[1]
    for model in found.values():
        name = model.summary.model.rpartition("/m.")[2][: -len(".caffemodel")]
        assert name.startswith("CaffeModel_") and model.uid == one.uid
        assert (tmp_path / f"out/m.{name}.caffemodel").read_bytes() == model._content
        assert (tmp_path / f"out/solver.{name}_iter_20.solverstate").exists()
    assert (tmp_path / "out/m.caffemodel").read_bytes() in alone
    further = estimator("solver", 0.05, 25, model=place, resume=True).fit(frame)
    assert further.summary.history.iteration.tolist() == [20, 21, 22, 23, 24]


def test_a_fit_without_a_model_leaves_the_snapshot_that_it_promises(spark, tmp_path, estimator, frame, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    began = []

    def fits():
        for _ in range(3):  # as the threads of CrossValidator do, whatever becomes of each
            try:
                began.append(None)
                estimator(iterations=1_000_000).fit(frame)
            except Interrupted as e:
                began[-1] = e

    thread, errors = in_thread(fits)
    wait_for(lambda: list(tmp_path.glob("caffeonspark-*/solver_iter_*.solverstate")) or errors)
    spark.sparkContext.cancelAllJobs()
    thread.join(60)
    first, *others = began
    assert "stopped by Spark (Job " in first.message
    assert [error.message for error in others] == ["not started: the run before it in this thread was interrupted"] * 2
    state = first.message.partition("snapshot='")[2].partition("'")[0]
    weights = first.message.partition("weights='")[2].partition("'")[0]
    at = int(state.rpartition("_iter_")[2].partition(".")[0])
    model = estimator(iterations=at + 3, snapshot=state, weights=weights).fit(frame)
    assert model.summary.history.iteration.tolist() == [at, at + 1, at + 2]


def test_what_a_fit_cannot_do_is_found_before_it(spark, estimator, frame, tmp_path):
    with pytest.raises(ConfigError, match=r"the TEST net has no blob 'ip9'"):
        estimator(features=["ip9"]).fit(frame)
    (tmp_path / "net.prototxt").write_text(
        COS_LAYER.format(batch=16, source="", scale=stock.SCALE).replace("include { phase: TEST }", "") + stock.LAYERS
    )
    with pytest.raises(ConfigError, match=r"no data layer in the TEST phase, which transform needs"):
        estimator().fit(frame)
