"""What people see of a run: observers that the training loop tells everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from .base import Observer, Observers
from .terminal import Terminal

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["Observer", "observers_for"]


def observers_for(config: Config) -> Observer:
    """The observers that a configuration asks for."""
    members: List[Observer] = []
    if not config.quiet:
        members.append(Terminal())
    return Observers(members)
