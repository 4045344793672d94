"""The solver of a fit: the one that is given, or a new one, with the fields that Params set."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional

from ..errors import ConfigError, suggest
from ..nets.prototxt import LBFGS, parse_fields
from ..nets.schema import SolverParameter

__all__ = ["FIELDS", "check_contradictions", "iterations_of", "with_fields"]

#: The solver's field of each Param.
FIELDS: Mapping[str, str] = {
    "maxIter": "max_iter",
    "stepSize": "base_lr",
    "momentum": "momentum",
    "weightDecay": "weight_decay",
    "solverType": "type",
    "lrPolicy": "lr_policy",
    "seed": "random_seed",
}
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
_WITHOUT_MOMENTUM = ("AdaGrad", "RMSProp")  # src/caffe/solvers: they refuse one
_OF_STEPS = ("base_lr", "lr_policy", "momentum")
_TOGETHER = (
    ("maxIter", "epochs", "both say how long to train"),
    ("validationIndicatorCol", "validationFraction", "both say which rows to validate with"),
    ("initialModel", "weights", "both say which weights to start from"),
    ("initialModel", "snapshot", "both say what to start from"),
)


def check_contradictions(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where two of the Params that were set say different things."""
    for one, other, why in _TOGETHER:
        if given.get(one) and given.get(other):
            raise ConfigError(f"{one} and {other} are both set, and {why}: set one of them")
    overrides = given.get("solverOverrides", {})
    for name, field in FIELDS.items():
        if name in given and field in overrides and given[name] != overrides[field]:
            raise ConfigError(
                f"{name} is {given[name]!r} and solverOverrides has {field} {overrides[field]!r}: set one of them"
            )
    if "epochs" in given and "max_iter" in overrides:
        raise ConfigError("epochs is set and solverOverrides has max_iter: both say how long to train; set one of them")


def with_fields(solver: Optional[Any], given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """The SolverParameter of a fit.

    Parameters
    ----------
    solver : SolverParameter that was given; None for a new one, of which ``defaults`` are
    given : the Params that were set
    defaults : those that were not

    Raises
    ------
    ConfigError
        For a field that no solver has, or a wrong value.
    """
    made = SolverParameter()
    values: Dict[str, Any] = {}
    if solver is not None:
        made.CopyFrom(solver)
        if not solver.HasField("random_seed"):
            values["random_seed"] = defaults["seed"]
    else:
        values.update({field: defaults[name] for name, field in FIELDS.items() if name in defaults})
    values.update(_checked(given.get("solverOverrides", {})))
    set_ = {FIELDS[name]: value for name, value in given.items() if name in FIELDS}
    values.update(set_)
    chosen = {**set_, **given.get("solverOverrides", {})}
    if solver is None and "momentum" not in chosen and values["type"] in _WITHOUT_MOMENTUM:
        del values["momentum"]
    if solver is None and values["type"] == LBFGS:  # which finds its steps itself: only what was set is told of
        for name in _OF_STEPS:
            if name not in chosen:
                values.pop(name, None)
    lines = [line for name, value in values.items() for line in _lines(name, value)]
    for name in values:
        made.ClearField(name)
    return parse_fields("\n".join(lines), made, "solverOverrides")


def _checked(overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = [field for field in SolverParameter.DESCRIPTOR.fields_by_name if field not in _NETS]
    for name in overrides:
        if name in _NETS:
            raise ConfigError(f"solverOverrides: '{name}' is the net: give it as net")
        if name not in fields:
            raise ConfigError(f"solverOverrides: a solver has no field '{name}'. {suggest(name, fields)}")
    return overrides


def _lines(name: str, value: Any) -> List[str]:
    """A field as it stands in a prototxt; a line for each value of a list."""
    values = value if isinstance(value, (list, tuple)) else [value]
    field = SolverParameter.DESCRIPTOR.fields_by_name[name]
    return [f"{name} {one}" if field.message_type else f"{name}: {_text(field, one)}" for one in values]


def _text(field: Any, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and field.enum_type is None:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def iterations_of(epochs: float, rows: int, samples: int) -> int:
    """How many iterations of ``samples`` rows go through ``rows`` of them ``epochs`` times, rounded up."""
    return max(1, math.ceil(epochs * rows / samples))
