"""Models: the parameters of a net's layers in a ``.caffemodel`` (binary) or ``.caffemodel.h5`` (HDF5) file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import ConfigError, DataError
from ..nets import schema
from ..nets.upgrade import layer_type
from .binary import NetParameter, blob_array, fill_blob, read_message, write_message
from .endings import is_hdf5
from .hdf5 import checked, open_hdf5, reading_hdf5
from .mistaken import refuse_versions

__all__ = ["LayerWeights", "read_caffemodel", "write_caffemodel"]

_MOST_BLOBS = 10_000  # of a layer, in a file that is not damaged


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of one layer.

    Attributes
    ----------
    name : the layer's name, by which Caffe finds where its parameters belong
    type : ``Convolution``; empty where the file does not tell, as HDF5 files do not
    blobs : float32 arrays in the layer's order. None stands for a parameter that is shared with an earlier layer
        and is there only once in an HDF5 file; shared ones at the end may be missing
    """

    name: str
    type: str = ""
    blobs: List[Optional[np.ndarray]] = field(default_factory=list)


def read_caffemodel(path: str, name: str = "") -> List[LayerWeights]:
    """The layers of the model at the local ``path``, whose name tells the format; errors call it ``name`` if given.

    All layers are there, those without parameters too: in the net's order in a binary file, in that of their names
    in an HDF5 file. Shapes are those in the file: in binary ones of before 2015 all have 4 axes.

    Raises
    ------
    DataError
        If the file is no model, or is damaged.
    ConfigError
        If it is HDF5 and h5py is missing.
    """
    name = name or path
    layers = _read_hdf5(path, name) if is_hdf5(path) else _read_binary(path, name)
    if not layers:
        raise DataError(f"{name} is no model of Caffe's: there is no layer in it")
    return layers


def write_caffemodel(path: str, layers: Sequence[LayerWeights], net_name: str = "") -> None:
    """Write a model to the local ``path``, whose ending tells the format: HDF5 for ``.h5``.

    An array that an earlier layer has too (the same memory) is a shared parameter. As Caffe does, HDF5 files get it
    once and binary files every time. HDF5 files have no place for types and the net's name.

    Raises
    ------
    ConfigError
        If the format cannot hold these layers: its message names the one that can.
    """
    if is_hdf5(path):
        _write_hdf5(path, layers)
    else:
        _write_binary(path, layers, net_name)


# ---- binary


def _read_binary(path: str, name: str) -> List[LayerWeights]:
    net = read_message(path, name, NetParameter, "model")
    refuse_versions(
        name,
        [(one.layer.name, one.layer.type) if one.HasField("layer") else (one.name, None) for one in net.layers],
        [layer.name for layer in net.layer],
    )
    old = [_old_layer(layer, name) for layer in net.layers if layer.layer.type != "padding"]
    return old or [_layer(layer, layer.type, name) for layer in net.layer]


def _old_layer(layer: Any, name: str) -> LayerWeights:
    if layer.HasField("layer"):
        return _layer(layer.layer, layer_type(layer.layer.type), name)
    return _layer(layer, _type_since_2015(layer.type), name)


def _layer(layer: Any, kind: str, name: str) -> LayerWeights:
    where = f"{name}: layer '{layer.name}'"
    return LayerWeights(
        layer.name, kind, [blob_array(blob, f"{where}: blob {number}") for number, blob in enumerate(layer.blobs)]
    )


def _type_since_2015(number: int) -> str:
    types = schema.NetParameter().layers.add().LayerType
    if number not in types.values():
        return ""
    return layer_type(types.Name(number))


def _write_binary(path: str, layers: Sequence[LayerWeights], net_name: str) -> None:
    net = NetParameter(name=net_name)
    size = 0
    for layer in layers:
        message = net.layer.add(name=layer.name, type=layer.type)
        for number, blob in enumerate(layer.blobs):
            if blob is None:
                raise ConfigError(
                    f"{path}: parameter {number} of layer '{layer.name}' is shared, and its numbers are not given: "
                    "only an HDF5 file (.caffemodel.h5) can leave them out"
                )
            fill_blob(message.blobs.add(), blob)
            size += 4 * blob.size
    write_message(path, net, size)


# ---- HDF5


def _read_hdf5(path: str, name: str) -> List[LayerWeights]:
    with reading_hdf5(path, name, "model") as f:
        return [LayerWeights(str(layer), "", _read_group(group)) for layer, group in f["data"].items()]


def _read_group(group: Any) -> List[Optional[np.ndarray]]:
    found = {_number(name): np.asarray(checked(dataset)[()], np.float32) for name, dataset in group.items()}
    return [found.get(number) for number in range(max(found, default=-1) + 1)]


def _number(name: str) -> int:
    if not 0 <= int(name) < _MOST_BLOBS:
        raise ValueError(f"a layer has no parameter of the number {name}")
    return int(name)


def _write_hdf5(path: str, layers: Sequence[LayerWeights]) -> None:
    names: Set[str] = set()
    for layer in layers:
        if not layer.name or "/" in layer.name or layer.name == "." or layer.name in names:
            why = "is there twice" if layer.name in names else "cannot be a name in HDF5"
            raise ConfigError(
                f"{path}: the layer name '{layer.name}' {why}: rename the layer, or use a binary .caffemodel "
                "(snapshot_format: BINARYPROTO in the solver)"
            )
        names.add(layer.name)
    written: Set[Tuple[Any, ...]] = set()
    with open_hdf5(path, "w") as f:
        data = f.create_group("data")
        for layer in layers:
            group = data.create_group(layer.name)
            for number, blob in enumerate(layer.blobs):
                if blob is None or (blob.ctypes.data, blob.shape, blob.strides) in written:
                    continue
                group.create_dataset(str(number), data=np.asarray(blob, np.float32))
                written.add((blob.ctypes.data, blob.shape, blob.strides))
