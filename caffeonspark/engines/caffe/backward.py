"""Which gradients are final while a net's backward pass still runs."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

__all__ = ["FinalGradients"]


class FinalGradients:
    """Which layer of a backward pass is the last to add to a gradient: the first in the net that has the parameter,
    of those that share it.

    Layers that learn nothing, or that no gradient reaches, count like others: theirs stay as they are.

    Parameters
    ----------
    net : pycaffe's
    learnable : its parameters, each memory once

    Attributes
    ----------
    order : numbers of ``learnable`` in groups, one for each layer that ends some, in the order of a backward pass
    """

    def __init__(self, net: Any, learnable: Sequence[Any]) -> None:
        first: Dict[int, int] = {}
        for place, layer in enumerate(net.layers):
            for blob in layer.blobs:
                first.setdefault(blob.data.ctypes.data, place)
        groups: Dict[int, List[int]] = {}
        for number, blob in enumerate(learnable):
            groups.setdefault(first[blob.data.ctypes.data], []).append(number)
        places = sorted(groups, reverse=True)
        self.order = [groups[place] for place in places]
        #: By layer, how many groups are final when it has run backward.
        self.after = [sum(place >= layer for place in places) for layer in range(len(net.layers))]
