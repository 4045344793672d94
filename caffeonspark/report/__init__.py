"""What people see of a run: observers that the training loop tells everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, List, Sequence

from ..formats.endings import name_beside
from .base import Observer, Observers
from .curve import Curve
from .metrics import MetricsFile, read_metrics
from .records import Recorder
from .state import RunState
from .terminal import Terminal, Warnings
from .web import Web

if TYPE_CHECKING:
    from ..plans.run_config import RunConfig

__all__ = ["Observer", "observers_for", "read_metrics"]


def observers_for(config: RunConfig, keep: bool = True, own: Sequence[Observer] = ()) -> Observer:
    """The observers that a configuration asks for, and the user's own.

    Parameters
    ----------
    config : RunConfig
    keep : whether the model stays where ``-model`` says, so that files beside it make sense
    own : the user's

    Raises
    ------
    ConfigError
        For a package that is not installed, or an address that cannot be listened on.
    """
    observers = Observers()
    members: List[Observer] = []
    try:
        for member in _members(config, keep, own, observers):
            members.append(member)
    except BaseException:
        Observers([member for member in members if member not in own]).close()
        raise
    observers.add(members)
    return observers


def _members(config: RunConfig, keep: bool, own: Sequence[Observer], observers: Observers) -> Iterator[Observer]:
    """Each observer, made when the ones before it are."""
    yield Recorder(config, observers.record)
    yield Warnings() if config.settings.quiet else Terminal()
    if config.settings.dryRun:
        return
    uri = config.model_uri if keep and config.settings.model else ""
    state = RunState()
    if uri:
        log = MetricsFile(config.storage, name_beside(uri, ".metrics.jsonl"), observers.note)
        state = RunState(log.earlier)
        yield log
        yield state
        yield Curve(config.storage, uri, state, observers.note)
    elif config.settings.web:
        yield state
    if config.settings.tensorboard:
        from .tensorboard import TensorBoard

        yield TensorBoard(config.storage, config.settings.tensorboard, observers.note)
    if config.settings.mlflow:
        from .mlflow import MLflow

        yield MLflow(config.settings.mlflow, observers.note)
    yield from own
    if config.settings.web:  # the last, to hear of the end when the others have said what they had to say about it
        settings = config.spark.sparkContext.getConf()
        yield Web(config.settings.web, state, settings.get("spark.driver.host", ""))
