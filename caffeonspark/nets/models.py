"""Nets that are made by a call, to be trained on the columns of a DataFrame.

They have no data layers: an ``Input`` layer states what a row holds, and ``label`` is a bottom that no layer makes.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Sequence

from ..errors import ConfigError, suggest
from .schema import NetParameter

__all__ = ["lenet", "mlp"]

_BATCH = 64  # in the Input layer's shape; estimators have batchSize

#: For each activation its layer type and the filler that keeps the variance of what goes through it.
_ACTIVATIONS = {
    "relu": ("ReLU", "msra"),
    "sigmoid": ("Sigmoid", "xavier"),
    "tanh": ("TanH", "xavier"),
}
_LOSSES = {"softmax": "SoftmaxWithLoss", "euclidean": "EuclideanLoss", "sigmoid": "SigmoidCrossEntropyLoss"}


def mlp(
    layers: Sequence[int] = (784, 256, 10), activation: str = "relu", dropout: float = 0.0, loss: str = "softmax"
) -> Any:
    """A multi-layer perceptron.

    >>> mlp(layers=[784, 256, 10])                                # 10 classes
    >>> mlp(layers=[13, 64, 1], loss="euclidean")                 # a regression
    >>> mlp(layers=[30, 16, 1], activation="tanh", loss="sigmoid")  # two classes by one score

    Parameters
    ----------
    layers : sizes: the numbers in a row of features, the hidden layers', and the scores': as many as there are classes
        with "softmax", as many as a row's label has numbers with the other losses
    activation : of the hidden layers: "relu", "tanh" or "sigmoid"
    dropout : the share of each hidden layer's numbers that is left out in training, 0 to less than 1
    loss : "softmax" for classes, "euclidean" for numbers, "sigmoid" for labels of 0 and 1

    Returns
    -------
    NetParameter
        Blobs: ``data`` and ``label`` for the columns; ``ip1``, ``ip2``, …, the last of which has the scores; ``loss``;
        and with "softmax" ``accuracy`` in the TEST phase.

    Raises
    ------
    ConfigError
        For an argument that is none of these.
    """
    sizes = _sizes(layers)
    kind, filler = _chosen("activation", activation, _ACTIVATIONS)
    _check_share("dropout", dropout)
    _chosen("loss", loss, _LOSSES)
    if loss == "softmax" and sizes[-1] < 2:
        raise ConfigError(
            "mlp: with loss 'softmax' the last layer has a score for each class, at least 2: loss='sigmoid' takes one "
            "score for two classes, loss='euclidean' one number"
        )
    net = NetParameter(name="mlp")
    _input(net, sizes[0])
    blob = "data"
    for number, size in enumerate(sizes[1:], start=1):
        hidden = number < len(sizes) - 1
        blob = _inner_product(net, blob, f"ip{number}", size, filler if hidden else "xavier")
        if hidden:
            _in_place(net, blob, kind, kind.lower() + str(number))
            if dropout:
                _in_place(net, blob, "Dropout", f"drop{number}").dropout_param.dropout_ratio = dropout
    return _with_loss(net, blob, loss)


def lenet(classes: int = 10, channels: int = 1, height: int = 28, width: int = 28, dropout: float = 0.0) -> Any:
    """LeNet as Caffe's examples have it, for small images.

    Parameters
    ----------
    classes : how many there are, at least 2
    channels, height, width : of the images; at least 16 pixels each way. Vectors and arrays have their numbers in this
        order
    dropout : the share of the numbers between the two inner products that is left out in training, 0 to less than 1

    Returns
    -------
    NetParameter
        Blobs: ``data`` and ``label`` for the columns, ``conv1``, ``pool1``, ``conv2``, ``pool2``, ``ip1``, ``ip2`` (the
        scores), ``loss``, and in the TEST phase ``accuracy``.

    Raises
    ------
    ConfigError
        For an argument that is none of these.
    """
    for name, value, least in (("classes", classes, 2), ("channels", channels, 1), ("height", height, 16)):
        _check_size("lenet", name, value, least)
    _check_size("lenet", "width", width, 16)
    _check_share("dropout", dropout, "lenet")
    net = NetParameter(name="LeNet")
    _input(net, channels, height, width)
    blob = "data"
    for number, outputs in enumerate((20, 50), start=1):
        conv = _layer(net, f"conv{number}", "Convolution", blob)
        conv.convolution_param.num_output = outputs
        conv.convolution_param.kernel_size.append(5)
        conv.convolution_param.weight_filler.type = "xavier"
        _learning(conv)
        pool = _layer(net, f"pool{number}", "Pooling", conv.top[0])
        pool.pooling_param.pool = pool.pooling_param.MAX
        pool.pooling_param.kernel_size = pool.pooling_param.stride = 2
        blob = pool.top[0]
    blob = _inner_product(net, blob, "ip1", 500, "msra")
    _in_place(net, blob, "ReLU", "relu1")
    if dropout:
        _in_place(net, blob, "Dropout", "drop1").dropout_param.dropout_ratio = dropout
    return _with_loss(net, _inner_product(net, blob, "ip2", classes, "xavier"), "softmax")


# ---- layers


def _layer(net: Any, name: str, kind: str, *bottoms: str) -> Any:
    layer = net.layer.add(name=name, type=kind)
    layer.bottom.extend(bottoms)
    layer.top.append(name)
    return layer


def _in_place(net: Any, blob: str, kind: str, name: str) -> Any:
    layer = net.layer.add(name=name, type=kind)
    layer.bottom.append(blob)
    layer.top.append(blob)
    return layer


def _input(net: Any, *shape: int) -> None:
    layer = _layer(net, "data", "Input")
    layer.input_param.shape.add().dim.extend((_BATCH, *shape))


def _inner_product(net: Any, bottom: str, name: str, outputs: int, filler: str) -> str:
    layer = _layer(net, name, "InnerProduct", bottom)
    layer.inner_product_param.num_output = outputs
    layer.inner_product_param.weight_filler.type = filler
    _learning(layer)
    return name


def _learning(layer: Any) -> None:
    """Weights and biases learn alike; weight decay is for the weights."""
    layer.param.add(lr_mult=1, decay_mult=1)
    layer.param.add(lr_mult=1, decay_mult=0)


def _with_loss(net: Any, scores: str, loss: str) -> Any:
    if loss == "softmax":
        accuracy = _layer(net, "accuracy", "Accuracy", scores, "label")
        accuracy.include.add().phase = 1  # TEST
    _layer(net, "loss", _LOSSES[loss], scores, "label")
    return net


# ---- arguments


def _sizes(layers: Any) -> Sequence[int]:
    if isinstance(layers, (str, bytes)) or not hasattr(layers, "__iter__"):
        raise ConfigError(f"mlp: layers is a list of sizes, such as [784, 256, 10], not {layers!r:.40}")
    sizes = list(layers)
    if len(sizes) < 2:
        raise ConfigError(
            f"mlp: layers has the sizes of the features, the hidden layers and the scores, at least 2, not {sizes}"
        )
    for size in sizes:
        _check_size("mlp", "layers", size, 1)
    return [int(size) for size in sizes]


def _check_size(of: str, name: str, value: Any, least: int) -> None:
    try:
        whole = not isinstance(value, (bool, str, bytes)) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not least <= value < 2**31:
        raise ConfigError(f"{of}: {name}: a whole number of at least {least}, not {value!r:.40}")


def _check_share(name: str, value: Any, of: str = "mlp") -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value < 1:
        raise ConfigError(f"{of}: {name} is a share, 0 to less than 1, not {value!r:.40}")


def _chosen(name: str, value: Any, known: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"mlp: {name}: there is no {value!r:.40}. {suggest(str(value), known)}")
    return known[value]
