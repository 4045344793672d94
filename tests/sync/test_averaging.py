"""Solvers of their own that meet now and then: against plain pycaffe, replayed in one process."""

import pathlib
import shutil

import numpy as np
import pytest

from tests.support import replays, stock
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

HOW = {
    "average": {"sync": "average"},
    "averageHistory": {"sync": "average", "averageHistory": True},
    "elastic": {"sync": "elastic"},
    "elasticAlpha": {"sync": "elastic", "elasticAlpha": 0.05},
}


def assert_same(first, second):
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("interval", [1, 7, 10, 50])
@pytest.mark.parametrize("rule", RULES)
def test_one_rank_is_bit_equal_to_plain_step(tmp_path, small_images, rule, interval, history):
    settings = f"{RULES[rule]} {EVERYTHING} random_seed: 3"

    def work(rank):
        rank.train(60)
        return rank.model()

    flags = {"sync": "average", "syncInterval": interval, "averageHistory": history}
    (found,) = on_ranks(tmp_path, *small_images, 1, work, solver=settings, **flags)
    solver = stock.make_solver(settings, stock.input_net(10))
    feed = stock.batches(*small_images, 1, 0, 10)
    solver.net.before_forward(lambda layer: stock.load(solver.net, next(feed)) if layer == 0 else None)
    solver.step(60)
    assert_same(found, stock.weights(solver.net))


@pytest.mark.parametrize("how", ["average", "averageHistory", "elastic", "elasticAlpha"])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(("ranks", "interval", "iterations"), [(1, 10, 24), (2, 10, 50), (2, 10, 37), (3, 7, 30)])
def test_bit_equal_to_a_replay_in_one_process(tmp_path, small_images, how, layers, ranks, interval, iterations):
    """Weights, BatchNorm's statistics among them, and the loss of every iteration."""

    def work(rank):
        rank.train(iterations)
        return rank.model(), rank.history, rank.weights(), rank.rank_losses

    flags = {"solver": SGD, "layers": LAYERS[layers], "syncInterval": interval, **HOW[how]}
    found = on_ranks(tmp_path, *small_images, ranks, work, **flags)
    setting = (SGD, *small_images, ranks, interval, iterations)
    if how.startswith("average"):
        replay, model = replays.averaging(*setting, layers=LAYERS[layers], history=how == "averageHistory")
    else:
        alpha = 0.9 / ranks if how == "elastic" else HOW[how]["elasticAlpha"]
        replay, model = replays.elastic(*setting, alpha, layers=LAYERS[layers])
    for rank, (mine, history, own, rank_losses) in enumerate(found):
        assert_same(mine, model)
        assert_same(own, stock.weights(replay.solvers[rank].net))
        assert [at for at, _, _ in history] == list(range(iterations))
        assert [loss for _, loss, _ in history] == replay.losses
        assert history == found[0][1]
        assert list(rank_losses) == list(replay.rank_losses)
        for at, losses in rank_losses.items():
            assert losses == pytest.approx(replay.rank_losses[at], rel=1e-6)
        assert [rate for _, _, rate in history] == pytest.approx([0.05 * 0.5 ** (at // 8) for at in range(iterations)])


@pytest.mark.parametrize(
    "rule",
    [
        'type: "SGD" base_lr: 0.01',
        'type: "SGD" base_lr: 0.01 momentum: 0.9',
        'type: "Nesterov" base_lr: 0.01 momentum: 0.9',
    ],
)
@pytest.mark.parametrize("history", [False, True])
def test_averaging_every_iteration_is_close_to_all_reduce(tmp_path, small_images, rule, history):
    """These rules are linear in the gradient, where nothing is clipped. What is left is rounding: of weights that are
    averaged, in a net in which it decides nothing (with ReLU or maxima it does now and then)."""
    settings = f'{rule} weight_decay: 0.002 lr_policy: "step" gamma: 0.5 stepsize: 20 random_seed: 5'

    def work(rank):
        rank.train(50)
        return rank.model(), [loss for _, loss, _ in rank.history]

    net = {"solver": settings, "layers": SMOOTH}
    averaged, _ = on_ranks(
        tmp_path, *small_images, 2, work, **net, sync="average", syncInterval=1, averageHistory=history
    )
    reduced, _ = on_ranks(tmp_path, *small_images, 2, work, **net)
    for mine, theirs in zip(averaged[0], reduced[0]):
        assert np.abs(mine - theirs).max() <= 1e-6 * np.abs(theirs).max()
    np.testing.assert_allclose(averaged[1], reduced[1], rtol=1e-4)


@pytest.mark.parametrize("how", HOW)
def test_looking_at_the_model_changes_nothing(tmp_path, small_images, how):
    def plain(rank):
        rank.train(37)
        return rank.model(), rank.weights(), rank.history

    def looking(rank):
        for until in (0, 3, 10, 13, 14, 26, 37):
            rank.train(until)
            own = rank.weights()
            model = rank.model()
            assert_same(own, rank.weights())
            apart = until if how.startswith("elastic") else until % 10
            assert not apart or any((a != b).any() for a, b in zip(own, model))
        return rank.model(), rank.weights(), rank.history

    flags = {"solver": SGD, "layers": BATCH_NORM, **HOW[how]}
    expected = on_ranks(tmp_path, *small_images, 2, plain, **flags)
    found = on_ranks(tmp_path, *small_images, 2, looking, **flags)
    for (model, own, history), (expected_model, expected_own, expected_history) in zip(found, expected):
        assert_same(model, expected_model)
        assert_same(own, expected_own)
        assert history == expected_history
    assert_same(found[0][0], found[1][0])


@pytest.mark.parametrize("how", ["average", "elastic"])
def test_a_request_to_stop_is_heard_at_the_next_averaging(tmp_path, small_images, how):
    def work(rank):
        rank.train(13)
        rank.stopping = rank.rank == 1
        rank.train(25)
        return rank.stopped

    assert on_ranks(tmp_path, *small_images, 2, work, solver=SGD, **HOW[how]) == [[20], [20]]


@pytest.mark.parametrize("how", ["average", "averageHistory", "elastic"])
@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("at", [13, 20])
@pytest.mark.parametrize("rule", RULES)
def test_ranks_go_on_from_their_parts(tmp_path, small_images, rule, at, hdf5, how):
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

    expected = on_ranks(tmp_path, *small_images, 2, whole, solver=settings, **HOW[how])
    weights = [f".caffemodel{ending}"] * (at == 13 or how == "elastic")
    state = [f".solverstate{ending}"] * (at == 13 or how != "averageHistory")
    assert [sorted(parts) for *_, parts in expected] == [weights, [*weights, *state]]

    def rest(rank):
        files = [
            copy(tmp_path / f"snapshot{e}{ending}", f"of{rank.rank}{e}{ending}")
            for e in (".caffemodel", ".solverstate")
        ]
        parts = {e: str(path) for e, path in expected[rank.rank][3].items()}
        rank.strategy.start([str(files[0])], str(files[1]), parts)
        rank.train(37)
        return rank.model(), rank.weights(), rank.history

    found = on_ranks(tmp_path, *small_images, 2, rest, solver=settings, used=2 * at, **HOW[how])
    for (model, weights, history), (expected_model, expected_weights, expected_history, _) in zip(found, expected):
        assert_same(model, expected_model)
        assert_same(weights, expected_weights)
        assert history == expected_history[at:]
