"""Nets that are made by a call, to be trained on the columns of a DataFrame.

They have no data layers: an ``Input`` layer states what a row holds, and ``label`` is a bottom that no layer makes.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Sequence

from ..errors import ConfigError, suggest
from .net import TEST
from .schema import NetParameter

__all__ = ["lenet", "mlp", "stacked_autoencoder", "with_scores"]

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
    sizes = _sizes(layers, "mlp", "the features, the hidden layers and the scores", [784, 256, 10])
    kind, filler = _chosen("activation", activation, _ACTIVATIONS)
    _check_share("dropout", dropout)
    _check_loss(loss, sizes[-1])
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


def stacked_autoencoder(
    layers: Sequence[int] = (784, 256, 64),
    activation: str = "sigmoid",
    loss: str = "sigmoid",
    linear_code: bool = False,
) -> Any:
    """A deep autoencoder: encoders one on another, and their mirror image, which makes the features again.

    ``CaffeAutoencoder`` trains it layer by layer, and hands its encoders to an MLP; ``CaffeEstimator`` trains it whole.

    >>> stacked_autoencoder(layers=[784, 256, 64])                      # numbers from 0 to 1
    >>> stacked_autoencoder(layers=[30, 16, 4], loss="euclidean")       # any numbers

    Parameters
    ----------
    layers : sizes: the numbers in a row of features, the hidden layers', and the code's
    activation : of the encoders and, but for the last, the decoders: "sigmoid", "tanh" or "relu"
    loss : "sigmoid", the cross entropy, for features from 0 to 1; "euclidean" for any numbers
    linear_code : whether the last encoder has no activation

    Returns
    -------
    NetParameter
        Blobs: ``data``, for the columns; ``ip1``, ``ip2``, …, the encoders', of the names that ``mlp`` gives its
        hidden layers, the last of which is the code; ``decode2``, ``decode1``, …, as many; ``loss``; and in the TEST
        phase ``reconstruction``, the features as the net makes them.

    Raises
    ------
    ConfigError
        For an argument that is none of these.
    """
    of = "stacked_autoencoder"
    sizes = _sizes(layers, of, "the features, the hidden layers and the code", [784, 256, 64])
    kind, filler = _chosen("activation", activation, _ACTIVATIONS, of)
    _chosen("loss", loss, ("euclidean", "sigmoid"), of)
    if not isinstance(linear_code, bool):
        raise ConfigError(f"{of}: linear_code is True or False, not {linear_code!r:.40}")
    net = NetParameter(name=of)
    _input(net, sizes[0])
    blob, last = "data", len(sizes) - 1
    for number, size in enumerate(sizes[1:], start=1):
        blob = _inner_product(net, blob, f"ip{number}", size, filler)
        if number < last or not linear_code:
            _in_place(net, blob, kind, kind.lower() + str(number))
    for number in range(last, 0, -1):
        blob = _inner_product(net, blob, f"decode{number}", sizes[number - 1], filler if number > 1 else "xavier")
        if number > 1:
            _in_place(net, blob, kind, f"{kind.lower()}_decode{number}")
    made = _layer(net, "reconstruction", "Sigmoid" if loss == "sigmoid" else "Split", blob)
    made.include.add().phase = TEST
    _layer(net, "loss", _LOSSES[loss], blob, "data")
    return net


def with_scores(net: Any, blob: str, outputs: int, loss: str = "softmax") -> Any:
    """A net that ends in ``blob``, with a layer of scores over it, and a loss, as those of ``mlp``.

    Parameters
    ----------
    net : NetParameter; it is not changed
    blob : of the net
    outputs, loss : as the last of ``mlp``'s layers, and its loss

    Raises
    ------
    ConfigError
        For an argument that is none of ``mlp``'s.
    """
    _check_size("mlp", "outputs", outputs, 1)
    _check_loss(loss, outputs)
    made = NetParameter()
    made.CopyFrom(net)
    products = sum(layer.type == "InnerProduct" for layer in net.layer)
    return _with_loss(made, _inner_product(made, blob, f"ip{products + 1}", int(outputs), "xavier"), loss)


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
        accuracy.include.add().phase = TEST
    _layer(net, "loss", _LOSSES[loss], scores, "label")
    return net


# ---- arguments


def _sizes(layers: Any, of: str, what: str, example: Sequence[int]) -> Sequence[int]:
    if isinstance(layers, (str, bytes)) or not hasattr(layers, "__iter__"):
        raise ConfigError(f"{of}: layers is a list of sizes, such as {list(example)}, not {layers!r:.40}")
    sizes = list(layers)
    if len(sizes) < 2:
        raise ConfigError(f"{of}: layers has the sizes of {what}, at least 2, not {sizes}")
    for size in sizes:
        _check_size(of, "layers", size, 1)
    return [int(size) for size in sizes]


def _check_loss(loss: Any, scores: int) -> None:
    _chosen("loss", loss, _LOSSES)
    if loss == "softmax" and scores < 2:
        raise ConfigError(
            "mlp: with loss 'softmax' the last layer has a score for each class, at least 2: loss='sigmoid' takes one "
            "score for two classes, loss='euclidean' one number"
        )


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


def _chosen(name: str, value: Any, known: Any, of: str = "mlp") -> Any:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{of}: {name}: there is no {value!r:.40}. {suggest(str(value), known)}")
    return known[value] if isinstance(known, dict) else value
