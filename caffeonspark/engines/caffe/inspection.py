"""Looking at a net before it is used, in a process of its own, where a failed native CHECK does no harm."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Mapping, Tuple

from ...errors import CaffeOnSparkError, ConfigError
from ...nets.net import TRAIN
from ...nets.schema import NetParameter
from ...plans.inspection import Inspection
from ...plans.made_data import tell_rank
from ...process import run_in_child
from .crash import fatal_message
from .gradients import check_gradients
from .pycaffe import caffe, parameter_blobs, places_of_layers, prototxt, unique
from .python_layers import check_modules, explained
from .refusing import refusing_layer

__all__ = ["inspect_net", "reason"]

_TIMEOUT = 300.0  # seconds
#: CHECKs whose words tell nothing.
_CLEARER = {"Check failed: data_": "Check failed: data_ (a blob is empty: a dimension of it is 0)"}
_TOO_LARGE = ": its kernel is larger than what it reads"


def inspect_net(net: Any, larger: Mapping[str, Tuple[int, ...]], batch: int, where: str) -> Inspection:
    """What ``Engine.inspect`` says. Raises ConfigError with the CHECK's own words when Caffe refuses the net."""
    plain = NetParameter()
    plain.CopyFrom(net)
    for layer in plain.layer:  # nobody looks at the values, and random ones take time
        for field in ("convolution_param", "inner_product_param", "embed_param"):
            if layer.HasField(field):
                getattr(layer, field).ClearField("weight_filler")
    with prototxt(plain) as path:
        output, errors, status = run_in_child(lambda send: _report_shapes(path, plain, larger, send), _TIMEOUT)
    stages = [json.loads(line) for line in output.decode().splitlines()]
    if stages and "refused" in stages[0]:
        raise ConfigError(f"{where}: {stages[0]['refused']}")
    if not stages:
        raise ConfigError(f"{where}: {_refusal(plain, reason(errors, status))}")
    found = _inspection(stages, batch)
    if net.state.phase == TRAIN:
        check_gradients(net, found.layers, where)
    return found


def _refusal(net: Any, why: str) -> str:
    """Why Caffe refuses a net, and in which layer."""

    def again(beginning: Any) -> str:
        with prototxt(beginning) as path:
            output, errors, status = run_in_child(lambda send: _build(path, beginning, send), _TIMEOUT)
        return "" if output else reason(errors, status)

    layer = refusing_layer(net, why, again)
    place = f"layer '{layer.name}' ({layer.type}): " if layer is not None else ""
    larger = _TOO_LARGE if why.startswith("Check failed: shape[i] >= 0 (-") else ""
    return f"{place}Caffe refuses the net: {_CLEARER.get(why, why)}{larger}"


def _build(path: str, message: Any, send: Callable[[bytes], None]) -> None:
    caffe.Net(path, int(message.state.phase))
    send(b"built")


def _inspection(stages: List[Dict[str, Any]], batch: int) -> Inspection:
    """What the child found at the net's own batch size and, where it survived that, at a larger one."""
    shapes = {name: tuple(shape) for name, shape in stages[0]["blobs"].items()}
    flexible = len(stages) > 1
    axes: Dict[str, Tuple[int, int]] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            grown = stages[1]["blobs"][name][axis] - size if flexible else int(size == batch)
            if grown > 0:
                axes[name] = (axis, grown)
                break
    layers = [[tuple(shape) for shape in layer] for layer in stages[0]["layers"]]
    return Inspection(shapes, flexible, axes, int(stages[0]["parameters"]), layers)


def _report_shapes(
    path: str, message: Any, larger: Mapping[str, Tuple[int, ...]], send: Callable[[bytes], None]
) -> None:
    tell_rank(0, 1)
    try:
        check_modules(message)
        net = caffe.Net(path, int(message.state.phase))
    except (Exception, SystemExit) as e:
        error = explained(e, message)
        if not isinstance(error, CaffeOnSparkError):
            raise
        send(json.dumps({"refused": error.message}).encode() + b"\n")
        return
    for reshaping in (False, True):
        if reshaping:
            for name, shape in larger.items():
                net.blobs[name].reshape(*shape)
            net.reshape()
        found = {name: list(blob.data.shape) for name, blob in net.blobs.items()}
        parameters = sum(int(blob.count) for blob in unique(parameter_blobs(net)))
        layers = [
            [list(blob.data.shape) for blob in net.layers[place].blobs] for place in places_of_layers(net, message)
        ]
        stage = {"blobs": found, "parameters": parameters, "layers": layers}
        send(json.dumps(stage).encode() + b"\n")


def reason(errors: bytes, status: int) -> str:
    """The words of a failed CHECK, or what else is known."""
    lines = errors.decode(errors="replace").strip().splitlines()
    message = fatal_message(lines)
    if message:
        return message
    if os.WIFSIGNALED(status):
        return f"its process ended with signal {os.WTERMSIG(status)}"
    return lines[-1] if lines else f"its process ended with status {status}"
