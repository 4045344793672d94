"""What is compared with PyTorch and Caffe on the way to an accuracy."""

import shutil
import subprocess

import numpy as np
import pytest

from benchmarks import common, ddp, time_to_accuracy
from benchmarks.all_reduce import rivals_python
from benchmarks.namespaces import Unavailable
from benchmarks.time_to_accuracy import Point, Reached, Work, solver
from caffeonspark import Config
from caffeonspark.errors import Interrupted
from caffeonspark.nets.net import TRAIN
from caffeonspark.plans.net_source import NetSourceWithoutSpark
from caffeonspark.report import observers_for
from caffeonspark.runs.on_machines import OnMachines
from caffeonspark.runs.run import train
from caffeonspark.tools import datasets
from tests.support.paths import ROOT

LOG = """\
I1127 23:59:50.000000  7 caffe.cpp:211] Use CPU.
I1127 23:59:56.000000  7 solver.cpp:272] Solving LeNet
I1127 23:59:57.000000  7 solver.cpp:218] Iteration 0 (0 iter/s, 0s/4 iters), loss = 2
I1127 23:59:58.000000  7 solver.cpp:330] Iteration 4, Testing net (#0)
I1127 23:59:59.500000  7 solver.cpp:397]     Test net output #0: accuracy = 0.5
I1127 23:59:59.500000  7 solver.cpp:397]     Test net output #1: loss = 0.4 (* 1 = 0.4 loss)
I1128 00:00:02.500000  7 solver.cpp:330] Iteration 8, Testing net (#0)
I1128 00:00:03.000000  7 solver.cpp:397]     Test net output #0: accuracy = 0.985
"""


def test_a_log_says_when_the_target_is_reached():
    """Training is what is between validations, and the clock goes past midnight."""
    points = time_to_accuracy.validations(LOG)
    assert points == (Point(4, 2.0, 9.5, 0.5), Point(8, 5.0, 13.0, 0.985))
    assert Reached(points).at == points[1]
    assert Reached(points[:1]).at is None
    assert Reached(()).at is None


def reached(training, accuracy=0.99):
    return Reached((Point(100, training / 2, training, 0.5), Point(200, training, 2 * training, accuracy)))


def test_the_table():
    work = Work(64, 0.01, 500, 100, 3)
    found = {
        "caffe train": [reached(10.0), reached(20.0), reached(30.0)],
        "2 ranks": [reached(8.0), reached(10.0), reached(9.0)],
        "PyTorch": [reached(10.0), reached(10.0, 0.9), reached(10.0)],
    }
    table = time_to_accuracy.as_result(work, found)
    assert table.rows[:2] == (("caffe train", ("200", 20.0, 40.0)), ("2 ranks", ("200", 9.0, 18.0)))
    assert table.rows[2][1][1] == "not reached in 500 iterations, 0.9900 at most"
    assert (table.ratios[0].name, table.ratios[0].median) == ("2 ranks / caffe train, training", 0.5)
    assert table.plot.curves[0].points == ((5.0, 50.0), (10.0, 99.0))


@pytest.fixture
def little_mnist(tmp_path, monkeypatch):
    """Folders with a little of MNIST's kind, and a target that the first validation reaches."""
    monkeypatch.setattr(common, "BUILD", tmp_path)
    monkeypatch.setattr(time_to_accuracy, "TARGET", 0.01)
    rng = np.random.default_rng(2)
    for name in ("mnist_train_lmdb", "mnist_test_lmdb"):
        images = rng.integers(0, 256, (250, 1, 28, 28), np.uint8)
        datasets.write_lmdb(str(tmp_path / name), images, rng.integers(0, 10, 250))


LITTLE = Work(20, 0.01, 400, 2, 1)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("caffe"), reason="stock Caffe's tool is not here")
def test_caffe_is_ended_at_the_target(little_mnist):
    (point,) = time_to_accuracy.stock(LITTLE, 1).points
    assert point.iteration == 2
    assert 0 < point.training < point.whole
    assert point.accuracy >= 0.01


