"""What executors get to know of a net and its data: plain, picklable values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from ..data.records import BadRecordPolicy, BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.tops import ImageTop, Top, without_bad_values
from ..errors import DataError
from ..nets.schema import NetParameter
from .indices import IndexedBottom
from .sample_weights import WeightedLoss

__all__ = ["LayerParameters", "LayerPlan", "NetPlan", "units_of"]


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
    step : how many records go to a rank together: 1, or a batch where the net's data layers have different batch sizes
    """

    name: str
    description: str
    tops: Tuple[Top, ...]
    batch_size: int
    shuffle: bool
    reader: Union[RangeReader, FrameReader]
    count: Optional[int]
    bad: BadRecordPolicy = field(default_factory=BadRecordPolicy)
    step: int = 1

    def without_bad_values(self, records: Records, bad: BadRecords) -> Records:
        """The records whose numbers are finite, and inside the memory that layers read by them."""
        return without_bad_values(self.tops, records, bad)

    def shapes(self, batch: Optional[int] = None) -> Dict[str, Tuple[int, ...]]:
        """The shape of each top's blob, at the layer's own batch size or another."""
        size = self.batch_size if batch is None else batch
        return {top.name: top.blob_shape(size) for top in self.tops}

    @property
    def any_size(self) -> bool:
        """Whether each record gives blobs their shapes, in batches of one."""
        return any(isinstance(top, ImageTop) and top.any_size for top in self.tops)

    def steps(self, records: int) -> int:
        """How many steps so many records are, the last of which may be incomplete."""
        return -(-records // self.step)


def units_of(layers: Sequence[LayerPlan]) -> int:
    """Into how many equal parts the batches of these layers can be divided: samples, where they have equally many."""
    return reduce(math.gcd, (layer.batch_size for layer in layers))


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
    made_batch : samples a forward pass, where no layer reads data
    weighted : the losses that weigh their samples
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
    made_batch: int = 0
    weighted: Tuple[WeightedLoss, ...] = ()

    def message(self) -> Any:
        """The NetParameter."""
        return NetParameter.FromString(self.content)

    @property
    def batch_size(self) -> int:
        """Samples a forward pass; those of the first data layer, where they have different batch sizes."""
        return self.layers[0].batch_size if self.layers else self.made_batch

    def width(self, blob: str) -> int:
        """How many values a sample has in a blob."""
        size = math.prod(self.shapes[blob])
        if blob not in self.batch_axes:
            return size
        samples = self.batch_size // self.units  # in a unit: those of the first data layer
        each, left = divmod(self.batch_axes[blob][1], samples)
        return size // self.units // (samples if each and not left else 1)

    def check_shared(self, totals: Sequence[Optional[int]], ranks: int) -> None:
        """Raise DataError where its layers have such different numbers of records that ranks cannot go through them as
        one would; ``totals`` are these numbers, as far as they are known."""
        known = [(layer, total) for layer, total in zip(self.layers, totals) if total is not None]
        steps = {layer.steps(total) for layer, total in known}
        if len(steps) > 1 and any(count % ranks for count in steps):
            counts = ", ".join(f"{total} in {layer.description}" for layer, total in known)
            raise DataError(
                f"the data layers of a TEST net have different numbers of records ({counts}): {ranks} ranks cannot "
                "share them in validation; bring them to as many, or validate on one rank"
            )

    @property
    def units(self) -> int:
        """Into how many parts a pass is divided, whose entries ``batch_axes`` counts: samples, or where the data layers
        have different batch sizes, what they have in common."""
        return units_of(self.layers) if self.layers else self.made_batch

    @property
    def steps_differ(self) -> bool:
        """Whether the data layers have different batch sizes."""
        return any(layer.batch_size != self.batch_size for layer in self.layers)
