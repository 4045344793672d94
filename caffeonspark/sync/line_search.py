"""A line search for the strong Wolfe conditions: Nocedal & Wright, Numerical Optimization, algorithms 3.5 and 3.6.

It knows no ranks and no net: a function of one number, of which each evaluation is expensive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Optional, Tuple

__all__ = ["MOST_EVALUATIONS", "strong_wolfe"]

MOST_EVALUATIONS = 20
_DECREASE = 1e-4  # c1: how much of the decrease that the slope promises there has to be
_CURVATURE = 0.9  # c2: how much of the slope may be left
_NEAREST = 0.1  # to an end of the interval, as a share of it

#: (value, slope) of the function at a step length; a value that is no number is infinite.
Evaluate = Callable[[float], Tuple[float, float]]


@dataclass(frozen=True)
class _Trial:
    step: float
    value: float
    slope: float


def strong_wolfe(evaluate: Evaluate, value: float, slope: float, first: float) -> Optional[float]:
    """A step length with f(a) <= f(0) + c1 a f'(0) and |f'(a)| <= c2 |f'(0)|, c1 = 1e-4, c2 = 0.9.

    Parameters
    ----------
    evaluate : the function
    value, slope : f(0) and f'(0), which is negative
    first : the length to try first

    Returns
    -------
    float or None
        Where ``MOST_EVALUATIONS`` do not find one, the lowest that keeps the first condition; None where none does.
    """
    return _Search(evaluate, _Trial(0.0, value, slope)).run(first)


class _Search:
    def __init__(self, evaluate: Evaluate, start: _Trial) -> None:
        self._evaluate = evaluate
        self._start = start
        self._left = MOST_EVALUATIONS
        self._best: Optional[_Trial] = None

    def run(self, first: float) -> Optional[float]:
        """Algorithm 3.5: longer steps, until an interval holds a good one."""
        before, step = self._start, first
        while self._left:
            trial = self._try(step)
            if not self._decreases(trial) or (before.step and trial.value >= before.value):
                return self._zoom(before, trial)
            if self._is_flat(trial):
                return trial.step
            if trial.slope >= 0:
                return self._zoom(trial, before)
            wanted = _cubic_minimum(before, trial)
            before, step = trial, min(max(wanted, 2 * step), 10 * step) if wanted > step else 10 * step
        return self._best_step()

    def _zoom(self, low: _Trial, high: _Trial) -> Optional[float]:
        """Algorithm 3.6: shorter intervals. ``low`` is the lowest that decreases; its slope points to ``high``."""
        while self._left:
            trial = self._try(_inside(low, high))
            if not self._decreases(trial) or trial.value >= low.value:
                high = trial
                continue
            if self._is_flat(trial):
                return trial.step
            if trial.slope * (high.step - low.step) >= 0:
                high = low
            low = trial
        return self._best_step()

    def _try(self, step: float) -> _Trial:
        self._left -= 1
        trial = _Trial(step, *self._evaluate(step))
        if self._decreases(trial) and (self._best is None or trial.value < self._best.value):
            self._best = trial
        return trial

    def _decreases(self, trial: _Trial) -> bool:
        enough = trial.value <= self._start.value + _DECREASE * trial.step * self._start.slope
        return enough and trial.value < self._start.value  # a step so short that rounding hides its decrease is none

    def _is_flat(self, trial: _Trial) -> bool:
        return abs(trial.slope) <= -_CURVATURE * self._start.slope

    def _best_step(self) -> Optional[float]:
        return None if self._best is None else self._best.step


def _inside(low: _Trial, high: _Trial) -> float:
    """Where to try next between two: the cubic's minimum, or the middle if that is close to an end."""
    wanted = _cubic_minimum(low, high)
    nearest = _NEAREST * abs(high.step - low.step)
    first, last = sorted((low.step, high.step))
    return wanted if first + nearest <= wanted <= last - nearest else (low.step + high.step) / 2


def _cubic_minimum(one: _Trial, other: _Trial) -> float:
    """Of the cubic with these values and slopes, equation 3.59; NaN where it has none, or they are not finite."""
    if not all(map(math.isfinite, (one.value, one.slope, other.value, other.slope))):
        return math.nan
    d1 = one.slope + other.slope - 3 * (one.value - other.value) / (one.step - other.step)
    inside = d1 * d1 - one.slope * other.slope
    if inside < 0:
        return math.nan
    d2 = math.copysign(math.sqrt(inside), other.step - one.step)
    below = other.slope - one.slope + 2 * d2
    return other.step - (other.step - one.step) * (other.slope + d2 - d1) / below if below else math.nan
