"""What of ``Config`` and the estimator depends on the flags there are.

At run time they are looked up in the table. ``keywords.pyi``, which ``scripts/make_stubs.py`` writes, has them one by
one, for editors and type checkers.
"""

from __future__ import annotations

from ..errors import ConfigError, suggest
from ..nets.given import as_text
from ..settings import FLAGS, NOT_PARAMS

__all__ = ["ConfigFlags", "EstimatorFlags", "FlagParams"]

_HELP = "See 'caffeonspark -help'."


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


class FlagParams:
    """A Param for every flag that means something in a pipeline, set by ``estimator.py``."""


class EstimatorFlags:
    """Every flag with a Param is a keyword."""

    def __init__(self, **params):
        super().__init__()
        self.setParams(**params)

    def setParams(self, **params):
        """Set flags by name."""
        names = [name for name in FLAGS if name not in NOT_PARAMS]
        for name in params:
            if name not in names:
                raise ConfigError(f"{type(self).__name__} has no parameter '{name}'. {suggest(name, names, _HELP)}")
        if "conf" in params:
            params["conf"] = as_text(params["conf"])
        self._set(**params)
        return self
