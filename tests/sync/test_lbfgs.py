"""L-BFGS on ranks: shards of the history, the objective, stopping, and going on from a snapshot."""

import shutil

import numpy as np
import pytest

from caffeonspark.settings import Settings
from caffeonspark.sync.lbfgs import LBFGS
from tests.support import stock
from tests.support.whole_ranks import inputs_of, on_whole_ranks, shares_of
from tests.sync.test_full_batch import SMOOTH, UNEVEN, apart, columns  # noqa: F401

SOLVER = 'type: "LBFGS" weight_decay: 0.01 random_seed: 3'
XOR = """
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 5 weight_filler { type: "uniform" min: -1.2 max: 1.2 }
                        bias_filler { type: "uniform" min: -1.2 max: 1.2 } } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 2 weight_filler { type: "uniform" min: -0.48 max: 0.48 }
                        bias_filler { type: "uniform" min: -0.48 max: 0.48 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
XOR_ROWS = {
    "data": np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32),
    "label": np.array([0, 1, 1, 0], np.float32),
}


def objective(columns, weights, decay=0.01):  # noqa: F811
    """Of a stock net over all records, with Caffe's L2 term: value and gradient, float64."""
    net = stock.make_solver('base_lr: 0 lr_policy: "fixed"', inputs_of(columns, len(columns["label"])) + SMOOTH).net
    for blob, array in zip(stock.parameters(net), weights):
        blob.data[...] = array
    stock.load(net, (columns["data"], columns["label"]))
    net.clear_param_diffs()
    value = float(net.forward()["loss"])
    net.backward()
    gradients = [blob.diff.astype(np.float64) for blob in stock.parameters(net)]
    for array, gradient, multiplier in zip(weights, gradients, (1, 1, 1, 0)):  # ip2's bias has decay_mult: 0
        value += 0.5 * decay * multiplier * float((array.astype(np.float64) ** 2).sum())
        gradient += decay * multiplier * array
    return value, gradients


@pytest.mark.parametrize("counts", [[4], [3, 1], [4, 0]])
@pytest.mark.parametrize("seed", range(10))
def test_xor_is_solved(tmp_path, seed, counts):
    solver = f'type: "LBFGS" random_seed: {seed}'

    def work(rank):
        rank.train(100)
        rank.strategy.iterate(rank.load)
        return rank.weights()

    found = on_whole_ranks(tmp_path, shares_of(XOR_ROWS, counts), work, solver=solver, layers=XOR, batch=2)
    (w1, b1, w2, b2) = (array.astype(np.float64) for array in found[0])
    hidden = 1 / (1 + np.exp(-(XOR_ROWS["data"] @ w1.T + b1)))
    scores = hidden @ w2.T + b2
    np.testing.assert_array_equal(scores.argmax(axis=1), XOR_ROWS["label"])
    for weights in found[1:]:
        for mine, theirs in zip(weights, found[0]):
            np.testing.assert_array_equal(mine, theirs)


def test_value_and_gradient_are_the_objectives(tmp_path, columns):  # noqa: F811
    def work(rank):
        rank.train(3)
        here = rank.strategy._here
        return rank.weights(), here.value, here.gradient, here.loss

    found = on_whole_ranks(tmp_path, shares_of(columns, UNEVEN), work, solver=SOLVER, layers=SMOOTH, batch=32)
    value, gradients = objective(columns, found[0][0])
    assert found[0][1] == pytest.approx(value, rel=1e-6)
    assert found[0][3] < value
    whole = np.concatenate([part for _, _, part, _ in found])
    assert apart([whole], [np.concatenate([one.reshape(-1) for one in gradients])]) < 1e-6


@pytest.mark.parametrize("counts", [[240], UNEVEN, [120, 0, 60, 60]])
def test_it_falls_as_scipys_does(tmp_path, columns, counts):  # noqa: F811
    optimize = pytest.importorskip("scipy.optimize")

    def work(rank):
        start = rank.weights()
        rank.train(30)
        return start, rank.weights(), rank.history, rank.passes

    found = on_whole_ranks(tmp_path, shares_of(columns, counts), work, solver=SOLVER, layers=SMOOTH, batch=32)
    start, weights, history, passes = found[0]
    ends = np.cumsum([array.size for array in start])[:-1]

    def function(flat):
        arrays = [part.reshape(array.shape) for part, array in zip(np.split(flat, ends), start)]
        value, gradients = objective(columns, arrays)
        return value, np.concatenate([gradient.reshape(-1) for gradient in gradients])

    begin = np.concatenate([array.reshape(-1) for array in start]).astype(np.float64)
    theirs = optimize.minimize(function, begin, jac=True, method="L-BFGS-B", options={"maxiter": 30, "ftol": 0})
    first, last = objective(columns, start)[0], objective(columns, weights)[0]
    assert last < 0.5 * first
    assert last <= 1.02 * theirs.fun
    assert sum(passes) <= 1.3 * theirs.nfev
    losses = [loss for _, loss, _ in history]
    assert [at for at, _, _ in history] == list(range(30))
    assert losses[0] == pytest.approx(objective(columns, start, decay=0)[0], rel=1e-6)
    assert all(step > 0 for _, _, step in history)
    for _, other, records, _ in found[1:]:
        assert records == history
        for mine, first_ranks in zip(other, weights):
            np.testing.assert_array_equal(mine, first_ranks)


