"""Nets whose data are columns of a DataFrame: which of their blobs are data, and the one layer that fills these.

Data are the tops of the layers that read or hold them, and the bottoms that no layer makes. The layer that fills them
is an ``Input`` layer with a block for each column (``nets/inputs.py`` makes such layers of deploy nets;
``data/sources/inputs.py`` reads for them).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Iterator, List, Optional, Sequence, Set, Tuple

from ..errors import ConfigError, suggest
from .deploy import label_blobs
from .net import TEST, Net, SolverNets, makes_data, reads_data
from .schema import NetParameter

__all__ = [
    "DataBlob",
    "Filled",
    "NetData",
    "Shape",
    "check_trains",
    "data_of",
    "nets_to_test",
    "reading",
    "with_batch_size",
]

Shape = Tuple[int, ...]

#: Where the layers that read data have their batch size.
_PARAMETERS = {
    "CoSData": "cos_data_param",
    "Data": "data_param",
    "HDF5Data": "hdf5_data_param",
    "ImageData": "image_data_param",
    "Input": "cos_data_param",
    "MemoryData": "memory_data_param",
}
_IMAGES = ("ENCODED_IMAGE", "RAW_IMAGE", "ENCODED_IMAGE_WITH_DIM")


@dataclass(frozen=True)
class DataBlob:
    """A blob of a net that data fills.

    Attributes
    ----------
    name : str
    is_label : whether losses compare the net's scores with it
    shape : of a sample, as the net states it; None where only the data tell
    block : the block of ``cos_data_param`` that fills it: with its transformation; with the column and its type where
        the net itself says them
    colours : the channels that images have: 1, 3, or 0 for what the first one has
    hint : what may be meant, for a bottom that no layer makes
    """

    name: str
    is_label: bool
    shape: Optional[Shape]
    block: Any
    colours: int = 0
    hint: str = ""


@dataclass(frozen=True)
class NetData:
    """The data of a net.

    Attributes
    ----------
    rest : the net without the layers that read or hold data
    blobs : those that layers of ``rest`` take, in the net's order
    batch_size : that the net states, or 0
    shuffle : whether a layer that reads asks for it
    reads : whether layers of the net read data
    """

    rest: Net
    blobs: Tuple[DataBlob, ...]
    batch_size: int
    shuffle: bool
    reads: bool


@dataclass(frozen=True)
class Filled:
    """A data blob and what fills it: the shape of a sample, and a whole block of ``cos_data_param``."""

    name: str
    shape: Shape
    block: Any


def with_batch_size(net: Net, size: int) -> Net:
    """The net whose layers that read data have batches of this size."""
    message = NetParameter()
    message.CopyFrom(net.message)
    for layer in message.layer:
        if reads_data(layer) and layer.type in _PARAMETERS:
            getattr(layer, _PARAMETERS[layer.type]).batch_size = size
    return replace(net, message=message)


def check_trains(net: Net) -> None:
    """Raise ConfigError for a net without a loss."""
    for layer in net.message.layer:
        if any(layer.loss_weight) or (layer.type.endswith("Loss") and not layer.loss_weight):
            return
    raise ConfigError(
        f"{net.path}: the net has no loss, so there is nothing to train; a deploy net has none: give the net that is "
        "trained, or add a layer such as SoftmaxWithLoss over its scores and a label"
    )


def nets_to_test(nets: SolverNets) -> Tuple[Net, ...]:
    """The test nets, or, where there is none, one made of what the solver's net has for TEST or for TRAIN.

    Its data are then those of the TRAIN net, so its mirrors are left out.
    """
    if nets.tests:
        return nets.tests
    known = {blob.name for blob in data_of(nets.train).blobs}
    for net in nets.without_data:
        taken = {blob.name for blob in data_of(net).blobs}
        if taken and taken <= known:
            return (_in_test(net),)
    return (_in_test(nets.train),)


def _in_test(net: Net) -> Net:
    """A net in the TEST phase, without mirrors, which are for training."""
    message = NetParameter()
    message.CopyFrom(net.message)
    message.state.phase = TEST
    for layer in message.layer:
        for param in (layer.transform_param, *(block.transform_param for block in layer.cos_data_param.top)):
            param.ClearField("mirror")
    return replace(net, message=message, phase=TEST, number=0)


# ---- which blobs are data


def data_of(net: Net, train: Optional[NetData] = None) -> NetData:
    """The data of a net.

    Parameters
    ----------
    net : Net
    train : of the TRAIN net: what this one's data are where it does not say

    Raises
    ------
    ConfigError
        For layers whose batch sizes or shapes do not go together.
    """
    numbers = _filling(net)
    found = _data_of(net, numbers, train)
    if any(blob.is_label for blob in found.blobs):
        return found
    return _data_of(net, numbers | _placeholders(net), train)


def _data_of(net: Net, numbers: Set[int], train: Optional[NetData]) -> NetData:
    """Where the layers of these numbers stand for data."""
    layers = [layer for number, layer in enumerate(net.message.layer) if number in numbers]
    rest = [layer for number, layer in enumerate(net.message.layer) if number not in numbers]
    used = {bottom for layer in rest for bottom in layer.bottom}
    found = {blob.name: blob for layer in layers for blob in _blobs(net, layer) if blob.name in used}
    of_train = {} if train is None else {blob.name: blob for blob in train.blobs}
    for name, hint in _unmade(net, rest, found):
        blob = replace(_unknown(name), hint=hint)
        if name in of_train:
            blob = of_train[name]
            blob = replace(blob, block=_without_mirror(blob.block))
        found[name] = blob
    labels = label_blobs(net) | label_blobs(_with_inputs(net, list(found), rest))
    labels |= {name for name, blob in of_train.items() if blob.is_label}
    message = NetParameter()
    message.CopyFrom(net.message)
    del message.layer[:]
    message.layer.extend(rest)
    sizes = [(layer.name, _batch_size(layer)) for layer in layers if _batch_size(layer)]
    if len({size for _, size in sizes}) > 1:
        each = ", ".join(f"'{name}' {size}" for name, size in sizes)
        raise ConfigError(f"{net.path}: a row of data fills one sample of each, and the batch sizes differ: {each}")
    return NetData(
        replace(net, message=message),
        tuple(replace(blob, is_label=blob.name in labels) for blob in found.values()),
        sizes[0][1] if sizes else 0 if train is None else train.batch_size,
        any(_shuffles(layer) for layer in layers),
        any(map(reads_data, layers)),
    )


def _filling(net: Net) -> Set[int]:
    """The numbers of the layers that stand for data: those that read or are given them, or else those that make some
    up."""
    layers = list(enumerate(net.message.layer))
    numbers = {number for number, layer in layers if reads_data(layer) or (layer.type == "Input" and not layer.bottom)}
    if numbers or any(_unmade(net, net.message.layer, ())):
        return numbers
    made = {number: layer.type for number, layer in layers if makes_data(layer)}
    return {number for number, kind in made.items() if kind == "Python"} or set(made)


def _placeholders(net: Net) -> Set[int]:
    """The numbers of the layers that stand for labels while a net is written: that make up zeros for its losses."""
    bottoms = {bottom for layer in net.message.layer if layer.type.endswith("Loss") for bottom in layer.bottom}
    return {
        number
        for number, layer in enumerate(net.message.layer)
        if layer.type == "DummyData" and not layer.dummy_data_param.data_filler and bottoms & set(layer.top)
    }


def _unmade(net: Net, layers: Sequence[Any], known: Any) -> Iterator[Tuple[str, str]]:
    """The bottoms of ``layers`` that no layer makes and that are not ``known``, and what each may be meant to be."""
    made = {top for layer in net.message.layer for top in layer.top if top not in layer.bottom}
    said: Set[str] = set(known)
    for layer in layers:
        for bottom in layer.bottom:
            if bottom not in said and bottom not in made:
                yield bottom, suggest(bottom, made, "")
            said.add(bottom)


def _unknown(name: str) -> DataBlob:
    return DataBlob(name, False, None, NetParameter().layer.add().cos_data_param.top.add())


def _blobs(net: Net, layer: Any) -> Iterator[DataBlob]:
    """The tops of a layer that stands for data."""
    if layer.type == "HDF5Data" and layer.HasField("transform_param"):
        raise ConfigError(f"{net.where(layer)}: HDF5Data does not transform data: take transform_param away")
    shapes = _stated_shapes(net, layer)
    for number, top in enumerate(layer.top):
        blob = replace(_unknown(top), shape=shapes[number] if number < len(shapes) else None)
        if number < len(layer.cos_data_param.top):
            blob.block.CopyFrom(layer.cos_data_param.top[number])
            if layer.type == "CoSData":
                blob.block.type = blob.block.type  # a default, which is said from now on
        elif number == 0 and layer.type in ("Data", "ImageData", "MemoryData"):
            _describe_images(layer, blob.block)
            blob = replace(blob, colours=_colours(layer))
        yield blob


def _describe_images(layer: Any, block: Any) -> None:
    if layer.HasField("transform_param"):
        block.transform_param.CopyFrom(layer.transform_param)
        for name in ("force_color", "force_gray"):  # which are `colours`
            block.transform_param.ClearField(name)
    if layer.image_data_param.new_height and layer.image_data_param.new_width:
        block.height, block.width = layer.image_data_param.new_height, layer.image_data_param.new_width


def _colours(layer: Any) -> int:
    if layer.type == "ImageData":
        return 3 if layer.image_data_param.is_color else 1
    return 3 if layer.transform_param.force_color else 1 if layer.transform_param.force_gray else 0


def _stated_shapes(net: Net, layer: Any) -> List[Optional[Shape]]:
    """The shapes of a sample of a layer's tops, as far as it says them."""
    if layer.type == "CoSData":
        return [_shape_of(block) for block in layer.cos_data_param.top]
    if layer.type == "MemoryData":
        param = layer.memory_data_param
        shape = (int(param.channels), int(param.height), int(param.width))
        return [shape if min(shape) > 0 else None]
    if layer.type not in ("Input", "DummyData"):
        return []
    dims = [list(shape.dim) for shape in (layer.input_param if layer.type == "Input" else layer.dummy_data_param).shape]
    if layer.type == "DummyData" and not dims:
        param = layer.dummy_data_param
        dims = [list(each) for each in zip(param.num, param.channels, param.height, param.width)]
    if len(dims) not in (0, 1, len(layer.top)):
        raise ConfigError(
            f"{net.where(layer)}: {len(layer.top)} tops and {len(dims)} shapes: give it a shape {{ dim: … }} for each "
            "top, or one for all"
        )
    for shape_of_all in dims:
        if not shape_of_all or min(shape_of_all) < 1:
            raise ConfigError(
                f"{net.where(layer)}: the shape is {'x'.join(map(str, shape_of_all)) or 'empty'}: each dimension is at "
                "least 1, and the first is the batch"
            )
    shapes: List[Optional[Shape]] = [tuple(map(int, shape_of_all[1:])) for shape_of_all in dims]
    return shapes * (len(layer.top) if len(dims) == 1 else 1)


