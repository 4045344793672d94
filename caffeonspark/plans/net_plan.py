"""What executors get to know of a net and its data: plain, picklable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple, Union

import numpy as np

from ..data.records import BadRecordPolicy, BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.tops import Top
from ..nets.schema import NetParameter
from .labels import LabelRange

__all__ = ["LayerParameters", "LayerPlan", "NetPlan"]


@dataclass(frozen=True)
class LayerParameters:
    """The parameters of a layer, as a net has them.

    Attributes
    ----------
    name, type : of the layer
    shapes : of its parameters, in the layer's order
    shared : for the first of them, whether they have a name, by which layers share parameters
    """

    name: str
    type: str = ""
    shapes: Tuple[Tuple[int, ...], ...] = ()
    shared: Tuple[bool, ...] = ()


@dataclass(frozen=True)
class LayerPlan:
    """One data layer.

    Attributes
    ----------
    name : of the layer
    description : of its data, for messages
    tops : what its columns are and how they become blobs
    batch_size : samples a forward pass
    shuffle : whether each epoch has an order of its own
    reader : reads ranges of numbered records, or decodes rows that Spark brings
    count : how many records a RangeReader can read; None for rows
    bad : what happens to records that cannot be used
    labels : for tops that are labels, the values their losses take
    """

    name: str
    description: str
    tops: Tuple[Top, ...]
    batch_size: int
    shuffle: bool
    reader: Union[RangeReader, FrameReader]
    count: Optional[int]
    bad: BadRecordPolicy = field(default_factory=BadRecordPolicy)
    labels: Mapping[str, LabelRange] = field(default_factory=dict)

    def without_bad_labels(self, records: Records, bad: BadRecords) -> Records:
        """The records whose labels their losses can take; Caffe would read outside its memory for others."""
        if not self.labels:
            return records
        keep = np.ones(len(records), bool)
        for top, column in zip(self.tops, records.columns):
            if top.name in self.labels and isinstance(column, np.ndarray):
                wrong = self.labels[top.name].wrong(column.reshape(len(records), -1))
                for row in np.flatnonzero(wrong & keep):
                    bad.report(self.labels[top.name].explain(records.ids[row], top.name, column[row]))
                keep &= ~wrong
        return records if keep.all() else records.keep(np.flatnonzero(keep))

    def shapes(self, batch: Optional[int] = None) -> Dict[str, Tuple[int, ...]]:
        """The shape of each top's blob, at the layer's own batch size or another."""
        size = self.batch_size if batch is None else batch
        return {top.name: top.blob_shape(size) for top in self.tops}


@dataclass(frozen=True)
class NetPlan:
    """One phase of a net, rewritten for stock pycaffe, and its data layers.

    Attributes
    ----------
    content : the serialised NetParameter
    path : the prototxt it came from
    layers : the data layers
    outputs : the blobs no layer consumes
    shapes : every blob's shape
    batch_axes : for each blob that grows with the batch, its axis and how many entries a sample has
    flexible : whether the batch size can be changed
    parameters : how many numbers the net learns
    weights : the layers that have parameters, whose names only they have
    """

    content: bytes
    path: str
    layers: Tuple[LayerPlan, ...]
    outputs: Tuple[str, ...]
    shapes: Mapping[str, Tuple[int, ...]]
    batch_axes: Mapping[str, Tuple[int, int]]
    flexible: bool
    parameters: int
    weights: Tuple[LayerParameters, ...]

    def message(self) -> Any:
        """The NetParameter."""
        return NetParameter.FromString(self.content)

    @property
    def batch_size(self) -> int:
        """Of the first data layer."""
        return self.layers[0].batch_size
