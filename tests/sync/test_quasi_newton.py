"""L-BFGS's arithmetic and its line search on functions that are known, and against SciPy."""

import math

import numpy as np
import pytest

from caffeonspark.sync.line_search import MOST_EVALUATIONS, strong_wolfe
from caffeonspark.sync.quasi_newton import WINDOW, CurvaturePairs, has_converged
from caffeonspark.sync.shards import Shard


def dot(one, other):
    return float(one @ other)


def rosenbrock(x):
    value = sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    gradient = np.zeros_like(x)
    gradient[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    gradient[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return value, gradient


def minimize(function, start, iterations, history=10):
    """The point, the value after each iteration, and how often the function was evaluated."""
    x, (value, gradient) = start, function(start)
    pairs, values, evaluations = CurvaturePairs(history, dot), [], 1
    for _ in range(iterations):
        if np.linalg.norm(gradient) < 1e-8:
            break
        direction = pairs.direction(gradient)
        slope = dot(gradient, direction)

        def along(step, x=x, direction=direction):
            nonlocal evaluations
            evaluations += 1
            value, gradient = function(x + step * direction)
            return value, dot(gradient, direction)

        first = 1.0 if len(pairs) else 1 / math.sqrt(dot(gradient, gradient))
        step = strong_wolfe(along, value, slope, first)
        if step is None:
            break
        new = x + step * direction
        new_value, new_gradient = function(new)
        assert new_value <= value + 1e-4 * step * slope
        pairs.add(new - x, new_gradient - gradient)
        x, value, gradient = new, new_value, new_gradient
        values.append(value)
    return x, values, evaluations


@pytest.mark.parametrize("size", [2, 10, 100])
def test_rosenbrock_is_solved(size):
    start = np.tile([-1.2, 1.0], size // 2)
    x, values, evaluations = minimize(rosenbrock, start, 60 if size == 2 else 800)
    if size < 100:  # a longer one may come to its other minimum
        np.testing.assert_allclose(x, 1, atol=1e-6)
    assert values[-1] < 1e-12 or np.linalg.norm(rosenbrock(x)[1]) < 1e-6
    assert evaluations < 1.5 * len(values) + 20


def test_as_good_as_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    start = np.tile([-1.2, 1.0], 5)
    found = optimize.minimize(rosenbrock, start, jac=True, method="L-BFGS-B", options={"maxcor": 10, "maxiter": 40})
    _, values, evaluations = minimize(rosenbrock, start, 40)
    assert values[-1] <= 1.1 * found.fun
    assert evaluations <= 1.3 * found.nfev


def test_the_direction_is_the_inverse_hessians():
    """On a quadratic with as many pairs as dimensions it is Newton's, as BFGS' matrix says."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6))
    hessian = root @ root.T + np.eye(6)
    pairs, inverse = CurvaturePairs(6, dot), None
    for step in rng.normal(size=(6, 6)):
        change = hessian @ step
        pairs.add(step, change)
    product = [dot(s, y) for s, y in zip(pairs.steps, pairs.changes)]
    inverse = np.eye(6) * product[-1] / dot(pairs.changes[-1], pairs.changes[-1])
    for step, change, rho in zip(pairs.steps, pairs.changes, product):  # equation 6.17
        left = np.eye(6) - np.outer(step, change) / rho
        inverse = left @ inverse @ left.T + np.outer(step, step) / rho
    gradient = rng.normal(size=6)
    np.testing.assert_allclose(pairs.direction(gradient), -inverse @ gradient, rtol=1e-10)


def test_the_oldest_pairs_are_forgotten_and_those_without_curvature_left_out():
    pairs = CurvaturePairs(2, dot)
    for number in range(1, 4):
        pairs.add(np.array([float(number)]), np.array([2.0]))
    pairs.add(np.array([1.0]), np.array([-1.0]))
    pairs.add(np.array([0.0]), np.array([0.0]))
    assert [float(step[0]) for step in pairs.steps] == [2, 3]
    pairs.clear()
    np.testing.assert_array_equal(pairs.direction(np.array([3.0])), [-3.0])


CASES = {
    "a quadratic": lambda a: ((a - 3) ** 2, 2 * (a - 3)),
    "far away": lambda a: ((a - 3e5) ** 2, 2 * (a - 3e5)),
    "steep": lambda a: ((a - 0.1) ** 20, 20 * (a - 0.1) ** 19),
    "More and Thuente's first": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
    "infinite beyond 1": lambda a: (a * a - a, 2 * a - 1) if a < 1 else (math.inf, math.nan),
    "no number beyond 1": lambda a: (a * a - a, 2 * a - 1) if a < 1 else (math.inf, math.nan),
}


@pytest.mark.parametrize("first", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("name", CASES)
def test_the_step_keeps_the_strong_wolfe_conditions(name, first):
    tried = []

    def evaluate(step):
        tried.append(step)
        return CASES[name](step)

    value, slope = CASES[name](0.0)
    step = strong_wolfe(evaluate, value, slope, first)
    assert len(tried) <= MOST_EVALUATIONS
    assert step == tried[-1]
    new, left = CASES[name](step)
    assert new <= value + 1e-4 * step * slope
    assert abs(left) <= 0.9 * abs(slope)


def test_no_step_where_nothing_falls():
    assert strong_wolfe(lambda step: (1 + step, 1.0), 1.0, -1.0, 1.0) is None  # what it is told of the slope is wrong


def test_the_best_step_where_the_slope_is_never_flat():
    """Like a valley that rounding has filled with noise: it falls, and then only says that it does."""
    step = strong_wolfe(lambda step: (-step if step < 2 else math.inf, -1.0), 0.0, -1.0, 1.0)
    assert 1 < step < 2


def test_when_to_stop():
    falling = [1.0 - 0.1 * number for number in range(9)]
    assert not has_converged(2.0, falling, 1.0, 1e-6)
    still = [0.5] * (WINDOW - 1)
    assert not has_converged(2.0, still, 1.0, 1e-6)
    assert has_converged(2.0, [0.5 + 1.9e-6, *still], 1.0, 1e-6)
    assert not has_converged(2.0, [0.5 + 2.1e-6, *still], 1.0, 1e-6)
    assert has_converged(2.0, [*falling, 0.5 + 1.9e-6, *still], 1.0, 1e-6)
    assert has_converged(2.0, [], 1.9e-6, 1e-6)
    assert has_converged(0.0, [], 1e-8, 0)
    assert not has_converged(2.0, [], 2.1e-6, 1e-6)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_shards_are_all_numbers_once(ranks):
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(6, 7, dtype=np.float32)]
    arrays += [np.zeros(0, np.float32), np.arange(7, 11, dtype=np.float32)]
    shards = [Shard([array.size for array in arrays], rank, ranks) for rank in range(ranks)]
    assert max(shard.size for shard in shards) <= -(-11 // ranks)
    found = np.concatenate([shard.read(arrays) for shard in shards])
    np.testing.assert_array_equal(found, np.arange(11))
    assert found.dtype == np.float64
    for shard in shards:
        shard.write(arrays, 2 * shard.read(arrays))
    np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in arrays]), 2 * np.arange(11))
