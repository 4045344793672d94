"""The nets of a Python worker, which Spark keeps for tasks that come later, of the same model or of others."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engines.batching import BatchedNet
from ..engines.blas import use_for
from ..engines.registry import engine_named
from ..plans.made_data import tell_rank
from ..plans.passes import enlarged
from ..storage import scratch_folder

if TYPE_CHECKING:
    from .tasks import Task

__all__ = ["MOST_MB", "net_for"]

#: Memory of all nets that a worker keeps, where there is more than one.
MOST_MB = 128.0


@dataclass
class _Kept:
    """A net and about how much memory it takes, in MB."""

    net: BatchedNet
    size: float


_nets: OrderedDict[str, _Kept] = OrderedDict()  # by digest, the one that was used last at the end


def net_for(task: Task) -> BatchedNet:
    """The worker's net for this task, built unless the worker has it.

    Nets of other models stay, those that were used last, as long as all together take no more than ``MOST_MB``; the
    rest are given back before this one is built.
    """
    if not task.plan.layers:  # layers that make all data know how far they came
        _nets.pop(task.digest, None)
    kept = _nets.pop(task.digest, None)
    size = max(_size(task), 0.0 if kept is None else kept.size)  # what larger passes took stays taken
    _make_room(size)
    _nets[task.digest] = _Kept(_build(task) if kept is None else kept.net, size)
    return _nets[task.digest].net.for_plan(task.plan)  # whose transformations are no part of the net


def _size(task: Task) -> float:
    """About how much memory a task's net takes, in MB: it is built at the plan's batch size."""
    plan = enlarged(task.plan, task.batch) if task.batch > task.plan.batch_size else task.plan
    return engine_named(task.engine).inference_memory(plan)


def _make_room(size: float) -> None:
    while _nets and size + sum(kept.size for kept in _nets.values()) > MOST_MB:
        _nets.popitem(last=False)


def _build(task: Task) -> BatchedNet:
    tell_rank(0, 1)
    use_for(task.kernel)
    with tempfile.NamedTemporaryFile(suffix=task.ending, dir=scratch_folder()) as f:
        f.write(task.model.value)
        f.flush()
        _forget_value(task.model)
        return BatchedNet(task.plan, engine_named(task.engine).predictor(task.plan.message(), f.name))


def _forget_value(broadcast: Any) -> None:
    """Give back the memory of a broadcast's value: the worker would keep it as long as tasks use the broadcast. It is
    read again from the executor's file, where there is one, when it is asked for."""
    if getattr(broadcast, "_path", None) is not None:
        vars(broadcast).pop("_value", None)
