"""Strategies by name: those here, what installed packages bring, or a user's own ``module:Class``."""

from __future__ import annotations

from typing import Type

from ..errors import ConfigError
from ..plugins import class_named
from ..settings import FLAGS, Settings
from .base import Strategy

__all__ = ["ENTRY_POINTS", "strategy_for"]

#: The entry points by which an installed package brings strategies.
ENTRY_POINTS = "caffeonspark.strategies"

_BUILT_IN = {
    "all_reduce": "caffeonspark.sync.all_reduce:AllReduce",
    "average": "caffeonspark.sync.averaging:Averaging",
    "elastic": "caffeonspark.sync.elastic:Elastic",
}


def _named(name: str) -> Type[Strategy]:
    # what is found is a subclass that can be made; mypy takes it for the abstract one
    return class_named(name, Strategy, "-sync", _BUILT_IN, ENTRY_POINTS)  # type: ignore[type-abstract]


def strategy_for(settings: Settings) -> Type[Strategy]:
    """The strategy that ``-sync`` names.

    Raises
    ------
    ConfigError
        If there is none of that name (see ``plugins.class_named``), or a flag is set that only another one reads.
    """
    found = _named(settings.sync)
    built_in = {name: _named(name) for name in _BUILT_IN}
    for name in dict.fromkeys(flag for strategy in built_in.values() for flag in strategy.flags):
        if name not in found.flags and getattr(settings, name) != FLAGS[name].default:
            owners = [f"-sync {other}" for other, strategy in built_in.items() if name in strategy.flags]
            raise ConfigError(
                f"-{name} belongs to {' or '.join(owners)}, and this is -sync {settings.sync}: leave -{name} out, or "
                "name its strategy"
            )
    return found
