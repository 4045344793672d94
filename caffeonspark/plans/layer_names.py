"""Layers are known by their names: to files, to test nets, to people. So those with parameters need names of their own.

Caffe itself takes the first layer of a name when it shares or loads parameters and counts theirs against the file's:
where several layers have one name it mixes their parameters up, or ends the process.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from ..errors import ConfigError
from ..nets.net import Net, reads_data
from .net_plan import LayerParameters

__all__ = ["parameters_by_name"]

Shapes = Sequence[Sequence[Tuple[int, ...]]]


def parameters_by_name(net: Net, message: Any, shapes: Shapes) -> Tuple[LayerParameters, ...]:
    """The layers with parameters, by names that only they have.

    Layers without parameters may share names, or have none: in ``message`` they get names of their own.

    Parameters
    ----------
    net : the user's
    message : the NetParameter that is going to be computed, which is changed
    shapes : for each layer of ``message`` the shapes of its parameters

    Raises
    ------
    ConfigError
        If two layers with parameters have one name, or none.
    """
    found: Dict[str, int] = {}
    for number, layer in enumerate(message.layer):
        if shapes[number]:
            if layer.name in found:
                raise ConfigError(_two_of_one_name(net, message, found[layer.name], number))
            found[layer.name] = number
    _rename_others(message, set(found.values()))
    return tuple(
        LayerParameters(
            name,
            tuple(shapes[number]),
            tuple(bool(param.name) for param in message.layer[number].param),
        )
        for name, number in found.items()
    )


def _two_of_one_name(net: Net, message: Any, first: int, second: int) -> str:
    places = _places(net)
    one, other = message.layer[first], message.layer[second]
    named = f"are both called '{other.name}'" if other.name else "have no name"
    return (
        f"{net.path}: the {_ordinal(places[first])} and the {_ordinal(places[second])} layer of the {net.phase_name} "
        f"phase, {one.type} and {other.type}, {named}, and both have parameters, which are saved and shared by name: "
        "give each a name of its own"
    )


def _places(net: Net) -> List[int]:
    """For each layer of the message, where it stands in the user's net, from 1. A data layer can be several there."""
    places: List[int] = []
    for place, layer in enumerate(net.message.layer, 1):
        places += [place] * (len(layer.top) if reads_data(layer) else 1)
    return places


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 < number % 100 < 14 else endings.get(number % 10, 'th')}"


def _rename_others(message: Any, kept: Set[int]) -> None:
    """Give layers without parameters names that no other layer has."""
    taken = {message.layer[number].name for number in kept}
    every = {layer.name for layer in message.layer}
    for number, layer in enumerate(message.layer):
        if number in kept:
            continue
        if layer.name in taken or not layer.name:
            layer.name = _free_name(layer.name or layer.type, every)
            every.add(layer.name)
        taken.add(layer.name)


def _free_name(name: str, taken: Set[str]) -> str:
    count = 2
    while f"{name}~{count}" in taken:
        count += 1
    return f"{name}~{count}"
