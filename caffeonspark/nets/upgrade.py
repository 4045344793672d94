"""Nets and solvers of older versions of Caffe, brought up to date by Caffe's rules (src/caffe/util/upgrade_proto.cpp).

Layers of before 2014 (V0) stand as ``layers { layer { type: "conv" num_output: 20 } bottom: … }``, those of before
2015 (V1) as ``layers { type: CONVOLUTION convolution_param { … } }``. Caffe brings nets up to date when it reads a file
of one, but not those that stand in a solver; here the rules hold for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Tuple

from ..errors import ConfigError, suggest

__all__ = ["SOLVER_TYPES", "V0_TYPES", "Changes", "layer_type", "upgrade_net", "upgrade_solver"]

#: In the order of the deprecated enum SolverType.
SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")

#: V0's types by V1's names for them; "padding" layers become part of the layers after them.
V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

#: By V0 type, the message that its fields are in today, and the fields whose names changed or did not.
_V0_FIELDS: Dict[str, Tuple[str, Dict[str, str]]] = {
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "conv": (
        "convolution_param",
        {
            "num_output": "num_output",
            "biasterm": "bias_term",
            "weight_filler": "weight_filler",
            "bias_filler": "bias_filler",
            "pad": "pad",
            "kernelsize": "kernel_size",
            "group": "group",
            "stride": "stride",
        },
    ),
    "data": ("data_param", {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "hdf5_data": ("hdf5_data_param", {"source": "source", "batchsize": "batch_size"}),
    "images": (
        "image_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "rand_skip": "rand_skip",
            "shuffle_images": "shuffle",
            "new_height": "new_height",
            "new_width": "new_width",
        },
    ),
    "infogain_loss": ("infogain_loss_param", {"source": "source"}),
    "innerproduct": (
        "inner_product_param",
        {
            "num_output": "num_output",
            "biasterm": "bias_term",
            "weight_filler": "weight_filler",
            "bias_filler": "bias_filler",
        },
    ),
    "lrn": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "pool": ("pooling_param", {"pool": "pool", "pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}),
    "window_data": (
        "window_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "det_fg_threshold": "fg_threshold",
            "det_bg_threshold": "bg_threshold",
            "det_fg_fraction": "fg_fraction",
            "det_context_pad": "context_pad",
            "det_crop_mode": "crop_mode",
        },
    ),
}
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}  # of any type
_V0_AS_THEY_ARE = ("name", "blobs", "blobs_lr", "weight_decay")

#: What layers of these types had in their own message before there was a ``transform_param``.
_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_TRANSFORMED = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}

#: V1's types where today's are more than written in another way.
_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


@dataclass(frozen=True)
class Changes:
    """What bringing a net or solver up to date did.

    Attributes
    ----------
    done : what was old in it, each in a few words: ``layers of before 2014``
    ignored : what has no meaning, for Caffe neither, each with its layer
    """

    done: Tuple[str, ...] = ()
    ignored: Tuple[str, ...] = ()


def layer_type(old: str) -> str:
    """Today's name of a V1 type, or of a V0 type: ``SoftmaxWithLoss`` for ``SOFTMAX_LOSS`` and ``softmax_loss``."""
    old = V0_TYPES.get(old, old)
    return _V1_TYPES.get(old, "".join(word.capitalize() for word in old.split("_")))


def upgrade_net(net: Any, path: str) -> Changes:
    """Bring a ``NetParameter`` up to date, in place: to what Caffe makes of it.

    Parameters
    ----------
    net : of any descriptor pool
    path : its file, for errors

    Raises
    ------
    ConfigError
        For what Caffe refuses, too, and for what it would lose: layers of several versions in one net.
    """
    done: List[str] = []
    ignored: List[str] = []
    if len(net.layers) and len(net.layer):
        raise ConfigError(
            f"{path}: layer '{net.layer[0].name}': this net has 'layer' and, of older versions of Caffe, 'layers' "
            f"('{_v1_name(net.layers[0])}'): write all of them in one way"
        )
    if any(layer.HasField("layer") for layer in net.layers):
        done.append("layers of before 2014")
        ignored += _upgrade_v0(net, path)
    elif len(net.layers):
        done.append("layers of before 2015")
    if _upgrade_transforms(net):
        done.append("transformation fields outside transform_param")
    ignored += _upgrade_v1(net)
    if len(net.input):
        done.append("input fields")
        _upgrade_inputs(net, path)
    if _upgrade_batch_norm(net):
        done.append("learning rates of BatchNorm's statistics")
    return Changes(tuple(done), tuple(ignored))