def _shape_of(block: Any) -> Shape:
    """The shape of a sample of a CoSData layer's top."""
    dims = (int(block.channels), int(block.height), int(block.width))
    kind = type(block).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[block.type].name
    if kind in _IMAGES:
        crop = int(block.transform_param.crop_size)
        return (dims[0], crop or dims[1], crop or dims[2])
    if kind in ("STRING", "INT", "FLOAT") and not block.HasField("channels"):
        dims = (1, 1, 1)
    return dims[: block.sample_num_axes]


def _batch_size(layer: Any) -> int:
    """The batch size that a layer states, or 0."""
    if reads_data(layer):
        return int(getattr(layer, _PARAMETERS[layer.type]).batch_size) if layer.type in _PARAMETERS else 0
    param = layer.input_param if layer.type == "Input" else layer.dummy_data_param
    if param.shape:
        return int(param.shape[0].dim[0])
    return int(layer.dummy_data_param.num[0]) if layer.dummy_data_param.num else 0


def _shuffles(layer: Any) -> bool:
    return bool(layer.cos_data_param.shuffle or layer.image_data_param.shuffle or layer.hdf5_data_param.shuffle)


def _without_mirror(block: Any) -> Any:
    plain = type(block)()
    plain.CopyFrom(block)
    plain.transform_param.ClearField("mirror")
    if not block.HasField("transform_param"):
        plain.ClearField("transform_param")
    return plain


