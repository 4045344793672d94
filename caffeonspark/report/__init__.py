"""What people see of a run: observers that the training loop tells everything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Iterator, List, Sequence, Union

from .. import log
from ..errors import ConfigError
from ..formats.endings import name_beside
from .base import Observer, Observers
from .curve import Curve
from .metrics import MetricsFile, read_metrics
from .notebook import Notebook, board_of_cell, notebook_shell
from .records import Recorder
from .state import RunState
from .terminal import Terminal, Warnings
from .web import Web

if TYPE_CHECKING:
    from ..plans.run_config import RunConfig

__all__ = ["Observer", "display_for", "observers_for", "read_metrics"]


def observers_for(
    config: RunConfig,
    keep: bool = True,
    own: Sequence[Observer] = (),
    progress: Union[bool, str] = True,
    name: str = "",
) -> Observer:
    """The observers that a configuration asks for, and the user's own.

    Parameters
    ----------
    config : RunConfig
    keep : whether the model stays where ``-model`` says, so that files next to it make sense
    own : the user's
    progress : what is shown where the program runs: True for a bar where there is a notebook or a terminal, and lines
        elsewhere; "bar" for a bar and "log" for lines wherever it is; False for warnings only, as ``-quiet``
    name : of the run, which its lines begin with where it is one of several in threads

    Raises
    ------
    ConfigError
        For a package that is not installed, an address that cannot be listened on, or another ``progress``.
    """
    observers = Observers()
    members: List[Observer] = []
    try:
        for member in _members(config, keep, own, observers, progress, name):
            members.append(member)
    except BaseException:
        Observers([member for member in members if member not in own]).close()
        raise
    observers.add(members)
    return observers


def _members(
    config: RunConfig, keep: bool, own: Sequence[Observer], observers: Observers, progress: Union[bool, str], name: str
) -> Iterator[Observer]:
    """Each observer, made when the ones before it are."""
    yield Recorder(config, observers.record)
    yield display_for(config, progress, name)
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
        yield Web(config.settings.web, state, _own_name(config))


def _own_name(config: RunConfig) -> str:
    """This machine's name for others."""
    if config.session is None:
        return socket.gethostname()
    return str(config.session.sparkContext.getConf().get("spark.driver.host", ""))


def display_for(config: RunConfig, progress: Union[bool, str], name: str) -> Observer:
    """What shows a run where the program runs: one of the observers that ``observers_for`` makes, with its arguments.

    In a notebook, those of one name are one.
    """
    if progress not in (True, False, "bar", "log"):
        raise ConfigError(f"progress: True, False, 'bar' or 'log', not {progress!r}")
    if config.settings.quiet or not progress:
        return Warnings(name)
    if progress == "log":
        log.show_unless_configured()
        return Terminal(name, bar=False)
    shell = notebook_shell()
    if shell is not None:
        return Notebook(board_of_cell(shell), name)
    return Terminal(name, bar=True if progress == "bar" else None)
