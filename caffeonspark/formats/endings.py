"""The endings of Caffe's file names, by which it tells what a file holds and in which format.

``.caffemodel`` and ``.solverstate`` are binary protobuf messages; with ``.h5`` added they are HDF5.
"""

from __future__ import annotations

from typing import Any

from ..nets.schema import SolverParameter

__all__ = [
    "ending_of",
    "is_hdf5",
    "model_ending",
    "model_uri",
    "name_beside",
    "state_ending",
    "with_format",
]

_MODEL, _STATE, _HDF5 = ".caffemodel", ".solverstate", ".h5"


def is_hdf5(path: str) -> bool:
    """Whether Caffe takes a file of this name for HDF5."""
    return path.endswith(_HDF5)


def model_ending(hdf5: bool) -> str:
    """The ending of models: ``.caffemodel`` or ``.caffemodel.h5``."""
    return _MODEL + _HDF5 if hdf5 else _MODEL


def state_ending(hdf5: bool) -> str:
    """The ending of solver states: ``.solverstate`` or ``.solverstate.h5``."""
    return _STATE + _HDF5 if hdf5 else _STATE


def with_format(path: str, hdf5: bool) -> str:
    """The path with ``.h5`` added or taken away, so that Caffe takes it for the format meant."""
    if is_hdf5(path) == hdf5:
        return path
    return path + _HDF5 if hdf5 else path[: -len(_HDF5)]


def ending_of(path: str) -> str:
    """The ending of a file's name; a model's where it has none of Caffe's."""
    hdf5 = is_hdf5(path)
    return state_ending(hdf5) if path.endswith(state_ending(hdf5)) else model_ending(hdf5)


def name_beside(model: str, ending: str) -> str:
    """The name of a file next to a model: ``lenet.caffemodel`` and ``.metrics.jsonl`` give ``lenet.metrics.jsonl``."""
    stem = with_format(model, hdf5=False)
    return (stem[: -len(_MODEL)] if stem.endswith(_MODEL) else stem) + ending


def model_uri(model: str, solver: Any) -> str:
    """Where a solver's model goes that is to be called ``model``: its suffix follows the snapshot_format."""
    return with_format(model, solver.snapshot_format == SolverParameter.HDF5)
