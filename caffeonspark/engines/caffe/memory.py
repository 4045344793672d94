"""How much memory Caffe takes for a net, in MB: on the safe side of what was measured (docs/yarn.md)."""

from __future__ import annotations

import math
from typing import Sequence

from ...plans.net_plan import NetPlan

__all__ = ["inference", "inspection", "training"]

# Copies of the parameters that a solver type keeps, with values, gradients, and what a snapshot takes for a moment.
_COPIES = {"SGD": 5, "Nesterov": 6, "AdaGrad": 6, "RMSProp": 6, "AdaDelta": 8, "Adam": 7}


def training(solver_type: str, train: NetPlan, tests: Sequence[NetPlan]) -> float:
    """A solver, its net with gradients, and its test nets, which share the parameters."""
    blobs = 2 * _blobs(train) + sum(_blobs(net) for net in tests)
    return blobs + _COPIES.get(solver_type, 8) * _parameters(train)


def inference(net: NetPlan) -> float:
    """A TEST net and the model's file."""
    return _blobs(net) + 3 * _parameters(net)


def inspection(net: NetPlan) -> float:
    """A net that is built and not used."""
    return _blobs(net) + _parameters(net)


def _blobs(net: NetPlan) -> float:
    return 4e-6 * sum(math.prod(shape) for shape in net.shapes.values())


def _parameters(net: NetPlan) -> float:
    return 4e-6 * net.parameters
