"""The Params of the Spark ML classes, with their keywords, setters and getters, made from ``tables.py``.

``keywords.pyi``, which ``scripts/make_stubs.py`` writes, has them one by one, for editors and type checkers.
"""

from __future__ import annotations

import math
import numbers
import os

from pyspark.ml.param import Param, Params
from pyspark.ml.param.shared import HasWeightCol

from ..errors import ConfigError, suggest
from ..nets.given import as_text, net_as_text
from ..report.display import shown
from ..report.records import shown_flag
from .tables import PARAMS_OF, WITHOUT_DEFAULT

__all__ = [
    "AutoencoderParams",
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

    def _set(self, **params):
        """As every class of Params sets them, also from param maps; None, which no Param has, unsets one."""
        for name in [name for name, value in params.items() if value is None]:
            self.clear(self.getParam(name))
        return super()._set(**{name: value for name, value in params.items() if value is not None})

    def given(self):
        """The Params that were set, by their names."""
        return {name: self.getOrDefault(name) for name in self._table if self.isSet(self.getParam(name))}

    def explainParam(self, param):
        """What a Param means, its default and its value: in one line, long values cut, without passwords."""
        param = self._resolveParam(param)
        maps = [("default", self._defaultParamMap), ("current", self._paramMap)]
        values = [f"{word}: {shown(shown_flag(param.name, values[param]))}" for word, values in maps if param in values]
        return f"{param.name}: {param.doc} ({', '.join(values) or 'undefined'})"


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
    if flag.kind == "names":
        return _names(flag, value)
    if flag.name == "progress" and isinstance(value, bool):
        return "auto" if value else "none"
    if flag.kind in ("text", "choice") and flag.alone is None:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if not isinstance(value, str):
            raise ConfigError(f"{flag.name}: give text, not {type(value).__name__} {value!r}")
        if _is_column(flag):
            return value
    return flag.convert(value)


def _names(flag, value):
    if isinstance(value, str):
        return [value] if _is_column(flag) and "," not in value and value.strip() else flag.convert(value)
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return list(value) if _is_column(flag) else flag.convert(value)
    raise ConfigError(f"{flag.name}: give a list of names, or one text with commas, not {value!r}")


def _is_column(flag):
    """Whether the names are columns', in which each space counts."""
    return flag.name.endswith(("Col", "Cols"))


def _number(flag, value):
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise ConfigError(f"{flag.name}: give a number, not {type(value).__name__} {value!r}")
    try:
        if not math.isfinite(float(value)):
            raise ConfigError(f"{flag.name}: {value!r} is no number to use")
    except ValueError:  # text, of which the flag says what is wrong
        pass
    whole = flag.kind == "int" and not isinstance(value, str) and value == int(value)
    return flag.convert(int(value) if whole else value)


def _solver(flag, value):
    text = as_text(_path_or(value))
    if not isinstance(text, str):
        raise ConfigError(f"conf: give a solver's path or text, or a SolverParameter, not {type(value).__name__}")
    return text


def _net(flag, value):
    text = net_as_text(_path_or(value))
    if not isinstance(text, str):
        kind = type(value).__name__
        raise ConfigError(f"net: give a prototxt's path or text, a NetParameter, or a caffe.NetSpec, not {kind}")
    return text


def _path_or(value):
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _fields(flag, value):
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _field(value[name]) for name in value}
    raise ConfigError(f'{flag.name}: give fields of the solver, {{"gamma": 0.1, "stepvalue": [5, 8]}}, not {value!r}')


def _field(value):
    """A value, or a list of them, as Python's own numbers and texts, which can be saved."""
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_field(one) for one in value]
    if isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(f"solverOverrides: give numbers, texts and lists of them, not {type(value).__name__} {value!r}")


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
    bases = (_Given, HasWeightCol)  # by which OneVsRest knows who weighs
    return type(name, bases, {**members, "__module__": __name__})


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
AutoencoderParams = _params("AutoencoderParams", "CaffeAutoencoder")
