"""``make demo``: what it prints, and that stock Caffe finds the same accuracy in the model it saves."""

import os
import re
import subprocess

import pytest

from tests.support.paths import ROOT
from tests.support.stock import caffe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_demo_and_stock_caffe_agree():
    process = subprocess.run([str(ROOT / "scripts" / "demo")], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "2 ranks: 2 executors" in process.stdout
    accuracy = float(re.search(r"^accuracy: ([\d.]+)$", process.stdout, re.M).group(1))
    assert accuracy >= 0.97
    folder = ROOT / "build" / "demo"
    net, model = str(folder / "digits_lenet_train_test.prototxt"), str(folder / "digits.caffemodel")
    # the test set is 360 digits, six batches of 60
    command = ["caffe", "test", "-model", net, "-weights", model, "-iterations", "6"]
    loud = {**os.environ, "GLOG_minloglevel": "0"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=loud).stderr
    assert float(re.findall(r"accuracy = ([\d.]+)", said)[-1]) == pytest.approx(accuracy, abs=1e-4)
    before = os.getcwd()
    os.chdir(folder)  # the net names its LMDBs beside it
    try:
        plain = caffe.Net(net, model, caffe.TEST)
    finally:
        os.chdir(before)
    found = [float(plain.forward()["accuracy"]) for _ in range(6)]
    assert sum(found) / 6 == pytest.approx(accuracy, abs=1e-6)
