"""The messages of the installed Caffe, which may be a fork with layers of its own, laid over those we know."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from typing import Any, Optional

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from ..errors import ConfigError

__all__ = ["find_generated", "lay_over", "read_generated"]

# The serialized FileDescriptorProto in what protoc generates: `serialized_pb=_b('…')`, or without `_b`, of protoc 2
# and 3, `AddSerializedFile(b'…')` since 3.20.
_SERIALIZED = re.compile(
    r"""(?: \b serialized_pb \s* = | \b AddSerializedFile \s* \( ) \s* (?: _b \s* \( \s* )?
        ( b? (?: '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" ) )""",
    re.VERBOSE | re.DOTALL,
)


def find_generated() -> Optional[str]:
    """The path of the installed Caffe's ``caffe_pb2.py``, or None where no Caffe is installed. Loads nothing."""
    spec = importlib.util.find_spec("caffe")
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None  # also for any folder that is called caffe, and for a script caffe.py
    return os.path.join(spec.submodule_search_locations[0], "proto", "caffe_pb2.py")


def read_generated(path: str) -> Any:
    """The ``FileDescriptorProto`` in a module that protoc generated, which is read as text and not run.

    Raises
    ------
    ConfigError
        If the file is missing, or not what protoc makes of a ``caffe.proto``.
    """
    again = "generate it again with protoc from this Caffe's caffe.proto (make pycaffe does), or install another Caffe"
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError as e:
        raise ConfigError(f"{path}: the installed Caffe's messages cannot be read: {e.strerror}; {again}") from None
    match = _SERIALIZED.search(text)
    if match is None:
        raise ConfigError(f"{path}: there is no description of Caffe's messages in this file; {again}")
    try:
        literal = ast.literal_eval(match.group(1))
        content = literal if isinstance(literal, bytes) else literal.encode("latin-1")
        file = descriptor_pb2.FileDescriptorProto.FromString(content)
    except (ValueError, SyntaxError, DecodeError) as e:
        raise ConfigError(f"{path}: the description of Caffe's messages is damaged: {e}; {again}") from None
    if file.package != "caffe" or "NetParameter" not in {message.name for message in file.message_type}:
        raise ConfigError(f"{path}: these are not Caffe's messages; {again}")
    return file


def lay_over(below: Any, above: Any) -> Any:
    """A new file, message or enum: ``above`` laid over ``below``, which is of the same kind.

    It has everything of ``above`` as it is, and of ``below`` what has neither its name nor its number. Messages and
    enums that both have are laid over each other in turn.
    """
    result = type(below)()
    result.CopyFrom(below)
    lists = [name for name in ("message_type", "nested_type", "enum_type", "field", "value") if hasattr(below, name)]
    for name in lists:
        result.ClearField(name)
    result.MergeFrom(above)
    for name in lists:
        merged = getattr(result, name)
        by_name = {item.name: item for item in merged}
        numbers = {item.number for item in merged if hasattr(item, "number")}
        for item in getattr(below, name):
            if item.name not in by_name:
                if getattr(item, "number", None) not in numbers:
                    merged.add().CopyFrom(item)
            elif name.endswith("_type"):
                by_name[item.name].CopyFrom(lay_over(item, by_name[item.name]))
    return result
