"""The data of a phase: ``DataSource(spark).getSource(config, isTraining)``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .config import Config, session_of
from .data import kinds  # noqa: F401  (registers every kind of source)
from .data.dataframe import DataFrameSource
from .data.images import ImageDataFrame
from .data.records import BadPolicy
from .data.source import FrameSource, RangeSource, Source, make_source
from .errors import ConfigError, suggest
from .plan import LabelRange, LayerPlan, NetPlan
from .proto.net import TEST, TRAIN, Net

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["DataSource", "NetSource"]


class NetSource:
    """The data layers of one phase of a net, and where their data comes from.

    Attributes
    ----------
    config : Config
    net : Net
    sources : one Source for each data layer, in the order they stand
    """

    def __init__(self, config: Config, net: Net, dataframe: Optional[DataFrame] = None) -> None:
        self.config = config
        self.net = net
        layers = net.data_layers()
        if not layers:
            raise ConfigError(f"{net.path}: the net has no data layer in the {net.phase_name} phase")
        if dataframe is None:
            self.sources: List[Source] = [make_source(config, net, layer) for layer in layers]
        else:
            self.sources = [self._given(layers, dataframe)]
        self._dataframe = dataframe
        self._plan: Optional[NetPlan] = None

    def for_blobs(self, blobs: Sequence[str]) -> NetSource:
        """The same data for the part of the net that these blobs depend on. Raises ConfigError for unknown blobs."""
        known = self.net.blob_names()
        for blob in blobs:
            if blob not in known:
                raise ConfigError(
                    f"{self.net.path}: the {self.net.phase_name} net has no blob '{blob}'. {suggest(blob, known)}"
                )
        return NetSource(self.config, self.net.pruned(blobs), self._dataframe)

    def _given(self, layers: List[Any], dataframe: DataFrame) -> Source:
        """The source of a DataFrame given in Python, for whatever kind of data the only data layer names."""
        layer = layers[0]
        where = f"{self.net.path}: layer '{layer.name}'"
        if len(layers) > 1:
            raise ConfigError(f"{where}: a DataFrame can only stand for the data of a net's single data layer")
        source: FrameSource
        if layer.type == "CoSData":
            source = DataFrameSource(self.config, self.net, layer)
        elif layer.type in ("Data", "MemoryData", "ImageData"):
            source = ImageDataFrame(self.config, self.net, layer)
        else:
            raise ConfigError(f"{where}: a DataFrame cannot stand for the data of a {layer.type} layer; use CoSData")
        source.given = dataframe
        return source

    def __repr__(self) -> str:
        return f"NetSource({self.net.phase_name}: {', '.join(s.description for s in self.sources)})"

    @property
    def plan(self) -> NetPlan:
        """The plan for executors; opens the sources the first time."""
        if self._plan is None:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> NetPlan:
        from .solver import inspect_net, layer_types

        self.net.check(layer_types())
        for source in self.sources:
            source.open()
        layers = tuple(self._layer_plan(source) for source in self.sources)
        message = self.net.with_inputs({layer.name: list(layer.shapes().items()) for layer in layers})
        larger = {}
        for layer in layers:
            larger.update(layer.shapes(layer.batch_size + 1))
        found = inspect_net(message, larger, layers[0].batch_size, self.net.path)
        labels = label_ranges(message, found.shapes)
        layers = tuple(
            replace(layer, labels={top.name: labels[top.name] for top in layer.tops if top.name in labels})
            for layer in layers
        )
        return NetPlan(
            content=message.SerializeToString(),
            path=self.net.path,
            layers=layers,
            outputs=tuple(self.net.output_blobs()),
            shapes=found.shapes,
            batch_axes=found.batch_axes,
            flexible=found.flexible,
            parameters=found.parameters,
        )

    def _layer_plan(self, source: Source) -> LayerPlan:
        assert isinstance(source, (RangeSource, FrameSource))
        return LayerPlan(
            name=source.layer.name,
            description=f"{source.where}: {source.description}",
            tops=source.tops,
            batch_size=source.batch_size,
            shuffle=source.shuffle or bool(self.config.shuffle),
            reader=source.reader(),
            count=source.count() if isinstance(source, RangeSource) else None,
            bad=BadPolicy(self.config.badRecords == "skip", float(self.config.badRecordsMax)),
        )


#: Layers whose second bottom is a class, and the message with the axis of the first bottom's classes.
_LABELLED = {
    "SoftmaxWithLoss": "softmax_param",
    "Accuracy": "accuracy_param",
    "MultinomialLogisticLoss": None,
    "InfogainLoss": None,
    "HingeLoss": None,
}


def label_ranges(net: Any, shapes: Mapping[str, Tuple[int, ...]]) -> Dict[str, LabelRange]:
    """The labels that the losses and accuracies of a net take, by the name of the blob."""
    ranges: Dict[str, LabelRange] = {}
    for layer in net.layer:
        if layer.type not in _LABELLED or len(layer.bottom) < 2 or not shapes[layer.bottom[0]]:
            continue
        param = _LABELLED[layer.type]
        axis = getattr(layer, param).axis if param else 1
        shape = shapes[layer.bottom[0]]
        classes = shape[axis] if -len(shape) <= axis < len(shape) else math.prod(shape[1:])
        holder = layer.accuracy_param if layer.type == "Accuracy" else layer.loss_param
        ignore = int(holder.ignore_label) if holder.HasField("ignore_label") else None
        blob = layer.bottom[1]
        before = ranges.get(blob)
        if before is not None:  # what every layer takes
            classes = min(classes, before.classes)
            ignore = ignore if ignore == before.ignore else None
        ranges[blob] = LabelRange(int(classes), ignore, layer.name)
    return ranges


class DataSource:
    """Makes the sources a configuration names.

    Parameters
    ----------
    spark : SparkSession or SparkContext
    """

    def __init__(self, spark: Any) -> None:
        self._spark = session_of(spark)

    def getSource(self, conf: Config, isTraining: bool, dataframe: Optional[DataFrame] = None) -> NetSource:
        """The data of the TRAIN or the TEST phase.

        Parameters
        ----------
        conf : Config
        isTraining : bool
        dataframe : a DataFrame to use instead of what the data layer names: with the columns of its tops for
            CoSData, with the columns of ImageDataFrame (``data``, ``label``, …) for image layers

        Raises
        ------
        ConfigError
            If the net has no data layer in the phase, or one that cannot be used.
        """
        return NetSource(conf, conf.net(TRAIN if isTraining else TEST), dataframe)
