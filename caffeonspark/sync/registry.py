"""Strategies by name: those here, what installed packages bring, or a user's own ``module:Class``.

A new strategy of this library is a line of ``_BUILT_IN``.
"""

from __future__ import annotations

from typing import Dict, List, Type

from ..errors import ConfigError
from ..nets.prototxt import LBFGS
from ..plugins import class_named
from ..settings import FLAGS, Settings
from .base import Strategy

__all__ = ["ENTRY_POINTS", "how_asked", "strategy_for"]

#: The entry points by which an installed package brings strategies.
ENTRY_POINTS = "caffeonspark.strategies"

_BUILT_IN = {
    "all_reduce": "caffeonspark.sync.all_reduce:AllReduce",
    "average": "caffeonspark.sync.averaging:Averaging",
    "elastic": "caffeonspark.sync.elastic:Elastic",
}
#: Those that another setting than -sync asks for: that setting, as users write it.
_WHOLE_DATA = {
    "-fullBatch": "caffeonspark.sync.full_batch:FullBatch",
    f'type: "{LBFGS}"': "caffeonspark.sync.lbfgs:LBFGS",
}


def _named(name: str) -> Type[Strategy]:
    # what is found is a subclass that can be made; mypy takes it for the abstract one
    return class_named(name, Strategy, "-sync", _BUILT_IN, ENTRY_POINTS)  # type: ignore[type-abstract]


def how_asked(settings: Settings, solver_type: str) -> str:
    """What asks for the strategy of a run, as users write it, and as snapshots record it: the type of its solver,
    ``-fullBatch``, or the name that ``-sync`` gives."""
    if solver_type == LBFGS:
        return f'type: "{LBFGS}"'
    return "-fullBatch" if settings.fullBatch else settings.sync


def strategy_for(settings: Settings, solver_type: str = "SGD") -> Type[Strategy]:
    """The strategy that flags and the solver's type ask for.

    Raises
    ------
    ConfigError
        If there is none of that name (see ``plugins.class_named``), a flag is set that only another one reads, or
        ``-sync`` contradicts another setting that asks for one.
    """
    asked = how_asked(settings, solver_type)
    if asked in _WHOLE_DATA:
        if settings.sync != FLAGS["sync"].default:
            raise ConfigError(
                f"{asked} goes through all the data as one solver, and -sync {settings.sync} does not: leave out one"
            )
        found = _named(_WHOLE_DATA[asked])
    else:
        found = _named(settings.sync)
    _check_flags(settings, found, asked if asked in _WHOLE_DATA else f"-sync {asked}")
    return found


def _check_flags(settings: Settings, found: Type[Strategy], asked: str) -> None:
    """Raise ConfigError where a flag is set that another strategy reads, and this one does not."""
    owners: Dict[str, List[str]] = {}
    known = {**{f"-sync {name}": place for name, place in _BUILT_IN.items()}, **_WHOLE_DATA}
    for owner, place in known.items():
        for name in _named(place).flags:
            owners.setdefault(name, []).append(owner)
    for name, flag in FLAGS.items():
        if name in found.flags or getattr(settings, name) == flag.default:
            continue
        if name in owners or (name.startswith("sync") and name != "sync"):
            raise ConfigError(
                f"-{name} belongs to {' or '.join(owners.get(name, ())) or 'another strategy'}, and this is {asked}: "
                f"leave -{name} out, or name its strategy"
            )
