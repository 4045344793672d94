"""What to do when the loss became no number: where the weights were good, and how to continue from there."""

from __future__ import annotations

import shlex
from typing import Any, Tuple

from ..errors import StorageError
from ..nets.given import is_text
from ..report.result import TrainingResult
from .cluster import Cluster
from .snapshots import SnapshotStore, StartFiles

__all__ = ["flags_from", "way_on"]

_PRIVATE = ("readerOptions", "mlflow")  # may hold passwords


def flags_from(weights: str, state: str) -> str:
    """The flags of a fit that continues from a snapshot, whose name is not that of the next fit's."""
    return f"snapshot='{state}', weights='{weights}'"


def way_on(
    cluster: Cluster, snapshots: SnapshotStore, start: StartFiles, result: TrainingResult, fit: bool = False
) -> str:
    """The last snapshot whose weights gave a finite loss, and the command, or a ``fit``'s flags, to continue from
    it; "" if there was no finite loss yet.

    A snapshot's weights are judged by the loss of the iteration that comes after it: those of the newest snapshot may
    be what made the loss infinite.
    """
    config = cluster.config
    if not result.history and start.point.state is None:
        return ""
    last = max((iteration for iteration, _, _ in result.history), default=-1)
    try:
        found = snapshots.newest_taken(until=last)
    except StorageError as e:
        return f"its snapshots cannot be looked at ({e.message})"
    place: Tuple[str, str, int]
    if found is not None:
        place = found.weights, found.state, found.point.iteration
    elif start.point.state is not None and start.point.iteration <= last:
        place = start.names[0], start.names[1], start.point.iteration
    else:
        return "no snapshot of this run has a finite loss: start again, and set the solver's snapshot for the next time"
    weights, state, iteration = place
    return (
        f"the last snapshot with a finite loss is {state} (iteration {iteration}): with a lower base_lr in "
        f"{config.solver_path} than {config.solver.base_lr:g}, continue by: "
        f"{f'a fit with {flags_from(weights, state)}' if fit else _command(cluster, weights, state)}"
    )


def _command(cluster: Cluster, weights: str, state: str) -> str:
    config = cluster.config
    begin, instead = cluster.command
    words = list(begin)
    flags = {**config.settings.changed(), "weights": weights, "snapshot": state}
    for name, value in flags.items():
        if name in ("train", "resume", *instead):
            continue
        words.append(f"-{name}")
        if name in _PRIVATE:
            words.append("…")
        elif value is not True:  # a solver that was given as text has no file to name
            words.append(shlex.quote(config.solver_path if name == "conf" and is_text(value) else _text(value)))
    return " ".join(words)


def _text(value: Any) -> str:
    """A flag's value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
