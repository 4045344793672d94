"""Runs that share a -model have names of their own beside it."""

from types import SimpleNamespace

import pytest

from caffeonspark import CaffeEstimator, Config
from caffeonspark.errors import ConfigError
from caffeonspark.runs import fits
from caffeonspark.runs.fits import under_own_name
from caffeonspark.runs.snapshots import snapshot_prefix
from tests.support import caffe_files, stock


@pytest.fixture
def make(tmp_path):
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))

    def make(more="", **flags):
        (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 9 snapshot_prefix: "x/run" ' + more)
        flags = {"model": f"file:{tmp_path}/m.caffemodel", **flags}
        return Config(None, conf=str(tmp_path / "solver.prototxt"), **flags).run_config

    return make


def test_names_are_its_own(make, tmp_path):
    config = make()
    own = under_own_name(config, "CaffeModel_1f")
    assert own.model_uri == f"file:{tmp_path}/m.CaffeModel_1f.caffemodel"
    assert snapshot_prefix(own) == "run.CaffeModel_1f"
    assert snapshot_prefix(config) == "run"  # the caller's is left alone
    hdf5 = under_own_name(make("snapshot_format: HDF5"), "u")
    assert hdf5.model_uri == f"file:{tmp_path}/m.u.caffemodel.h5"


def test_resume_finds_the_newest_whole_snapshot_of_any_fit(make, tmp_path, monkeypatch):
    own = under_own_name(make(resume=True, weights="start.caffemodel"), "u")
    assert (own.settings.resume, own.settings.snapshot, own.settings.weights) == (False, "", "start.caffemodel")
    said = []
    monkeypatch.setattr(fits, "_log", SimpleNamespace(warning=lambda text, *args: said.append(text % args)))
    made = tmp_path / "made"
    made.mkdir()
    solver, *_ = caffe_files.snapshot(made)
    for iteration in (9, 20, 30, 40):
        solver.step(iteration - solver.iter)
        solver.snapshot()
        fit = {9: "run", 20: "run.CaffeModel_a", 30: "run.CaffeModel_b", 40: "other"}[iteration]
        for ending in ("caffemodel", "solverstate"):
            (made / f"caffe_iter_{iteration}.{ending}").rename(tmp_path / f"{fit}_iter_{iteration}.{ending}")

    def newest():
        settings = under_own_name(make(resume=True), "u").settings
        assert settings.weights.replace("caffemodel", "solverstate") == settings.snapshot
        return settings.snapshot

    base = f"file:{tmp_path}/run"
    assert newest() == f"{base}.CaffeModel_b_iter_30.solverstate"
    assert said == []
    cut = tmp_path / "run.CaffeModel_b_iter_30.caffemodel"
    cut.write_bytes(cut.read_bytes()[:-9])
    assert newest() == f"{base}.CaffeModel_a_iter_20.solverstate"
    assert said[0].startswith(f"caffeonspark: {base}.CaffeModel_b_iter_30.solverstate is passed over: ")
    (tmp_path / "run.CaffeModel_a_iter_20.caffemodel").unlink()
    assert newest() == f"{base}_iter_9.solverstate"
    assert not under_own_name(make(), "u").settings.snapshot


def test_a_fit_does_not_start_over_next_to_snapshots_of_another_format(make, tmp_path):
    (tmp_path / "run.CaffeModel_a_iter_20.solverstate").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"CaffeModel_a_iter_20\.solverstate is in BINARYPROTO, and the solver's"):
        under_own_name(make("snapshot_format: HDF5", resume=True), "u")
    assert not under_own_name(make("snapshot_format: HDF5"), "u").settings.snapshot


def test_a_fit_cannot_resume_where_nothing_is_kept():
    """It began anew without a word."""
    with pytest.raises(ConfigError, match="resume continues from the newest snapshot next to model, and no model"):
        CaffeEstimator(conf="solver.prototxt", resume=True)._fit(None)