def upgrade_solver(solver: Any, path: str) -> Changes:
    """Bring a ``SolverParameter`` and the nets that stand in it up to date, in place.

    Raises
    ------
    ConfigError
        As ``upgrade_net`` does, and for a type that is given in the old way and in the new one.
    """
    done: List[str] = []
    ignored: List[str] = []
    if solver.HasField("solver_type"):
        done.append("solver_type")
        _upgrade_solver_type(solver, path)
    nets = [getattr(solver, name) for name in ("net_param", "train_net_param") if solver.HasField(name)]
    for net in [*nets, *solver.test_net_param]:
        changes = upgrade_net(net, path)
        done += [what for what in changes.done if what not in done]
        ignored += [what for what in changes.ignored if what not in ignored]
    return Changes(tuple(done), tuple(ignored))


def _upgrade_solver_type(solver: Any, path: str) -> None:
    if solver.HasField("type"):
        raise ConfigError(f"{path}: solver_type is the old name of type: give one of them, not both")
    old = _enum_name(solver, "solver_type")
    types = {kind.upper(): kind for kind in SOLVER_TYPES}
    if old not in types:
        raise ConfigError(f'{path}: solver_type {old} is not one of Caffe\'s: name it as type: "…"')
    solver.type = types[old]
    solver.ClearField("solver_type")


# ---- V0


def _upgrade_v0(net: Any, path: str) -> List[str]:
    """V0's layers become V1's; what was ignored. Of the net only a few fields remain, as in Caffe."""
    for layer in net.layers:
        where = f"{path}: layer '{_v1_name(layer)}'"
        if not layer.HasField("layer"):
            raise ConfigError(
                f"{where}: it is written as layers of 2014 are, and others of this net in the way before that "
                "(layers { layer { … } }): write all of them in one way"
            )
        if layer.layer.HasField("type") and layer.layer.type not in (*V0_TYPES, "padding"):
            raise ConfigError(
                f"{where}: unknown layer type '{layer.layer.type}' in a net of before 2014. "
                f"{suggest(layer.layer.type, [*V0_TYPES, 'padding'])}"
            )
    ignored: List[str] = []
    layers = [_upgrade_v0_layer(layer, ignored) for layer in _without_padding(net, path)]
    keep = ("name", "input", "input_dim", "force_backward", "layers")
    for field, _ in net.ListFields():
        if field.name not in keep:
            net.ClearField(field.name)
            ignored.append(f"{field.name} of the net")
    del net.layers[:]
    net.layers.extend(layers)
    return ignored


def _without_padding(net: Any, path: str) -> List[Any]:
    """Copies of a V0 net's layers, where the layers after "padding" ones have their ``pad``."""
    source: Dict[str, Any] = dict.fromkeys(net.input)  # by a blob, the layer that made it last
    layers = []
    for layer in net.layers:
        new = _copy(layer)
        where = f"{path}: layer '{layer.layer.name}'"
        for number, bottom in enumerate(layer.bottom):
            if bottom not in source:
                raise ConfigError(
                    f"{where}: bottom '{bottom}' is the top of no layer before it. {suggest(bottom, source)}"
                )
            before = source[bottom]
            if before is None or before.layer.type != "padding":
                continue
            if layer.layer.type not in ("conv", "pool"):
                raise ConfigError(
                    f"{where}: a padding layer ('{before.layer.name}') goes before conv and pool layers, not before "
                    f"{layer.layer.type or 'one without a type'}"
                )
            for name, count in (
                (where, len(layer.bottom)),
                (f"{path}: layer '{before.layer.name}'", len(before.bottom)),
            ):
                if count != 1:
                    raise ConfigError(f"{name}: around padding a layer has 1 bottom, not {count}")
            if len(before.top) != 1:
                raise ConfigError(f"{path}: layer '{before.layer.name}': a padding layer has 1 top")
            new.layer.pad = before.layer.pad
            new.bottom[number] = before.bottom[0]
        if layer.layer.type != "padding":
            layers.append(new)
        source.update(dict.fromkeys(layer.top, layer))
    return layers


def _upgrade_v0_layer(old: Any, ignored: List[str]) -> Any:
    """The V1 layer that a V0 layer is."""
    new, inner, name = type(old)(), old.layer, old.layer.name
    new.bottom.extend(old.bottom)
    new.top.extend(old.top)
    ignored += [
        f"{field.name} outside of layer {{ … }} in layer '{name}'"
        for field, _ in old.ListFields()
        if field.name not in ("bottom", "top", "layer")
    ]
    if inner.HasField("type"):
        new.type = _enum_number(new, "type", V0_TYPES[inner.type])
    message, fields = _V0_FIELDS.get(inner.type, ("", {}))
    for field, value in inner.ListFields():
        if field.name in _V0_AS_THEY_ARE:
            _set(new, field.name, value)
        elif field.name in _V0_TRANSFORM:
            _set(new.transform_param, _V0_TRANSFORM[field.name], value)
        elif field.name in fields:
            _set(getattr(new, message), fields[field.name], value)
        elif field.name == "hdf5_output_param" and inner.type == "hdf5_output":
            _set(new, field.name, value)
        elif field.name != "type":
            ignored.append(f"{field.name} in layer '{name}' of type {inner.type or 'none'}")
    return new


