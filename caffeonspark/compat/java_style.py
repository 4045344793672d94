"""Protobuf messages with the getters of Java's, which CaffeOnSpark's Python programs know."""

from __future__ import annotations

import functools
import re
from typing import Any, List

__all__ = ["JavaStyle"]

_GETTER = re.compile(r"(get|has)([A-Z]\w*)")


class JavaStyle:
    """A message that also has Java's getters: ``getMaxIter()``, ``hasNet()``, ``getTestIter(0)``, ``getTestIterList()``
    and ``getTestIterCount()``. What they return of messages is of this kind, and of enums the name.

    Parameters
    ----------
    message : a protobuf message
    """

    def __init__(self, message: Any) -> None:
        self._message = message
        self._fields = {field.name.replace("_", "").lower(): field for field in message.DESCRIPTOR.fields}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what looks at the object, before there is a message
            raise AttributeError(name)
        getter = _GETTER.fullmatch(name)
        if getter is None:
            return getattr(self._message, name)
        kind, words = getter.groups()
        field = self._fields.get(words.lower())
        if kind == "has" and field is not None and field.label != field.LABEL_REPEATED:
            return lambda: self._message.HasField(field.name)
        if kind == "get":
            for ending, work in (("", self._get), ("Count", self._count), ("List", self._list)):
                field = self._fields.get(words[: len(words) - len(ending)].lower()) if words.endswith(ending) else None
                if field is not None:
                    return functools.partial(work, field)
        raise AttributeError(f"{self._message.DESCRIPTOR.name} has no field for {name}()")

    def __str__(self) -> str:
        return str(self._message)

    __repr__ = toString = __str__

    def _get(self, field: Any, *at: int) -> Any:
        value = getattr(self._message, field.name)
        if field.label != field.LABEL_REPEATED:
            return self._of_java(field, value)
        if not at:
            raise IndexError(f"{field.name} is a list: give the number of an element, from 0")
        return self._of_java(field, value[at[0]])

    def _count(self, field: Any) -> int:
        return len(getattr(self._message, field.name))

    def _list(self, field: Any) -> List[Any]:
        return [self._of_java(field, value) for value in getattr(self._message, field.name)]

    @staticmethod
    def _of_java(field: Any, value: Any) -> Any:
        if field.message_type is not None:
            return JavaStyle(value)
        return field.enum_type.values_by_number[value].name if field.enum_type is not None else value
