"""Jobs as text, for machines that join a run: JSON of plain values, of which nothing is made but this library's values.

Whatever the text says, reading it makes numbers, texts, arrays and instances of the library's own dataclasses, and
calls nothing else. What a text names that is none of these is refused.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import json
from typing import Any, Callable, Dict, List

import numpy as np

from ..errors import ConfigError, DataError

__all__ = ["as_text", "from_text"]

_PACKAGE = __package__.partition(".")[0]
_NUMBERS = "biuf"  # kinds of NumPy's that are plain memory


def as_text(value: Any) -> bytes:
    """A value as JSON. Raises ConfigError for what is no plain value, such as a reader of one's own."""
    return json.dumps(_encoded(value)).encode()


def from_text(text: bytes) -> Any:
    """The value that ``as_text`` wrote. Raises DataError for anything else."""
    try:
        return _decoded(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RecursionError) as e:
        raise DataError(f"this is no job of this version of the library: {e}") from None


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return _encoded(value.item())
    if isinstance(value, np.ndarray) and value.dtype.kind in _NUMBERS:
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), content]}
    if type(value) is tuple:
        return {"tuple": [_encoded(one) for one in value]}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if isinstance(value, dict):
        return {"dict": [[_encoded(key), _encoded(one)] for key, one in value.items()]}
    cls = type(value)
    if not _is_ours(cls):
        raise ConfigError(
            f"{cls.__module__}.{cls.__qualname__} cannot be sent to machines that join, which take this library's own "
            "sources only: start all ranks on this machine, or train with Spark"
        )
    fields = {field.name: _encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"value": [cls.__module__, cls.__qualname__, fields]}


def _is_ours(cls: Any) -> bool:
    """Whether a class is a dataclass of the library's."""
    ours = isinstance(cls, type) and cls.__module__.startswith(f"{_PACKAGE}.")
    return ours and dataclasses.is_dataclass(cls)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _KINDS[kind](content)


def _array(content: List[Any]) -> np.ndarray:
    kind, shape, data = content
    dtype = np.dtype(str(kind))
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"an array of {kind}")
    return np.frombuffer(base64.b64decode(data), dtype).reshape([int(size) for size in shape]).copy()


def _value(content: List[Any]) -> Any:
    module, name, fields = content
    if not str(module).startswith(f"{_PACKAGE}."):
        raise ValueError(f"a value of {module}")
    cls: Any = getattr(importlib.import_module(str(module)), str(name))
    if not _is_ours(cls):
        raise ValueError(f"{module}.{name} is no value")
    return cls(**{str(key): _decoded(one) for key, one in fields.items()})


_KINDS: Dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "array": _array,
    "tuple": lambda content: tuple(_decoded(one) for one in content),
    "dict": lambda content: {_decoded(key): _decoded(one) for key, one in content},
    "value": _value,
}
