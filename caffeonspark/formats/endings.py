"""Model files: the names Caffe tells their formats by, and where they are."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..nets.schema import SolverParameter
from ..storage import Storage

__all__ = ["ending_of", "find_file", "model_uri", "name_beside"]

_ENDINGS = (".caffemodel.h5", ".caffemodel", ".solverstate.h5", ".solverstate")


def ending_of(path: str) -> str:
    """The part of a file's name that tells Caffe its format; ``.caffemodel`` or ``.caffemodel.h5`` by default."""
    for ending in _ENDINGS:
        if path.endswith(ending):
            return ending
    return ".caffemodel.h5" if path.endswith(".h5") else ".caffemodel"


def name_beside(model: str, ending: str) -> str:
    """The name of a file beside a model: ``lenet.caffemodel`` and ``.metrics.jsonl`` give ``lenet.metrics.jsonl``."""
    for own in (".caffemodel.h5", ".caffemodel", ".h5"):
        if model.endswith(own):
            return model[: -len(own)] + ending
    return model + ending


def model_uri(model: str, solver: Any) -> str:
    """Where a solver's model goes that is to be called ``model``: its suffix follows the snapshot_format."""
    if solver.snapshot_format == SolverParameter.HDF5:
        return model if model.endswith(".h5") else model + ".h5"
    return model[: -len(".h5")] if model.endswith(".h5") else model


def find_file(storage: Storage, path: str, what: str) -> str:
    """Where a model or state is: as given on the default file system, else as a local file."""
    for candidate in (path, "file:" + path):
        if (":" not in path.partition("/")[0] or candidate == path) and storage.exists(candidate):
            return candidate
    raise ConfigError(f"{what} {path} does not exist")
