"""Places of their own for runs that share a ``-model``, as the fits of a CrossValidator do."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import Optional, Tuple

from ..formats.endings import ending_of, is_hdf5, model_ending, name_beside, state_ending
from ..plans.run_config import RunConfig
from ..storage import join, parent
from .snapshot_check import problem_of
from .snapshots import check_other_format, snapshot_prefix

__all__ = ["under_own_name"]

_log = logging.getLogger(__name__)


def under_own_name(config: RunConfig, uid: str) -> RunConfig:
    """The same run with files of its own next to ``-model``: named after it and after the solver's snapshots, and uid.

    ``-resume`` continues from the newest whole snapshot next to the model, whose fit it ever was.
    """
    settings = config.settings
    if settings.resume and not settings.snapshot:
        weights, state = _newest(config) or (settings.weights, "")
        settings = replace(settings, weights=weights, snapshot=state, resume=False)
    solver = type(config.solver)()
    solver.CopyFrom(config.solver)
    solver.snapshot_prefix = f"{snapshot_prefix(config)}.{uid}"
    model = name_beside(config.model_uri, f".{uid}{ending_of(config.model_uri)}")
    return replace(config, settings=replace(settings, model=model), solver=solver)


def _newest(config: RunConfig) -> Optional[Tuple[str, str]]:
    """(weights, state) of the newest whole snapshot of this solver next to the model; others are passed over. Raises
    ConfigError where all are in another format than the solver's."""
    folder, hdf5 = parent(config.model_uri), is_hdf5(config.model_uri)
    prefix = rf"{re.escape(snapshot_prefix(config))}(?:\.\w+)?"
    pattern = re.compile(rf"({prefix}_iter_(\d+)){re.escape(state_ending(hdf5))}")
    matches = map(pattern.fullmatch, config.storage.names(folder))
    found = [(int(match.group(2)), match.group(1)) for match in matches if match]
    for _, name in sorted(found, reverse=True):
        weights, state = (join(folder, name + ending(hdf5)) for ending in (model_ending, state_ending))
        problem = problem_of(config.storage, weights, state)
        if not problem:
            return weights, state
        _log.warning("caffeonspark: %s is passed over: %s", state, problem)
    check_other_format(config.storage, folder, prefix, hdf5)
    return None
