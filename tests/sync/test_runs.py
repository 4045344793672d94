"""``-sync average`` and ``-sync elastic`` on Spark executors: models, snapshots, validation and the loss curve."""

import json
import subprocess

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataSource, Observer
from caffeonspark.report import read_metrics
from tests.support import stock
from tests.support.training import config_of, train

SGD = 'base_lr: 0.05 momentum: 0.9 lr_policy: "step" gamma: 0.5 stepsize: 8 weight_decay: 0.002 random_seed: 3 '
LAYERS = stock.LAYERS.replace(
    'layer { name: "pool"',
    'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "pool"',
)
NET = stock.input_net(10, layers=LAYERS)
END = 37


def assert_same(first, second):
    for a, b in zip(stock.load_weights(first, NET), stock.load_weights(second, NET)):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def net(small_lmdb):
    return stock.lmdb_net(small_lmdb, 10, test_batch=7, layers=LAYERS)


@pytest.fixture(scope="module", params=["average", "elastic"])
def how(request):
    return request.param


@pytest.fixture(scope="module")
def plain(spark, net, tmp_path_factory, how):
    """(result, model) of a run without validations and snapshots."""
    return train(spark, tmp_path_factory.mktemp("plain"), f"{SGD} max_iter: {END}", net, 2, sync=how, shuffle=True)


@pytest.fixture(scope="module")
def tested(spark, net, tmp_path_factory, how):
    """(result, curve, folder) of a run with both, neither at multiples of the interval."""
    folder = tmp_path_factory.mktemp("tested")
    (folder / "net.prototxt").write_text(net)
    settings = f"{SGD} max_iter: {END} test_interval: 7 test_iter: 5 snapshot: 13"
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" {settings} snapshot_prefix: "run"')
    flags = {"conf": str(folder / "solver.prototxt"), "model": f"file:{folder}/m.caffemodel", "clusterSize": 2}
    config = Config(spark, **flags, sync=how, shuffle=True, quiet=True)
    data, cos = DataSource(spark), CaffeOnSpark(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    return cos.result, curve, folder


def test_every_iteration_has_its_loss_once(plain, tested):
    result, model = plain
    assert [at for at, _, _ in result.history] == list(range(END))
    assert tested[0].history == result.history
    records = read_metrics(str(model.with_name("model.metrics.jsonl")))
    found = [(r["iteration"], r["loss"], r["lr"]) for r in records if r["event"] == "iteration"]
    assert found == result.history


def test_each_ranks_own_loss_is_recorded(plain):
    """The mean of what ranks told since the last report, four times a second at most."""
    result, model = plain
    records = read_metrics(str(model.with_name("model.metrics.jsonl")))
    told = [(r["iteration"], r["losses"]) for r in records if r["event"] == "rank_losses"]
    assert told[-1][0] == 29 and all(len(losses) == 2 and losses[0] != losses[1] for _, losses in told)
    begin = 0
    for last, losses in told:
        means = [loss for at, loss, _ in result.history if begin <= at <= last]
        assert np.mean(losses) == pytest.approx(np.mean(means), rel=1e-4)
        begin = last + 1


def test_validating_and_snapshots_change_nothing(plain, tested):
    _, curve, folder = tested
    assert [row.iteration for row in curve] == [0, 7, 14, 21, 28, 35]
    assert_same(plain[1], folder / "m.caffemodel")


def test_validation_sees_the_model(spark, net, tmp_path, how):
    """At iteration 35, between two averagings: as stock Caffe tests the model, which a run to there leaves."""
    settings = f"{SGD} max_iter: 35 test_interval: 35 test_iter: 90 test_initialization: false"
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "solver.prototxt").write_text(f'net: "net.prototxt" {settings}')
    model = tmp_path / "m.caffemodel"
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), model=f"file:{model}", clusterSize=2, quiet=True)
    config.sync, config.shuffle, config.best = how, True, True
    data = DataSource(spark)
    (row,) = (
        CaffeOnSpark(spark).trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    )
    means = CaffeOnSpark(spark).test(data.getSource(config, False))
    assert row.rows == 600
    assert row.loss[0] == pytest.approx(means["loss"][0], rel=1e-4)
    assert row.accuracy[0] == pytest.approx(means["accuracy"][0], rel=1e-4)


def test_patience_ends_it(spark, tmp_path, net, how):
    """The learning rate is 0, and only BatchNorm's statistics change: it ends at the second validation in a row that is
    not better than the best."""
    settings = f"{SGD.replace('0.05', '0')} max_iter: {END} test_interval: 7"  # all rows, each time
    config = config_of(spark, tmp_path, net, f'net: "net.prototxt" {settings}', sync=how, patience=2)
    data, cos = DataSource(spark), CaffeOnSpark(spark)
    cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    best, since = np.inf, 0
    for test in cos.result.tests:
        assert since < 2
        loss = np.mean(test.outputs["loss"])
        best, since = (loss, 0) if loss < best else (best, since + 1)
    assert since == 2
    assert (cos.result.stopped, cos.result.iteration) == ("patience", cos.result.tests[-1].iteration)
    assert cos.result.iteration < END
    assert (tmp_path / "model.caffemodel").exists()


