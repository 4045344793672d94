"""``type: "LBFGS"`` and ``-fullBatch`` on Spark executors: snapshots, resuming, the curve, and what is refused."""

import json

import numpy as np
import pytest

from caffeonspark import ConfigError, Observer
from caffeonspark.report import read_metrics
from tests.support import stock
from tests.support.training import train
from tests.sync.test_full_batch import SMOOTH

LBFGS = 'type: "LBFGS" weight_decay: 0.001 random_seed: 3 snapshot_prefix: "run" '
NET = stock.input_net(32, layers=SMOOTH)
END = 12


class Listener(Observer):
    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)


def assert_same(first, second):
    for a, b in zip(stock.load_weights(first, NET), stock.load_weights(second, NET)):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def net(small_lmdb):
    return stock.lmdb_net(small_lmdb, 32, layers=SMOOTH)


@pytest.fixture(scope="module")
def plain(spark, net, tmp_path_factory):
    """(result, model, notes) of a run on two ranks."""
    listener = Listener()
    folder = tmp_path_factory.mktemp("plain")
    result, model = train(
        spark, folder, f"{LBFGS} base_lr: 0.1 max_iter: {END} snapshot: 5", net, 2, observers=[listener]
    )
    return result, model, listener.heard


def test_what_is_said_of_a_run(plain):
    result, model, notes = plain
    losses = [loss for _, loss, _ in result.history]
    assert len(losses) == END
    assert losses[-1] < 0.7 * losses[0]
    assert result.samples == result.rows == 600
    assert result.epoch(END) == END
    assert result.passes[0] >= 2 and sum(result.passes.values()) >= END + 1
    records = [r for r in read_metrics(str(model.with_name("model.metrics.jsonl"))) if r["event"] == "iteration"]
    assert {r["iteration"]: r["passes"] for r in records} == result.passes
    assert any("base_lr: without effect" in note for note in notes)
    assert f"{END} iterations took {sum(result.passes.values())} passes through the data" in notes
    states = sorted(path.name for path in model.parent.glob("run_iter_*.solverstate"))
    assert {"run_iter_5.solverstate", "run_iter_10.solverstate"} <= set(states)
    about = json.loads((model.parent / "run_iter_5.solverstate.json").read_text())
    assert about["parts"] == [[".lbfgs"], [".lbfgs"]]
    assert (about["sync"], about["lbfgsHistory"]) == ('type: "LBFGS"', 10)


@pytest.mark.parametrize("ranks", [2, 3])
def test_resuming(spark, tmp_path, net, plain, ranks):
    """To the bit on as many ranks, and with a note on others."""
    result, model, _ = plain
    start = {
        name: f"file:{model.parent}/run_iter_5.{ending}"
        for name, ending in (("snapshot", "solverstate"), ("weights", "caffemodel"))
    }
    listener = Listener()
    found, other = train(spark, tmp_path, f"{LBFGS} max_iter: {END}", net, ranks, observers=[listener], **start)
    told = [note for note in listener.heard if "was saved by" in note]
    if ranks == 2:
        assert found.history == result.history[5:]
        assert_same(model, other)
        assert not told
    else:
        (note,) = told
        assert 'was saved by 2 ranks with type: "LBFGS", and this run has 3 with type: "LBFGS"' in note
        assert [at for at, _, _ in found.history] == list(range(5, END))
        assert found.history[-1][1] < result.history[5][1]


def test_full_batch_is_one_large_batch(spark, tmp_path, net, small_images):
    rule = 'type: "Adam" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3'
    result, model = train(spark, tmp_path, f"{rule} max_iter: 10", net, 2, fullBatch=True)
    images, labels = small_images
    solver = stock.make_solver(rule, stock.input_net(len(images), layers=SMOOTH))
    stock.load(solver.net, (images.astype(np.float32) * np.float32(stock.SCALE), labels.astype(np.float32)))
    losses = []
    for _ in range(10):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    np.testing.assert_allclose([loss for _, loss, _ in result.history], losses, rtol=1e-4)
    for mine, theirs in zip(stock.load_weights(model, NET), stock.weights(solver.net)):
        assert np.abs(mine - theirs).max() < 1e-3 * np.abs(theirs).max()


DROPOUT = 'layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }\nlayer { name: "ip2"'


@pytest.mark.parametrize(
    ("settings", "change", "flags", "why"),
    [
        (LBFGS, ('layer { name: "ip2"', DROPOUT), {}, r"layer 'drop' \(Dropout\) leaves out others in every pass"),
        (LBFGS, ("transform_param {", "transform_param { mirror: true "), {}, "layer 'data': mirror or a random crop"),
        (
            LBFGS,
            (
                'layer { name: "tanh"',
                'layer { name: "bn" type: "BatchNorm" bottom: "ip1" top: "ip1" }\nlayer { name: "tanh"',
            ),
            {},
            r"layer 'bn' \(BatchNorm\) takes mean",
        ),
        (LBFGS, ('top: "loss" }', 'top: "loss" loss_param { ignore_label: 3 } }'), {}, "layer 'loss' .* ignore_label"),
        (LBFGS, ('top: "loss" }', 'top: "loss" loss_param { normalization: NONE } }'), {}, "layer 'loss' .* a sum"),
        (f'{LBFGS} regularization_type: "L1"', ("", ""), {}, "has no gradient where a weight is 0"),
        (f"{LBFGS} clip_gradients: 3", ("", ""), {}, "clip_gradients makes of the gradient"),
        (
            LBFGS,
            ("", ""),
            {"sync": "average"},
            r'type: "LBFGS" goes through all the data as one solver, and -sync average',
        ),
        (
            'base_lr: 0.1 lr_policy: "fixed"',
            ("", ""),
            {"tol": 1e-3},
            r'-tol belongs to type: "LBFGS", and this is -sync all_reduce',
        ),
        (
            'base_lr: 0.1 lr_policy: "fixed"',
            ("", ""),
            {"lbfgsHistory": 3, "fullBatch": True},
            r'-lbfgsHistory belongs to type: "LBFGS", and this is -fullBatch',
        ),
    ],
)
def test_what_is_refused_before_anything_starts(spark, tmp_path, net, settings, change, flags, why):
    with pytest.raises(ConfigError, match=why):
        train(spark, tmp_path, f"{settings} max_iter: 3", net.replace(*change), 1, **flags)
