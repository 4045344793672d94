"""``~`` and ``$NAME`` in paths that people write."""

from __future__ import annotations

import os

__all__ = ["expand"]


def expand(path: str) -> str:
    """The path with a ``~`` or ``~user`` before it, and each ``$NAME`` and ``${NAME}``, replaced as by a shell.

    Those of which nothing is known stay as they are. It may begin with ``file:``; other URIs have no ``~``.
    """
    prefix = "file:" if path.startswith("file:") else ""
    rest = path[len(prefix) :]
    if rest.startswith("//~"):
        rest = rest[2:]
    return os.path.expandvars(prefix + (os.path.expanduser(rest) if rest.startswith("~") else rest))
