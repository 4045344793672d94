"""Snapshots, resuming, finetuning, formats, devices, BatchNorm, shuffling."""

import os
import re
import subprocess

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataSource, TrainingError
from tests.support import stock
from tests.support.paths import ROOT
from tests.support.stock import caffe
from tests.support.training import EVERYTHING, RULES, train

SGD = 'type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3'
NET = stock.input_net(10)


def assert_same_weights(first, second, net=NET):
    for a, b in zip(stock.load_weights(first, net), stock.load_weights(second, net)):
        np.testing.assert_array_equal(a, b)


def test_shared_memory_is_bit_equal_to_tcp(spark, tmp_path, small_lmdb):
    net, models = stock.lmdb_net(small_lmdb, 10), []
    for folder, name in zip(folders(tmp_path, "memory", "tcp"), ("InSharedMemory", "OverTCP")):
        settings = f"{SGD} weight_decay: 0.002 clip_gradients: 3 max_iter: 20"
        models.append(train(spark, folder, settings, net, 2, sync=f"tests.support.exchanging:{name}")[1])
    assert_same_weights(*models)


def folders(tmp_path, *names):
    for name in names:
        (tmp_path / name).mkdir()
    return [tmp_path / name for name in names]


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("rule", RULES)
def test_resumed_run_is_bit_equal_to_an_undisturbed_one(spark, tmp_path, small_lmdb, rule, ranks):
    """Binary and HDF5, with shuffling and iter_size."""
    settings = f'{RULES[rule]} {EVERYTHING} random_seed: 3 snapshot_prefix: "elsewhere/lenet" '
    if ranks == 3:
        settings += "snapshot_format: HDF5 "
    ending = ".h5" if ranks == 3 else ""
    whole, first, second = folders(tmp_path, "whole", "first", "second")
    net = stock.lmdb_net(small_lmdb, 10)
    _, expected = train(spark, whole, settings + "max_iter: 20", net, ranks, shuffle=True)
    train(spark, first, settings + "max_iter: 10 snapshot: 5", net, ranks, shuffle=True)
    names = {path.name for path in first.iterdir() if path.suffix != ".prototxt"}
    assert names == {f"model.caffemodel{ending}"} | {
        f"lenet_iter_{n}.{kind}" for n in (5, 10) for kind in (f"caffemodel{ending}", f"solverstate{ending}")
    } | {f"lenet_iter_{n}.solverstate{ending}.json" for n in (5, 10)} | {
        f"model.{what}" for what in (f"caffemodel{ending}.sha256", "metrics.jsonl", "curve.png", "curve.html")
    }
    start = {
        "snapshot": f"file:{first}/lenet_iter_10.solverstate{ending}",
        "weights": f"file:{first}/lenet_iter_10.caffemodel{ending}",
    }
    result, model = train(spark, second, settings + "max_iter: 20", net, ranks, shuffle=True, **start)
    assert [iteration for iteration, _, _ in result.history] == list(range(10, 20))
    assert_same_weights(f"{expected}{ending}", f"{model}{ending}")


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_stock_caffe_continues_from_ours_and_we_from_its(spark, tmp_path, small_images, small_lmdb, rule, hdf5):
    ending = ".h5" if hdf5 else ""
    settings = f'{RULES[rule]} {EVERYTHING} random_seed: 3 snapshot_prefix: "{tmp_path}/stock" '
    settings += f"snapshot_format: {'HDF5' if hdf5 else 'BINARYPROTO'} "
    whole, first, second = folders(tmp_path, "whole", "first", "second")
    net = stock.lmdb_net(small_lmdb, 10)
    _, expected = train(spark, whole, settings + "max_iter: 12", net, 1)
    train(spark, first, settings + "max_iter: 6 snapshot: 6", net, 1)

    def stock_solver():
        solver = stock.make_solver(settings + "max_iter: 12", NET)
        feed = stock.batches(*small_images, 1, 0, 10)
        for _ in range(solver.iter * 2):
            next(feed)
        solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
        return solver, feed

    # ours, then stock
    solver, feed = stock_solver()
    solver.restore(f"{first}/stock_iter_6.solverstate{ending}")
    for _ in range(12):
        next(feed)
    solver.step(6)
    for mine, theirs in zip(stock.weights(solver.net), stock.load_weights(f"{expected}{ending}", NET)):
        np.testing.assert_array_equal(mine, theirs)
    # stock, then ours
    solver, _ = stock_solver()
    solver.step(6)
    solver.snapshot()
    _, model = train(
        spark,
        second,
        settings + "max_iter: 12",
        net,
        1,
        snapshot=f"file:{tmp_path}/stock_iter_6.solverstate{ending}",
        weights=f"file:{tmp_path}/stock_iter_6.caffemodel{ending}",
    )
    assert_same_weights(f"{expected}{ending}", f"{model}{ending}")


