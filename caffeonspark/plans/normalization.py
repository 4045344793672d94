"""What Caffe's losses are divided by, where that is not the same number for every batch of a size.

N ranks are one solver of all their samples only if each loss is divided by what that solver would divide it by. Most
losses are divided by the batch's size, and the mean over the ranks is that solver's loss. One with ``ignore_label`` is
divided by the number of labels that count, and each rank has its own; one with ``normalization: NONE`` by nothing.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

__all__ = ["is_counted", "is_divided_by_batch", "is_sum", "normalization_notes"]

_NORMALIZED = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "InfogainLoss")


def _mode(layer: Any) -> Optional[int]:
    """The LossParameter.NormalizationMode of a layer, as Caffe settles it; None for layers that have none."""
    loss = layer.loss_param
    if layer.type not in _NORMALIZED:
        return None
    if loss.HasField("normalization"):
        return int(loss.normalization)
    if loss.HasField("normalize"):  # the older field
        return int(loss.VALID if loss.normalize else loss.BATCH_SIZE)
    return int(loss.BATCH_SIZE if layer.type == "SigmoidCrossEntropyLoss" else loss.VALID)


def is_counted(layer: Any) -> bool:
    """Whether a layer's loss is divided by how many of its labels are not ``ignore_label``."""
    return bool(layer.loss_param.HasField("ignore_label") and _mode(layer) == layer.loss_param.VALID)


def is_sum(layer: Any) -> bool:
    """Whether a layer's loss is divided by nothing."""
    return bool(_mode(layer) == layer.loss_param.NONE)


def is_divided_by_batch(layer: Any) -> bool:
    """Whether a layer's loss is divided by the batch's size, however many places a sample has."""
    return _mode(layer) in (None, layer.loss_param.BATCH_SIZE)


def normalization_notes(
    net: Any, batch_axes: Mapping[str, Any], ranks: int, strategy: str, one_solver: bool
) -> List[str]:
    """A line for each loss of a net that several ranks do not compute as one solver of all their samples would.

    Parameters
    ----------
    net : NetParameter of the TRAIN phase
    batch_axes : the blobs that grow with the batch, by name
    ranks : int
    strategy : its name, as in ``-sync``
    one_solver : whether it makes the ranks one solver (``sync.base.Strategy.lockstep``)
    """
    if ranks == 1:
        return []
    why = [(layer, _difference(layer, batch_axes, ranks, "" if one_solver else strategy)) for layer in net.layer]
    return [f"layer '{layer.name}' ({layer.type}): {line}" for layer, line in why if line]


def _difference(layer: Any, batch_axes: Mapping[str, Any], ranks: int, strategy: str) -> str:
    equally = f"each of the {ranks} ranks weighs the same, however many labels it ignores"
    if strategy:  # the ranks are solvers of their own
        return f"with -sync {strategy} {equally}; -sync all_reduce counts them as one solver does" * is_counted(layer)
    if layer.type in _NORMALIZED or layer.type == "Accuracy":
        return ""
    if layer.loss_param.HasField("ignore_label"):
        return f"what its loss is divided by is not known: {equally}"
    if not any(layer.loss_weight):
        return ""
    reduction = layer.reduction_param
    if any(top in batch_axes for top, weight in zip(layer.top, layer.loss_weight) if weight) or (
        layer.type == "Reduction" and reduction.axis == 0 and reduction.operation != reduction.MEAN
    ):
        return (
            f"its loss is a sum over the samples, and the mean over {ranks} ranks is taken: multiply its loss_weight "
            f"by {ranks} for the loss of one solver with all their samples"
        )
    return ""
