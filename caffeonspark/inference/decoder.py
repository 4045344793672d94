"""The process of a Python worker that decodes images ahead, where a core is left for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

from ..data.ahead import Decoder
from ..data.tops import ImageTop
from ..engines.processor import granted_cores

if TYPE_CHECKING:
    from .tasks import Task

__all__ = ["decoder_for", "has_spare_core"]

_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # the first that is set counts

_decoder: Optional[Decoder] = None  # kept for the tasks that come


def decoder_for(task: Task) -> Optional[Decoder]:
    """The worker's process for a task whose images are decoded, started if need be; None where it would take a core
    from the passes."""
    global _decoder
    images = [top for layer in task.plan.layers for top in layer.tops if isinstance(top, ImageTop) and not top.any_size]
    if not images or not task.decodes_ahead or not has_spare_core(task.neighbours, granted_cores()):
        return None
    _decoder = _decoder or Decoder()
    return None if _decoder.ended else _decoder


def has_spare_core(tasks: Optional[int], cores: float) -> bool:
    """Whether the passes of so many tasks at once, each with its BLAS threads, leave one of the cores."""
    if tasks is None:
        return False
    said = next((os.environ[name] for name in _THREADS if os.environ.get(name, "").isdigit()), "")
    return tasks * int(said or cores) + 1 <= cores