def test_a_snapshot_says_what_it_is(tested, how):
    *_, folder = tested
    names = {path.name for path in folder.glob("run_iter_*")}
    own = ("rank0.caffemodel", "rank1.caffemodel", "rank1.solverstate")
    endings = ("caffemodel", "solverstate", "solverstate.json", *own)
    assert names == {f"run_iter_{at}.{ending}" for at in (13, 26) for ending in endings} | {
        f"run_iter_37.{ending}" for ending in endings
    }
    about = json.loads((folder / "run_iter_13.solverstate.json").read_text())
    assert (about["sync"], about["syncInterval"], about["ranks"]) == (how, 10, 2)
    assert about["averageHistory"] is False if how == "average" else about["elasticAlpha"] is None
    mean, *own = (
        stock.load_weights(folder / f"run_iter_13{name}.caffemodel", NET) for name in ("", ".rank0", ".rank1")
    )
    same = [np.array_equal(both, (one + other) * np.float32(0.5)) for both, one, other in zip(mean, *own)]
    assert all(same) == (how == "average")  # else it is the centre


class Listener(Observer):
    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)


def go_on(spark, folder, tested, ranks=2, at=13, **flags):
    start = {
        "snapshot": f"file:{tested[2]}/run_iter_{at}.solverstate",
        "weights": f"file:{tested[2]}/run_iter_{at}.caffemodel",
    }
    net, listener = (tested[2] / "net.prototxt").read_text(), Listener()
    about = json.loads((tested[2] / f"run_iter_{at}.solverstate.json").read_text())
    flags = {"sync": about["sync"], "shuffle": True, **start, **flags}
    result, model = train(spark, folder, f"{SGD} max_iter: {END}", net, ranks, observers=[listener], **flags)
    assert [at for at, _, _ in result.history] == list(range(at, END))
    return result, model, [note for note in listener.heard if "was saved " in note]


def test_resumed_run_is_bit_equal_to_an_undisturbed_one(spark, tmp_path, plain, tested):
    """From iteration 13, between two averagings."""
    result, model, notes = go_on(spark, tmp_path, tested)
    assert result.history == plain[0].history[13:]
    assert not notes
    assert_same(plain[1], model)


def test_resuming_from_the_newest(spark, tmp_path, net, plain, how):
    settings = f'{SGD} snapshot: 13 snapshot_format: HDF5 snapshot_prefix: "run" '
    flags = {"sync": how, "shuffle": True}
    train(spark, tmp_path, f"{settings} max_iter: 14 snapshot_after_train: false", net, 2, **flags)
    result, model = train(spark, tmp_path, f"{settings} max_iter: {END}", net, 2, resume=True, **flags)
    assert result.resumed.endswith("run_iter_13.solverstate.h5")
    assert_same(plain[1], f"{model}.h5")


def test_another_number_of_ranks_resumes_with_a_note(spark, tmp_path, tested, how):
    _, _, (note,) = go_on(spark, tmp_path, tested, ranks=3)
    assert f"was saved by 2 ranks with -sync {how}, and this run has 3 with -sync {how}" in note


@pytest.mark.parametrize("other", ["all_reduce", "average", "elastic"])
def test_another_strategy_resumes_with_a_note(spark, tmp_path, tested, how, other):
    *_, notes = go_on(spark, tmp_path, tested, sync=other)
    if other == how:
        assert not notes
        return
    (note,) = notes
    assert f"was saved by 2 ranks with -sync {how}, and this run has 2 with -sync {other}: " in note
    assert "every rank starts from the snapshot's model and solver state" in note


def test_another_interval_goes_on_from_the_ranks_own_weights(spark, tmp_path, tested):
    """13 is a multiple of it, and the ranks' weights are not the same there."""
    *_, (note,) = go_on(spark, tmp_path, tested, syncInterval=13)
    assert "was saved with -syncInterval 10, and this run has -syncInterval 13: " in note


def test_stock_caffe_goes_on_from_a_snapshot(tested, tmp_path):
    folder = tested[2]
    solver = stock.make_solver(f'{SGD} max_iter: 20 snapshot_prefix: "{tmp_path}/stock"', NET)
    solver.restore(str(folder / "run_iter_13.solverstate"))
    assert solver.iter == 13
    for mine, mean in zip(stock.weights(solver.net), stock.load_weights(folder / "run_iter_13.caffemodel", NET)):
        np.testing.assert_array_equal(mine, mean)
    (tmp_path / "net.prototxt").write_text((folder / "net.prototxt").read_text())
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" {SGD} max_iter: 20 snapshot_prefix: "{tmp_path}/tool"'
    )
    words = ["-solver", str(tmp_path / "solver.prototxt"), "-snapshot", str(folder / "run_iter_13.solverstate")]
    subprocess.run(["caffe", "train", *words], check=True, capture_output=True)
    assert (tmp_path / "tool_iter_20.caffemodel").exists()


def test_one_rank_is_bit_equal_to_plain_step(spark, tmp_path, small_images, net):
    _, model = train(spark, tmp_path, f"{SGD} max_iter: {END}", net, 1, sync="average", syncInterval=7)
    solver = stock.make_solver(SGD, NET)
    feed = stock.batches(*small_images, 1, 0, 10)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(END)
    for mine, theirs in zip(stock.load_weights(model, NET), stock.weights(solver.net)):
        np.testing.assert_array_equal(mine, theirs)


def test_wrong_flags_are_refused_before_anything_starts(spark, tmp_path, net):
    with pytest.raises(ConfigError, match="-syncInterval belongs to -sync average or -sync elastic"):
        train(spark, tmp_path, f"{SGD} max_iter: 1", net, 1, syncInterval=5)
    with pytest.raises(ConfigError, match=r"-sync: 'gossip' is unknown\. Valid names: all_reduce, average, elastic"):
        train(spark, tmp_path, f"{SGD} max_iter: 1", net, 1, sync="gossip")
    with pytest.raises(
        ConfigError, match=r"-elasticAlpha 0\.6 must be above 0 and at most 1 / ranks, which is 0\.5 here"
    ):
        train(spark, tmp_path, f"{SGD} max_iter: 1", net, 2, sync="elastic", elasticAlpha=0.6)
