"""Engines by name: ``caffe``, what installed packages bring, or a user's own ``module:Class``."""

from __future__ import annotations

from ..plugins import class_named
from .base import Engine

__all__ = ["ENTRY_POINTS", "engine_named"]

#: The entry points by which an installed package brings engines.
ENTRY_POINTS = "caffeonspark.engines"

_BUILT_IN = {"caffe": "caffeonspark.engines.caffe:CaffeEngine"}


def engine_named(name: str) -> Engine:
    """The engine that ``-engine`` names. Raises ConfigError; see ``plugins.class_named``."""
    # the class is a subclass that can be made; mypy takes it for the abstract one
    return class_named(name, Engine, "-engine", _BUILT_IN, ENTRY_POINTS)()  # type: ignore[type-abstract]
