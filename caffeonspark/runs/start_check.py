"""What training starts from, compared with the nets before anything starts; and whether the best model is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Sequence

from ..plans.job import ValidationPlan
from ..plans.net_plan import NetPlan
from ..plans.run_config import RunConfig
from ..plans.weights_match import check_all_there, check_same_parameters, match_weights
from .snapshots import StartFiles

__all__ = ["check_nets", "check_start", "with_best_model"]


def check_nets(train: NetPlan, validations: Sequence[ValidationPlan], say: Callable[[str], None]) -> None:
    """Raise ConfigError where a test net cannot share the train net's parameters; say which it has of its own."""
    for validation in validations:
        own = check_same_parameters(train, validation.net)
        if own:
            say(
                f"{validation.net.path}: layer '{own[0]}' is in the TEST net only, and nothing trains its parameters: "
                "validation has them as they are filled"
            )


def check_start(plan: NetPlan, start: StartFiles, say: Callable[[str], None]) -> None:
    """Compare the files of ``-weights``, or of the snapshot, with the net.

    Raises
    ------
    DataError
        If a file is no model.
    ConfigError
        If the net has nothing in common with the files, or a snapshot is of another net.
    """
    if start.point.state is not None:
        check_all_there(
            plan,
            start.names[0],
            start.contents[0],
            ", and a snapshot continues only with its own: save to another folder (-model), or remove it",
        )
    elif start.names:
        match = match_weights(plan, list(zip(start.names, start.contents)))
        say(f"weights of {', '.join(start.names)}: {match.describe()}")


def with_best_model(config: RunConfig, start: StartFiles, say: Callable[[str], None]) -> StartFiles:
    """Where to start from, without a best validation whose model (``-best``) is not there any more."""
    point = start.point
    if not config.settings.best or point.best is None:
        return start
    model = config.model_uri
    if point.best_saved and config.storage.exists(model) and not config.storage.is_folder(model):
        return start
    say(f"{model} is not the best model of before {point.uri}: the best validation from there on counts")
    return replace(start, point=replace(point, best=None, since_best=0, best_saved=False))
