"""What a model keeps of its training: frames, a picture, and a file of bounded size."""

import copy
import json
import math
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.ml import summary as module
from caffeonspark.ml.summary import HasTrainingSummary, TrainingSummary, kept_summary, read_summary, write_summary
from caffeonspark.report.result import RankMachine, RankTiming, TrainingResult, ValidationResult
from caffeonspark.storage import Storage
from tests.report.test_display import long_run


def short_run():
    result = TrainingResult("file:/m.caffemodel", max_iter=4, samples=32, rows=64, iteration=4, stopped="patience")
    result.history = [(0, 2.5, 0.1), (1, 1.5, 0.1), (2, 1.25, 0.01), (3, math.nan, 0.01)]
    result.tests = [
        ValidationResult(at, 0, 100, 0.5 * at, {"accuracy": [at / 4], "loss": [2.0 - at], "ip": [1.0, 2.0]})
        for at in (0, 2)
    ]
    result.tests.append(ValidationResult(2, 1, 7, 1.5, {"other": [3.0], "wide": [0.5] * 17}))
    result.best = result.tests[1]
    result.hosts, result.machines = {0: "a", 1: "b"}, {0: RankMachine("cpu", 2.0, "OpenBLAS 0.3", "Haswell", 1)}
    result.timings = {1: [RankTiming(4, 1.5, 0.5, 0.25)]}
    return result


def test_frames_of_plain_numbers():
    kept = TrainingSummary.of(short_run())
    assert list(kept.history.columns) == ["iteration", "epoch", "loss", "lr"]
    assert [str(kind) for kind in kept.history.dtypes] == ["int64", "float64", "float64", "float64"]
    assert kept.history.iteration.tolist() == [0, 1, 2, 3]
    assert kept.history.epoch.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert kept.objectiveHistory[:3] == kept.history.loss.tolist()[:3] == [2.5, 1.5, 1.25]
    assert list(kept.validation.columns) == ["iteration", "epoch", "seconds", "rows", "accuracy", "loss"]
    assert kept.validation.to_dict("list") == {
        "iteration": [0, 2],
        "epoch": [0.0, 1.0],
        "seconds": [0.0, 1.0],
        "rows": [100, 100],
        "accuracy": [0.0, 0.5],
        "loss": [2.0, 0.0],
    }
    assert [str(kind) for kind in kept.validation.dtypes] == ["int64", "float64", "float64", "int64", *["float64"] * 2]


def test_what_it_had_it_has():
    result = short_run()
    kept = TrainingSummary.of(result)
    for name in ("model", "max_iter", "samples", "hosts", "machines", "rows", "iteration", "tests", "stopped", "best"):
        assert getattr(kept, name) == getattr(result, name)
    for name in ("restarts", "timings", "refused", "tampered", "resumed"):
        assert getattr(kept, name) == getattr(result, name)
    assert kept.totalIterations == 4 and kept.epoch(4) == 2.0
    assert kept.seconds() == kept.duration  # the clock of a run that is over stands still


def test_nothing_trained_and_names_that_are_taken():
    empty = TrainingSummary.of(TrainingResult("m"))
    assert len(empty.history) == len(empty.validation) == 0
    assert list(empty.validation.columns) == ["iteration", "epoch", "seconds", "rows"]
    result = TrainingResult("m", tests=[ValidationResult(1, 0, 2, 3.0, {"rows": [9.0]})])
    assert TrainingSummary.of(result).validation.to_dict("list")["test rows"] == [9.0]
    assert kept_summary(None) is None and kept_summary(empty) is empty


def test_it_is_there_again_after_loading(tmp_path):
    kept = TrainingSummary.of(short_run())
    write_summary(Storage(), f"file:{tmp_path}", kept)
    json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)  # JSON has no NaN
    again = read_summary(Storage(), f"file:{tmp_path}")
    for frame in ("history", "validation"):
        np.testing.assert_array_equal(getattr(again, frame), getattr(kept, frame))
        assert getattr(again, frame).dtypes.equals(getattr(kept, frame).dtypes)
    for name in (
        "model",
        "max_iter",
        "samples",
        "hosts",
        "machines",
        "rows",
        "iteration",
        "stopped",
        "best",
        "timings",
    ):
        assert getattr(again, name) == getattr(kept, name) or name == "best"
    assert again.tests[:2] == kept.tests[:2] and again.best == kept.best
    assert again.tests[2].outputs == {"other": [3.0]}  # without what is wide
    assert again.seconds() == kept.seconds()
    assert repr(again) == repr(kept) and again._repr_html_() == kept._repr_html_()
    for copied in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        np.testing.assert_array_equal(copied.history, kept.history)


def test_a_long_run_is_small_in_a_file_and_in_a_cell():
    kept = TrainingSummary.of(long_run())
    assert len(kept.history) == 300_000
    text = kept.to_json()
    assert len(text) < 2_000_000
    again = TrainingSummary.from_json(text)
    assert len(again.history) == 10_000
    assert again.history.iteration.iloc[[0, -1]].tolist() == [0, 299_999]
    assert len(again.validation) == 300 and again.validation.accuracy.iloc[-1] == kept.validation.accuracy.iloc[-1]
    for one in (kept, again):
        assert len(repr(one)) < 250 and "\n" not in repr(one)
        assert len(one._repr_html_()) < 20_000


def test_models_saved_before_have_none_and_a_damaged_one_is_noted(tmp_path, monkeypatch):
    place = f"file:{tmp_path}"
    assert read_summary(Storage(), place) is None
    said = []
    monkeypatch.setattr(module._log, "warning", lambda text, *args: said.append(text % args))
    whole = TrainingSummary.of(short_run()).to_json()
    for text in ("", whole[:-9], "[]", "{}", '{"format": 2}', whole.replace('"rows":64', '"rows":"x"')):
        (tmp_path / "summary.json").write_text(text)
        assert read_summary(Storage(), place) is None
    assert len(said) == 6
    assert all(line.startswith(f"warning: the model has no summary: {place}/summary.json cannot be") for line in said)
    assert "its format is 2, and this version reads 1" in said[4]


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    kept = TrainingSummary.of(short_run())
    axes = kept.plot()
    assert [line.get_label() for line in axes.get_lines()] == ["training loss", "validation loss"]
    (right,) = [other for other in axes.figure.axes if other is not axes]
    assert [line.get_label() for line in right.get_lines()] == ["accuracy"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training loss",
        "validation loss",
        "accuracy",
    ]
    _, mine = pyplot.subplots()
    assert kept.plot(ax=mine) is mine
    pyplot.close("all")


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"^plot needs matplotlib: pip install 'caffeonspark\[curve\]'$"):
        TrainingSummary.of(short_run()).plot()


def test_a_model_says_its_name_in_a_line():
    class Model(HasTrainingSummary):
        uid = "CaffeClassifier_1f"
        _net = SimpleNamespace(message=SimpleNamespace(name="LeNet" * 100), path="net.prototxt")
        summary = None

    model = Model()
    assert not model.hasSummary and len(repr(model)) < 250
    model.summary = TrainingSummary.of(short_run())
    model._net.message.name = ""
    assert model.hasSummary
    assert repr(model) == "Model: uid=CaffeClassifier_1f, net=net.prototxt, iterations=4"
    assert "<svg" in model._repr_html_()
