"""The arithmetic of L-BFGS on vectors of which a rank may hold a part: Nocedal & Wright, algorithm 7.4.

It knows no ranks: what ranks have to add up is behind the dot product that callers give.
"""

from __future__ import annotations

import math
from typing import Callable, List, Sequence

import numpy as np

__all__ = ["WINDOW", "CurvaturePairs", "has_converged"]

#: Over how many iterations the objective has to have changed by no more than the tolerance.
WINDOW = 20

Dot = Callable[[np.ndarray, np.ndarray], float]

_LEAST_CURVATURE = float(np.finfo(np.float64).eps)
_LEAST_GRADIENT = 1e-8


class CurvaturePairs:
    """The newest steps and what the gradient changed by in each: what is known of the objective's curvature.

    Parameters
    ----------
    most : how many are kept
    dot : of two whole vectors

    Attributes
    ----------
    steps, changes : float64 vectors, the oldest first
    """

    def __init__(self, most: int, dot: Dot) -> None:
        self._most = most
        self._dot = dot
        self.steps: List[np.ndarray] = []
        self.changes: List[np.ndarray] = []
        self._products: List[float] = []  # of step and change
        self._scale = 1.0  # of the first guess of the inverse Hessian, a multiple of the identity

    def __len__(self) -> int:
        return len(self.steps)

    def clear(self) -> None:
        """Forget all: the direction is the steepest descent."""
        self.steps, self.changes, self._products, self._scale = [], [], [], 1.0

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Take note of a pair, and forget the oldest. One without positive curvature is left out, which only rounding
        makes after a step that keeps the Wolfe conditions."""
        product, square = self._dot(step, change), self._dot(change, change)
        if not product > _LEAST_CURVATURE * square:
            return
        self._scale = product / square
        for kept, new in ((self.steps, step), (self.changes, change)):
            kept.append(new)
            del kept[: -self._most]
        self._products.append(product)
        del self._products[: -self._most]

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian's approximation times the gradient: the two-loop recursion."""
        result = gradient.copy()
        factors = []
        for step, change, product in reversed(list(zip(self.steps, self.changes, self._products))):
            factors.append(self._dot(step, result) / product)
            result -= factors[-1] * change
        result *= self._scale
        for step, change, product in zip(self.steps, self.changes, self._products):
            result += (factors.pop() - self._dot(change, result) / product) * step
        np.negative(result, out=result)
        return result


def has_converged(first: float, recent: Sequence[float], gradient: float, tolerance: float) -> bool:
    """Whether to stop, by the rule of Breeze's optimizers, which Spark's MLP uses.

    Parameters
    ----------
    first : the objective before the first iteration
    recent : after each of the newest ``WINDOW`` iterations, or of as many as there were
    gradient : the norm of the newest
    tolerance : relative; 0 or more
    """
    newest = recent[-1] if recent else first
    if gradient <= max(tolerance * newest, _LEAST_GRADIENT):
        return True
    full = len(recent) >= WINDOW and math.isfinite(newest)
    return full and max(recent[-WINDOW:]) - newest <= tolerance * abs(first)
