"""Model files: the names Caffe tells their formats by, and where they are."""

from __future__ import annotations

from ..api.config import Config
from ..errors import ConfigError
from ..nets.schema import SolverParameter

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


def model_uri(config: Config) -> str:
    """Where ``-model`` goes: its suffix follows the solver's snapshot_format, as in CaffeOnSpark."""
    if not config.model:
        raise ConfigError("-model is missing: name the file to save the model to")
    path = str(config.model)
    if config.solver.snapshot_format == SolverParameter.HDF5:
        return path if path.endswith(".h5") else path + ".h5"
    return path[: -len(".h5")] if path.endswith(".h5") else path


def find_file(config: Config, path: str, what: str) -> str:
    """Where a model or state is: as given on the default file system, else as a local file."""
    for candidate in (path, "file:" + path):
        if (":" not in path.partition("/")[0] or candidate == path) and config.storage.exists(candidate):
            return candidate
    raise ConfigError(f"{what} {path} does not exist")
