"""Layers whose parameters stay as they are."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set

from ..errors import ConfigError, suggest

__all__ = ["frozen"]

#: Parameters of a layer by type, where their number is always the same: the layers of src/caffe/layers.
_COUNTS = {"PReLU": 1, "Parameter": 1, "BatchNorm": 3}
#: Those with one parameter, and a second with their ``bias_term``: the message that has it.
_BIASED = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
    "Embed": "embed_param",
}
#: The number of recurrent blobs and of parameters of one time step: ``RecurrentLayer::FillUnrolledNet``.
_RECURRENT = {"LSTM": (2, 3), "RNN": (1, 5)}
#: Stock Caffe's other layers, which have none.
_WITHOUT = (
    *("AbsVal", "Accuracy", "ArgMax", "BatchReindex", "BNLL", "Clip", "Concat", "ContrastiveLoss", "Crop", "Data"),
    *("CoSData", "Dropout", "DummyData", "ELU", "Eltwise", "EuclideanLoss", "Exp", "Filter", "Flatten", "HDF5Data"),
    *("HDF5Output", "HingeLoss", "Im2col", "ImageData", "InfogainLoss", "Input", "Log", "LRN", "MemoryData", "MVN"),
    *("MultinomialLogisticLoss", "Pooling", "Power", "Reduction", "ReLU", "Reshape", "Sigmoid", "Silence", "Slice"),
    *("SigmoidCrossEntropyLoss", "Softmax", "SoftmaxWithLoss", "Split", "SPP", "Swish", "TanH", "Threshold", "Tile"),
    "WindowData",
)


def frozen(net: Any, layers: Sequence[str]) -> Any:
    """A net whose named layers do not learn: a copy, with ``lr_mult: 0`` and ``decay_mult: 0`` for each of their
    parameters. A BatchNorm keeps its running mean and variance, and uses them (``use_global_stats: true``).

    They stay as they are from a start with weights, and from a solver state of a run in which they were frozen. Where
    they had learned in it, its momentum moves them on for some iterations, as in stock Caffe.

    Parameters
    ----------
    net : NetParameter
    layers : names of layers; of several layers with one name (one for each phase), all are meant

    Raises
    ------
    ConfigError
        For a name that no layer has, for a layer that has no parameters or whose number of parameters is not known, and
        for one that shares a parameter with a layer that is not named.
    """
    copy = type(net)()
    copy.CopyFrom(net)
    if isinstance(layers, str):
        raise ConfigError(f"freeze takes a list of layer names, not {layers!r}: [{layers!r}]")
    names = [layer.name for layer in copy.layer]
    for name in layers:
        if name not in names:
            raise ConfigError(f"freeze: the net has no layer '{name}'. {suggest(name, names)}")
    chosen = [layer for layer in copy.layer if layer.name in layers]
    for layer in chosen:
        _freeze(layer)
    _check_shared(copy, {layer.name for layer in chosen})
    return copy


def _freeze(layer: Any) -> None:
    count = _parameters_of(layer)
    if not count:
        raise ConfigError(
            f"freeze: layer '{layer.name}' ({layer.type}) has no parameters, so there is nothing to freeze"
        )
    if len(layer.param) > count:
        raise ConfigError(
            f"freeze: layer '{layer.name}' ({layer.type}) has {len(layer.param)} param blocks for {count} parameters"
        )
    while len(layer.param) < count:
        layer.param.add()
    for param in layer.param:
        param.lr_mult = param.decay_mult = 0
    if layer.type == "BatchNorm":
        layer.batch_norm_param.use_global_stats = True


def _parameters_of(layer: Any) -> int:
    """How many parameters a layer has."""
    if layer.type in _COUNTS:
        return _COUNTS[layer.type]
    if layer.type in _BIASED:
        return 1 + bool(getattr(layer, _BIASED[layer.type]).bias_term)
    if layer.type == "Scale":  # a second bottom stands for the factors
        return int(len(layer.bottom) == 1) + bool(layer.scale_param.bias_term)
    if layer.type == "Bias":
        return int(len(layer.bottom) == 1)
    if layer.type in _RECURRENT:
        blobs, parameters = _RECURRENT[layer.type]
        static = len(layer.bottom) > 2 + blobs * bool(layer.recurrent_param.expose_hidden)
        return parameters + static
    if layer.type in _WITHOUT:
        return 0
    raise ConfigError(
        f"freeze: how many parameters layer '{layer.name}' ({layer.type}) has is not known: give it a block "
        "param { lr_mult: 0 decay_mult: 0 } for each in the prototxt"
    )


def _check_shared(net: Any, chosen: Set[str]) -> None:
    """Raise ConfigError where a frozen layer's parameter is also that of a layer that learns."""
    users: Dict[str, List[Any]] = {}
    for layer in net.layer:
        for param in layer.param:
            if param.name:
                users.setdefault(param.name, []).append(layer)
    for name, layers in users.items():
        kept = [layer for layer in layers if layer.name in chosen]
        learning = [layer for layer in layers if layer.name not in chosen]
        if kept and learning:
            raise ConfigError(
                f"freeze: layer '{kept[0].name}' shares parameter '{name}' with layer '{learning[0].name}', which "
                "would still learn it: freeze both or neither"
            )
