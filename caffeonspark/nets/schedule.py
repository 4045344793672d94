"""The learning rate by the solver's ``lr_policy``."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

__all__ = ["learning_rate"]


def learning_rate(solver: Any, iteration: int) -> float:
    """The learning rate of an iteration (Caffe's ``GetLearningRate``, src/caffe/solvers/sgd_solver.cpp).

    Parameters
    ----------
    solver : SolverParameter
    iteration : int, from 0
    """
    policy, base, gamma, power = solver.lr_policy, float(solver.base_lr), float(solver.gamma), float(solver.power)
    if policy == "step":
        return float(base * gamma ** (iteration // solver.stepsize))
    if policy == "exp":
        return float(base * gamma**iteration)
    if policy == "inv":
        return float(base * (1.0 + gamma * iteration) ** -power)
    if policy == "multistep":
        return float(base * gamma ** _steps_passed(solver.stepvalue, iteration))
    if policy == "poly":
        return float(base * (1.0 - iteration / float(solver.max_iter)) ** power)
    if policy == "sigmoid":
        return base / (1.0 + float(np.exp(-gamma * (iteration - solver.stepsize))))
    return base


def _steps_passed(values: Sequence[int], iteration: int) -> int:
    """How many steps Caffe has taken, which takes at most one an iteration, in the order in which they stand."""
    passed, at = 0, -1
    for value in values:
        at = max(int(value), at + 1)
        if at > iteration:
            break
        passed += 1
    return passed
