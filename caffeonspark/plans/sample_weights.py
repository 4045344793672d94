"""The losses of a net whose samples do not all weigh the same.

A data layer's top named ``sample_weight``, which no layer has as a bottom, weighs the samples of a TRAIN net: a weight
of 2 is as good as having the record twice, one of 0 as not having it. For that each loss has to be known, and so has
where in its bottoms each sample is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ..data.limits import NotNegative
from ..data.tops import NumberTop, Top
from ..errors import ConfigError
from ..nets.net import TRAIN, Net
from ..nets.sample_weight import SAMPLE_WEIGHT
from .inspection import Inspection

__all__ = ["WEIGHABLE", "WeightedLoss", "limits_of_weights", "sample_weight_notes", "weighted_losses"]

#: The types of losses that are a sum over the samples, and whose samples' own losses are known.
WEIGHABLE = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss")


@dataclass(frozen=True)
class WeightedLoss:
    """A loss that weighs its samples.

    Attributes
    ----------
    layer : the layer's number in the net
    axis : of its first bottom, that counts the samples
    """

    layer: int
    axis: int


def _makers(net: Any) -> List[Any]:
    """The layers that have the top, where no layer has it as a bottom."""
    if any(SAMPLE_WEIGHT in layer.bottom for layer in net.layer):
        return []
    return [layer for layer in net.layer if SAMPLE_WEIGHT in layer.top]


def weighted_losses(
    net: Net, message: Any, tops: Sequence[Top], found: Inspection, weighable: Sequence[str]
) -> Tuple[WeightedLoss, ...]:
    """The losses that weigh their samples; none where the net has no sample weights, or is no TRAIN net.

    Parameters
    ----------
    net : Net
    message : its NetParameter, the data layers replaced by Input layers
    tops : of its data layers
    found : what the engine found in it
    weighable : the types of losses in which the engine can weigh samples

    Raises
    ------
    ConfigError
        For a loss that cannot be weighed: which, and why.
    """
    by_name = {top.name: top for top in tops}
    if net.phase != TRAIN or SAMPLE_WEIGHT not in by_name or not _makers(message):
        return ()
    weights = by_name[SAMPLE_WEIGHT]
    if not isinstance(weights, NumberTop) or math.prod(weights.shape) != 1:
        shape = "x".join(map(str, weights.shape))
        raise ConfigError(
            f"{net.path}: top '{SAMPLE_WEIGHT}' weighs the samples, which takes one number for each, and has {shape}: "
            "call it something else where it is no weight"
        )
    losses = [(number, layer) for number, layer in enumerate(message.layer) if _is_loss(layer)]
    if not losses:
        raise ConfigError(f"{net.path}: top '{SAMPLE_WEIGHT}' weighs the samples' losses, and the net has no loss")
    # with a batch size that is fixed, an axis is known by its size alone
    surely = found.flexible or not any(top.time_major for top in tops if math.prod(top.shape) > 1)
    return tuple(
        WeightedLoss(number, _axis(net, layer, found, surely, _why_not(layer, weighable))) for number, layer in losses
    )


def _is_loss(layer: Any) -> bool:
    """Whether a layer's tops are in what is minimised."""
    return any(list(layer.loss_weight) or [float(layer.type.endswith("Loss"))])


def _why_not(layer: Any, weighable: Sequence[str]) -> str:
    """Why an engine cannot weigh the samples of a loss; "" where it can."""
    if not weighable:
        return "the engine cannot weigh samples"
    if layer.type not in weighable:
        return f"samples are weighed in losses of type {', '.join(weighable)}"
    if len(layer.bottom) != 2:
        return f"it has {len(layer.bottom)} bottoms, and samples are weighed in losses of 2"
    return ""


def _axis(net: Net, layer: Any, found: Inspection, surely: bool, why_not: str) -> int:
    """Which axis of a loss's first bottom counts the samples."""
    bottom = layer.bottom[0]
    shape, samples = found.shapes[bottom], math.prod(found.shapes[SAMPLE_WEIGHT])
    axis, _ = found.batch_axes.get(bottom, (0, 0))
    softmax = layer.softmax_param.axis if layer.type == "SoftmaxWithLoss" else None
    if not why_not and not (surely and bottom in found.batch_axes and shape[axis] == samples):
        why_not = (
            f"which of the {samples} samples each entry of bottom '{bottom}' ({'x'.join(map(str, shape))}) belongs to "
            "is not known"
        )
    if not why_not and softmax is not None and axis == softmax % len(shape):
        why_not = "its softmax is over the samples, whose losses depend on each other"
    if why_not:
        raise ConfigError(
            f"{net.path}: layer '{layer.name}' ({layer.type}) cannot weigh samples by top '{SAMPLE_WEIGHT}': {why_not}"
        )
    return axis


def limits_of_weights(weighted: Sequence[WeightedLoss]) -> Dict[str, Tuple[NotNegative, ...]]:
    """What the tops of data layers may hold to weigh samples, by name."""
    return {SAMPLE_WEIGHT: (NotNegative(),)} if weighted else {}


def sample_weight_notes(net: Any, weighted: Sequence[WeightedLoss], ranks: int, strategy: str) -> List[str]:
    """What is to be known of a TRAIN net that weighs samples, in lines.

    Parameters
    ----------
    net : NetParameter of the TRAIN phase, the data layers replaced by Input layers
    weighted : its losses that weigh their samples
    ranks : int
    strategy : the name of one that leaves the ranks solvers of their own, as in ``-sync``; "" for others
    """
    if not weighted:
        return [
            f"layer '{layer.name}' ({layer.type}): its top '{SAMPLE_WEIGHT}' weighs nothing: only a data layer's does"
            for layer in _makers(net)
        ]
    names = ", ".join(f"'{net.layer[loss.layer].name}'" for loss in weighted)
    notes = [f"top '{SAMPLE_WEIGHT}' weighs the samples in training (loss {names}); validation is not weighted"]
    if strategy and ranks > 1:
        notes.append(
            f"with -sync {strategy} each of the {ranks} ranks divides by the sum of its own samples' weights; "
            "-sync all_reduce by that of all ranks, as one solver does"
        )
    notes += [
        f"layer '{layer.name}' (BatchNorm): its mean and variance are of a batch's samples as they are, whatever they "
        "weigh"
        for layer in net.layer
        if layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats
    ]
    return notes
