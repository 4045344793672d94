"""Solvers and nets that are given as Caffe's own objects, messages and ``caffe.NetSpec``, instead of as files.

A net specification makes messages of the Caffe that is installed, which has no field of CaffeOnSpark's. It is Python
code, though, and makes ours as well.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Iterator

from google.protobuf import text_format
from google.protobuf.message import Message

from ..errors import ConfigError
from . import schema
from .text import decoded, why_unreadable

__all__ = ["as_text", "is_text", "net_as_text", "net_of_spec", "solver_text", "with_our_fields"]

_HEAD = "# given as an object\n"


def is_text(conf: str) -> bool:
    """Whether a value of ``-conf`` is a solver's text, and not the path of its file."""
    return "\n" in conf


def as_text(given: Any) -> Any:
    """What ``-conf`` is given, as text: the solver's where it is an object, and anything else as it is.

    Parameters
    ----------
    given : a SolverParameter; or a NetParameter or ``caffe.NetSpec``, which becomes the ``net_param`` of a solver
        without anything else, enough to test and to extract features; or (solver, net); or a text's bytes

    Raises
    ------
    ConfigError
        For other messages, and for a specification that is no net.
    """
    if isinstance(given, (bytes, bytearray)):
        return _of_bytes(bytes(given), "solver.prototxt")
    if isinstance(given, (tuple, list)) and len(given) == 2:
        solver, net = (_message(one) for one in given)
        if _kind(solver) == "SolverParameter" and _kind(net) == "NetParameter":
            return _HEAD + _text(solver) + _inline(net)
        raise ConfigError("-conf: of two objects the first is a SolverParameter, the second a NetParameter or NetSpec")
    message = _message(given)
    if _kind(message) == "NetParameter":
        return _HEAD + _inline(message)
    if _kind(message) == "SolverParameter":
        return _HEAD + _text(message)
    if isinstance(message, Message):
        raise ConfigError(f"-conf: give a SolverParameter, a NetParameter, a NetSpec or a path, not {_kind(message)}")
    return given


def net_as_text(given: Any) -> Any:
    """A net's text, where a NetParameter, a ``caffe.NetSpec`` or a text's bytes are given; anything else as it is.

    Raises ConfigError for other messages, for a specification that is no net, and for bytes that are no text.
    """
    if isinstance(given, (bytes, bytearray)):
        return _of_bytes(bytes(given), "net.prototxt")
    message = _message(given)
    if not isinstance(message, Message):
        return given
    if _kind(message) != "NetParameter":
        hint = ": give it as conf" if _kind(message) == "SolverParameter" else ""
        raise ConfigError(f"net: give a path, text, a NetParameter or a NetSpec, not a {_kind(message)}{hint}")
    return _HEAD + _text(message)


def solver_text(solver: Any) -> str:
    """The text of a SolverParameter, which ``is_text``."""
    return _HEAD + _text(solver)


def _of_bytes(content: bytes, name: str) -> str:
    unreadable = why_unreadable(content)
    if unreadable:
        raise ConfigError(name + unreadable)
    text = decoded(content)
    return text if is_text(text.strip()) else _HEAD + text


def _message(given: Any) -> Any:
    return net_of_spec(given) if hasattr(given, "tops") and hasattr(given, "to_proto") else given


def _kind(message: Any) -> str:
    return str(message.DESCRIPTOR.name) if isinstance(message, Message) else type(message).__name__


def _text(message: Any) -> str:
    return str(text_format.MessageToString(message))


def _inline(net: Any) -> str:
    return "net_param {\n" + _text(net) + "}\n"


def net_of_spec(spec: Any) -> Any:
    """The NetParameter, ours, of a ``caffe.NetSpec``. Raises ConfigError for fields that no layer has."""
    try:
        with with_our_fields(sys.modules[type(spec).__module__]):
            return spec.to_proto()
    except (AttributeError, TypeError, ValueError) as e:
        raise ConfigError(f"the NetSpec is no net: {e}") from None


@contextlib.contextmanager
def with_our_fields(net_spec: Any) -> Iterator[None]:
    """In this block the module ``caffe.net_spec`` makes our messages."""
    before = net_spec.caffe_pb2, net_spec._param_names
    net_spec.caffe_pb2 = schema
    try:
        net_spec._param_names = net_spec.param_name_dict()
        yield
    finally:
        net_spec.caffe_pb2, net_spec._param_names = before
