"""The values by which a net's layers index their memory, followed back to the records they come from.

Losses and accuracies take labels, Embed takes ids, BatchReindex takes rows: Caffe reads and writes outside its memory
for values out of range. Where only layers that move values are between, the record's own values are
checked when it is loaded; what arrives through other layers is checked by the engine before such a layer runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ..data.limits import IndexRange
from ..data.tops import ImageTop, NumberTop, Top

__all__ = ["IndexedBottom", "follow_indices"]

#: A blob whose values are followed: for each, its number in ``_Origins``, or -1. None where nothing is known.
Followed = Optional[np.ndarray]

_MOST = 50_000_000  # values of a batch that are followed: 400 MB


@dataclass(frozen=True)
class IndexedBottom:
    """A bottom whose values a layer indexes its memory by, and which have to be checked when they arrive.

    Attributes
    ----------
    layer : the layer's number in the net
    bottom : the bottom's number
    blob : its name
    takes : the values it may have
    of_batch : whether their number is that of the first bottom's samples, whatever the batch size
    """

    layer: int
    bottom: int
    blob: str
    takes: IndexRange
    of_batch: bool = False


def follow_indices(
    net: Any, shapes: Mapping[str, Tuple[int, ...]], tops: Sequence[Top]
) -> Tuple[Dict[str, Tuple[IndexRange, ...]], Tuple[IndexedBottom, ...]]:
    """What the tops of a net's data layers may hold, by name, and the bottoms that have to be checked as they arrive.

    Parameters
    ----------
    net : NetParameter, its data layers replaced by Input layers
    shapes : of its blobs
    tops : of its data layers
    """
    needed = _needed(net, shapes)
    origins = _Origins([top for top in tops if top.name in needed], shapes)
    blobs: Dict[str, Followed] = dict(origins.blobs)
    arriving: List[IndexedBottom] = []
    for number, layer in enumerate(net.layer):
        if layer.type == "Input":
            continue
        for bottom, takes in _indexed(layer, shapes):
            name = layer.bottom[bottom]
            of_batch = layer.type == "BatchReindex"
            if not origins.limit(blobs.get(name), takes) or of_batch:
                arriving.append(IndexedBottom(number, bottom, name, takes, of_batch))
        moved: Sequence[Followed] = [None] * len(layer.top)
        if needed & set(layer.top) and any(blobs.get(name) is not None for name in layer.bottom):
            moved = _moved(layer, [blobs.get(name) for name in layer.bottom], shapes)
        blobs.update(zip(layer.top, moved))
    return {name: tuple(found) for name, found in origins.limits.items()}, tuple(arriving)


# ---- who indexes

#: Layers whose second bottom is a class, with the message that has the axis of the first bottom's classes.
_LABELLED = {
    "SoftmaxWithLoss": "softmax_param",
    "Accuracy": "accuracy_param",
    "InfogainLoss": "infogain_loss_param",
    "MultinomialLogisticLoss": None,
    "HingeLoss": None,
}
#: The message with the ignore_label that Caffe heeds in such a layer; it has none in the others.
_IGNORING = {"SoftmaxWithLoss": "loss_param", "Accuracy": "accuracy_param", "InfogainLoss": "loss_param"}


def _indexed(layer: Any, shapes: Mapping[str, Tuple[int, ...]]) -> Iterator[Tuple[int, IndexRange]]:
    """The bottoms that a layer indexes its memory by: their numbers, and what they may hold."""
    if layer.type == "Embed":
        yield 0, IndexRange(int(layer.embed_param.input_dim), None, layer.name, "id")
    elif layer.type == "BatchReindex":
        yield 1, IndexRange(shapes[layer.bottom[0]][0], None, layer.name, "index")
    elif layer.type in _LABELLED and len(layer.bottom) > 1 and shapes[layer.bottom[0]]:
        shape, param = shapes[layer.bottom[0]], _LABELLED[layer.type]
        axis = int(getattr(layer, param).axis) if param else len(shape)
        classes = shape[axis] if -len(shape) <= axis < len(shape) else math.prod(shape[1:])
        holder = getattr(layer, _IGNORING[layer.type]) if layer.type in _IGNORING else None
        ignored = int(holder.ignore_label) if holder is not None and holder.HasField("ignore_label") else None
        yield 1, IndexRange(classes, ignored, layer.name)


def _needed(net: Any, shapes: Mapping[str, Tuple[int, ...]]) -> Set[str]:
    """The blobs that indices may come through."""
    needed: Set[str] = set()
    for layer in reversed(net.layer):
        if layer.type in _MOVING and needed & set(layer.top):
            needed |= set(layer.bottom)
        needed |= {layer.bottom[bottom] for bottom, _ in _indexed(layer, shapes)}
    return needed


# ---- where values come from


class _Origins:
    """The values of the data layers' tops, numbered through, and what each may be.

    Attributes
    ----------
    blobs : the numbers in each top's blob
    limits : found so far, by top
    """

    def __init__(self, tops: Sequence[Top], shapes: Mapping[str, Tuple[int, ...]]) -> None:
        self.blobs: Dict[str, Followed] = {}
        self.limits: Dict[str, List[IndexRange]] = {}
        self._tops: List[Tuple[Top, int, int, int]] = []  # with the number of its first value, samples, values of each
        self._count = 0
        for top in tops:
            shape = shapes[top.name]
            if not isinstance(top, (NumberTop, ImageTop)) or self._count + math.prod(shape) > _MOST:
                continue
            batch, size = shape[1 if top.time_major else 0], math.prod(top.shape)
            numbers = np.arange(self._count, self._count + batch * size).reshape(batch, *top.shape)
            self.blobs[top.name] = top.samples(numbers)
            self._tops.append((top, self._count, batch, size))
            self._count += batch * size

    def limit(self, blob: Followed, takes: IndexRange) -> bool:
        """Limit what the records may hold by what a layer takes; whether that is all that arrives there."""
        if blob is None:
            return False
        arrives = np.zeros(self._count, bool)
        arrives[blob[blob >= 0]] = True
        complete = bool((blob >= 0).all())
        for top, first, batch, size in self._tops:
            mine = arrives[first : first + batch * size].reshape(batch, size)
            if (mine != mine[0]).any():  # some samples of a batch go there and others do not
                complete = False
            elif mine.any():
                where = None if mine.all() else np.flatnonzero(mine[0])
                if where is not None and isinstance(top, ImageTop) and top.any_size:  # they are others in each record
                    complete = False
                    continue
                self.limits.setdefault(top.name, []).append(replace(takes, where=where))
        return complete


# ---- layers that only move values

_MOVING = ("Concat", "Crop", "Flatten", "Reshape", "Slice", "Split", "Tile")


def _moved(layer: Any, bottoms: List[Followed], shapes: Mapping[str, Tuple[int, ...]]) -> Sequence[Followed]:
    """What a layer's tops hold, as the layer of that type in Caffe's src/caffe/layers does it."""
    first = bottoms[0]
    if layer.type == "Concat":
        param = layer.concat_param
        axis = param.concat_dim if param.HasField("concat_dim") else param.axis
        parts = [
            np.full(shapes[name], -1, np.int64) if bottom is None else bottom
            for name, bottom in zip(layer.bottom, bottoms)
        ]
        return [np.concatenate(parts, axis)]
    if first is None or layer.type not in _MOVING:
        return [None] * len(layer.top)
    if layer.type == "Split":
        return [first] * len(layer.top)
    if layer.type == "Slice":
        param = layer.slice_param
        axis = param.slice_dim if param.HasField("slice_dim") else param.axis
        return np.split(first, list(param.slice_point) or len(layer.top), axis)
    if layer.type == "Tile":
        return [np.concatenate([first] * layer.tile_param.tiles, layer.tile_param.axis)]
    if layer.type == "Crop":
        return [_cropped(first, layer.crop_param, shapes[layer.bottom[1]])]
    return [first.reshape(shapes[layer.top[0]])]  # Flatten, Reshape


def _cropped(blob: np.ndarray, param: Any, like: Tuple[int, ...]) -> np.ndarray:
    axis = param.axis % blob.ndim
    offsets = list(param.offset) or [0]
    offsets *= blob.ndim - axis if len(offsets) == 1 else 1
    found: np.ndarray = blob[(slice(None),) * axis + tuple(slice(o, o + n) for o, n in zip(offsets, like[axis:]))]
    return found
