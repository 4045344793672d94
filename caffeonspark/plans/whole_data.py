"""Whether a net can be trained by passes through all its data, whose gradients are added up block by block.

The sum over blocks is the gradient of the whole only if the loss is a mean over the samples, and if what a sample
contributes does not depend on its block. L-BFGS compares gradients of different passes, so these have to be of the same
function: nothing may be random.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .net_plan import NetPlan
from .normalization import is_counted, is_sum, normalization_notes

__all__ = ["check_whole_data"]


def check_whole_data(train: NetPlan, mode: str, same_each_pass: bool) -> None:
    """Raise ConfigError where a TRAIN net cannot be trained so: which layer, and why.

    Parameters
    ----------
    train : NetPlan
    mode : what asks for it, as users write it
    same_each_pass : whether every pass has to compute the same
    """
    net = train.message()
    if not train.layers:
        raise ConfigError(
            f"{train.path}: no layer reads data, which has no end then, and {mode} goes through all of it"
        )
    if train.steps_differ:
        raise ConfigError(
            f"{train.path}: the data layers have different batch sizes, and {mode} goes through all records of all of "
            "them together: give them the same batch_size"
        )
    for layer in net.layer:
        why = _not_a_mean(layer) or (_changes(layer) if same_each_pass else "")
        if why:
            raise ConfigError(f"{train.path}: layer '{layer.name}' ({layer.type}) {why}: {mode} cannot train it")
    for note in normalization_notes(net, train.batch_axes, 2, "", one_solver=True):
        name = note.partition(": ")[0]
        raise ConfigError(f"{train.path}: {name}: its loss is no mean over the samples: {mode} cannot train it")
    if train.weighted:
        name = net.layer[train.weighted[0].layer].name
        raise ConfigError(
            f"{train.path}: layer '{name}' weighs samples, and {mode} counts each once: leave the top "
            "'sample_weight' out"
        )
    for data in train.layers if same_each_pass else ():
        for top in data.tops:
            if top.is_random:
                raise ConfigError(
                    f"{train.path}: layer '{data.name}': mirror or a random crop makes top '{top.name}' another in "
                    f"every pass, and {mode} needs the same: take mirror and crop_size away"
                )
    if not train.flexible and not all(layer.any_size for layer in train.layers):
        raise ConfigError(
            f"{train.path}: the net works with its own batch size only, and the last block of a pass may be smaller: "
            f"{mode} cannot train it. A Reshape layer with a fixed first dimension, for one, can say 0 there instead"
        )


def _not_a_mean(layer: Any) -> str:
    """Why what a layer computes of a block does not add up to what it would compute of all records; "" if it does."""
    if layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats:
        return "takes mean and variance of the block that it sees, not of all records (use_global_stats: true does not)"
    if is_counted(layer):
        return "divides its loss by how many labels of the block are not ignore_label"
    if is_sum(layer):
        return "has a sum over the samples for a loss (normalization: NONE)"
    return ""


def _changes(layer: Any) -> str:
    """Why a layer computes another result in each pass; "" if it does not."""
    if layer.type == "Dropout":
        return "leaves out others in every pass"
    if layer.type == "Pooling" and layer.pooling_param.pool == layer.pooling_param.STOCHASTIC:
        return "takes others in every pass (pool: STOCHASTIC)"
    fillers = [filler.type for filler in layer.dummy_data_param.data_filler] if layer.type == "DummyData" else []
    if any(kind != "constant" for kind in fillers):
        return "fills its tops again in every pass"
    if layer.type == "Python" and not layer.bottom:
        return "makes data, which may be other data in every pass"
    return ""
