"""Solvers of their own that become their mean: against plain pycaffe, replayed in one process."""

import pathlib
import shutil

import numpy as np
import pytest

from tests.support import stock
from tests.support.local_ranks import on_ranks
from tests.support.training import EVERYTHING, RULES

BATCH_NORM = stock.LAYERS.replace(
    'layer { name: "pool"',
    'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "pool"',
)
SMOOTH = (
    stock.LAYERS.replace("pool: MAX", "pool: AVE")
    .replace('"ReLU"', '"TanH"')
    .replace('type: "xavier"', 'type: "gaussian" std: 0.1')
    .replace("num_output: 150", "num_output: 30")
)
LAYERS = {"plain": stock.LAYERS, "BatchNorm": BATCH_NORM}
SGD = 'base_lr: 0.05 momentum: 0.9 lr_policy: "step" gamma: 0.5 stepsize: 8 weight_decay: 0.002 random_seed: 3'


def assert_same(first, second):
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def replay(settings, images, labels, ranks, interval, iterations, layers=stock.LAYERS, batch=10):
    """The ranks' solvers one after the other, averaged by hand: their mean at the end, the losses, the solvers."""
    solvers = [stock.make_solver(settings, stock.input_net(batch, images.shape[1:], layers)) for _ in range(ranks)]
    for other in solvers[1:]:
        for mine, first in zip(stock.parameters(other.net), stock.parameters(solvers[0].net)):
            mine.data[...] = first.data
    feeds = [stock.batches(images, labels, ranks, rank, batch) for rank in range(ranks)]

    def weights_of(solver):
        return np.concatenate([blob.data.reshape(-1) for blob in stock.parameters(solver.net)])

    def mean(parts):
        return stock.documented_sum(parts) * np.float32(1 / ranks) if ranks > 1 else parts[0]

    def cut(flat, blobs):
        ends = np.cumsum([blob.count for blob in blobs])
        return [part.reshape(blob.data.shape) for part, blob in zip(np.split(flat, ends), blobs)]

    losses, pending = [], [[] for _ in range(ranks)]
    for iteration in range(1, iterations + 1):
        for solver, feed, own in zip(solvers, feeds, pending):
            stock.load(solver.net, next(feed))
            solver.step(1)
            own.append(float(solver.net.blobs["loss"].data))
        if iteration % interval == 0:
            found = mean(
                [np.append(weights_of(solver), np.float32([*own, 0])) for solver, own in zip(solvers, pending)]
            )
            losses += [float(loss) for loss in found[-1 - interval : -1]]
            pending = [[] for _ in range(ranks)]
            for solver in solvers:
                for blob, array in zip(stock.parameters(solver.net), cut(found, stock.parameters(solver.net))):
                    blob.data[...] = array
    losses += [float(loss) for loss in mean([np.float32(own) for own in pending])]
    final = mean([weights_of(solver) for solver in solvers]) if pending[0] else weights_of(solvers[0])
    return cut(final, stock.parameters(solvers[0].net)), losses, solvers


