"""Runs that share a -model have names of their own beside it."""

import pytest

from caffeonspark import Config
from caffeonspark.runs.fits import under_own_name
from caffeonspark.runs.snapshots import snapshot_prefix
from tests.support import stock


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


def test_resume_finds_the_newest_whole_snapshot_of_any_fit(make, tmp_path):
    own = under_own_name(make(resume=True, weights="start.caffemodel"), "u")
    assert (own.settings.resume, own.settings.snapshot, own.settings.weights) == (False, "", "start.caffemodel")
    for name in ("run_iter_9", "run.CaffeModel_a_iter_20", "other_iter_99", "run.CaffeModel_b_iter_30"):
        (tmp_path / f"{name}.solverstate").write_text("")
        if not name.endswith("30"):
            (tmp_path / f"{name}.caffemodel").write_text("")
    own = under_own_name(make(resume=True), "u")
    newest = f"file:{tmp_path}/run.CaffeModel_a_iter_20"
    assert (own.settings.snapshot, own.settings.weights) == (f"{newest}.solverstate", f"{newest}.caffemodel")
    assert not under_own_name(make(), "u").settings.snapshot
