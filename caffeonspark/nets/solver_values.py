"""Values of a solver that Caffe refuses, or takes without learning what was meant, in words that say what to do."""

from __future__ import annotations

import math
from typing import Any, List

from ..errors import suggest
from .prototxt import LBFGS

__all__ = ["solver_mistake", "solver_notes"]

_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")
_NO_MOMENTUM = ("AdaGrad", "RMSProp")


def solver_mistake(solver: Any) -> str:
    """Why stock Caffe refuses a SolverParameter, as far as its own values tell; "" where none of them does.

    It explains a refusal and is none: a fork of Caffe may have policies and types of its own.
    """
    policy, kind = solver.lr_policy, solver.type
    if not policy:
        return f"lr_policy is missing: set it to one of {', '.join(_POLICIES)}"
    if policy not in _POLICIES:
        return f"unknown lr_policy '{policy}'. {suggest(policy, _POLICIES)}"
    if policy in ("step", "sigmoid") and solver.stepsize < 1:
        found = f"is {solver.stepsize}" if solver.HasField("stepsize") else "is missing"
        return f'stepsize {found}: lr_policy: "{policy}" needs one of at least 1, in iterations'
    if policy not in ("fixed", "poly") and solver.gamma < 0:
        return f"gamma is {solver.gamma:g}: it has to be 0 or more"
    if kind in _NO_MOMENTUM and solver.momentum:
        return f'momentum does not go with type: "{kind}": take it away, or take another type'
    if kind == "RMSProp" and not 0 <= solver.rms_decay < 1:
        return f"rms_decay is {solver.rms_decay:g}: it has to be from 0 to below 1"
    if solver.weight_decay and solver.regularization_type not in ("L1", "L2"):
        return f"regularization_type is '{solver.regularization_type}': set it to L1 or L2"
    if solver.average_loss < 1:
        return f"average_loss is {solver.average_loss}: it has to be at least 1"
    return ""


def solver_notes(solver: Any) -> List[str]:
    """What Caffe takes, though it hardly is what was meant."""
    notes = []
    searches = solver.type == LBFGS  # for its steps itself
    if solver.HasField("max_iter") and solver.max_iter < 1:
        notes.append(f"max_iter is {solver.max_iter}: nothing is trained, and the model is what training starts from")
    if not searches and not (solver.base_lr >= 0 and math.isfinite(solver.base_lr)):
        notes.append(f"base_lr is {solver.base_lr:g}, with which no net learns: set it to a number above 0")
    if not (searches or solver.HasField("base_lr")):
        notes.append("base_lr is missing and counts as 0: nothing is learned")
    if solver.test_iter and not solver.test_interval:
        notes.append("test_iter without a test_interval, which Caffe refuses: it is trained without validation")
    if min(solver.test_iter, default=0) < 0:
        notes.append(f"test_iter is {min(solver.test_iter)}: it counts as 0, and that test net is not run")
    if searches:
        return notes
    if solver.lr_policy in ("step", "exp", "multistep") and not solver.HasField("gamma"):
        notes.append("gamma is missing and counts as 0: nothing is learned after the first step of the learning rate")
    if solver.lr_policy == "multistep":
        values = list(solver.stepvalue)
        later = [(a, b) for a, b in zip(values, values[1:]) if a >= b]
        if not values:
            notes.append('lr_policy: "multistep" without a stepvalue: the learning rate never changes')
        elif later:
            first, second = later[0]
            notes.append(
                f"stepvalue {second} stands after {first}: Caffe takes it one iteration after that, not before"
            )
    return notes
