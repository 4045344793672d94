"""The labels that a net's losses and accuracies take. Caffe reads outside its memory for others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ..data.records import BadRecord

__all__ = ["LabelRange", "label_ranges"]


@dataclass(frozen=True)
class LabelRange:
    """The labels a loss or accuracy layer takes: 0 to ``classes`` - 1, and ``ignore``.

    Attributes
    ----------
    classes : int
    ignore : the layer's ignore_label, or None
    layer : the layer's name
    """

    classes: int
    ignore: Optional[int]
    layer: str

    def wrong(self, labels: np.ndarray) -> np.ndarray:
        """Which rows of (n, k) labels hold one that is out of range."""
        bad = (labels < 0) | (labels >= self.classes)
        if self.ignore is not None:
            bad &= labels != self.ignore
        found: np.ndarray = bad.any(axis=1)
        return found

    def explain(self, record: str, top: str, value: np.ndarray) -> BadRecord:
        shown = f"{np.asarray(value).reshape(-1)[0]:g}" if np.size(value) == 1 else "array"
        return BadRecord(
            record,
            "label out of range",
            f"top '{top}' is {shown}; layer '{self.layer}' takes 0 to {self.classes - 1}",
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
