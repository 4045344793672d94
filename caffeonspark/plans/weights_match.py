"""Whether models have the layers of a net: compared by names and shapes, as Caffe copies them, before anything starts.

Caffe copies the layers of a file that the net has by name, passes over the others without a word, and ends the process
where the number or the shapes of parameters differ (``Net::CopyTrainedLayersFrom``, src/caffe/net.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Set, Tuple

from ..errors import ConfigError, DataError, suggest
from ..formats.endings import is_hdf5
from ..formats.shapes import LayerShapes, read_shapes
from .net_plan import LayerParameters, NetPlan

__all__ = ["Match", "check_all_there", "check_same_parameters", "match_weights"]

_MOST_NAMES = 5  # in a line


@dataclass(frozen=True)
class Match:
    """What a net takes of models.

    Attributes
    ----------
    taken : names of the net's layers whose parameters are there
    new : of those whose parameters are not
    left_over : of the files' layers with parameters that the net has not
    """

    taken: Tuple[str, ...]
    new: Tuple[str, ...]
    left_over: Tuple[str, ...]

    def describe(self) -> str:
        """``3 layers taken (conv1, conv2, ip1), 1 new (ip3), 1 left over (ip2)``."""
        parts = [f"{len(self.taken)} {'layer' if len(self.taken) == 1 else 'layers'} taken ({_some(self.taken)})"]
        if self.new:
            parts.append(f"{len(self.new)} new ({_some(self.new)})")
        if self.left_over:
            parts.append(f"{len(self.left_over)} left over ({_some(self.left_over)})")
        return ", ".join(parts)


def match_weights(plan: NetPlan, files: Sequence[Tuple[str, bytes]]) -> Match:
    """What the net takes of these models together.

    Parameters
    ----------
    plan : of the net
    files : (name, content) of each model; a name tells the format

    Raises
    ------
    DataError
        If a file is no model.
    ConfigError
        If nothing of them is taken, or parameters have other shapes in a file than in the net.
    """
    every = {str(layer.name) for layer in plan.message().layer}
    net = {layer.name: layer for layer in plan.weights}
    taken: Set[str] = set()
    left_over: Dict[str, None] = {}  # in the files' order
    for name, content in files:
        layers = read_shapes(content, name)
        for layer in layers:
            if layer.name in every:
                _check_layer(net.get(layer.name, LayerParameters(layer.name)), layer, name)
                taken.add(layer.name)
            elif layer.blobs:
                left_over[layer.name] = None
        with_parameters = [layer.name for layer in layers if layer.blobs]
        twice = [layer for layer in net if with_parameters.count(layer) > 1]
        if twice:
            raise DataError(
                f"{name}: {with_parameters.count(twice[0])} layers with parameters are called '{twice[0]}', and which "
                f"of them {plan.path} means cannot be known: train a net whose layers have names of their own"
            )
    match = Match(
        tuple(name for name in net if name in taken),
        tuple(name for name in net if name not in taken),
        tuple(left_over),
    )
    if not match.taken and net:
        raise ConfigError(_nothing(plan, [name for name, _ in files], match))
    return match


def check_all_there(plan: NetPlan, name: str, content: bytes, otherwise: str = "") -> None:
    """Raise ConfigError, or DataError, unless a model has every parameter of a net.

    Parameters
    ----------
    plan : of the net
    name : of the model, which tells the format
    content : of the model
    otherwise : what to do where it has not
    """
    match = match_weights(plan, [(name, content)])
    if match.new:
        raise ConfigError(
            f"{name} has no parameters for {_some(match.new)} of {plan.path}: it is the model of another net{otherwise}"
        )


def check_same_parameters(train: NetPlan, test: NetPlan) -> List[str]:
    """Layers with parameters that only the test net has, by name. Raises ConfigError where a layer of both nets has
    other parameters in each: a test net shares the train net's by name."""
    names = [{str(layer.name) for layer in plan.message().layer} for plan in (train, test)]
    nets = [{layer.name: layer for layer in plan.weights} for plan in (train, test)]
    for name in sorted(names[0] & names[1]):
        one, other = (net.get(name, LayerParameters(name)).shapes for net in nets)
        if one != other:
            raise ConfigError(
                f"{test.path}: layer '{name}' has parameters of {_shapes(one)} in the TRAIN phase and of "
                f"{_shapes(other)} in the TEST phase, which shares them by name: give the layers different names, or "
                "the same sizes"
            )
    return [name for name in nets[1] if name not in names[0]]


def _check_layer(net: LayerParameters, layer: LayerShapes, file: str) -> None:
    """Raise ConfigError where Caffe would end the process that copies a file's layer."""
    where = f"{file}: layer '{layer.name}'"
    in_file, shapes = list(layer.blobs), net.shapes
    if is_hdf5(file):  # has shared ones once
        in_file += [None for shared in net.shared[len(in_file) : len(shapes)] if shared]
    if len(in_file) != len(shapes):
        raise ConfigError(
            f"{where} has {_count(len(layer.blobs))} in the file and {_count(len(shapes))} in the net: give the net's "
            "layer another name, and it starts with new weights"
        )
    for number, (blob, shape) in enumerate(zip(in_file, shapes)):
        if blob is not None and not blob.fits(shape):
            raise ConfigError(
                f"{where}: parameter {number} is {_shape(blob.sizes)} in the file and {_shape(shape)} in the net: make "
                "the net's layer like the file's, or give it another name, and it starts with new weights"
            )


def _nothing(plan: NetPlan, files: Sequence[str], match: Match) -> str:
    near = suggest(match.new[0], match.left_over, otherwise="")
    return (
        f"{', '.join(files)}: nothing in common with {plan.path}: the layers with parameters are "
        f"{_some(match.left_over) or 'none'} in the file and {_some(match.new)} in the net. {near}"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "without a name" for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"


def _count(number: int) -> str:
    return f"{number} parameter" if number == 1 else f"{number} parameters"


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) if sizes else "a single number"


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join(map(_shape, shapes)) if shapes else "no size (it has none)"
