"""Which layers a model has, and the shapes of their parameters: read without their numbers, which may be many."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import Any, Iterator, List, Optional, Tuple, Union

from ..errors import DataError
from .endings import is_hdf5
from .hdf5 import reading_hdf5
from .mistaken import refuse_mistaken, refuse_versions

__all__ = ["BlobShape", "LayerShapes", "read_shapes"]

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # protobuf's wire types


@dataclass(frozen=True)
class BlobShape:
    """The shape of a parameter in a file.

    Attributes
    ----------
    sizes : of its axes
    old : whether it is of a file of before 2015, where all have 4 axes: ``1 x 1 x N x C`` is ``N x C``, too
    """

    sizes: Tuple[int, ...]
    old: bool = False

    def fits(self, shape: Tuple[int, ...]) -> bool:
        """Whether Caffe copies it into a blob of that shape (``Blob::ShapeEquals``, src/caffe/blob.cpp)."""
        if self.old:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + tuple(shape) == self.sizes
        return tuple(shape) == self.sizes


@dataclass(frozen=True)
class LayerShapes:
    """A layer in a file.

    Attributes
    ----------
    name : of the layer
    blobs : of its parameters. None stands for one that is shared with an earlier layer and is there only once in an
        HDF5 file; shared ones at the end may be missing
    """

    name: str
    blobs: List[Optional[BlobShape]] = field(default_factory=list)


def read_shapes(content: bytes, name: str) -> List[LayerShapes]:
    """The layers of a model, in the file's order; those without parameters, too.

    Parameters
    ----------
    content : of the file
    name : of the file, which tells the format; what errors call it

    Raises
    ------
    DataError
        If it is no model, or is damaged or cut short.
    ConfigError
        If it is HDF5 and h5py is missing.
    """
    hdf5 = is_hdf5(name)
    refuse_mistaken(content[:4096], name, "model", hdf5)
    if hdf5:
        layers = _read_hdf5(content, name)
    else:
        try:
            layers = _read_net(memoryview(content), name)
        except (IndexError, UnicodeDecodeError, ValueError):
            raise DataError(f"{name} is no model of Caffe's, or it is damaged or cut short") from None
    if not layers:
        raise DataError(f"{name} is no model of Caffe's: there is no layer in it")
    return layers


def _read_hdf5(content: bytes, name: str) -> List[LayerShapes]:
    layers = []
    with reading_hdf5(io.BytesIO(content), name, "model") as f:
        for layer, group in f["data"].items():
            found = {int(number): BlobShape(tuple(map(int, dataset.shape))) for number, dataset in group.items()}
            if found and not 0 <= min(found) <= max(found) < 10_000:
                raise ValueError(f"layer '{layer}' has a parameter of the number {max(found)}")
            layers.append(LayerShapes(str(layer), [found.get(n) for n in range(max(found, default=-1) + 1)]))
    return layers


# ---- binary: the messages of nets/caffe.proto by the numbers of their fields; wrong ones are a ValueError


def _read_net(net: memoryview, file: str) -> List[LayerShapes]:
    old: List[LayerShapes] = []
    new: List[LayerShapes] = []
    kinds: List[Optional[str]] = []  # of the old ones
    for number, _, value in _fields(net):
        if number == 2:  # of before 2015
            layer = _message(value)
            inner = [_message(part) for key, _, part in _fields(layer) if key == 1]  # of before 2014
            if inner:
                old.append(_layer(inner[-1], file, name_field=1, blobs_field=50))
                types = [part for key, _, part in _fields(inner[-1]) if key == 2]
                kinds.append(bytes(_message(types[-1])).decode() if types else "")
            else:
                old.append(_layer(layer, file, name_field=4, blobs_field=6))
                kinds.append(None)
        elif number == 100:
            new.append(_layer(_message(value), file, name_field=1, blobs_field=7))
    refuse_versions(file, [(layer.name, kind) for layer, kind in zip(old, kinds)], [layer.name for layer in new])
    return [layer for layer, kind in zip(old, kinds) if kind != "padding"] or new


def _layer(layer: memoryview, file: str, name_field: int, blobs_field: int) -> LayerShapes:
    name = ""
    blobs: List[Optional[BlobShape]] = []
    for number, _, value in _fields(layer):
        if number == name_field:
            name = bytes(_message(value)).decode()
        elif number == blobs_field:
            blobs.append(_blob(_message(value), f"{file}: layer '{name}': blob {len(blobs)}"))
    return LayerShapes(name, blobs)


def _blob(blob: memoryview, where: str) -> BlobShape:
    old, sizes, count, is_old = [0, 0, 0, 0], [], 0, False
    for number, wire, value in _fields(blob):
        if 1 <= number <= 4:
            old[number - 1], is_old = _number(value), True
        elif number == 7:
            sizes = [size for key, _, part in _fields(_message(value)) if key == 1 for size in _numbers(part)]
        elif number in (5, 8):
            size = 4 if number == 5 else 8
            if wire == _BYTES and len(_message(value)) % size:
                raise DataError(f"{where} ends in the middle of a number")
            count += len(_message(value)) // size if wire == _BYTES else 1
    shape = BlobShape(tuple(old if is_old else sizes), is_old)
    if any(size < 0 for size in shape.sizes) or count != math.prod(shape.sizes):
        raise DataError(f"{where} has {count} numbers, where its shape {shape.sizes} needs {math.prod(shape.sizes)}")
    return shape


# ---- protobuf's encoding


def _fields(message: memoryview) -> Iterator[Tuple[int, int, Union[int, memoryview]]]:
    """(number, wire type, value) of each field of a message: a number, or the bytes that are there."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"wire type {wire}")
        if not number or size > end - at:
            raise ValueError("more than there is")
        yield number, wire, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number that has no end")


def _number(value: Any) -> int:
    """A field that has to be a number, with its sign."""
    if not isinstance(value, int):
        raise ValueError("no number")
    return value - 2**64 if value >= 2**63 else value


def _numbers(value: Union[int, memoryview]) -> Iterator[int]:
    """The numbers of a repeated field: one, or several packed into bytes."""
    if isinstance(value, int):
        yield _number(value)
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield _number(number)


def _message(value: Any) -> memoryview:
    """A field that has to be bytes."""
    if not isinstance(value, memoryview):
        raise ValueError("no bytes")
    return value
