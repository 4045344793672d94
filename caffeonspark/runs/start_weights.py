"""The models whose weights training starts from: those of ``-weights``, or those that the solver names."""

from __future__ import annotations

from typing import List

from ..errors import ConfigError
from ..plans.run_config import RunConfig
from ..storage import find_file

__all__ = ["find_start_weights", "solver_weights"]


def solver_weights(config: RunConfig) -> List[str]:
    """The files in the solver's ``weights``, as it names them, each several with commas; none with ``-weights``, which
    stands for them, as in ``caffe train``."""
    if config.settings.weight_files:
        return []
    return [name.strip() for names in config.solver.weights for name in names.split(",") if name.strip()]


def find_start_weights(config: RunConfig) -> List[str]:
    """Where these models are. Raises ConfigError for one that is nowhere."""
    found = [find_file(config.storage, name, "the model (-weights)") for name in config.settings.weight_files]
    for name in solver_weights(config):
        place = config.files.find(name, beside=config.solver_path)
        if place is None:
            raise ConfigError(f"{config.solver_path}: weights: {name} does not exist")
        found.append(place)
    return found
