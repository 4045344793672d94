"""Passes through all data: the gradient of shards, and gradient descent, against one large batch in stock Caffe."""

import numpy as np
import pytest

from tests.support import stock
from tests.support.training import RULES
from tests.support.whole_ranks import inputs_of, on_whole_ranks, shares_of

SMOOTH = """
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 20 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { decay_mult: 0 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
UNEVEN = [100, 80, 60]


@pytest.fixture
def columns(small_images):
    images, labels = small_images
    data = images.reshape(len(images), -1)[:240].astype(np.float32) * np.float32(stock.SCALE)
    return {"data": data, "label": labels[:240].astype(np.float32)}


def large_batch(columns, solver):
    """A stock solver whose batch is all records."""
    made = stock.make_solver(solver, inputs_of(columns, len(columns["label"])) + SMOOTH)
    stock.load(made.net, (columns["data"], columns["label"]))
    return made


def apart(mine, theirs):
    """The largest difference, relative to the largest number of its array."""
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(mine, theirs))


@pytest.mark.parametrize("counts", [[240], UNEVEN, [240, 0], [7, 233]])
def test_the_gradient_of_shards_is_that_of_the_whole(tmp_path, columns, counts):
    solver = 'base_lr: 0 lr_policy: "fixed" random_seed: 3'

    def work(rank):
        found = []
        rank.strategy._exchange, exchange = (
            lambda losses: found.append((exchange(losses), gradients())),
            rank.strategy._exchange,
        )

        def gradients():
            return [array.copy() for array in rank.trainer.gradients]

        rank.train(1)
        return found[0][1], rank.history[0][1]

    found = on_whole_ranks(
        tmp_path, shares_of(columns, counts), work, solver=solver, layers=SMOOTH, batch=32, fullBatch=True
    )
    whole = large_batch(columns, solver)
    whole.net.clear_param_diffs()
    loss = float(whole.net.forward()["loss"])
    whole.net.backward()
    expected = [blob.diff for blob in stock.parameters(whole.net)]
    for gradient, mean in found:
        assert apart(gradient, expected) < 1e-6
        assert mean == pytest.approx(loss, rel=1e-6)
        for one, first in zip(gradient, found[0][0]):
            np.testing.assert_array_equal(one, first)


@pytest.mark.parametrize("rule", RULES)
def test_it_is_one_large_batch(tmp_path, columns, rule):
    policy = 'lr_policy: "step" gamma: 0.5 stepsize: 20 weight_decay: 0.002 clip_gradients: 3 random_seed: 3'
    # at its usual rate, this net makes much of rounding with AdaDelta
    solver = f"{RULES[rule]} {policy}".replace("base_lr: 1.0", "base_lr: 0.1")

    def work(rank):
        rank.train(30)
        return rank.weights(), rank.history

    found = on_whole_ranks(
        tmp_path, shares_of(columns, UNEVEN), work, solver=solver, layers=SMOOTH, batch=32, fullBatch=True
    )
    whole, losses = large_batch(columns, solver), []
    for _ in range(30):
        whole.step(1)
        losses.append(float(whole.net.blobs["loss"].data))
    for weights, history in found:
        assert apart(weights, stock.weights(whole.net)) < 1e-4
        np.testing.assert_allclose([loss for _, loss, _ in history], losses, rtol=1e-5)
        assert [at for at, _, _ in history] == list(range(30))


def test_one_block_is_a_batch_to_the_bit(tmp_path, columns):
    solver = f'{RULES["SGD"]} lr_policy: "fixed" weight_decay: 0.002 random_seed: 3'

    def work(rank):
        rank.train(20)
        return rank.weights()

    (found,) = on_whole_ranks(tmp_path, [columns], work, solver=solver, layers=SMOOTH, batch=240, fullBatch=True)
    whole = large_batch(columns, solver)
    whole.step(20)
    for mine, theirs in zip(found, stock.weights(whole.net)):
        np.testing.assert_array_equal(mine, theirs)


def test_a_request_to_stop_is_heard_in_the_same_iteration(tmp_path, columns):
    def work(rank):
        rank.stopping = rank.rank == 1
        return rank.strategy.iterate(rank.load).stop

    solver = 'base_lr: 0.1 lr_policy: "fixed"'
    assert (
        on_whole_ranks(tmp_path, shares_of(columns, UNEVEN), work, solver=solver, layers=SMOOTH, fullBatch=True)
        == [True] * 3
    )
