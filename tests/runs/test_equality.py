"""Training on Spark executors gives stock Caffe's weights."""

import numpy as np
import pytest

from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.training import EVERYTHING, RULES, train

ITERATIONS = 50


def solver_text(rule, rest, iterations=ITERATIONS):
    return f"{RULES[rule]} {rest} random_seed: 3 max_iter: {iterations}"


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", RULES)
def test_bit_equal_to_one_process_that_averages(spark, tmp_path, small_images, small_lmdb, rule, ranks):
    batch = 10
    settings = solver_text(rule, EVERYTHING)
    result, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, batch), ranks)
    expected, losses = stock.train_in_turn(settings, ranks, batch, ITERATIONS, *small_images, iter_size=2)
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(batch)), stock.weights(expected.net)):
        np.testing.assert_array_equal(mine, theirs)
    assert [loss for _, loss, _ in result.history] == losses
    assert result.iteration == ITERATIONS


@pytest.mark.parametrize("rule", RULES)
def test_one_rank_is_bit_equal_to_plain_step(spark, tmp_path, small_images, small_lmdb, rule):
    batch = 16
    settings = solver_text(rule, EVERYTHING)
    _, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, batch), 1)
    solver = stock.make_solver(settings, stock.input_net(batch))
    feed = stock.batches(*small_images, 1, 0, batch)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(ITERATIONS)
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(batch)), stock.weights(solver.net)):
        np.testing.assert_array_equal(mine, theirs)


def whole_batches(images, labels, ranks, batch):
    """Batches of ranks x batch samples that hold what the ranks' batches hold."""
    feeds = [stock.batches(images, labels, ranks, rank, batch) for rank in range(ranks)]
    while True:
        parts = [next(feed) for feed in feeds]
        yield np.concatenate([data for data, _ in parts]), np.concatenate([labels for _, labels in parts])


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize(("rule", "tolerance"), [("SGD", 1e-6), ("Nesterov", 1e-6), ("Adam", 1e-4)])
def test_close_to_one_solver_with_the_whole_batch(spark, tmp_path, small_images, small_lmdb, rule, tolerance, ranks):
    batch = 10
    settings = solver_text(rule, 'weight_decay: 0.0005 lr_policy: "fixed"').replace("base_lr: 0.05", "base_lr: 0.01")
    _, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, batch), ranks)
    solver = stock.make_solver(settings, stock.input_net(batch * ranks))
    feed = whole_batches(*small_images, ranks, batch)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(ITERATIONS)
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(batch)), stock.weights(solver.net)):
        assert np.abs(mine - theirs).max() <= tolerance * np.abs(theirs).max()


def test_checksums_change_nothing(spark, tmp_path, small_images, small_lmdb):
    settings = solver_text("SGD", EVERYTHING)
    _, model = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, 10), 2, checksum=False)
    expected, _ = stock.train_in_turn(settings, 2, 10, ITERATIONS, *small_images, iter_size=2)
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(10)), stock.weights(expected.net)):
        np.testing.assert_array_equal(mine, theirs)


def test_ignored_labels_count_as_in_one_solver(spark, tmp_path, small_images):
    """The first rank's half of the records has nearly all labels that are ignored."""
    images, labels = small_images
    order = np.argsort(labels >= 5, kind="stable")
    images, labels, batch = images[order], np.where(np.arange(600) % 300 < 280, labels[order], 9), 10
    labels = np.where((labels < 5) & (np.arange(600) % 5 > 0), 9, labels)
    layers = stock.LAYERS.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: 9 } }')
    assert layers != stock.LAYERS
    lmdb = write_lmdb(tmp_path / "lmdb", images, labels)
    settings = solver_text("SGD", 'lr_policy: "fixed"').replace("base_lr: 0.05", "base_lr: 0.01")
    result, model = train(spark, tmp_path, settings, stock.lmdb_net(lmdb, batch, layers=layers), 2)
    solver = stock.make_solver(settings, stock.input_net(2 * batch, layers=layers))
    feed, losses = whole_batches(images, labels, 2, batch), []
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    for _ in range(ITERATIONS):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    for mine, theirs in zip(stock.load_weights(model, stock.input_net(batch)), stock.weights(solver.net)):
        assert np.abs(mine - theirs).max() <= 1e-5 * np.abs(theirs).max()
    np.testing.assert_allclose([loss for _, loss, _ in result.history], losses, rtol=1e-5)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("rule", ["AdaGrad", "RMSProp", "AdaDelta"])
def test_first_gradient_and_losses_for_the_rules_that_amplify_rounding(
    spark, tmp_path, small_images, small_lmdb, rule, ranks
):
    """One SGD iteration at rate 1 shows the averaged gradient; the rule itself is compared by its losses."""
    batch = 10
    gradient_of = 'type: "SGD" base_lr: 1 lr_policy: "fixed" random_seed: 3 max_iter: 1'
    one = tmp_path / "one"
    one.mkdir()
    _, model = train(spark, one, gradient_of, stock.lmdb_net(small_lmdb, batch), ranks)
    solver = stock.make_solver(gradient_of, stock.input_net(batch * ranks))
    before = stock.weights(solver.net)
    feed = whole_batches(*small_images, ranks, batch)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(1)
    for start, mine, blob in zip(
        before, stock.load_weights(model, stock.input_net(batch)), stock.parameters(solver.net)
    ):
        gradient = start - mine
        assert np.abs(gradient - blob.diff).max() <= 1e-6 * max(1, np.abs(start).max())

    settings = solver_text(rule, 'lr_policy: "fixed"')
    result, _ = train(spark, tmp_path, settings, stock.lmdb_net(small_lmdb, batch), ranks)
    solver = stock.make_solver(settings, stock.input_net(batch * ranks))
    feed = whole_batches(*small_images, ranks, batch)
    losses = []
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    for _ in range(ITERATIONS):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    mine = np.array([loss for _, loss, _ in result.history])
    np.testing.assert_allclose(mine[:5], losses[:5], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mine[-10:].mean(), np.mean(losses[-10:]), rtol=0.1, atol=0.02)
