"""Caffe's log: nobody sees it who did not ask, whoever loaded Caffe first; failed CHECKs are always there."""

import os
import subprocess
import sys

import pytest

from caffeonspark.engines.caffe.crash import fatal_message
from tests.runs.test_kernels import Notes, Trained
from tests.support.paths import ROOT

NET = """
import os, sys, tempfile
def use(caffe, num_output=1):
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write('layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 1 } } } layer { name: "ip" '
            'type: "InnerProduct" bottom: "d" top: "ip" inner_product_param { num_output: 1 axis: %d } }' % num_output)
        f.flush()
        caffe.Net(f.name, caffe.TEST)
"""
EARLY, OURS = "import caffe as theirs\n", "from caffeonspark.engines.caffe.pycaffe import caffe\n"
ENGINE = "from caffeonspark.engines.caffe import CaffeEngine\n"


def said(code, **environment):
    """Lines of standard error of a program, and its status."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GLOG_")}
    env.update(environment, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", NET + code], env=env, capture_output=True, text=True, check=False)
    return done.stderr.splitlines(), done.returncode


@pytest.mark.parametrize("before", ["", EARLY], ids=["alone", "after the user's own import"])
def test_it_is_quiet(before):
    assert said(f"{before}{OURS}use(caffe)") == ([], 0)


@pytest.mark.parametrize("before", ["", EARLY], ids=["alone", "after the user's own import"])
@pytest.mark.long
def test_who_asks_for_it_sees_it(before):
    """By the environment; or by -logRanks, whatever the environment says, until something else is computed there."""
    assert len(said(f"{before}{OURS}use(caffe)", GLOG_minloglevel="0")[0]) > 20
    ask = f"{before}{ENGINE}{OURS}CaffeEngine().show_log(True)\nuse(caffe)\n"
    assert len(said(ask, GLOG_minloglevel="2")[0]) > 20
    loud = len(said(ask)[0])
    assert loud > 20
    assert len(said(ask + "CaffeEngine().show_log(False)\nuse(caffe)")[0]) == loud


def test_the_user_environment_stays_as_it_is():
    """Programs that a notebook starts, such as Caffe's own, log as they would."""
    assert said(f"{OURS}assert 'GLOG_minloglevel' not in os.environ") == ([], 0)


@pytest.mark.parametrize("before", ["", EARLY], ids=["alone", "after the user's own import"])
def test_a_failed_check_is_still_told(before):
    lines, status = said(f"{before}{OURS}use(caffe, 7)")
    assert status != 0
    assert "axis 7 out of range" in fatal_message(lines)
    assert not [line for line in lines if line.startswith("I")]


@pytest.mark.parametrize("asked", [False, True])
def test_the_ranks_log_is_theirs_and_shown_with_logRanks(asked, small_lmdb, tmp_path, monkeypatch, capfd):  # noqa: N802
    """Through the sidecars of real ranks."""
    shown = []
    monkeypatch.setattr(Notes, "log", lambda self, rank, lines: shown.extend((rank, line) for line in lines))
    Trained(tmp_path, small_lmdb, [{}], "max_iter: 2", logRanks=asked)
    lines = [line for _, line in shown if "] Network initialization done." in line]
    assert len(lines) == (2 if asked else 0)  # the train net and the test net
    assert ("Network initialization done." in capfd.readouterr().err) == asked  # in the executor's own log
