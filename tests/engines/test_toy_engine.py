"""An engine that nobody but its own module knows trains on two executors, without any Caffe."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from caffeonspark.formats.caffemodel import read_caffemodel

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

HERE = pathlib.Path(__file__).parent
LIBRARY = HERE.parent.parent
COUNT, RANKS, BATCH = 200, 2, 10


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(COUNT, 3)).astype(np.float32)
    return x, (x @ np.float32([1, -2, 3]) + np.float32(0.5)).astype(np.float32)


@pytest.fixture(scope="module")
def job(samples, tmp_path_factory):
    """(folder, what the job found)."""
    folder = tmp_path_factory.mktemp("toy")
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "caffe.py").write_text('raise ImportError("Caffe is hidden")\n')
    (folder / "rows").mkdir()
    x, y = samples
    ids = [f"{number:03}" for number in range(COUNT)]
    table = pa.table({"id": ids, "x": list(x), "y": y})
    pyarrow.parquet.write_table(table, folder / "rows" / "part.parquet")
    paths = [str(hidden), str(LIBRARY), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(HERE / "toy_job.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "found.json").read_text())


def model(path):
    (layer,) = read_caffemodel(str(path))
    assert layer.name == "line"
    return layer.blobs


def loss_of(weights, x, y):
    return float(((x @ weights[0][0] + weights[1][0] - y) ** 2).mean() / 2)


def test_trains_as_one_process_at_the_whole_batch(job, samples):
    folder, found = job
    assert found["hosts"] == RANKS
    assert found["caffe loaded"] == []
    x, y = samples
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 0.1, (1, 3)).astype(np.float32), np.zeros(1, np.float32)]
    history = [np.zeros_like(array) for array in weights]
    losses = []
    for iteration in range(20):
        half = COUNT // RANKS
        rows = [half * r + (iteration * 2 * BATCH + k) % half for r in range(RANKS) for k in range(2 * BATCH)]
        losses.append(loss_of(weights, x[rows], y[rows]))
        difference = (x[rows] @ weights[0].T + weights[1] - y[rows, None]) / len(rows)
        for array, moved, gradient in zip(weights, history, (difference.T @ x[rows], difference.sum(axis=0))):
            moved[...] = 0.9 * moved + 0.05 * 0.5 ** (iteration // 8) * gradient
            array -= moved
    for mine, theirs in zip(model(folder / "plain" / "m.caffemodel"), weights):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-4)
    assert losses[-1] < losses[0] / 3


def test_validation_and_test_are_those_of_the_model(job, samples):
    folder, found = job
    expected = loss_of(model(folder / "plain" / "m.caffemodel"), *samples)
    assert [(iteration, rows) for iteration, rows, _ in found["curve"]] == [(0, COUNT), (10, COUNT), (20, COUNT)]
    assert found["curve"][-1][2] == pytest.approx(expected, rel=1e-4)
    assert found["means"]["loss"] == pytest.approx([expected], rel=1e-4)


def test_features_have_a_row_for_every_sample(job, samples):
    folder, found = job
    weights = model(folder / "plain" / "m.caffemodel")
    assert len(found["features"]) == COUNT
    for number, row in enumerate(samples[0]):
        assert found["features"][f"{number:03}"] == pytest.approx(row @ weights[0][0] + weights[1][0], abs=1e-5)


@pytest.mark.parametrize(("kind", "ending"), [("BINARYPROTO", ""), ("HDF5", ".h5")])
def test_resumed_run_is_bit_equal_to_an_undisturbed_one(job, kind, ending):
    folder, found = job
    assert found[f"resumed-{kind}"] == list(range(12, 20))
    names = {path.name for path in (folder / f"parts-{kind}").iterdir()}
    for iteration in (6, 12):
        for what in ("caffemodel", "solverstate"):
            assert f"solver_iter_{iteration}.{what}{ending}" in names
    whole = model(folder / "whole" / "m.caffemodel")
    for one, other in zip(whole, model(folder / f"parts-{kind}" / f"m.caffemodel{ending}")):
        np.testing.assert_array_equal(one, other)


def test_the_strategy_knows_no_engine(job):
    """Weights averaged now and then, and a run resumed between two averagings: bit-equal."""
    folder, found = job
    assert [at for at, _ in found["average"]] == list(range(20))
    assert found["average"][-1][1] < found["average"][0][1] / 4
    assert found["resumed-average"] == list(range(12, 20))
    names = {path.name for path in (folder / "parts-average").iterdir()}
    assert {
        "solver_iter_12.rank0.caffemodel",
        "solver_iter_12.rank1.caffemodel",
        "solver_iter_12.rank1.solverstate",
    } < names
    whole, parts = (model(folder / f"{name}-average" / "m.caffemodel") for name in ("whole", "parts"))
    for one, other in zip(whole, parts):
        np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(whole, model(folder / "plain" / "m.caffemodel")))
