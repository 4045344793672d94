"""In what form a column of a DataFrame holds data, by its type; and several columns that are one input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Sequence, Tuple

from .frames import quoted

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

__all__ = [
    "FILE",
    "IMAGE",
    "IMAGE_FIELDS",
    "NUMBER",
    "NUMBERS",
    "SIZED_FILE",
    "TEXT",
    "fits",
    "form_of",
    "joined",
    "parts_of",
]

FILE = "an image file"
SIZED_FILE = "an image file with its size"
IMAGE = "an image of Spark's"
NUMBERS = "numbers"
NUMBER = "a number"
TEXT = "text"

#: Those of Spark's image format that are read.
IMAGE_FIELDS = ("height", "width", "nChannels", "data")

#: By CoSData's types what fills them.
_FITTING = {
    "STRING": (NUMBER, TEXT),
    "INT": (NUMBER, TEXT),
    "FLOAT": (NUMBER, TEXT),
    "INT_ARRAY": (NUMBER, NUMBERS),
    "FLOAT_ARRAY": (NUMBER, NUMBERS),
    "RAW_IMAGE": (FILE, TEXT),
    "ENCODED_IMAGE": (FILE, TEXT),
    "ENCODED_IMAGE_WITH_DIM": (SIZED_FILE,),
}


def form_of(kind: DataType) -> str:
    """One of the forms here; "" for a type that holds none of them."""
    from pyspark.sql import types as T

    if isinstance(kind, T.BinaryType):
        return FILE
    if isinstance(kind, T.StructType):
        fields = set(kind.fieldNames())
        if fields >= set(IMAGE_FIELDS):
            return IMAGE
        return SIZED_FILE if fields >= {"height", "width", "image"} else ""
    if isinstance(kind, T.StringType):
        return TEXT
    if isinstance(kind, (T.NumericType, T.BooleanType)):
        return NUMBER
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, (T.NumericType, T.BooleanType)):
        return NUMBERS
    return NUMBERS if kind.simpleString() == "vector" else ""


def fits(block: Any, kind: DataType) -> bool:
    """Whether a column of this type can fill a block of ``cos_data_param`` as the type of the block says."""
    name = type(block).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[block.type].name
    return form_of(kind) in _FITTING[name]


_QUOTED = r"`(?:[^`]|``)+`"


def joined(names: Sequence[str]) -> str:
    """The name of several columns of numbers that are one input, one behind the other."""
    return ",".join(map(quoted, names))


def parts_of(name: str) -> Tuple[str, ...]:
    """The columns behind a ``joined`` name; none for the name of a column."""
    if not re.fullmatch(f"{_QUOTED}(,{_QUOTED})+", name):
        return ()
    return tuple(part[1:-1].replace("``", "`") for part in re.findall(_QUOTED, name))