def test_finetuning_copies_layers_by_name(spark, tmp_path, small_lmdb):
    one, two, tuned = folders(tmp_path, "one", "two", "tuned")
    net = stock.lmdb_net(small_lmdb, 10)
    _, first = train(spark, one, SGD + " max_iter: 3", net, 2)
    renamed = net.replace('name: "conv"', 'name: "other"').replace('name: "ip1"', 'name: "another"')
    _, second = train(spark, two, SGD.replace("3", "4") + " max_iter: 3", renamed, 2)
    nothing = SGD.replace("base_lr: 0.05", "base_lr: 0") + " max_iter: 1"
    _, model = train(spark, tuned, nothing, net, 2, weights=f"file:{first},file:{second}")
    names = ["conv", "conv", "ip1", "ip1", "ip2", "ip2"]
    loaded = stock.load_weights(model, NET)
    of_first = stock.load_weights(first, NET)
    of_second = stock.load_weights(second, NET.replace('name: "ip1"', 'name: "another"'))
    for name, mine, a, b in zip(names, loaded, of_first, of_second):
        np.testing.assert_array_equal(mine, b if name == "ip2" else a)


def test_snapshot_needs_weights(spark, tmp_path, small_lmdb):
    with pytest.raises(ConfigError, match="needs -weights"):
        train(spark, tmp_path, SGD + " max_iter: 3", stock.lmdb_net(small_lmdb, 10), 1, snapshot="file:x.solverstate")


def test_devices_multiply_ranks(spark, tmp_path, small_lmdb):
    both, split = folders(tmp_path, "both", "split")
    net = stock.lmdb_net(small_lmdb, 10)
    _, model = train(spark, both, SGD + " max_iter: 5", net, 1, devices=3)
    _, other = train(spark, split, SGD + " max_iter: 5", net, 3)
    assert_same_weights(model, other)


def test_model_suffix_follows_the_format(spark, tmp_path, small_lmdb):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 10))
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1 base_lr: 0 lr_policy: "fixed"')
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/m.h5", quiet=True)
    CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    assert (tmp_path / "m").exists()


BATCH_NORM = stock.LAYERS.replace(
    'layer { name: "pool"',
    'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "pool"',
)


@pytest.mark.parametrize("ranks", [2, 3])
def test_batch_norm_statistics_are_the_mean_over_ranks(spark, tmp_path, small_images, small_lmdb, ranks):
    """With rate 0 the ranks' forward passes are independent: their statistics can be computed one by one."""
    settings = SGD.replace("base_lr: 0.05", "base_lr: 0") + " max_iter: 7"
    _, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, 10, layers=BATCH_NORM), ranks)
    net = stock.input_net(10, layers=BATCH_NORM)
    statistics = []
    for rank in range(ranks):
        solver = stock.make_solver(settings, net)
        feed = stock.batches(*small_images, ranks, rank, 10)
        for _ in range(7):
            stock.load(solver.net, next(feed))
            solver.net.forward()
        statistics.append([blob.data.copy() for blob in solver.net.params["bn"]])
    found = stock.load_weights(model, net)[2:5]
    for mine, theirs in zip(found, zip(*statistics)):
        np.testing.assert_allclose(mine, np.mean(theirs, axis=0), rtol=1e-5)
    assert found[2] == statistics[0][2]  # the moving average's weight is the same everywhere


