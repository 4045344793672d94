"""Whether a solver state is one of this run's solver: of its type, and of its net."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Callable, List, Tuple

from ..errors import ConfigError
from ..formats.endings import ending_of
from ..formats.solverstate import read_solverstate
from ..nets.prototxt import LBFGS
from ..plans.inspection import SolverInspection
from ..plans.run_config import RunConfig
from .snapshot_check import read_about
from .snapshots import StartFiles

__all__ = ["check_state"]

_INSTEAD = "take the solver that it was saved by, or give its model alone as -weights"


def check_state(config: RunConfig, start: StartFiles, found: SolverInspection, say: Callable[[str], None]) -> None:
    """Raise ConfigError where Caffe would end the ranks over the solver state that training starts from.

    A state of a type that keeps the same history is taken, as in Caffe; ``say`` is told.
    """
    if start.point.state is None:
        return
    uri, mine = start.names[-1], str(config.solver.type)
    theirs = str(read_about(config.storage, uri).get("solver", ""))
    shapes = _history(start.contents[-1], uri)
    numbers, here = sum(map(math.prod, shapes)), found.state_bytes // 4
    if found.state_bytes and numbers != here:
        if numbers in (2 * here, here / 2):
            more, fewer = ("two arrays", "one") if numbers > here else ("one array", "two")
            by = f"was saved by {theirs}: it" if theirs else "is of another solver type: it"
            raise ConfigError(
                f'{uri} {by} has {more} for each parameter, and {config.solver_path} has type: "{mine}", which keeps '
                f"{fewer}: {_INSTEAD}"
            )
        raise ConfigError(f"{uri} is of another net: it has {numbers} numbers where this run's has {here}: {_INSTEAD}")
    own = [shape for _, layer in found.learned for shape in layer]
    once = sum(map(math.prod, own))
    if found.state_bytes and here in (once, 2 * once):  # otherwise layers share parameters
        for number, (there, shape) in enumerate(zip(shapes, own * (here // once))):
            if math.prod(there) != math.prod(shape):  # old files have four axes always
                raise ConfigError(
                    f"{uri} is of another net: array {number} of its history is {_text(there)} where this net's "
                    f"parameter is {_text(tuple(shape))}: {_INSTEAD}"
                )
    if theirs and theirs != mine and LBFGS not in (theirs, mine):  # whose own history is no solver state
        say(f"{uri} was saved by {theirs}: {mine} continues with its history, as in Caffe")


def _history(content: bytes, uri: str) -> List[Tuple[int, ...]]:
    """The shapes of a solver state's history."""
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        path = os.path.join(folder, "state" + ending_of(uri))
        with open(path, "wb") as f:
            f.write(content)
        return [tuple(array.shape) for array in read_solverstate(path, uri).history]


def _text(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
