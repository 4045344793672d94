"""Nets with ``Input`` layers, as deploy nets have them: which inputs there are, and the columns that fill them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Mapping, Tuple

from ..errors import ConfigError, suggest
from .net import Net, reads_data
from .schema import NetParameter

__all__ = ["Feed", "fed", "inputs_of", "is_image", "measures"]


@dataclass(frozen=True)
class Feed:
    """What fills a net's inputs.

    Attributes
    ----------
    data : where the DataFrame is; "" for one that is given in Python
    format : of Spark's reader
    columns : by an input's name the column that fills it, where that has another name
    transform : TransformationParameter for the inputs that are images, or None
    """

    data: str = ""
    format: str = "parquet"
    columns: Mapping[str, str] = field(default_factory=dict)
    transform: Any = None

    @property
    def given(self) -> str:
        """The first flag that says something of it; "" for none."""
        said = {"-data": bool(self.data), "-columns": bool(self.columns), "-transform": self.transform is not None}
        return next((flag for flag, given in said.items() if given), "")


def inputs_of(net: Net) -> Dict[str, Tuple[int, ...]]:
    """The shape of each top of the net's Input layers. Raises ConfigError for a top without one,
    or that is there twice."""
    found: Dict[str, Tuple[int, ...]] = {}
    for layer in net.message.layer:
        if layer.type != "Input" or layer.bottom or reads_data(layer):
            continue
        shapes = list(layer.input_param.shape)
        if len(shapes) not in (1, len(layer.top)):
            raise ConfigError(
                f"{net.path}: layer '{layer.name}': {len(layer.top)} tops and {len(shapes)} shapes: give input_param a "
                "shape { dim: … } for each top, or one for all"
            )
        for number, top in enumerate(layer.top):
            shape = tuple(map(int, shapes[number if len(shapes) > 1 else 0].dim))
            if not shape or min(shape) < 1:
                raise ConfigError(
                    f"{net.path}: layer '{layer.name}': the shape of input '{top}' is {_dims(shape) or 'empty'}: each "
                    "dimension is at least 1, and the first is the batch"
                )
            if top in found:
                raise ConfigError(f"{net.path}: layer '{layer.name}': top '{top}' is already the top of another layer")
            found[top] = shape
    return found


def is_image(shape: Tuple[int, ...]) -> bool:
    """Whether a blob of this shape, batch included, holds images: ``N x C x H x W`` of more than one pixel."""
    return len(shape) == 4 and shape[2] * shape[3] > 1


def fed(net: Net, feed: Feed) -> Net:
    """The net whose Input layers are one, which reads the columns of a DataFrame (``data/sources/inputs.py``).

    A net that has data layers, and whose inputs nothing is said of, stays as it is.

    Raises
    ------
    ConfigError
        For inputs that are not there, or that have different batch sizes.
    """
    inputs = inputs_of(net) if feed.given or not net.data_layers() else {}
    if not inputs:
        if feed.given and net.data_layers():
            raise ConfigError(
                f"{net.path}: {feed.given} goes with a net that has Input layers; layer '{net.data_layers()[0].name}' "
                "of this one names its data itself"
            )
        if not net.data_layers() and not net.made_layers():
            raise ConfigError(
                f"{net.path}: the net has no input: give it an Input layer with input_param {{ shape {{ dim: … }} }}, "
                "or input: and input_shape { dim: … }"
            )
        return net
    for blob in feed.columns:
        if blob not in inputs:
            raise ConfigError(f"-columns: {net.path} has no input '{blob}'. {suggest(blob, inputs)}")
    if len({shape[0] for shape in inputs.values()}) > 1:
        sizes = ", ".join(f"'{blob}' {_dims(shape)}" for blob, shape in inputs.items())
        raise ConfigError(
            f"{net.path}: the first dimension of each input is the batch, and they differ: {sizes}: a row of data "
            "fills one sample of each"
        )
    if feed.transform is not None and not any(map(is_image, inputs.values())):
        sizes = ", ".join(f"'{blob}' is {_dims(shape)}" for blob, shape in inputs.items())
        raise ConfigError(f"-transform is for images, N x C x H x W, and {net.path} has no such input: {sizes}")
    message = NetParameter()
    message.CopyFrom(net.message)
    del message.layer[:]
    rest = [layer for layer in net.message.layer if not set(layer.top) & set(inputs) or layer.bottom]
    names = {layer.name for layer in rest}
    name = next(iter(inputs)) if len(inputs) == 1 else _free("input", names)
    message.layer.append(_reading(inputs, feed, name))
    message.layer.extend(rest)
    return replace(net, message=message)


def _reading(inputs: Mapping[str, Tuple[int, ...]], feed: Feed, name: str) -> Any:
    """The layer that reads the columns of all inputs: an Input layer with the blocks of a CoSData layer."""
    layer = NetParameter().layer.add(name=name, type="Input")
    param = layer.cos_data_param
    param.source, param.dataframe_format = feed.data, feed.format
    param.batch_size = next(iter(inputs.values()))[0]
    for blob, shape in inputs.items():
        layer.top.append(blob)
        layer.input_param.shape.add().dim.extend(shape)
        block = param.top.add(name=feed.columns.get(blob, blob))
        if feed.transform is not None and is_image(shape):
            block.transform_param.CopyFrom(feed.transform)
    return layer


def measures(net: Net) -> bool:
    """Whether a layer of the net says how good it is: a loss or an accuracy."""
    return any(layer.type.endswith("Loss") or "Accuracy" in layer.type for layer in net.message.layer)


def _free(name: str, taken: Any) -> str:
    while name in taken:
        name += "_"
    return name


def _dims(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
