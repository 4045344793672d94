"""A deploy net, made from a net that is trained and tested as people do it by hand.

Data layers become ``Input`` layers, losses and accuracies go with whatever depends on labels, and what a loss computes
from the net's scores stays as a layer of its own: ``Softmax`` or ``Sigmoid``, called ``prob``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..errors import ConfigError
from .net import Net, makes_data, reads_data
from .schema import NetParameter

__all__ = ["PROBABILITIES", "data_inputs", "deploy_net", "label_blobs", "probability_layers", "set_shapes"]

#: What losses compute from scores before they compare them with labels: the layer's type, and where its settings are.
PROBABILITIES = {
    "SoftmaxWithLoss": ("Softmax", "softmax_param"),
    "InfogainLoss": ("Softmax", "infogain_loss_param"),
    "SigmoidCrossEntropyLoss": ("Sigmoid", "sigmoid_param"),
}
_LABELLED = ("Data", "ImageData", "MemoryData")  # whose second top is a label, whatever it is used for
#: Losses of one score and one target, which may come from the data itself.
_PAIRS = (*PROBABILITIES, "EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss")
_FILLERS = ("convolution_param", "inner_product_param", "embed_param")


def deploy_net(net: Net, train: Optional[Net] = None) -> Any:
    """The deploy net of a TEST net.

    Parameters
    ----------
    net : of the TEST phase
    train : of the TRAIN phase: its losses count where the TEST net has none

    Returns
    -------
    NetParameter
        Its first layers are Input layers, one for each top of the data layers that is needed: without shapes
        (``data_inputs``, ``set_shapes``), but for those of Input layers. Where no layer reads data, those that make it
        count as data layers.

    Raises
    ------
    ConfigError
        Where every output of the net depends on a label.
    """
    layers = [*net.message.layer, *_losses_of(train, net)]
    roles = _roles(net, layers)
    feeds, origins, labels, compared = roles.feeds, roles.origins, roles.labels, roles.compared

    def labelled(blob: str) -> bool:
        return bool(origins.get(blob, set()) & labels)

    kept = [
        layer
        for layer in layers
        if not _is_loss(layer, roles.within) and not feeds(layer) and not any(map(labelled, layer.bottom))
    ]
    auxiliary = _auxiliary([(layer, targets) for layer, _, targets in compared])
    heads = [
        (layer, scores[0])
        for layer, scores, _ in compared
        if layer.type in PROBABILITIES and layer.name not in auxiliary and not labelled(scores[0])
    ]
    kept += probability_layers(heads, kept)
    aside = {blob for layer, _, targets in compared if layer.type in _PAIRS for blob in targets}
    aside |= {blob for layer, scores, _ in compared if layer.name in auxiliary for blob in scores}
    outputs = [blob for blob in _unused(kept) if blob not in aside]
    if not outputs:
        raise ConfigError(
            f"{net.path}: nothing is left of the {net.phase_name} net without its losses and the labels "
            f"({', '.join(sorted(labels)) or 'none'}): there is no output to deploy"
        )
    message = NetParameter()
    if net.message.name:
        message.name = net.message.name
    for layer in filter(feeds, net.message.layer):
        for number, top in enumerate(layer.top):
            if top not in labels:
                message.layer.append(_input(layer, number))
    for layer in kept:
        message.layer.add().CopyFrom(_plain(layer))
    return Net(message, net.path, net.phase).pruned(outputs).message


def label_blobs(net: Net, train: Optional[Net] = None) -> Set[str]:
    """The tops of a net's data layers that are labels: what its losses and accuracies compare the net's scores with.

    Parameters
    ----------
    net, train : as for ``deploy_net``
    """
    return _roles(net, [*net.message.layer, *_losses_of(train, net)]).labels


def data_inputs(message: Any) -> List[str]:
    """The inputs of a deploy net that have no shapes yet."""
    return [layer.top[0] for layer in message.layer if layer.type == "Input" and not layer.input_param.shape]


def set_shapes(message: Any, shapes: Mapping[str, Tuple[int, ...]]) -> Any:
    """A deploy net whose inputs have these shapes, batch included."""
    shaped = NetParameter()
    shaped.CopyFrom(message)
    for layer in shaped.layer:
        if layer.type == "Input" and layer.top[0] in shapes:
            del layer.input_param.shape[:]
            layer.input_param.shape.add().dim.extend(shapes[layer.top[0]])
    return shaped


# ---- losses and labels


@dataclass(frozen=True)
class _Roles:
    """What the layers and blobs of a net are there for.

    Attributes
    ----------
    feeds : whether a layer is one that data comes from
    origins : for each blob the tops of such layers that it depends on
    within : the blobs that layers other than losses compute with
    compared : the losses of several bottoms, each with its scores and with what they should be
    labels : the tops of data layers that are labels
    """

    feeds: Callable[[Any], bool]
    origins: Mapping[str, Set[str]]
    within: Set[str]
    compared: Sequence[Tuple[Any, List[str], List[str]]]
    labels: Set[str]


def _roles(net: Net, layers: Sequence[Any]) -> _Roles:
    """Of a net, some of whose ``layers`` may be another one's."""
    kinds = _feeding_types(net)

    def feeds(layer: Any) -> bool:
        return reads_data(layer) or (makes_data(layer) and layer.type in kinds)

    given = {top for layer in layers if feeds(layer) for top in layer.top}
    origins = _origins(layers, given)
    within = {blob for layer in layers if not _names_loss(layer) for blob in layer.bottom}
    losses = [layer for layer in layers if _is_loss(layer, within)]
    known = {top for layer in layers if layer.type in _LABELLED and reads_data(layer) for top in list(layer.top)[1:]}
    compared = [(layer, *_compared(layer, origins, known, given)) for layer in losses if len(layer.bottom) > 1]
    labels = known | _union(origins, (blob for _, _, targets in compared for blob in targets))
    labels -= _union(origins, (blob for _, scores, _ in compared for blob in scores))
    return _Roles(feeds, origins, within, compared, labels)