@pytest.mark.parametrize("interval", [1, 7, 10, 50])
@pytest.mark.parametrize("rule", RULES)
def test_one_rank_is_bit_equal_to_plain_step(tmp_path, small_images, rule, interval):
    settings = f"{RULES[rule]} {EVERYTHING} random_seed: 3"

    def work(rank):
        rank.train(50)
        return rank.model()

    (found,) = on_ranks(tmp_path, *small_images, 1, work, solver=settings, sync="average", syncInterval=interval)
    solver = stock.make_solver(settings, stock.input_net(10))
    feed = stock.batches(*small_images, 1, 0, 10)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(50)
    assert_same(found, stock.weights(solver.net))


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(("ranks", "interval", "iterations"), [(1, 10, 24), (2, 10, 50), (2, 10, 37), (3, 7, 30)])
def test_bit_equal_to_a_replay_in_one_process(tmp_path, small_images, layers, ranks, interval, iterations):
    """Weights, BatchNorm's statistics among them, and the loss of every iteration."""

    def work(rank):
        rank.train(iterations)
        return rank.model(), rank.history, rank.weights()

    flags = {"solver": SGD, "layers": LAYERS[layers], "sync": "average", "syncInterval": interval}
    found = on_ranks(tmp_path, *small_images, ranks, work, **flags)
    model, losses, solvers = replay(SGD, *small_images, ranks, interval, iterations, LAYERS[layers])
    for rank, (mine, history, own) in enumerate(found):
        assert_same(mine, model)
        assert_same(own, stock.weights(solvers[rank].net))
        assert [at for at, _, _ in history] == list(range(iterations))
        assert [loss for _, loss, _ in history] == losses
        assert history == found[0][1]
        assert [rate for _, _, rate in history] == pytest.approx([0.05 * 0.5 ** (at // 8) for at in range(iterations)])


@pytest.mark.parametrize(
    "rule",
    [
        'type: "SGD" base_lr: 0.01',
        'type: "SGD" base_lr: 0.01 momentum: 0.9',
        'type: "Nesterov" base_lr: 0.01 momentum: 0.9',
    ],
)
def test_averaging_every_iteration_is_close_to_all_reduce(tmp_path, small_images, rule):
    """These rules are linear in the gradient, where nothing is clipped. What is left is rounding: of weights that are
    averaged, in a net in which it decides nothing (with ReLU or maxima it does now and then)."""
    settings = f'{rule} weight_decay: 0.002 lr_policy: "step" gamma: 0.5 stepsize: 20 random_seed: 5'

    def work(rank):
        rank.train(50)
        return rank.model(), [loss for _, loss, _ in rank.history]

    net = {"solver": settings, "layers": SMOOTH}
    averaged, _ = on_ranks(tmp_path, *small_images, 2, work, **net, sync="average", syncInterval=1)
    reduced, _ = on_ranks(tmp_path, *small_images, 2, work, **net)
    for mine, theirs in zip(averaged[0], reduced[0]):
        assert np.abs(mine - theirs).max() <= 1e-6 * np.abs(theirs).max()
    np.testing.assert_allclose(averaged[1], reduced[1], rtol=1e-4)


def test_looking_at_the_model_changes_nothing(tmp_path, small_images):
    def plain(rank):
        rank.train(37)
        return rank.model(), rank.weights(), rank.history

    def looking(rank):
        for until in (0, 3, 10, 13, 14, 26, 37):
            rank.train(until)
            own = rank.weights()
            model = rank.model()
            assert_same(own, rank.weights())
            assert until % 10 == 0 or any((a != b).any() for a, b in zip(own, model))
        return rank.model(), rank.weights(), rank.history

    flags = {"solver": SGD, "layers": BATCH_NORM, "sync": "average"}
    expected = on_ranks(tmp_path, *small_images, 2, plain, **flags)
    found = on_ranks(tmp_path, *small_images, 2, looking, **flags)
    for (model, own, history), (expected_model, expected_own, expected_history) in zip(found, expected):
        assert_same(model, expected_model)
        assert_same(own, expected_own)
        assert history == expected_history
    assert_same(found[0][0], found[1][0])


def test_a_request_to_stop_is_heard_at_the_next_averaging(tmp_path, small_images):
    def work(rank):
        rank.train(13)
        rank.stopping = rank.rank == 1
        rank.train(25)
        return rank.stopped

    assert on_ranks(tmp_path, *small_images, 2, work, solver=SGD, sync="average") == [[20], [20]]


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("at", [13, 20])
@pytest.mark.parametrize("rule", RULES)
def test_ranks_go_on_from_their_parts(tmp_path, small_images, rule, at, hdf5):
    """From an iteration that is no multiple of the interval, and from one that is."""
    settings = f"{RULES[rule]} {EVERYTHING} random_seed: 3 snapshot_format: {'HDF5' if hdf5 else 'BINARYPROTO'} "
    ending = ".h5" if hdf5 else ""

    def copy(path, name):
        return pathlib.Path(shutil.copy(path, tmp_path / name))

    def whole(rank):
        rank.train(at)
        parts = {e: copy(path, f"rank{rank.rank}{e}") for e, path in rank.strategy.parts().items()}
        rank.history += rank.strategy.exchange_losses()
        with rank.strategy.view():
            if rank.rank == 0:
                for path in rank.trainer.snapshot():
                    copy(path, "snapshot" + path[path.index(f"_iter_{at}") + len(f"_iter_{at}") :])
        rank.train(37)
        return rank.model(), rank.weights(), rank.history, parts

    expected = on_ranks(tmp_path, *small_images, 2, whole, solver=settings, sync="average")
    own = [f".caffemodel{ending}"] * (at == 13)
    assert [sorted(parts) for *_, parts in expected] == [own, [*own, f".solverstate{ending}"]]

    def rest(rank):
        files = [
            copy(tmp_path / f"snapshot{e}{ending}", f"of{rank.rank}{e}{ending}")
            for e in (".caffemodel", ".solverstate")
        ]
        parts = {e: str(path) for e, path in expected[rank.rank][3].items()}
        rank.strategy.start([str(files[0])], str(files[1]), parts)
        rank.train(37)
        return rank.model(), rank.weights(), rank.history

    found = on_ranks(tmp_path, *small_images, 2, rest, solver=settings, sync="average", used=2 * at)
    for (model, weights, history), (expected_model, expected_weights, expected_history, _) in zip(found, expected):
        assert_same(model, expected_model)
        assert_same(weights, expected_weights)
        assert history == expected_history[at:]
