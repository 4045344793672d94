"""Caffe's binary files: protobuf messages whose blobs' numbers are read and written as bytes."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, Tuple

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import ConfigError, DataError
from ..nets.proto_file import Messages, read_proto
from ..nets.schema import BlobProto, describe
from .mistaken import refuse_mistaken

__all__ = [
    "NetParameter",
    "SolverState",
    "blob_array",
    "fill_blob",
    "parse_message",
    "read_blob",
    "read_message",
    "whole_net",
    "write_message",
]

_LARGEST = 2**31 - 1  # bytes of a protobuf message

_messages = Messages(read_proto("caffeonspark.formats", "files.proto"))

NetParameter: Any = _messages["NetParameter"]
SolverState: Any = _messages["SolverState"]


@functools.lru_cache(maxsize=1)
def whole_net() -> Any:
    """The class of a NetParameter with all of its fields, whose blobs' numbers are bytes, too."""
    description = describe()
    (blob,) = (message for message in description.message_type if message.name == "BlobProto")
    for field in blob.field:
        if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
            field.type = field.TYPE_BYTES
            field.ClearField("options")  # packed
    return Messages(description)["NetParameter"]


def read_message(path: str, name: str, kind: Any, what: str) -> Any:
    """The message in the local file ``path``; the rest is as in ``parse_message``."""
    try:
        with open(path, "rb") as f:
            content = f.read()
    except OSError as e:
        raise DataError(f"{name} cannot be read: {e.strerror}") from None
    return parse_message(content, name, kind, what)


def parse_message(content: bytes, name: str, kind: Any, what: str) -> Any:
    """The message that is all of a file's content.

    Parameters
    ----------
    name : what errors call the file
    kind : class of the message
    what : the kind of file, for errors: ``model``

    Raises
    ------
    DataError
        If there is no such message in the file.
    """
    refuse_mistaken(content[:4096], name, what, hdf5=False)
    damaged = DataError(f"{name} is no {what} of Caffe's, or it is damaged or cut short")
    with warnings.catch_warnings(record=True) as unread:  # protobuf's C++ warns when it stops before the end
        warnings.simplefilter("always")
        try:
            message = kind.FromString(content)
        except (DecodeError, ValueError):  # ValueError: a name that is not UTF-8
            raise damaged from None
    if unread:
        raise damaged
    return message


def write_message(path: str, message: Any, size: int) -> None:
    """Write a message whose blobs have ``size`` bytes together. Raises ConfigError if it is too large for protobuf."""
    if size > _LARGEST - 2**20:  # names and shapes take some, too
        raise ConfigError(
            f"{path}: {size} bytes of numbers are more than Caffe's binary files can hold (2 GB): "
            "set snapshot_format: HDF5 in the solver"
        )
    with open(path, "wb") as f:
        f.write(message.SerializeToString())


def blob_array(blob: Any, where: str) -> np.ndarray:
    """A blob's numbers: float32, of the blob's shape, which has 4 axes in files of before 2015.

    Raises DataError, which begins with ``where``, if shape and numbers do not go together.
    """
    old = any(blob.HasField(axis) for axis in ("num", "channels", "height", "width"))
    shape: Tuple[int, ...]
    if old:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    else:
        shape = tuple(int(size) for size in blob.shape.dim)
    numbers: np.ndarray
    if blob.data or blob.double_data:
        content, kind = b"".join(blob.double_data or blob.data), np.dtype("<f8" if blob.double_data else "<f4")
        if len(content) % kind.itemsize:
            raise DataError(f"{where} ends in the middle of a number")
        numbers = np.frombuffer(content, kind).astype(np.float32)
    else:  # none, or written one by one, which protobuf allows too
        numbers = np.array(BlobProto.FromString(blob.SerializeToString()).data, np.float32)
    if numbers.size != math.prod(shape) or any(size < 0 for size in shape):
        raise DataError(f"{where} has {numbers.size} numbers, where its shape {shape} needs {math.prod(shape)}")
    return numbers.reshape(shape)


def read_blob(content: bytes, name: str, what: str) -> np.ndarray:
    """The numbers of a file that is one blob (a mean image, a matrix): float32, of the blob's shape.

    ``name``, ``what`` and errors are those of ``parse_message``.
    """
    return blob_array(parse_message(content, name, _messages["BlobProto"], what), name)


def fill_blob(blob: Any, array: np.ndarray) -> None:
    """Make a new blob hold an array of numbers, as float32."""
    blob.shape.dim.extend(array.shape)
    blob.data.append(np.ascontiguousarray(array, "<f4").tobytes())
