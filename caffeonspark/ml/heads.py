"""Where in a net its predictions are: the scores that a loss takes, and the probabilities it makes of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Dict, Optional, Tuple

from ..data.limits import IndexRange, Limit, Whole
from ..errors import ConfigError, suggest
from ..nets.deploy import PROBABILITIES, probability_layers
from ..nets.net import Net, SolverNets
from ..nets.schema import NetParameter
from ..plans.net_plan import NetPlan

__all__ = ["Head", "class_limits", "classification_head", "regression_head", "sized"]

_SOFTMAX, _SIGMOID, _EUCLIDEAN = "SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss"


@dataclass(frozen=True)
class Head:
    """What of a net's blobs is a prediction.

    Attributes
    ----------
    raw : the blob of scores
    probability : the blob of probabilities; "" for a regression
    binary : whether the scores are one number, of the second of two classes
    size : how many scores a sample has
    """

    raw: str
    probability: str = ""
    binary: bool = False
    size: int = 0

    @property
    def classes(self) -> int:
        """How many classes the scores tell apart."""
        return 2 if self.binary else self.size

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return asdict(self)


def classification_head(nets: SolverNets, net: Net, raw_blob: str) -> Tuple[Net, Head]:
    """The net that predicts, and its head.

    Parameters
    ----------
    nets : of the solver
    net : of the TEST phase
    raw_blob : the blob of scores; "" for that of the last loss

    Returns
    -------
    Net
        ``net``, with a layer for the probabilities where it has none.
    Head

    Raises
    ------
    ConfigError
        Where the net has no loss whose scores are known, and for a blob that is not there.
    """
    if raw_blob:
        _check_blob(net, raw_blob)
        made, probability = _with_probabilities(net, raw_blob, NetParameter().layer.add(type=_SOFTMAX))
        return made, Head(raw_blob, probability)
    loss = _last_loss(nets, net, (_SOFTMAX, _SIGMOID))
    if loss is None:
        raise ConfigError(
            f"{net.path}: the net has no {_SOFTMAX} and no {_SIGMOID} layer: rawBlob names the blob with a score for "
            "each class"
        )
    raw = loss.bottom[0]
    made, probability = _with_probabilities(net, raw, loss)
    return made, Head(raw, probability, loss.type == _SIGMOID)


def class_limits(net: Net, raw_blob: str) -> Dict[str, Tuple[Limit, ...]]:
    """What a classifier's labels have to be, by the blob that they fill.

    Caffe cuts the fraction of a label off, and its sigmoid's loss takes any number: ``SigmoidCrossEntropyLoss`` of
    src/caffe/layers.

    Parameters
    ----------
    net : of either phase
    raw_blob : the blob of scores; "" for that of the last loss
    """
    losses = [one for one in net.message.layer if one.type in (_SOFTMAX, _SIGMOID) and len(one.bottom) > 1]
    loss = next((layer for layer in reversed(losses) if raw_blob in ("", layer.bottom[0])), None)
    if loss is None:
        return {}
    ignored = int(loss.loss_param.ignore_label) if loss.loss_param.HasField("ignore_label") else None
    two = (IndexRange(2, ignored, loss.name),) if loss.type == _SIGMOID else ()
    return {loss.bottom[1]: (Whole(), *two)}


def regression_head(nets: SolverNets, net: Net, raw_blob: str) -> Head:
    """Where a net's predicted numbers are. Raises as ``classification_head``."""
    if raw_blob:
        _check_blob(net, raw_blob)
        return Head(raw_blob)
    loss = _last_loss(nets, net, (_EUCLIDEAN,))
    if loss is None:
        raise ConfigError(f"{net.path}: the net has no {_EUCLIDEAN} layer: rawBlob names the blob with the predictions")
    given = {top for layer in net.data_layers() for top in layer.top}
    return Head(next((blob for blob in loss.bottom if blob not in given), loss.bottom[0]))


def sized(head: Head, plan: NetPlan, path: str) -> Head:
    """The head with the size of its scores, as the plan of its net says. Raises ConfigError for scores of no use."""
    shape = plan.shapes[head.raw]
    size = math.prod(shape[1:])
    if plan.batch_axes.get(head.raw, (1, 1))[0] != 0:
        raise ConfigError(
            f"{path}: blob '{head.raw}' ({'x'.join(map(str, shape))}) does not have a row for each sample"
        )
    if head.probability and math.prod(shape[2:]) != 1:
        raise ConfigError(
            f"{path}: blob '{head.raw}' is {'x'.join(map(str, shape))}: scores of more than one place of a sample, and "
            "no class for each row; CaffeEstimator gives them as they are"
        )
    if head.binary and size != 1:
        raise ConfigError(
            f"{path}: blob '{head.raw}' has {size} scores of a {_SIGMOID}, which are labels of their own and no "
            "classes: CaffeEstimator gives them as they are"
        )
    return replace(head, size=size)


def _last_loss(nets: SolverNets, net: Net, types: Tuple[str, ...]) -> Optional[Any]:
    """The last loss of these types, of the TEST net or otherwise of the TRAIN net, whose scores the TEST net has."""
    known = set(net.blob_names())
    for one in (net, nets.train):
        found = [layer for layer in one.message.layer if layer.type in types and layer.bottom[0] in known]
        if found:
            return found[-1]
    return None


def _check_blob(net: Net, blob: str) -> None:
    if blob not in net.blob_names():
        raise ConfigError(f"rawBlob: {net.path}: the net has no blob '{blob}'. {suggest(blob, net.blob_names())}")


def _with_probabilities(net: Net, raw: str, loss: Any) -> Tuple[Net, str]:
    """The net with a layer that makes probabilities of the scores, unless it has one; and that layer's top."""
    layers = [layer for layer in net.message.layer if layer.type != loss.type]
    made = probability_layers([(loss, raw)], layers)
    if not made:
        kind = PROBABILITIES[loss.type][0]
        return net, next(str(layer.top[0]) for layer in layers if layer.type == kind and raw in layer.bottom)
    message = NetParameter()
    message.CopyFrom(net.message)
    message.layer.extend(made)
    return replace(net, message=message), str(made[0].top[0])