SHARED = """
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 144 weight_filler { type: "xavier" } } }
layer { name: "again" type: "InnerProduct" bottom: "a" top: "again" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 144 weight_filler { type: "xavier" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "again" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


def test_shared_parameters_are_exchanged_once(spark, tmp_path, small_images, small_lmdb):
    settings = SGD.replace("0.05", "0.01") + " max_iter: 10"
    _, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, 10, layers=SHARED), 2)
    solver = stock.make_solver(settings, stock.input_net(20, layers=SHARED))
    feeds = [stock.batches(*small_images, 2, rank, 10) for rank in range(2)]
    for _ in range(10):
        parts = [next(feed) for feed in feeds]
        stock.load(solver.net, [np.concatenate(pair) for pair in zip(*parts)])
        solver.step(1)
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(10, layers=SHARED)), stock.weights(solver.net)):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_solver_forms(spark, tmp_path, small_lmdb):
    """net, train_net + test_net, net_param; the deprecated solver_type; a path relative to the prototxt."""
    net = stock.lmdb_net(small_lmdb, 10)
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "plain.caffemodel").write_bytes(b"")
    models = []
    inline = net.replace("\n", " ")
    for name, form in (
        ("one", 'net: "net.prototxt"'),
        ("two", 'train_net: "net.prototxt" test_net: "net.prototxt" test_iter: 1'),
        ("inline", f"net_param {{ {inline} }}"),
    ):
        (tmp_path / f"{name}.prototxt").write_text(
            f'{form} solver_type: NESTEROV base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 3'
        )
        model = tmp_path / f"{name}.caffemodel"
        config = Config(spark, conf=str(tmp_path / f"{name}.prototxt"), model=f"file:{model}", quiet=True)
        assert config.solver.type == "Nesterov"
        assert len(config.nets.tests) == 1
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
        models.append(model)
    for model in models[1:]:
        assert_same_weights(models[0], model)


@pytest.mark.parametrize("more", ["", " snapshot: 3"])
def test_ranks_that_drift_apart_are_an_error(spark, tmp_path, small_lmdb, more):
    """Rank 1 makes a mistake in the fifth iteration: of what comes after it, neither model nor snapshot is saved."""
    spark.sparkContext.addPyFile(str(ROOT / "tests" / "support" / "drifting_source.py"))
    layer = (
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "drifting_source.DriftingLMDB" '
        f"transform_param {{ scale: {stock.SCALE} }} "
        f'memory_data_param {{ source: "{small_lmdb}" batch_size: 10 channels: 1 height: 12 width: 12 }} }}\n'
    )
    message = r"rank 1 of 3 came to other weights than rank 0 by iteration \d+: they are not saved"
    with pytest.raises(TrainingError, match=message):
        train(spark, tmp_path, SGD + " max_iter: 10" + more, layer + stock.LAYERS, 3)
    left = {path.name for path in tmp_path.iterdir() if "caffemodel" in path.name}
    assert left == ({"solver_iter_3.caffemodel"} if more else set())


def test_saved_model_loads_in_the_caffe_tool_with_the_same_accuracy(spark, tmp_path, small_lmdb):
    """``caffe test`` and plain pycaffe agree with the run's own last validation."""
    net = stock.lmdb_net(small_lmdb, 20)
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
        "max_iter: 40 test_interval: 20 test_iter: 12"
    )
    model = tmp_path / "m.caffemodel"
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), model=f"file:{model}", clusterSize=2, quiet=True)
    data = DataSource(spark)
    curve = CaffeOnSpark(spark).trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    assert curve.columns == ["accuracy", "loss", "iteration", "epoch", "seconds", "rows"]
    rows = curve.collect()
    assert [row[0] for row in rows] == [row.accuracy for row in rows]  # as CaffeOnSpark's users read it
    assert [row.iteration for row in rows] == [0, 20, 40]
    assert {row.rows for row in rows} == {600}
    command = ["caffe", "test", "-model", str(tmp_path / "net.prototxt"), "-weights", str(model), "-iterations", "12"]
    loud = {**os.environ, "GLOG_minloglevel": "0"}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=loud).stderr
    for name in ("accuracy", "loss"):
        value = float(re.findall(rf"{name} = ([\d.e+-]+)", output)[-1])
        assert rows[-1][name][0] == pytest.approx(value, rel=1e-4)
    assert rows[-1].accuracy[0] > 0.9
    assert caffe.Net(str(tmp_path / "net.prototxt"), str(model), caffe.TEST).params["ip1"][0].data.shape == (150, 128)


def test_validation_does_not_change_training(spark, tmp_path, small_lmdb):
    net = stock.lmdb_net(small_lmdb, 10, test_batch=7, layers=BATCH_NORM)
    plain, tested = folders(tmp_path, "plain", "tested")
    _, expected = train(spark, plain, SGD + " max_iter: 20", net, 3)
    (tested / "net.prototxt").write_text(net)
    (tested / "solver.prototxt").write_text(f'net: "net.prototxt" {SGD} max_iter: 20 test_interval: 3 test_iter: 5')
    config = Config(
        spark, conf=str(tested / "solver.prototxt"), model=f"file:{tested}/m.caffemodel", clusterSize=3, quiet=True
    )
    data = DataSource(spark)
    curve = CaffeOnSpark(spark).trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    assert [row.iteration for row in curve.collect()] == [0, 3, 6, 9, 12, 15, 18]
    assert_same_weights(expected, tested / "m.caffemodel", stock.input_net(10, layers=BATCH_NORM))