@pytest.mark.long
def test_ranks_are_stopped_at_the_target(little_mnist, tmp_path):
    """By the observer, as ``ours`` does it; without Spark, which it makes no difference to."""
    config = Config(None, conf=solver(LITTLE, 2, 1), model=f"file:{tmp_path}/m.caffemodel", clusterSize=2, quiet=True)
    run, points = config.run_config, []
    sources = [NetSourceWithoutSpark(config, net) for net in (run.net(TRAIN), *run.validation_nets)]
    observers = observers_for(run, own=[time_to_accuracy.until_target(points)])
    with pytest.raises(Interrupted):
        train(run, sources[0], sources[1:], observers, cluster=OnMachines(run, 2))
    assert points[0].iteration == 2
    assert 0 < points[0].training < points[0].whole
    assert points[-1].iteration < 400


def test_records_of_an_lmdb(tmp_path):
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (7, 3, 4, 5), np.uint8), rng.integers(0, 10, 7)
    datasets.write_lmdb(str(tmp_path / "lmdb"), images, labels)
    found, said = ddp.records(tmp_path / "lmdb")
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(said, labels)


# ---- the same nets in Caffe and PyTorch

#: Loads weights and a batch, makes two steps, and saves the losses and weights.
_TORCH = """
import os, sys, numpy as np, torch
sys.path.insert(0, sys.argv[1])
import ddp_rank
given, net = np.load(sys.argv[2]), ddp_rank.NETS[sys.argv[3]]
model = net.layers()
with torch.no_grad():
    for number, one in enumerate(model.parameters()):
        one.copy_(torch.from_numpy(given[f"weight{number}"]).reshape(one.shape))
solver = ddp_rank.solver_of(net, model, float(sys.argv[4]))
losses = []
for _ in range(2):
    solver.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(given["data"])), torch.from_numpy(given["label"]))
    loss.backward()
    solver.step()
    losses.append(loss.item())
found = {f"weight{number}": one.detach().numpy() for number, one in enumerate(model.parameters())}
np.savez(sys.argv[5], losses=losses, **found)
os._exit(0)  # PyTorch's threads abort the process on Python's way out
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("net", ddp.NETS)
def test_pytorch_trains_what_caffe_trains(tmp_path, net):
    """The same weights and batch, two steps of each: equal losses and weights, to rounding. The rate is fixed, for
    where it changes the two have their momentum's rate in another place."""
    import caffe

    try:
        python = rivals_python()
    except Unavailable as e:
        pytest.skip(str(e))
    channels, side = (1, 28) if net == "lenet_lmdb" else (3, 32)
    text = (ROOT / "prototxt" / f"{net}_train_test.prototxt").read_text()
    layers = text[text.index("layer {", text.rindex("data_param")) :]
    shapes = f"shape {{ dim: 10 dim: {channels} dim: {side} dim: {side} }} shape {{ dim: 10 }}"
    data = f'layer {{ name: "data" type: "Input" top: "data" top: "label" input_param {{ {shapes} }} }}\n'
    (tmp_path / "net.prototxt").write_text(data + layers)
    rate, decay = ddp.NETS[net].rate, 0.0005 if net == "lenet_lmdb" else 0.004
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: {rate} lr_policy: "fixed" momentum: 0.9 weight_decay: {decay} '
        "random_seed: 1 snapshot_after_train: false\n"
    )
    stock = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    rng = np.random.default_rng(3)
    blobs = [blob for blobs in stock.net.params.values() for blob in blobs]
    for blob in blobs:  # larger than cifar10_quick's fillers make them, so that gradients are not all but nothing
        blob.data[...] = rng.standard_normal(blob.data.shape) * (2 / blob.data[0].size) ** 0.5
    images = rng.random((10, channels, side, side), np.float32)
    labels = rng.integers(0, 10, 10)
    stock.net.blobs["data"].data[...], stock.net.blobs["label"].data[...] = images, labels
    weights = {f"weight{number}": blob.data.copy() for number, blob in enumerate(blobs)}
    np.savez(tmp_path / "given.npz", data=images, label=labels, **weights)
    losses = []
    for _ in range(2):
        stock.step(1)
        losses.append(float(stock.net.blobs["loss"].data))
    words = [str(ROOT / "benchmarks"), str(tmp_path / "given.npz"), net, str(rate), str(tmp_path / "found.npz")]
    subprocess.run([python, "-c", _TORCH, *words], check=True)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5)
    for number, blob in enumerate(blobs):
        np.testing.assert_allclose(
            found[f"weight{number}"].reshape(blob.data.shape), blob.data, rtol=1e-4, atol=1e-6, err_msg=str(number)
        )
        assert not np.array_equal(blob.data, weights[f"weight{number}"])
