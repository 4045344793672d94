"""Nets that are tested without a solver: ``-net``, and the flags that say what fills its inputs."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

from ..errors import ConfigError
from ..nets.given import is_text
from ..nets.inputs import Feed, fed
from ..nets.net import TEST, TRAIN, SolverNets, net_in_phase
from ..nets.prototxt import Files, parse_fields, parse_net
from ..nets.schema import SolverParameter, TransformationParameter
from ..nets.text import decoded
from ..settings import Settings
from ..storage import local_path

__all__ = ["OF_NETS", "as_pairs", "check_unused", "read_net"]

#: The flags of which the net that is run is made.
OF_NETS = ("net", "data", "dataFormat", "columns", "transform")


def as_pairs(columns: Any) -> Any:
    """A value of ``-columns`` as the flag takes it; it may be a dict, ``{"data": "image"}``."""
    return [f"{blob}={column}" for blob, column in columns.items()] if isinstance(columns, Mapping) else columns


def check_unused(settings: Settings) -> None:
    """Raise ConfigError where a flag that goes with ``-net`` is given for a solver's net."""
    for name in ("data", "columns", "transform"):
        if getattr(settings, name):
            raise ConfigError(f"-{name} goes with -net; the data of a solver's net is what its data layers name")


def read_net(settings: Settings, files: Files) -> Tuple[Any, str, SolverNets]:
    """A solver that says nothing, the path of the net of ``-net``, and the net in both phases.

    Raises ConfigError.
    """
    if settings.conf:
        raise ConfigError("-conf and -net are both given: -net stands for a solver to -test and to extract -features")
    if settings.train:
        raise ConfigError("-train needs a solver: give -conf instead of -net")
    if settings.model and settings.weights and settings.model != settings.weights:
        raise ConfigError(f"-model {settings.model}, -weights {settings.weights}: with -net one of them is the model")
    if is_text(settings.net):
        content, path = settings.net.encode(), "net.prototxt"
    else:
        content = files.read(settings.net, "the net (-net)")
        path = local_path(files.find(settings.net) or settings.net)
    data = files.find(settings.data) if settings.data else ""
    if data is None:
        raise ConfigError(f"-data {settings.data} does not exist")
    feed = Feed(
        data,
        settings.dataFormat,
        _columns(settings.columns),
        _transform(settings.transform),
    )
    message = _parse(content, path)
    test = fed(net_in_phase(message, path, TEST), feed)
    return SolverParameter(), path, SolverNets(net_in_phase(message, path, TRAIN), (test,))


def _parse(content: bytes, path: str) -> Any:
    try:
        return parse_net(content, path)
    except ConfigError:
        if _is_solver(content):
            raise ConfigError(f"-net {path} is a solver, not a net: -conf takes solvers") from None
        raise


def _is_solver(content: bytes) -> bool:
    try:
        return bool(parse_fields(decoded(content), SolverParameter(), "").ListFields())
    except ConfigError:
        return False


def _columns(pairs: Sequence[str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for pair in pairs:
        blob, equals, column = (part.strip() for part in pair.partition("="))
        if not (blob and equals and column):
            raise ConfigError(f"-columns: '{pair}' names no column of a blob: write BLOB=COLUMN,…")
        if blob in found:
            raise ConfigError(f"-columns: input '{blob}' has two columns, '{found[blob]}' and '{column}'")
        found[blob] = column
    return found


def _transform(text: str) -> Any:
    return parse_fields(text, TransformationParameter(), "-transform") if text else None