def _with_inputs(net: Net, blobs: Sequence[str], rest: Sequence[Any]) -> Net:
    """The net with one Input layer, without shapes, for its data."""
    message = NetParameter()
    message.layer.add(name="data", type="Input").top.extend(blobs)
    message.layer.extend(rest)
    return replace(net, message=message)


# ---- the layer that fills them


def reading(data: NetData, filled: Sequence[Filled], batch_size: int) -> Net:
    """The net with one layer that reads the columns of a DataFrame."""
    message = NetParameter()
    message.CopyFrom(data.rest.message)
    del message.layer[:]
    rest = data.rest.message.layer
    layer = message.layer.add(name=_free("data", {one.name for one in rest}), type="Input")
    param = layer.cos_data_param
    param.batch_size = batch_size
    if data.shuffle:
        param.shuffle = True
    for one in filled:
        layer.top.append(one.name)
        layer.input_param.shape.add().dim.extend((batch_size, *one.shape))
        param.top.add().CopyFrom(one.block)
    for old in rest:
        new = message.layer.add()
        new.CopyFrom(old)
        del new.include[:], new.exclude[:]  # which have been followed
    return replace(data.rest, message=message)


def _free(name: str, taken: Set[str]) -> str:
    while name in taken:
        name += "_"
    return name
