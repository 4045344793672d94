"""Reads the library's ``.proto`` files, so that neither a generated module nor ``protoc`` is needed.

The part of the proto2 language that they use: ``package``, nested messages and enums, and fields with the options
``default``, ``packed`` and ``deprecated``.
"""

from __future__ import annotations

import pkgutil
import re
from typing import Any, Dict, Iterator, List, Tuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["Messages", "read_proto"]

_TOKEN = re.compile(r'//[^\n]*|("[^"]*"|[\w.+-]+|[^\s"])')
_FIELD = descriptor_pb2.FieldDescriptorProto
_LABELS = {"optional": _FIELD.LABEL_OPTIONAL, "required": _FIELD.LABEL_REQUIRED, "repeated": _FIELD.LABEL_REPEATED}
_TYPES = {
    name: _FIELD.Type.Value("TYPE_" + name.upper())
    for name in ("double", "float", "int32", "int64", "uint32", "uint64", "bool", "string", "bytes")
}


def read_proto(package: str, name: str) -> Any:
    """The ``FileDescriptorProto`` of the file ``name`` in one of the library's packages, a folder or an archive."""
    content = pkgutil.get_data(package, name)
    assert content is not None  # only for packages without a loader
    return _parse(content.decode(), name)


def _parse(text: str, name: str) -> Any:
    tokens = (match.group(1) for match in _TOKEN.finditer(text) if match.group(1))
    file = descriptor_pb2.FileDescriptorProto(name=name)
    for word in tokens:
        if word == "message":
            _read_message(tokens, file.message_type.add())
        elif word == "enum":
            _read_enum(tokens, file.enum_type.add())
        elif word == "package":
            file.package = _statement(tokens)[0]
        else:
            assert word == "syntax", f"{name}: {word}"
            assert _statement(tokens) == ["=", '"proto2"'], name
    return file


def _statement(tokens: Iterator[str]) -> List[str]:
    """The words up to the next semicolon."""
    return list(iter(tokens.__next__, ";"))


def _read_message(tokens: Iterator[str], message: Any) -> None:
    message.name = next(tokens)
    assert next(tokens) == "{"
    for word in iter(tokens.__next__, "}"):
        if word == "message":
            _read_message(tokens, message.nested_type.add())
        elif word == "enum":
            _read_enum(tokens, message.enum_type.add())
        else:
            _read_field(_LABELS[word], _statement(tokens), message.field.add())


def _read_enum(tokens: Iterator[str], enum: Any) -> None:
    enum.name = next(tokens)
    assert next(tokens) == "{"
    for name in iter(tokens.__next__, "}"):
        enum.value.add(name=name, number=int(_statement(tokens)[1]))


def _read_field(label: int, words: List[str], field: Any) -> None:
    """``float scale = 1 [default = 1, packed = true]`` without the label before it."""
    kind, field.name, _, number, *options = words
    field.number, field.label = int(number), label
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type_name = kind  # what it names is seen when the file is whole
    for option, value in zip(options[1::4], options[3::4]):  # after '[' or ',', on both sides of '='
        if option == "default":
            field.default_value = value.strip('"')
        else:
            setattr(field.options, option, value == "true")


def _find_types(file: Any) -> None:
    """Turn the names of messages and enums in fields, which count from where they stand, into full names."""
    kinds: Dict[str, int] = {}
    fields: List[Tuple[str, Any]] = []

    def walk(scope: str, messages: Any, enums: Any) -> None:
        kinds.update({f"{scope}.{enum.name}": _FIELD.TYPE_ENUM for enum in enums})
        for message in messages:
            name = f"{scope}.{message.name}"
            kinds[name] = _FIELD.TYPE_MESSAGE
            fields.extend((name, field) for field in message.field if not field.HasField("type"))
            walk(name, message.nested_type, message.enum_type)

    walk("." + file.package, file.message_type, file.enum_type)
    for scope, field in fields:
        while scope and f"{scope}.{field.type_name}" not in kinds:
            scope = scope.rpartition(".")[0]
        field.type_name = f"{scope}.{field.type_name}"
        field.type = kinds[field.type_name]


class Messages:
    """The message classes of a file, in a descriptor pool of their own.

    The pool keeps them apart from messages of the same names that Caffe's own modules register. Classes are made
    at run time, which type checkers cannot follow: they are ``Any``.

    Parameters
    ----------
    file : FileDescriptorProto, whose relative names of types become full ones

    Raises
    ------
    TypeError, KeyError
        If the file contradicts itself; which one depends on the implementation of protobuf.
    """

    def __init__(self, file: Any) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        _find_types(file)
        self._pool.AddSerializedFile(file.SerializeToString())
        self._pool.FindFileByName(file.name)  # now it is checked, whatever implementation of protobuf runs
        self._package = file.package
        if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and newer
            self._class_of = message_factory.GetMessageClass
        else:
            self._class_of = message_factory.MessageFactory(self._pool).GetPrototype

    def __getitem__(self, name: str) -> Any:
        """The class of a message, such as ``NetParameter``."""
        return self._class_of(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def field_names(self, full_name: str) -> List[str]:
        """The names of the fields of a message, such as ``caffe.LayerParameter``; empty for an unknown message."""
        try:
            return [field.name for field in self._pool.FindMessageTypeByName(full_name).fields]
        except KeyError:
            return []

    def value_names(self, full_name: str) -> List[str]:
        """The names of an enum's values, such as ``caffe.Phase``; empty for an unknown enum."""
        try:
            return [value.name for value in self._pool.FindEnumTypeByName(full_name).values]
        except KeyError:
            return []
