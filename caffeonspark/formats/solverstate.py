"""Solver states: where training stands, in a ``.solverstate`` (binary) or ``.solverstate.h5`` (HDF5) file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List

import numpy as np

from ..errors import DataError
from . import binary
from .endings import is_hdf5
from .hdf5 import checked, open_hdf5, reading_hdf5

__all__ = ["SolverState", "read_solverstate", "state_iteration", "with_learned_net", "write_solverstate"]

_WHAT = "solver state"


@dataclass(frozen=True)
class SolverState:
    """What a solver needs besides the weights to continue.

    Attributes
    ----------
    iteration : iterations made
    learned_net : path of the weights saved with it; empty if it names none
    current_step : how many of a ``multistep`` learning rate's steps have passed
    history : float32 arrays, one for each learnable parameter, or two (AdaDelta, Adam): first all of the one kind,
        then all of the other
    """

    iteration: int
    learned_net: str = ""
    current_step: int = 0
    history: List[np.ndarray] = field(default_factory=list)


def read_solverstate(path: str, name: str = "") -> SolverState:
    """The solver state at the local ``path``, whose name tells the format; errors call it ``name`` if given.

    Raises
    ------
    DataError
        If the file is no solver state, or is damaged.
    ConfigError
        If it is HDF5 and h5py is missing.
    """
    name = name or path
    if is_hdf5(path):
        with reading_hdf5(path, name, _WHAT) as f:
            history = f["history"]
            return SolverState(
                iteration=_integer(f, "iter"),
                learned_net=_string(f, "learned_net") if "learned_net" in f else "",
                current_step=_integer(f, "current_step"),
                history=[np.asarray(checked(history[str(number)])[()], np.float32) for number in range(len(history))],
            )
    state = _read_binary(path, name)
    return SolverState(
        iteration=int(state.iter),
        learned_net=str(state.learned_net),
        current_step=int(state.current_step),
        history=[
            binary.blob_array(blob, f"{name}: blob {number} of the history")
            for number, blob in enumerate(state.history)
        ],
    )


def write_solverstate(path: str, state: SolverState) -> None:
    """Write a solver state to the local ``path``, whose ending tells the format: HDF5 for ``.h5``."""
    if is_hdf5(path):
        with open_hdf5(path, "w") as f:
            f.create_dataset("iter", data=np.array([state.iteration], np.int32))
            if state.learned_net:
                _write_string(f, "learned_net", state.learned_net)
            f.create_dataset("current_step", data=np.array([state.current_step], np.int32))
            history = f.create_group("history")
            for number, array in enumerate(state.history):
                history.create_dataset(str(number), data=np.asarray(array, np.float32))
        return
    message = binary.SolverState(iter=state.iteration, current_step=state.current_step)
    if state.learned_net:
        message.learned_net = state.learned_net
    for array in state.history:
        binary.fill_blob(message.history.add(), array)
    binary.write_message(path, message, sum(4 * array.size for array in state.history))


def state_iteration(path: str, name: str) -> int:
    """The iteration a solver state in the local ``path`` was saved at; raises DataError if it is none, calling it
    ``name``."""
    if is_hdf5(path):
        with reading_hdf5(path, name, _WHAT) as f:
            return _integer(f, "iter")
    return int(_read_binary(path, name).iter)


def with_learned_net(path: str, weights: str) -> None:
    """Make the solver state at the local ``path`` name ``weights`` as its learned_net.

    Raises DataError if it is no solver state.
    """
    if is_hdf5(path):
        with reading_hdf5(path, path, _WHAT, "r+") as f:
            if "learned_net" in f:
                del f["learned_net"]
            _write_string(f, "learned_net", weights)
        return
    state = _read_binary(path, path)
    state.learned_net = weights
    with open(path, "wb") as out:
        out.write(state.SerializeToString())


def _read_binary(path: str, name: str) -> Any:
    state = binary.read_message(path, name, binary.SolverState, _WHAT)
    if not state.HasField("iter"):  # other messages parse as this one, too
        raise DataError(f"{name} is no {_WHAT} of Caffe's: it has no iteration")
    return state


# ---- HDF5


def _integer(f: Any, name: str) -> int:
    return int(np.asarray(checked(f[name])[()]).reshape(()))


def _string(f: Any, name: str) -> str:
    value = checked(f[name])[()]
    return bytes(value).rstrip(b"\0").decode()


def _write_string(f: Any, name: str, value: str) -> None:
    """A C string of fixed size, as H5LTmake_dataset_string writes it and Caffe reads it."""
    import h5py

    content = value.encode() + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(content))
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5d.create(f.id, name.encode(), kind, space).write(space, space, np.array(content), kind)
