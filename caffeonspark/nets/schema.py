"""Caffe's protobuf messages together with CaffeOnSpark's extension fields.

Three descriptions are laid over one another: stock Caffe's (``caffe.proto``), that of the installed Caffe, if there
is one, and CaffeOnSpark's (``caffeonspark.proto``). So no Caffe is needed, a Caffe fork's own layers (SSD, R-FCN)
come along by themselves, and binary files written by CaffeOnSpark parse. The installed Caffe's generated module is
read, not imported: that would load Caffe's native code, and two copies of the ``caffe`` package in one descriptor
pool conflict.

Message classes are made at run time, which type checkers cannot follow: they are ``Any`` here.
"""

from __future__ import annotations

import textwrap
from typing import Any

from ..errors import ConfigError
from .forks import find_generated, lay_over, read_generated
from .proto_file import Messages, read_proto

__all__ = [
    "BlobProto",
    "Datum",
    "LayerParameter",
    "NetParameter",
    "SolverParameter",
    "SolverState",
    "TransformationParameter",
    "describe",
    "field_names",
    "value_names",
]


def describe() -> Any:
    """The ``FileDescriptorProto`` of all the messages. Raises ConfigError if the installed Caffe's cannot be read."""
    stock, ours = (read_proto("caffeonspark.nets", name) for name in ("caffe.proto", "caffeonspark.proto"))
    path = find_generated()
    installed = stock if path is None else lay_over(stock, read_generated(path))
    return lay_over(installed, ours)


def _load() -> Messages:
    try:
        return Messages(describe())
    except (TypeError, KeyError) as e:
        path = find_generated()
        if path is None:
            raise
        why = textwrap.shorten(str(e), 300, placeholder=" …")  # protobuf lists everything that is wrong
        raise ConfigError(
            f"{path}: the installed Caffe's messages do not go with stock Caffe's: {why}; install another Caffe"
        ) from None


_messages = _load()

NetParameter: Any = _messages["NetParameter"]
LayerParameter: Any = _messages["LayerParameter"]
SolverParameter: Any = _messages["SolverParameter"]
SolverState: Any = _messages["SolverState"]
BlobProto: Any = _messages["BlobProto"]
Datum: Any = _messages["Datum"]
TransformationParameter: Any = _messages["TransformationParameter"]

field_names = _messages.field_names
value_names = _messages.value_names
