"""How many records go through a TEST net at once, where -scoreBatch asks for another number than the net states."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Sequence

from .net_plan import NetPlan

__all__ = ["enlarged", "fixed_because", "pass_size"]


def fixed_because(plan: NetPlan, blobs: Sequence[str]) -> str:
    """Why passes for these blobs have the net's own batch size, in words; "" where they may have any."""
    if not plan.layers:
        return "the net makes its data itself"
    if plan.steps_differ:
        return "the data layers have different batch sizes"
    if any(layer.any_size for layer in plan.layers):
        return "its blobs have the size of each image"
    if not plan.flexible:
        return "a layer states the batch size"
    whole = [blob for blob in blobs if blob not in plan.batch_axes]
    return f"blob '{whole[0]}' has the value of a whole batch" if whole else ""


def pass_size(plan: NetPlan, blobs: Sequence[str], wanted: Optional[int]) -> int:
    """How many records a pass has: ``wanted`` (-scoreBatch) where that can be, otherwise the net's batch size."""
    return plan.batch_size if wanted is None or fixed_because(plan, blobs) else wanted


def enlarged(plan: NetPlan, size: int) -> NetPlan:
    """The plan with the blobs' shapes in a pass of so many records, for estimates of memory."""
    shapes = dict(plan.shapes)
    for name, (axis, _) in plan.batch_axes.items():
        if name in shapes:
            shape = list(shapes[name])
            shape[axis] = -(-shape[axis] * size // plan.batch_size)
            shapes[name] = tuple(shape)
    return replace(plan, shapes=shapes)
