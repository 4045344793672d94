"""Which source reads a data layer: by the layer's type, or by its ``source_class``.

A ``source_class`` is one of the names here, the name of an entry point by which an installed package brings a source
(group ``caffeonspark.sources``), or the dotted path of any class. A layer type that is not ours is read by the class
its ``source_class`` names, or by the entry point of the type's name; the class says so in ``layer_types``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Type

from ...errors import ConfigError, suggest
from ...nets.fork_fields import instead_of_layer
from ...nets.net import Net
from ...plugins import class_named, installed
from .base import FrameSource, Source, SourceConfig
from .dataframe import DataFrameSource
from .fields import check_fields
from .images import ImageDataFrame
from .inputs import InputSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["ENTRY_POINTS", "make_source"]

#: The group of the entry points that bring sources.
ENTRY_POINTS = "caffeonspark.sources"

_DATUMS = f"{__package__}.datums:DatumSource"
_SEQUENCE_FILE = f"{__package__}.sequence_file:SequenceFileSource"
_IMAGE_FRAME = f"{__package__}.images:ImageDataFrame"
_FRAME = f"{__package__}.dataframe:DataFrameSource"

#: By ``source_class``. CaffeOnSpark's names and ours mean the same.
_BY_NAME = {
    "LMDB": _DATUMS,
    "com.yahoo.ml.caffe.LMDB": _DATUMS,
    "LevelDB": _DATUMS,
    "SequenceFile": _SEQUENCE_FILE,
    "SeqImageDataSource": _SEQUENCE_FILE,
    "com.yahoo.ml.caffe.SeqImageDataSource": _SEQUENCE_FILE,
    "ImageDataFrame": _IMAGE_FRAME,
    "com.yahoo.ml.caffe.ImageDataFrame": _IMAGE_FRAME,
    "DataFrameSource": _FRAME,
    "CoSData": _FRAME,
    "com.yahoo.ml.caffe.DataFrameSource": _FRAME,
}

#: What reads rows of files without Spark in place of what reads them with it.
_WITHOUT_SPARK = {
    _IMAGE_FRAME: f"{__package__}.parquet:ImagesInParquet",
    _FRAME: f"{__package__}.parquet:RowsInParquet",
}

#: By the type of stock Caffe's layers, which name no ``source_class``.
_BY_LAYER_TYPE = {
    "Data": _DATUMS,
    "ImageData": f"{__package__}.image_list:ImageListSource",
    "HDF5Data": f"{__package__}.hdf5:HDF5Source",
    "Input": f"{__package__}.inputs:InputSource",
}

_OTHERWISE = "Read its data with a source_class of your own, or make it in a layer of type Python"

#: What reads a DataFrame given in Python for a layer of this type, whatever the layer itself names.
_FOR_FRAMES: Dict[str, Type[FrameSource]] = {
    "CoSData": DataFrameSource,
    "Data": ImageDataFrame,
    "ImageData": ImageDataFrame,
    "Input": InputSource,
    "MemoryData": ImageDataFrame,
}


def make_source(
    config: SourceConfig,
    net: Net,
    layer: Any,
    frame: Optional[DataFrame] = None,
    later: bool = False,
    without_spark: bool = False,
) -> Source:
    """The source of a data layer, not yet opened: what the layer names, or a DataFrame given in its place. With
    ``later`` it is one that a DataFrame, or values, will stand for; ``without_spark`` one that ranks read alone.

    Raises ConfigError.
    """
    where = net.where(layer)
    cls = (_FOR_FRAMES.get(layer.type) if frame is not None or later else None) or _class_of(layer, where)
    if cls.__module__.startswith(f"{__package__}."):  # others know which fields they read
        check_fields(layer, where)
    if without_spark and issubclass(cls, FrameSource):
        cls = _without_spark(cls, where)
    if frame is None:
        return cls(config, net, layer)
    if not issubclass(cls, FrameSource):
        raise ConfigError(f"{where}: a DataFrame cannot stand for the data of a {layer.type} layer; use CoSData")
    return cls(config, net, layer, frame)


def _without_spark(cls: Type[FrameSource], where: str) -> Type[Source]:
    """What reads the rows of a source of Spark's without it. Raises ConfigError where nothing does."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    if name == _SEQUENCE_FILE:
        raise ConfigError(
            f"{where}: SequenceFiles are read by Spark: train with Spark, or make an LMDB of the images instead "
            "(caffeonspark Binary2DataFrame and DataFrame2LMDB)"
        )
    if name not in _WITHOUT_SPARK:
        raise ConfigError(f"{where}: {cls.__name__} reads a DataFrame, which takes Spark: train with Spark")
    return _load(_WITHOUT_SPARK[name], where, {})


def _class_of(layer: Any, where: str) -> Type[Source]:
    if layer.type in _BY_LAYER_TYPE:
        return _load(layer.type, f"{where}: type", _BY_LAYER_TYPE)
    if layer.source_class:
        cls = _class_named(str(layer.source_class), where)
    elif layer.type in installed(ENTRY_POINTS):
        cls = _load(layer.type, f"{where}: type", {})
    elif layer.type in Source.layer_types:
        ours = [name for name in _BY_NAME if not name.startswith("com.")]
        raise ConfigError(f"{where}: source_class is missing: name the kind of data. {suggest('', ours)}")
    else:
        meant = suggest(layer.type, [*_BY_LAYER_TYPE, *Source.layer_types], "")
        raise ConfigError(
            f"{where}: a layer without bottoms reads data, and data layers of type {layer.type} are not supported. "
            f"{instead_of_layer(layer.type) or meant or _OTHERWISE}"
        )
    if layer.type not in cls.layer_types:
        named = layer.source_class or cls.__name__
        raise ConfigError(f"{where}: source_class {named} goes with layer type {' or '.join(cls.layer_types)}")
    return cls


def _class_named(name: str, where: str) -> Type[Source]:
    """The class of a ``source_class``; a dotted path is a class in a module."""
    known = name in _BY_NAME or name.startswith("com.yahoo.") or name in installed(ENTRY_POINTS)
    module, dot, attribute = name.rpartition(".")
    if not known and dot and ":" not in name:
        name = f"{module}:{attribute}"
    return _load(name, f"{where}: source_class", _BY_NAME)


def _load(name: str, where: str, built_in: Mapping[str, str]) -> Type[Source]:
    return class_named(name, Source, where, built_in, ENTRY_POINTS)  # type: ignore[type-abstract]  # it is not made