def test_what_does_not_learn_stays(tmp_path, columns):  # noqa: F811
    frozen = SMOOTH.replace("param { lr_mult: 1 } param { lr_mult: 2 }", "param { lr_mult: 0 } param { lr_mult: 0 }", 1)

    def work(rank):
        start = rank.weights()
        rank.train(5)
        return start, rank.weights(), rank.strategy._mine.size

    found = on_whole_ranks(tmp_path, shares_of(columns, UNEVEN), work, solver=SOLVER, layers=frozen, batch=32)
    for start, weights, _ in found:
        for number in (0, 1):
            np.testing.assert_array_equal(start[number], weights[number])
        assert (start[2] != weights[2]).any()
    assert sum(size for _, _, size in found) == sum(array.size for array in found[0][0][2:])


def held(strategy):
    """Bytes of a rank's curvature pairs."""
    return sum(vector.nbytes for vector in (*strategy._pairs.steps, *strategy._pairs.changes))


def test_a_ranks_history_at_four_ranks_is_a_quarter(tmp_path, columns):  # noqa: F811
    def work(rank):
        rank.train(14)
        return held(rank.strategy)

    one, *_ = on_whole_ranks(tmp_path / "1", [columns], work, solver=SOLVER, layers=SMOOTH, batch=240)
    four = on_whole_ranks(tmp_path / "4", shares_of(columns, [60] * 4), work, solver=SOLVER, layers=SMOOTH, batch=60)
    numbers = sum(array.size for array in objective_shapes(columns))
    assert one == 2 * 10 * 8 * numbers
    assert max(four) <= 2 * 10 * 8 * -(-numbers // 4)

    class Plan:
        parameters = numbers

    assert LBFGS.memory(Plan, Settings(), 4) == LBFGS.memory(Plan, Settings(), 1) / 4
    assert one <= 1e6 * LBFGS.memory(Plan, Settings(), 1) <= 1.5 * one


def objective_shapes(columns):  # noqa: F811
    net = stock.make_solver('base_lr: 0 lr_policy: "fixed"', inputs_of(columns, 1) + SMOOTH).net
    return stock.weights(net)


def test_it_ends_at_the_tolerance(tmp_path, columns):  # noqa: F811
    def work(rank):
        rank.train(1000)
        return rank.ended, rank.trainer.iteration, rank.history, rank.weights()

    found = on_whole_ranks(tmp_path, shares_of(columns, UNEVEN), work, solver=SOLVER, layers=SMOOTH, batch=32, tol=1e-3)
    ended, iterations, history, weights = found[0]
    assert ended == "tol"
    assert 20 < iterations < 500
    # the last entry is of the weights it ended with
    assert history[-1][:2] == (iterations, pytest.approx(objective(columns, weights, decay=0)[0], rel=1e-6))
    assert [at for at, _, _ in history] == list(range(iterations + 1))


def test_nothing_falls_any_more(tmp_path, columns):  # noqa: F811
    """With no tolerance it goes on until rounding is all there is, and says so."""

    def work(rank):
        rank.train(3000)
        return rank.ended, rank.weights()

    (found,) = on_whole_ranks(
        tmp_path, [columns], work, solver=SOLVER.replace("0.01", "0.1"), layers=SMOOTH, batch=240, tol=0
    )
    ended, weights = found
    assert ended in ("line search", "tol")
    _, gradients = objective(columns, weights, decay=0.1)
    assert max(np.abs(gradient).max() for gradient in gradients) < 1e-3


@pytest.mark.parametrize("at", [1, 4, 13])
def test_ranks_go_on_from_their_parts_to_the_bit(tmp_path, columns, at):  # noqa: F811
    shares = shares_of(columns, UNEVEN)

    def whole(rank):
        rank.train(at)
        parts = {}
        for ending, path in rank.strategy.parts().items():
            parts[ending] = str(shutil.move(path, tmp_path / f"part{rank.rank}{ending}"))
        if rank.rank == 0:
            for path, name in zip(rank.trainer.snapshot(), ("s.caffemodel", "s.solverstate")):
                shutil.move(path, tmp_path / name)
        rank.train(25)
        return rank.weights(), rank.history, parts, rank.passes

    expected = on_whole_ranks(tmp_path, shares, whole, solver=SOLVER, layers=SMOOTH, batch=32)

    def rest(rank, parts):
        files = [
            str(shutil.copy(tmp_path / name, tmp_path / f"{rank.rank}{name}"))
            for name in ("s.caffemodel", "s.solverstate")
        ]
        rank.strategy.start([files[0]], files[1], parts)
        assert rank.trainer.iteration == at
        rank.train(25)
        return rank.weights(), rank.history, rank.passes

    found = on_whole_ranks(
        tmp_path, shares, lambda rank: rest(rank, expected[rank.rank][2]), solver=SOLVER, layers=SMOOTH, batch=32
    )
    for (weights, history, passes), (their_weights, their_history, _, their_passes) in zip(found, expected):
        for mine, theirs in zip(weights, their_weights):
            np.testing.assert_array_equal(mine, theirs)
        assert history == their_history[at:]
        assert passes == their_passes[at:]

    def without(rank):
        return rest(rank, None)

    (_, history, passes), *_ = on_whole_ranks(tmp_path, shares, without, solver=SOLVER, layers=SMOOTH, batch=32)
    assert history[0][1] == expected[0][1][at][1]  # the same place, of which no more is known
    assert passes[0] >= 2


def test_a_loss_that_is_no_number_is_told(tmp_path, columns):  # noqa: F811
    broken = {**columns, "data": np.full_like(columns["data"], np.nan)}

    def work(rank):
        return rank.strategy.iterate(rank.load)

    (progress,) = on_whole_ranks(tmp_path, [broken], work, solver=SOLVER, layers=SMOOTH, batch=240)
    assert np.isnan(progress.history[0][1])
