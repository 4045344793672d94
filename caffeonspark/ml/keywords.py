"""The Params of the Spark ML classes, with their keywords, setters and getters, made from ``tables.py``.

``keywords.pyi``, which ``scripts/make_stubs.py`` writes, has them one by one, for editors and type checkers.
"""

from __future__ import annotations

import math
import numbers
import os

from google.protobuf import text_format
from google.protobuf.message import Message
from pyspark.ml.param import Param, Params

from ..errors import ConfigError, suggest
from ..nets.given import as_text, net_of_spec
from .tables import PARAMS_OF, WITHOUT_DEFAULT

__all__ = [
    "ClassificationModelParams",
    "ClassifierParams",
    "EstimatorParams",
    "ModelParams",
    "RegressionModelParams",
    "RegressorParams",
    "UnknownParam",
]


class UnknownParam(ConfigError, TypeError):
    """A keyword that no Param has."""


class _Given(Params):
    """Params of a table: keywords, ``setParams``, a setter and a getter for each, defaults."""

    _table = ()

    def __init__(self, **params):
        super().__init__()
        defaults = {name: flag.default for name, flag in self._table.items() if flag.default not in (None, "")}
        for name in WITHOUT_DEFAULT.get(self._like, ()):
            defaults.pop(name)
        self._setDefault(**{name: list(v) if isinstance(v, tuple) else v for name, v in defaults.items()})
        self.setParams(**params)

    def setParams(self, **params):
        """Set Params by name; None leaves one as it is. Raises ConfigError, a TypeError too for an unknown name."""
        for name in params:
            if name not in self._table:
                kind, help_ = type(self).__name__, f"See {type(self).__name__}().explainParams()."
                raise UnknownParam(f"{kind} has no parameter '{name}'. {suggest(name, self._table, help_)}")
        self._set(**{name: value for name, value in params.items() if value is not None})
        return self

    def given(self):
        """The Params that were set, by their names."""
        return {name: self.getOrDefault(name) for name in self._table if self.isSet(self.getParam(name))}


class _Converter:
    """What makes a Param's value of what it is given; it is pickled with its Param."""

    def __init__(self, flag):
        self.flag = flag

    def __call__(self, value):
        flag = self.flag
        special = {"conf": _solver, "net": _net, "fields": _fields, "model": _model, "float": _number, "int": _number}
        try:
            return special.get(flag.name, special.get(flag.kind, _plain))(flag, value)
        except ConfigError as e:
            raise ConfigError(e.message[1:] if e.message.startswith(f"-{flag.name}") else e.message) from None


def _plain(flag, value):
    if flag.kind == "names" and not isinstance(value, (str, list, tuple)):
        raise ConfigError(f"{flag.name}: give a list of names, or one text with commas, not {value!r}")
    if flag.name == "progress" and isinstance(value, bool):
        return "auto" if value else "none"
    if flag.kind in ("text", "choice") and flag.alone is None:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if not isinstance(value, str):
            raise ConfigError(f"{flag.name}: give text, not {type(value).__name__} {value!r}")
    return flag.convert(value)


def _number(flag, value):
    if isinstance(value, numbers.Real) and not math.isfinite(value):
        raise ConfigError(f"{flag.name}: {value!r} is no number to use")
    if isinstance(value, str) or (isinstance(value, numbers.Real) and not isinstance(value, bool)):
        whole = flag.kind == "int" and not isinstance(value, str) and value == int(value)
        return flag.convert(int(value) if whole else value)
    raise ConfigError(f"{flag.name}: give a number, not {type(value).__name__} {value!r}")


def _solver(flag, value):
    return as_text(_text(value))


def _net(flag, value):
    value = _text(value)
    message = net_of_spec(value) if hasattr(value, "tops") and hasattr(value, "to_proto") else value
    if isinstance(message, Message):
        if message.DESCRIPTOR.name != "NetParameter":
            raise ConfigError(f"net: give a net, not a {message.DESCRIPTOR.name}")
        return "# given as an object\n" + text_format.MessageToString(message)
    if not isinstance(message, str):
        kind = type(value).__name__
        raise ConfigError(f"net: give a prototxt's path or text, a NetParameter, or a caffe.NetSpec, not {kind}")
    return message


def _text(value):
    """A path's or a prototxt's text, where it is another kind of object."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.decode("utf-8-sig", "replace") if isinstance(value, bytes) else value


def _fields(flag, value):
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: list(v) if isinstance(v, tuple) else v for name, v in value.items()}
    raise ConfigError(f'{flag.name}: give fields of the solver, {{"gamma": 0.1, "stepvalue": [5, 8]}}, not {value!r}')


def _model(flag, value):
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if hasattr(value, "caffemodel"):
        return value
    raise ConfigError(f"{flag.name}: give a CaffeModel, a .caffemodel or a .solverstate, not {value!r}")


def _params(name, like):
    """The class with the Params of ``like``."""
    table = PARAMS_OF[like]
    members = {"_table": table, "_like": like, "__doc__": f"The Params of a {like}."}
    for one, flag in table.items():
        members[one] = Param(Params._dummy(), one, flag.help, _Converter(flag))
        upper = one[0].upper() + one[1:]
        members["set" + upper] = _setter(one, flag.help)
        members["get" + upper] = _getter(one, flag.help)
    return type(name, (_Given,), {**members, "__module__": __name__})


def _setter(name, help_):
    def setter(self, value):
        self._set(**{name: value})
        return self

    setter.__name__, setter.__doc__ = "set" + name[0].upper() + name[1:], f"Set {name}: {help_}."
    return setter


def _getter(name, help_):
    def getter(self):
        return self.getOrDefault(name)

    getter.__name__, getter.__doc__ = "get" + name[0].upper() + name[1:], f"{name}: {help_}."
    return getter


EstimatorParams = _params("EstimatorParams", "CaffeEstimator")
ModelParams = _params("ModelParams", "CaffeModel")
ClassifierParams = _params("ClassifierParams", "CaffeClassifier")
ClassificationModelParams = _params("ClassificationModelParams", "CaffeClassificationModel")
RegressorParams = _params("RegressorParams", "CaffeRegressor")
RegressionModelParams = _params("RegressionModelParams", "CaffeRegressionModel")
