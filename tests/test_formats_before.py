"""What earlier versions wrote: snapshots, saved models and metrics files load, go on, score and are drawn.

Everything here goes through public names and command lines. ``fixtures/README.md`` says how the files were made.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel

from caffeonspark import CaffeEstimator, CaffeModel, CaffeOnSpark, Config, DataSource
from caffeonspark.report import read_metrics
from tests.support.paths import ROOT
from tests.support.stock import caffe

FIXTURES = ROOT / "tests" / "fixtures"
sys.path.insert(0, str(FIXTURES))

import make  # noqa: E402
import runs  # noqa: E402

VERSIONS = sorted(path.name for path in FIXTURES.glob("v*"))


@pytest.fixture(params=VERSIONS)
def kept(request):
    """The folder of a version's files."""
    return FIXTURES / request.param


def unpack(kept, name, folder):
    """A copy of a run's files as if the run had been in ``folder``, with its data; the ending of its files."""
    shutil.copytree(kept / name, folder)
    runs.write_lmdb(folder)
    metrics = folder / "model.metrics.jsonl"
    metrics.write_text(metrics.read_text().replace(str(make.MADE_IN / name), str(folder)))
    return ".h5" if name.endswith("hdf5") else ""


def read_model(path):
    """Every blob of a model file, by layer: what stock Caffe's own messages and h5py say, without the library."""
    if path.name.endswith(".h5"):
        import h5py

        with h5py.File(path, "r") as f:
            return {layer: [np.array(f["data"][layer][n]) for n in f["data"][layer]] for layer in f["data"]}
    message = caffe.proto.caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {
        layer.name: [np.float32(blob.data).reshape(blob.shape.dim) for blob in layer.blobs]
        for layer in message.layer
        if layer.blobs
    }


def assert_same(first, second, tolerance=0.0):
    """Equal blobs, or blobs that differ by at most ``tolerance`` of their layer's largest value: a bias in front of a
    BatchNorm is rounding and nothing else."""
    assert first.keys() == second.keys()
    for layer, blobs in first.items():
        assert len(blobs) == len(second[layer])
        largest = max((np.abs(b).max() for b in second[layer]), default=0)
        for a, b in zip(blobs, second[layer]):
            assert a.shape == b.shape
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest, err_msg=layer)


def flat(tests):
    """[iteration, rows, values of all outputs…] of each validation."""
    return [[at, rows, *(v for values in outputs.values() for v in values)] for at, rows, outputs in tests]


START = {
    "named": lambda folder, ending: {
        "snapshot": f"file:{folder}/run_iter_4.solverstate{ending}",
        "weights": f"file:{folder}/run_iter_4.caffemodel{ending}",
    },
    "newest": lambda folder, ending: {"resume": True},
}


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("name", runs.RUNS)
def test_a_snapshot_goes_on(spark, tmp_path, kept, name, start):
    """Two ranks go on from the snapshot and come to the model the earlier version came to, uninterrupted.

    ``exact`` is a net whose arithmetic does not round: the models are equal to the bit on every processor. Its solver
    names no seed, so the order of the records comes from the snapshot, too. ``real`` rounds, and processors round in
    different ways: its model is only close to the earlier version's, and the next test looks at its bits.
    """
    folder = tmp_path / "resumed"
    ending = unpack(kept, name, folder)
    result = make.train(spark, folder, **START[start](folder, ending))
    before = json.loads((folder / "whole.json").read_text())
    exact = name.startswith("exact")
    close = {"rtol": 0 if exact else 1e-4}
    assert result.resumed == f"file:{folder}/run_iter_4.solverstate{ending}"
    assert [at for at, _, _ in result.history] == [4, 5, 6, 7]
    np.testing.assert_allclose(np.array(result.history), np.array(before["history"][4:]), **close)
    tests = flat((test.iteration, test.rows, test.outputs) for test in result.tests)
    np.testing.assert_allclose(tests, [test for test in flat(before["tests"]) if test[0] >= 4], **close)
    found = read_model(folder / f"model.caffemodel{ending}")
    assert_same(found, read_model(folder / f"whole.caffemodel{ending}"), 0 if exact else 1e-5)

    # the metrics file goes on, for it knows the snapshot: each iteration is there once, the first ones as they were
    records = list(read_metrics(str(folder / "model.metrics.jsonl")))
    losses = [(r["iteration"], r["loss"]) for r in records if r["event"] == "iteration"]
    assert [at for at, _ in losses] == list(range(8))
    assert losses[:4] == [(at, loss) for at, loss, _ in before["history"][:4]]
    assert [r["iteration"] for r in records if r["event"] == "start"] == [0, 4]


@pytest.mark.parametrize("name", [name for name in runs.RUNS if name.startswith("real")])
def test_going_on_is_the_same_as_never_stopping(spark, tmp_path, kept, name):
    """From the earlier version's snapshot to the end, with a stop on the way and without: the same model, to the bit,
    with dropout, shuffling, BatchNorm's statistics and Adam's two histories."""
    models = []
    for turn, ends in (("straight", [8]), ("stopped", [6, 8])):
        folder = tmp_path / turn
        ending = unpack(kept, name, folder)
        text = (folder / "solver.prototxt").read_text().replace("snapshot: 4", "snapshot: 2")
        for end in ends:
            (folder / "solver.prototxt").write_text(text.replace("max_iter: 8", f"max_iter: {end}"))
            assert make.train(spark, folder, resume=True).history[-1][0] == end - 1
        models.append(read_model(folder / f"model.caffemodel{ending}"))
    assert_same(*models)


