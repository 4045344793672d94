"""How much memory ranks, tasks and the driver take in addition to the JVM's heap: what YARN calls overhead.

Estimates on the safe side of what was measured (docs/yarn.md has the figures); the engine says what it takes for a
net. YARN adds up the resident memory of every process of a container, pages that processes share once for each.
"""

from __future__ import annotations

from typing import Optional, Sequence, Type

from ..data.tops import ImageTop
from ..engines.base import Engine
from ..plans.net_plan import NetPlan
from ..plans.passes import enlarged, pass_size
from ..settings import Settings
from ..sync.base import Strategy

__all__ = ["driver_overhead", "executor_overhead"]

JVM = 384  # MB besides the heap: code, threads, buffers of the network and of Arrow
DAEMON = 64  # MB of the Python process that forks a Spark executor's workers
WORKER = 256  # MB of a Python worker with the engine's library and Arrow, without a net
SIDECAR = 128  # MB of a rank's sidecar, almost all shared with the rank
EXCHANGER = 128  # MB of the process that exchanges gradients with other machines' ranks, likewise, without gradients
DECODER = 192  # MB of a process that decodes images, likewise
_STEP = 128  # MB that results are multiples of


def executor_overhead(
    engine: Optional[Engine],
    train: Sequence[NetPlan],
    inference: Sequence[NetPlan],
    solver: str,
    strategy: Optional[Type[Strategy]],
    settings: Settings,
    tasks: int,
    all_ranks: int,
) -> int:
    """MB an executor needs besides its heap.

    Parameters
    ----------
    engine : the nets'; None where there is no net
    train : the TRAIN net and the nets it is validated with, or nothing
    inference : the nets that -test and -features run, or nothing
    solver : the solver's type
    strategy : of the ranks; None where nothing is trained
    settings : the flags: how many ranks an executor has, and how many processes decode images for each
    tasks : tasks of -test and -features that run in it at once
    all_ranks : solvers of all executors
    """
    if engine is None:
        return _rounded(JVM + DAEMON)
    need = 0.0
    if train:
        helpers = settings.decoders * DECODER if any(_encoded(net) for net in train) else 0
        training = engine.training_memory(solver, train[0], train[1:])
        training += strategy.memory(train[0], settings, all_ranks) if strategy is not None else 0.0
        if strategy is not None and all_ranks > settings.devices and strategy.wants_helper(train[0]):
            helpers += EXCHANGER
            training += _model_file(train[0])
        need = settings.devices * (WORKER + SIDECAR + helpers + 1.2 * training)
    for net in inference:
        plan = net if settings.scoreBatch is None else enlarged(net, pass_size(net, (), settings.scoreBatch))
        helper = DECODER if settings.decoders and _encoded(plan) else 0
        need = max(need, tasks * (WORKER + helper + 1.2 * engine.inference_memory(plan)))
    return _rounded(JVM + DAEMON + need)


def driver_overhead(engine: Optional[Engine], nets: Sequence[NetPlan]) -> int:
    """MB the driver of cluster mode needs besides its heap: it builds each net once, and passes model files on."""
    if engine is None:
        return _rounded(JVM + 2 * WORKER)
    largest = max((engine.inspection_memory(net) + 3 * _model_file(net) for net in nets), default=0.0)
    return _rounded(JVM + 2 * WORKER + 1.2 * largest)


def _model_file(net: NetPlan) -> float:
    """MB of a net's parameters."""
    return 4e-6 * net.parameters


def _encoded(net: NetPlan) -> bool:
    return any(isinstance(top, ImageTop) for layer in net.layers for top in layer.tops)


def _rounded(megabytes: float) -> int:
    return int(-(-megabytes // _STEP) * _STEP)