def _names_loss(layer: Any) -> bool:
    return layer.type.endswith("Loss") or "Accuracy" in layer.type


def _is_loss(layer: Any, within: Set[str]) -> bool:
    """Whether a layer only says how good the net is; ``within`` are the blobs that other layers compute with, and that
    may be a part of the loss next to it."""
    return _names_loss(layer) or (any(layer.loss_weight) and not within & set(layer.top))


def _feeding_types(net: Net) -> Sequence[str]:
    """The types of layers that make data in the place of layers that read it."""
    made = {layer.type for layer in net.made_layers()}
    if net.data_layers():
        return ()
    return ("Input", "Python") if made & {"Input", "Python"} else ("DummyData",)


def _input(layer: Any, number: int) -> Any:
    """The Input layer for a top of a data layer."""
    top = layer.top[number]
    new = type(layer)(name=top, type="Input")
    new.top.append(top)
    shapes = layer.input_param.shape if layer.type == "Input" else ()
    if shapes:
        new.input_param.shape.add().CopyFrom(shapes[number if len(shapes) > 1 else 0])
    return new


def _losses_of(train: Optional[Net], net: Net) -> List[Any]:
    """The losses of the TRAIN net, where the TEST net has none, and has their bottoms."""
    if train is None or any(layer.type.endswith("Loss") for layer in net.message.layer):
        return []
    blobs = set(net.blob_names())
    names = {layer.name for layer in net.message.layer}
    return [
        layer
        for layer in train.message.layer
        if layer.type.endswith("Loss") and set(layer.bottom) <= blobs and layer.name not in names
    ]


def _origins(layers: Sequence[Any], given: Set[str]) -> Dict[str, Set[str]]:
    """For each blob the tops of data layers (``given``) that it depends on."""
    found: Dict[str, Set[str]] = {}
    for layer in layers:
        above = _union(found, layer.bottom)
        for top in layer.top:
            found[top] = {top} if top in given and not layer.bottom else found.get(top, set()) | above
    return found


def _union(origins: Mapping[str, Set[str]], blobs: Any) -> Set[str]:
    return {origin for blob in blobs for origin in origins.get(blob, set())}


def _compared(
    layer: Any, origins: Mapping[str, Set[str]], known: Set[str], given: Set[str]
) -> Tuple[List[str], List[str]]:
    """What a loss compares: (the net's scores, what they should be). Scores are what the net computes."""
    bottoms = list(layer.bottom)
    if layer.type == "ContrastiveLoss":
        return bottoms[:2], bottoms[2:]
    possible = [blob for blob in bottoms if not origins.get(blob, known) <= known] or bottoms[:1]
    scores = next((blob for blob in possible if blob not in given), possible[0])
    return [scores], [blob for blob in bottoms if blob != scores]


def _auxiliary(compared: Sequence[Tuple[Any, List[str]]]) -> Set[str]:
    """The losses that help another one of their type, which has their labels and a larger weight: GoogLeNet's two."""
    losses = [(layer.name, (layer.type, *targets), _weight(layer)) for layer, targets in compared]
    largest: Dict[Tuple[str, ...], float] = {}
    for _, targets, weight in losses:
        largest[targets] = max(weight, largest.get(targets, weight))
    return {name for name, targets, weight in losses if weight < largest[targets]}


def _weight(layer: Any) -> float:
    return float(layer.loss_weight[0]) if layer.loss_weight else 1.0


def probability_layers(heads: Sequence[Tuple[Any, str]], kept: Sequence[Any]) -> List[Any]:
    """The layers that compute what losses compute from scores, unless the net has them already.

    Parameters
    ----------
    heads : (loss layer, blob of scores)
    kept : the net's other layers
    """
    there = {(layer.type, bottom) for layer in kept for bottom in layer.bottom}
    wanted = {(PROBABILITIES[loss.type][0], scores): loss for loss, scores in heads}
    wanted = {key: loss for key, loss in wanted.items() if key not in there}
    taken = {name for layer in kept for name in [layer.name, *layer.top]}
    made = []
    for (kind, scores), loss in wanted.items():
        name = "prob" if len(wanted) == 1 else f"prob_{loss.name}"
        while name in taken:
            name += "_"
        taken.add(name)
        new = NetParameter().layer.add(name=name, type=kind)
        new.bottom.append(scores)
        new.top.append(name)
        settings = getattr(loss, PROBABILITIES[loss.type][1])
        if kind == "Softmax" and settings.HasField("axis"):
            new.softmax_param.axis = settings.axis
        made.append(new)
    return made


def _unused(layers: Sequence[Any]) -> List[str]:
    """The blobs that these layers make and do not use."""
    left: Dict[str, None] = {}
    for layer in layers:
        for bottom in layer.bottom:
            left.pop(bottom, None)
        for top in layer.top:
            left[top] = None
    return list(left)


def _plain(layer: Any) -> Any:
    """A layer without what only training uses."""
    new = type(layer)()
    new.CopyFrom(layer)
    for name in ("include", "exclude", "phase", "loss_weight", "propagate_down", "source_class", "cos_data_param"):
        new.ClearField(name)
    if not any(param.name for param in new.param):  # by which parameters are shared
        del new.param[:]
    for name in _FILLERS:
        if new.HasField(name):
            getattr(new, name).ClearField("weight_filler")
            getattr(new, name).ClearField("bias_filler")
    return new
