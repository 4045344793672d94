"""What a snapshot records of its net, and whether a run's net is that one; and what the net's files can hold."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from ..errors import ConfigError
from ..nets.schema import SolverParameter
from ..plans.inspection import SolverInspection

__all__ = ["Layers", "check_files", "difference", "recorded"]

#: (name, shapes of its parameters) of each layer that has some, in their order.
Layers = Sequence[Tuple[str, Sequence[Sequence[int]]]]

_MOST_BYTES = 2**31 - 1  # of a protobuf message


def recorded(layers: Layers) -> List[Any]:
    """As JSON has it."""
    return [[name, [list(shape) for shape in shapes]] for name, shapes in layers]


def difference(theirs: Any, mine: Layers) -> str:
    """How a recorded net is another one than this; "" where it is the same, or nothing is known of either.

    Numbers of the solver do not count, nor layers without parameters: a run may continue with other ones.
    """
    if not theirs or not mine:
        return ""
    there = {str(name): [tuple(shape) for shape in shapes] for name, shapes in theirs}
    here: Dict[str, Any] = {name: [tuple(shape) for shape in shapes] for name, shapes in mine}
    for name, shapes in there.items():
        if name not in here:
            return f"its layer '{name}' is not in this net"
        if here[name] != shapes:
            return f"its layer '{name}' has parameters of {_text(shapes)}, this net's of {_text(here[name])}"
    for name in here:
        if name not in there:
            return f"it has no layer '{name}', which this net has"
    return "" if list(there) == list(here) else "its layers are in another order"


def _text(shapes: Sequence[Tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "1" for shape in shapes)


def check_files(solver: Any, found: SolverInspection, where: str) -> None:
    """Raise ConfigError where the solver's ``snapshot_format`` cannot hold its model or snapshots.

    Parameters
    ----------
    solver : SolverParameter
    found : what building it found
    where : its file, for errors
    """
    if solver.snapshot_format == SolverParameter.HDF5:
        _check_names([name for name, _ in found.layers], where)
        return
    snapshots = solver.snapshot or (solver.snapshot_after_train and solver.HasField("snapshot_after_train"))
    for what, size in (("model", found.model_bytes), ("solver state", found.state_bytes if snapshots else 0)):
        if size > _MOST_BYTES:
            raise ConfigError(
                f"{where}: the {what} has {size / 2**30:.1f} GB of numbers, and snapshot_format BINARYPROTO holds at "
                "most 2 GB: set snapshot_format: HDF5"
            )


def _check_names(names: Sequence[str], where: str) -> None:
    """HDF5 has a group for each layer: a slash would make one in another, and a name is there once."""
    seen = set()
    for name in names:
        problem = (
            "has a '/' in its name"
            if "/" in name
            else "has no name that HDF5 takes"
            if name in ("", ".")
            else "shares its name with another layer"
            if name in seen
            else ""
        )
        seen.add(name)
        if problem:
            raise ConfigError(
                f"{where}: layer '{name}' {problem}, and Caffe's HDF5 files cannot hold that: set snapshot_format: "
                "BINARYPROTO, or rename it"
            )