# ---- V1


def _upgrade_transforms(net: Any) -> bool:
    """Move V1's transformation fields to where they are today; whether there were any."""
    found = []
    for layer in net.layers:
        message = _TRANSFORMED.get(_enum_name(layer, "type"))
        if message is not None:
            found.append((layer, message))
    if not any(getattr(layer, message).HasField(name) for layer, message in found for name in _TRANSFORM):
        return False
    for layer, message in found:
        param = getattr(layer, message)
        param.SetInParent()
        layer.transform_param.SetInParent()
        for name in _TRANSFORM:
            if param.HasField(name):
                setattr(layer.transform_param, name, getattr(param, name))
                param.ClearField(name)
    return True


def _upgrade_v1(net: Any) -> List[str]:
    """V1's layers become today's; what was ignored."""
    ignored: List[str] = []
    for layer in net.layers:
        _upgrade_v1_layer(layer, net.layer.add(), ignored)
    del net.layers[:]
    return ignored


def _upgrade_v1_layer(old: Any, new: Any, ignored: List[str]) -> None:
    def each(values: Sequence[Any], set_: Callable[[Any, Any], None]) -> None:
        while len(new.param) < len(values):
            new.param.add()
        for param, value in zip(new.param, values):
            set_(param, value)

    each(old.param, lambda param, name: setattr(param, "name", name))
    each(old.blob_share_mode, lambda param, mode: setattr(param, "share_mode", mode))
    each(old.blobs_lr, lambda param, rate: setattr(param, "lr_mult", rate))
    each(old.weight_decay, lambda param, decay: setattr(param, "decay_mult", decay))
    known = new.DESCRIPTOR.fields_by_name
    for field, value in old.ListFields():
        if field.name == "type":
            new.type = layer_type(_enum_name(old, "type"))
        elif field.name in ("param", "blob_share_mode", "blobs_lr", "weight_decay"):
            continue
        elif field.name in known:
            _set(new, field.name, value)
        else:  # of a fork
            ignored.append(f"{field.name} in layer '{old.name}'")


# ---- today's layers


def _upgrade_inputs(net: Any, path: str) -> None:
    """``input`` fields become an Input layer, the net's first. Without shapes, as in old models, they just go."""
    count = len(net.input)
    if len(net.input_shape) or len(net.input_dim):
        for name, each in (("input_shape", 1),) if len(net.input_shape) else (("input_dim", 4),):
            given = len(getattr(net, name))
            if given < each * count:
                raise ConfigError(
                    f"{path}: input '{net.input[given // each]}' has no shape: {count} inputs need {each * count} "
                    f"values of {name}, not {given}"
                )
        layers = [_copy(layer) for layer in net.layer]
        del net.layer[:]
        new = net.layer.add(name="input", type="Input")
        new.top.extend(net.input)
        for number in range(count):
            shape = new.input_param.shape.add()
            if len(net.input_shape):
                shape.CopyFrom(net.input_shape[number])
            else:
                shape.dim.extend(net.input_dim[4 * number : 4 * number + 4])
        net.layer.extend(layers)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)


def _upgrade_batch_norm(net: Any) -> bool:
    """BatchNorm layers with three ``param``s learn nothing; whether one would have."""
    learnt = False
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                learnt = learnt or param.lr_mult != 0
                param.lr_mult = param.decay_mult = 0
    return learnt


# ---- messages


def _v1_name(layer: Any) -> str:
    return str(layer.layer.name if layer.HasField("layer") else layer.name)


def _copy(message: Any) -> Any:
    new = type(message)()
    new.CopyFrom(message)
    return new


def _enum_name(message: Any, field: str) -> str:
    """The name of an enum field's value; "" where it is not set."""
    if not message.HasField(field):
        return ""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[getattr(message, field)].name)


def _enum_number(message: Any, field: str, name: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_name[name].number)


def _set(message: Any, name: str, value: Any) -> None:
    """Set a field to another message's: a value, a message, or values of a field that is repeated in one or in both."""
    target = getattr(message, name)
    if hasattr(value, "extend"):
        target.extend(value)
    elif hasattr(target, "extend"):
        target.append(value)
    elif hasattr(value, "ListFields"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)
