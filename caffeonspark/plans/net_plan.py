"""What executors get to know of a net and its data: plain, picklable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ..data.records import BadRecordPolicy, BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.tops import Top, without_bad_values
from ..nets.schema import NetParameter
from .indices import IndexedBottom

__all__ = ["LayerParameters", "LayerPlan", "NetPlan"]


@dataclass(frozen=True)
class LayerParameters:
    """The parameters of a layer, as a net has them.

    Attributes
    ----------
    name : of the layer
    shapes : of its parameters, in the layer's order
    shared : for the first of them, whether they have a name, by which layers share parameters
    """

    name: str
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
    """

    name: str
    description: str
    tops: Tuple[Top, ...]
    batch_size: int
    shuffle: bool
    reader: Union[RangeReader, FrameReader]
    count: Optional[int]
    bad: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def without_bad_values(self, records: Records, bad: BadRecords) -> Records:
        """The records whose numbers are finite, and inside the memory that layers read by them."""
        return without_bad_values(self.tops, records, bad)

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
    indexed : bottoms that layers index their memory by, and whose values cannot be checked in the records
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
    indexed: Tuple[IndexedBottom, ...] = ()

    def message(self) -> Any:
        """The NetParameter."""
        return NetParameter.FromString(self.content)

    @property
    def batch_size(self) -> int:
        """Of the first data layer."""
        return self.layers[0].batch_size
