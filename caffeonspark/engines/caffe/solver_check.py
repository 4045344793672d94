"""Building a solver before it is used, in a process of its own, where a failed native CHECK does no harm."""

from __future__ import annotations

import json
import math
import tempfile
from typing import Any, Callable, Sequence

from google.protobuf import text_format

from ...errors import ConfigError
from ...nets.schema import NetParameter
from ...plans.inspection import SolverInspection
from ...plans.made_data import tell_rank
from ...process import run_in_child
from .inspection import reason
from .trainer import HISTORIES, CaffeTrainer

__all__ = ["check_solver"]

_TIMEOUT = 600.0  # seconds

#: The smallest net that learns: one update of it shows what Caffe refuses only then (lr_policy, regularization_type).
_SMALLEST = """
state { phase: TRAIN }
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }
"""
#: Fillers that refuse nothing unless they are told to be sparse, and take time.
_RANDOM = ("uniform", "gaussian", "xavier", "msra")


def check_solver(solver: Any, train_net: Any, test_nets: Sequence[Any], where: str) -> SolverInspection:
    """What ``Engine.check_solver`` says. Raises ConfigError with the CHECK's own words when Caffe refuses it."""
    nets = [_without_random_values(net) for net in (train_net, *test_nets)]
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        output, errors, status = run_in_child(lambda send: _build(solver, nets, folder, send), _TIMEOUT)
    if not output:
        raise ConfigError(f"{where}: Caffe refuses the solver: {reason(errors, status)}")
    learned, found = json.loads(output)
    layers = tuple((str(name), tuple(tuple(shape) for shape in shapes)) for name, shapes in found)
    saved = sum(math.prod(shape) for _, shapes in layers for shape in shapes)
    return SolverInspection(layers, 4 * saved, 4 * learned * HISTORIES.get(str(solver.type), 1))


def _without_random_values(net: Any) -> Any:
    plain = NetParameter()
    plain.CopyFrom(net)
    for layer in plain.layer:
        for field in ("convolution_param", "inner_product_param", "embed_param"):
            if layer.HasField(field):
                filler = getattr(layer, field).weight_filler
                if filler.type in _RANDOM and filler.sparse == -1:
                    getattr(layer, field).ClearField("weight_filler")
    return plain


def _build(solver: Any, nets: Sequence[Any], folder: str, send: Callable[[bytes], None]) -> None:
    tell_rank(0, 1)
    smallest = CaffeTrainer(solver, text_format.Parse(_SMALLEST, NetParameter()), [], 0, folder)
    smallest.step(lambda: None, lambda loss: None)
    trainer = CaffeTrainer(solver, nets[0], nets[1:], 0, folder)
    for number in range(len(nets) - 1):
        trainer.test_net(number)
    learned, layers = sum(int(array.size) for array in trainer.weights), trainer.saved_shapes()
    send(json.dumps([learned, layers]).encode())
