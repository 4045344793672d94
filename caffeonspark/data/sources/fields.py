"""Which fields of a data layer are read. Another field that is set is an error, or does nothing and a line says so."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any, FrozenSet, Iterator, Set

from ...errors import ConfigError
from ...nets.fork_fields import advice
from ...nets.proto_file import read_proto

__all__ = ["check_fields", "say_once"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Fields:
    """The fields of a layer type's message, and those of its transform_param.

    Attributes
    ----------
    message : name of the LayerParameter's field
    read : what is read
    silent : what changes no result: buffers, and the way in which solvers of one process share data
    idle : what stock Caffe does not read either
    transform : of transform_param
    transform_idle : of transform_param, what stock Caffe, or CaffeOnSpark, does not read in this layer
    """

    message: str
    read: FrozenSet[str]
    silent: FrozenSet[str] = frozenset()
    idle: FrozenSet[str] = frozenset()
    transform: FrozenSet[str] = frozenset()
    transform_idle: FrozenSet[str] = frozenset()


def _names(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


_OLD = _names("scale mean_file crop_size mirror")
_PIXELS = _OLD | {"mean_value"}
_FORCED = _names("force_color force_gray")

_FIELDS = {
    "Data": _Fields(
        "data_param",
        _names("source batch_size backend"),
        _names("prefetch"),
        _OLD | {"rand_skip", "force_encoded_color"},
        _PIXELS | _FORCED,
    ),
    "ImageData": _Fields(
        "image_data_param",
        _names("source batch_size rand_skip shuffle new_height new_width is_color root_folder"),
        idle=_OLD,
        transform=_PIXELS,
        transform_idle=_FORCED,
    ),
    "HDF5Data": _Fields("hdf5_data_param", _names("source batch_size shuffle")),
    "MemoryData": _Fields(
        "memory_data_param",
        _names("source batch_size channels height width image_encoded dataframe_format dataframe_column_select"),
        _names("share_in_parallel"),
        transform=_PIXELS,
        transform_idle=_FORCED,
    ),
    "Input": _Fields(  # as nets/inputs.py and nets/columns.py make it
        "cos_data_param",
        _names("source batch_size shuffle dataframe_format top"),
        transform=_PIXELS,
        transform_idle=_FORCED,
    ),
    "CoSData": _Fields(
        "cos_data_param",
        _names("source batch_size shuffle dataframe_format top"),
        transform=_PIXELS,
        transform_idle=_FORCED,
    ),
}
_BLOCK = _names(
    "name type channels height width sample_num_axes transform_param out_channels out_height out_width transpose"
)
#: What every layer has, and a data layer needs or Caffe does nothing with.
_COMMON = _names(
    "name type bottom top phase loss_weight param blobs propagate_down include exclude loss_param source_class"
)
_said: Set[str] = set()  # a net is opened several times


def check_fields(layer: Any, where: str) -> None:
    """Look at every field that a data layer of Caffe's or CaffeOnSpark's sets to another value than its default.

    Fields that stock Caffe ignores in such a layer are named in the log.

    Raises
    ------
    ConfigError
        For a field that a Caffe fork's data layers may read and these do not: file, layer, field, and what to use.
    """
    fields = _FIELDS[layer.type]
    for name in _set_fields(layer):
        if name == fields.message or name in _COMMON or (name == "input_param" and layer.type == "Input"):
            continue
        if name == "transform_param":
            if layer.type == "CoSData":
                say_once(f"{where}: transform_param does nothing in a CoSData layer: give it in a top block")
            continue  # HDF5Data refuses it
        if name == "memory_data_param" and layer.type in ("Data", "ImageData") and _only_sizes(layer.memory_data_param):
            continue  # which the library notes for a model (plans/scoring.py)
        if name in _stock_fields():
            say_once(f"{where}: {name} does nothing in {layer.type} layers")
        else:
            raise _unknown(where, name, layer.type)
    _check(getattr(layer, fields.message), fields.message, fields.read | fields.silent, fields.idle, layer, where)
    _check(layer.transform_param, "transform_param", fields.transform, fields.transform_idle, layer, where)
    if layer.type in ("CoSData", "Input"):
        for block in layer.cos_data_param.top:
            here = f"{where}: top block '{block.name}'"
            _check(block, "top", _BLOCK, frozenset(), layer, here)
            _check(block.transform_param, "transform_param", fields.transform, fields.transform_idle, layer, here)


def _check(message: Any, name: str, read: FrozenSet[str], idle: FrozenSet[str], layer: Any, where: str) -> None:
    for field in _set_fields(message):
        if field in idle:
            instead = "; transform_param has it" if name != "transform_param" and field in _PIXELS else ""
            say_once(f"{where}: {name}.{field} does nothing in {layer.type} layers, as in Caffe{instead}")
        elif field not in read and not (layer.type == "HDF5Data" and name == "transform_param"):
            raise _unknown(where, f"{name}.{field}", layer.type)


def _only_sizes(param: Any) -> bool:
    return set(_set_fields(param)) <= {"channels", "height", "width"}


def _unknown(where: str, field: str, kind: str) -> ConfigError:
    instead = advice(field.rpartition(".")[2]) or "take it away, or read the data with a source_class of your own"
    return ConfigError(f"{where}: {field} is no field that {kind} layers read here: {instead}")


def _set_fields(message: Any) -> Iterator[str]:
    """The names of the fields that are not as they are by themselves."""
    for field, value in message.ListFields():
        if field.label == field.LABEL_REPEATED or field.message_type is not None or value != field.default_value:
            yield str(field.name)


def say_once(line: str) -> None:
    """Log a warning, where it has not been."""
    if line not in _said:
        _said.add(line)
        _log.warning("caffeonspark: %s", line)


@functools.lru_cache(maxsize=None)
def _stock_fields() -> FrozenSet[str]:
    """The fields of a LayerParameter of stock Caffe's and CaffeOnSpark's."""
    files = [read_proto("caffeonspark.nets", name) for name in ("caffe.proto", "caffeonspark.proto")]
    layers = [message for file in files for message in file.message_type if message.name == "LayerParameter"]
    return frozenset(field.name for message in layers for field in message.field)
