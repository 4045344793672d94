"""Nets that make data themselves, in DummyData, Input and Python layers without bottoms: such layers run whole on every
rank and in every task."""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, Sequence, Tuple

from ..errors import ConfigError
from ..nets.net import Net

__all__ = [
    "asked_batches",
    "axes_by_size",
    "batches_to_score",
    "check_batches",
    "made_batch",
    "made_data_notes",
    "tell_rank",
]


def tell_rank(rank: int, ranks: int) -> None:
    """Tell Python layers in this process which rank they are in, and of how many."""
    os.environ["CAFFEONSPARK_RANK"] = str(rank)
    os.environ["CAFFEONSPARK_RANKS"] = str(ranks)


def made_batch(net: Net, shapes: Mapping[str, Tuple[int, ...]]) -> int:
    """How many samples a pass has where no layer reads data: the first axis of the first blob that is made."""
    tops = [top for layer in net.made_layers() for top in layer.top]
    return next((shapes[top][0] for top in tops if shapes.get(top)), 1)


def axes_by_size(shapes: Mapping[str, Tuple[int, ...]], sizes: Mapping[int, int]) -> Dict[str, Tuple[int, int]]:
    """``Inspection.batch_axes`` of a net that cannot be looked at with a larger batch: a blob's first axis that is as
    large as a batch.

    Parameters
    ----------
    shapes : of the blobs
    sizes : how many entries a sample has, by the size of the batch
    """
    found = {}
    for name, shape in shapes.items():
        axis = next((axis for axis, size in enumerate(shape) if size in sizes), None)
        if axis is not None:
            found[name] = (axis, sizes[shape[axis]])
    return found


def asked_batches(net: Net, iterations: Sequence[int]) -> int:
    """How many batches ``test_iter`` says for a test net; 0 where it says none."""
    return int(iterations[net.number]) if net.number < len(iterations) else 0


def check_batches(net: Net, iterations: Sequence[int]) -> int:
    """``asked_batches`` of a net that makes all its data. Raises ConfigError where there are none: it has no end."""
    count = asked_batches(net, iterations)
    if not count:
        layer = net.made_layers()[0]
        raise ConfigError(
            f"{net.where(layer)} ({layer.type}) makes the net's data, which has no end: say in the solver, with "
            "test_iter, how many batches to take"
        )
    return count


def batches_to_score(net: Net, iterations: Sequence[int]) -> int:
    """How many batches -test and -features take of a net that makes all its data. Raises ConfigError where that is not
    known, or all of it would be zeros."""
    layers = net.made_layers()
    if all(layer.type == "Input" for layer in layers):
        raise ConfigError(
            f"{net.where(layers[0])}: nothing fills this Input layer, so there is nothing to score: give the TEST "
            "phase a data layer"
        )
    return check_batches(net, iterations)


def made_data_notes(nets: Sequence[Net], ranks: int) -> List[str]:
    """A line for each net of which several ranks make data, and for each layer that nothing fills."""
    lines: List[str] = []
    for net in nets:
        layers = net.made_layers()
        for layer in layers:
            if layer.type == "Input":
                lines.append(f"{net.where(layer)}: nothing fills this Input layer: it holds zeros, as in stock Caffe")
        made = ", ".join(f"'{layer.name}' ({layer.type})" for layer in layers if layer.type != "Input")
        if made and ranks > 1:
            how = "CAFFEONSPARK_RANK tells a Python layer which it is, and random fillers differ from rank to rank"
            lines.append(
                f"{net.path}: layer {made}: each of the {ranks} ranks makes this data by itself, all of it; {how}"
            )
    return list(dict.fromkeys(lines))
