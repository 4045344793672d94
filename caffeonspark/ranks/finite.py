"""Whether a rank's weights are numbers: those it starts from, and those that are saved."""

from __future__ import annotations

from typing import List, Sequence

import numpy as np

from ..errors import DataError, LossNotFinite
from ..plans.net_plan import NetPlan

__all__ = ["FiniteWeights"]

_MOST_NAMES = 3  # in a line


class FiniteWeights:
    """What a net's parameters hold that is no number.

    The loss of the last iteration is that of the weights before it: what its update made of them nobody has seen.
    Parameters that began with what is no number may keep it: a net may never use them.

    Parameters
    ----------
    plan : of the net
    weights : every parameter where training starts
    """

    def __init__(self, plan: NetPlan, weights: Sequence[np.ndarray]) -> None:
        self._names = _names(plan, len(weights))
        self._at_first = [number for number, blob in enumerate(weights) if not np.isfinite(blob).all()]

    def check(self, weights: Sequence[np.ndarray], iteration: int, what_to_do: str) -> None:
        """Raise LossNotFinite where training made something of ``weights`` that is no number."""
        for number, blob in enumerate(weights):
            if number not in self._at_first and not np.isfinite(blob).all():
                raise LossNotFinite(
                    f"the weights became {_first(blob)} by iteration {iteration} ({self._names[number]}), and are not "
                    f"saved: {what_to_do}"
                )

    def check_first_loss(self, loss: float, iteration: int, resumed: bool) -> None:
        """Raise what the first iteration's loss is no number for, where that is not what updates made of the weights.

        Parameters
        ----------
        loss : which is no number
        iteration : the first one
        resumed : whether updates were made before it, by the run that took a snapshot

        Raises
        ------
        DataError
            Where the weights that it started from hold what is no number.
        LossNotFinite
            Where nothing was learned before.
        """
        if self._at_first:
            named = ", ".join(self._names[number] for number in self._at_first[:_MOST_NAMES])
            more = len(self._at_first) - _MOST_NAMES
            raise DataError(
                f"the loss is {loss} at iteration {iteration}, because what training starts from holds what is no "
                f"number ({named}{f' and {more} more' if more > 0 else ''}): start from another model, or snapshot"
            )
        if not resumed:
            raise LossNotFinite(
                f"the loss is {loss} at iteration {iteration}, before any update: look for data that is too large "
                "(transform_param's scale), for fillers and weights that are, and for layers that have no value for "
                "what they get (Log, Power, a division)"
            )


def _first(blob: np.ndarray) -> float:
    """The first value that is no number."""
    return float(blob[~np.isfinite(blob)].flat[0])


def _names(plan: NetPlan, count: int) -> List[str]:
    """What to call each of the net's ``count`` parameters."""
    names = [f"parameter {k} of layer '{layer.name}'" for layer in plan.weights for k in range(len(layer.shapes))]
    shared = any(any(layer.shared) for layer in plan.weights)
    return names if len(names) == count and not shared else [f"parameter {k} of the net" for k in range(count)]
