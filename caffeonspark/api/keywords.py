"""What of ``Config`` depends on the flags there are.

At run time they are looked up in the table. ``keywords.pyi``, which ``scripts/make_stubs.py`` writes, has them one by
one, for editors and type checkers.
"""

from __future__ import annotations

from ..errors import suggest
from ..settings import FLAGS

__all__ = ["ConfigFlags"]


class ConfigFlags:
    """Every flag is a keyword of the constructor and an attribute, by its name or its alias."""

    def __init__(self, spark=None, args=None, **flags):
        self._begin(spark, args, flags)

    def __getattr__(self, name):
        values = self.__dict__.get("_values", {})
        flag = FLAGS.aliases.get(name, name)
        if flag in values:
            return values[flag]
        raise AttributeError(f"Config has no setting '{name}'. {suggest(name, [*FLAGS, *FLAGS.aliases])}")

    def __setattr__(self, name, value):
        self._assign(name, value)

    def __dir__(self):
        return sorted({*super().__dir__(), *FLAGS, *FLAGS.aliases})
