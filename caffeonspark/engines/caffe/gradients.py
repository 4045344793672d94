"""Where a gradient would have to go through a layer that has none: there Caffe ends the process in the first iteration.

Which layers get a gradient follows ``Net::Init`` (src/caffe/net.cpp).
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from ...errors import ConfigError

__all__ = ["check_gradients"]

#: Layers that learn, unless their ``lr_mult`` is 0. BatchNorm does not, and of a fork's layers nothing is known.
_LEARN = ("Convolution", "Deconvolution", "InnerProduct", "Embed", "Scale", "Bias", "PReLU", "LSTM", "RNN", "Parameter")
#: Layers that compute no gradient at all.
_CANNOT = ("ArgMax", "Threshold")
#: By type, the bottoms that get none: labels, indices, marks.
_NONE: Dict[str, Sequence[int]] = {
    "Accuracy": (0, 1),
    **dict.fromkeys(("SoftmaxWithLoss", "HingeLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss"), (1,)),
    "InfogainLoss": (1, 2),
    "Embed": (0,),
    "BatchReindex": (1,),
    **dict.fromkeys(("LSTM", "RNN"), (1,)),
    "Filter": (-1,),
}


def check_gradients(net: Any, parameters: Sequence[Sequence[Any]], path: str) -> None:
    """Raise ConfigError where what is learned is learned through a layer that passes no gradient on.

    Parameters
    ----------
    net : NetParameter of the TRAIN phase, as it is computed
    parameters : the shapes of each layer's parameters
    path : the net's file
    """
    needs = _needs(net, parameters)
    wanted: Set[str] = set()  # the blobs whose gradient somebody computes
    for layer, (needed, bottoms) in zip(reversed(net.layer), reversed(needs)):
        # a loss without a top has one that Caffe makes
        weights = list(layer.loss_weight) or [float(layer.type.endswith("Loss"))]
        if not (needed and (any(weights) or wanted & set(layer.top))):
            continue
        if layer.type in _CANNOT:
            raise ConfigError(
                f"{path}: layer '{layer.name}': {layer.type} has no gradient, and its bottom '{layer.bottom[0]}' "
                "depends on what is learned: Caffe ends there. Give the layers that use its top propagate_down: false, "
                "or take it out of what the loss depends on"
            )
        for number, blob in enumerate(layer.bottom):
            if not bottoms[number]:
                continue
            refused = _NONE.get(layer.type, ())
            if number in refused or number - len(layer.bottom) in refused:
                instead = " ".join(
                    f"propagate_down: {str(other != number and bottoms[other]).lower()}"
                    for other in range(len(bottoms))
                )
                raise ConfigError(
                    f"{path}: layer '{layer.name}': {layer.type} passes no gradient on to its bottom '{blob}', which "
                    f"depends on what is learned: Caffe ends there. Give the layer {instead}"
                )
            wanted.add(blob)


def _needs(net: Any, parameters: Sequence[Sequence[Any]]) -> List[Tuple[bool, List[bool]]]:
    """For each layer, whether Caffe computes a gradient in it where one arrives, and for which of its bottoms."""
    found: List[Tuple[bool, List[bool]]] = []
    learned: Dict[str, bool] = {}
    for layer, shapes in zip(net.layer, parameters):
        learns = layer.type in _LEARN and bool(shapes)
        if learns:
            rates = [param.lr_mult for param in layer.param]
            learns = any(rates) or len(rates) < len(shapes)
        bottoms = [learned.get(blob, False) for blob in layer.bottom]
        needed = learns or any(bottoms)
        found.append((needed, list(layer.propagate_down) if layer.propagate_down else bottoms))
        for blob in layer.top:
            learned[blob] = needed
    return found