@pytest.mark.parametrize("name", runs.RUNS)
def test_a_model_is_scored(spark, tmp_path, kept, name):
    folder = tmp_path / "scored"
    ending = unpack(kept, name, folder)
    at_the_end = json.loads((folder / "whole.json").read_text())["tests"][-1][2]
    config = Config(
        spark, conf=f"{folder}/solver.prototxt", model=f"file:{folder}/whole.caffemodel{ending}", features=["ip"]
    )
    cos, source = CaffeOnSpark(spark), DataSource(spark).getSource(config, False)
    means = cos.test(source)
    assert means.keys() == at_the_end.keys()
    if name.startswith("exact"):  # its validation covered all rows
        for blob, values in at_the_end.items():
            np.testing.assert_allclose(means[blob], values, rtol=1e-6)
    rows = {row.SampleID: row.ip for row in cos.features(source).collect()}
    labels = runs.images()[1]
    right = [int(np.argmax(rows[f"{number:08d}"])) == label for number, label in enumerate(labels)]
    assert np.mean(right) == pytest.approx(means["accuracy"][0])


# ---- Spark ML


def check_rows(frame, expected, columns):
    assert frame.columns == columns
    found = {row.id: row for row in frame.collect()}
    assert found.keys() == expected.keys()
    for key, blobs in expected.items():
        for blob, values in blobs.items():
            np.testing.assert_allclose(found[key][blob], values, rtol=1e-5, atol=1e-6)


@pytest.fixture
def ml(kept):
    return kept / "ml"


@pytest.fixture
def expected(ml):
    """What the model said about the first ten rows: {id: {blob: values}}."""
    return json.loads((ml / "expected.json").read_text())


@pytest.mark.parametrize("name", ["model", "model_hdf5"])
def test_a_saved_model_scores(spark, tmp_path, ml, expected, name):
    model = CaffeModel.load(f"file:{ml}/{name}")
    frame = runs.vector_frame(spark, 10)
    check_rows(model.transform(frame), expected, ["id", "features", "label", "ip", "prob"])
    check_rows(
        model.setFeatures(["prob"]).transform(frame.drop("label")),
        {key: {"prob": blobs["prob"]} for key, blobs in expected.items()},
        ["id", "features", "prob"],
    )
    model.setFeatures(["ip", "prob"]).save(f"file:{tmp_path}/again")
    again = CaffeModel.load(f"file:{tmp_path}/again").transform(frame)
    check_rows(again, expected, ["id", "features", "label", "ip", "prob"])


def test_a_saved_pipeline_scores(spark, ml, expected):
    model = PipelineModel.load(f"file:{ml}/pipeline_model")
    assert isinstance(model.stages[1], CaffeModel)
    columns = ["id", "a", "b", "c", "label", "features", "ip", "prob"]
    check_rows(model.transform(runs.number_frame(spark, 10)), expected, columns)


def test_a_saved_estimator_fits(spark, monkeypatch, ml, expected):
    monkeypatch.chdir(ml)  # the solver has a relative name
    estimator = CaffeEstimator.load(f"file:{ml}/estimator")
    given = {"conf": "vector_solver.prototxt", "clusterSize": 2, "quiet": True, "features": ["ip", "prob"]}
    assert estimator.given() == {**given, "maxRestarts": 1}
    model = estimator.fit(runs.vector_frame(spark))
    check_rows(model.transform(runs.vector_frame(spark, 10)), expected, ["id", "features", "label", "ip", "prob"])


def test_a_saved_pipeline_fits(spark, monkeypatch, ml, expected):
    monkeypatch.chdir(ml)
    pipeline = Pipeline.load(f"file:{ml}/pipeline")
    assert isinstance(pipeline.getStages()[1], CaffeEstimator)
    found = pipeline.fit(runs.number_frame(spark)).transform(runs.number_frame(spark, 10))
    check_rows(found, expected, ["id", "a", "b", "c", "label", "features", "ip", "prob"])


# ---- metrics


def test_metrics_are_read(kept):
    """The rule of docs/metrics.md, applied line by line."""
    path = kept / "metrics" / "model.metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    counted = {"iteration": {}, "validation": {}}
    for record in lines:
        if record["event"] in ("start", "restart"):
            for records in counted.values():
                for at in [at for at in records if at >= record["iteration"]]:
                    del records[at]
        elif record["event"] in counted:
            counted[record["event"]][record["iteration"]] = record
    assert {record["event"] for record in lines} >= {"start", "hosts", "pace", "saved", "restart", "note", "end"}
    assert sum(record["event"] == "iteration" for record in lines) > 60
    found = list(read_metrics(str(path)))
    assert list(counted["iteration"]) == list(range(60))
    for event, records in counted.items():
        assert [record for record in found if record["event"] == event] == list(records.values())
    others = [record for record in lines if record["event"] not in counted]
    assert [record for record in found if record["event"] not in counted] == others


def test_the_curve_of_a_metrics_file(tmp_path, kept):
    shutil.copy(kept / "metrics" / "model.metrics.jsonl", tmp_path)
    path = tmp_path / "model.metrics.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "caffeonspark.report", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{tmp_path}/model.curve.html", f"{tmp_path}/model.curve.png"]
    assert (tmp_path / "model.curve.png").read_bytes().startswith(b"\x89PNG")
    page = make.page_state((tmp_path / "model.curve.html").read_text())
    before = json.loads((kept / "metrics" / "page.json").read_text())
    page["train"] = {name: page["train"][name] for name in before["train"]}  # there are more curves now
    assert {name: page[name] for name in before} == before
