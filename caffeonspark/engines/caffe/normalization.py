"""Losses divided by what one solver with the samples of all ranks would divide them by."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from ...plans.normalization import is_counted, is_sum
from .pycaffe import places_of_layers

__all__ = ["LossNormalizer", "normalized_layers"]


def normalized_layers(net: Any, message: Any) -> Dict[int, Any]:
    """The layers of a pycaffe net whose losses the mean over the ranks is not right for: LayerParameters by number."""
    places = places_of_layers(net, message)
    return {place: layer for place, layer in zip(places, message.layer) if is_counted(layer) or is_sum(layer)}


class LossNormalizer:
    """Scales the losses of ``normalized_layers``, and the gradients they begin, while the net computes.

    The ranks' counts are added up before the first of these layers whose labels are there, for all of them whose
    labels are there: in one exchange, in all but the strangest nets. The loss itself is scaled where it is made, so
    whatever is computed from it sees the right one; its gradient where it has been computed, behind any Split.

    Parameters
    ----------
    net : pycaffe's net
    layers : of ``normalized_layers``
    sum_over_ranks : replaces an array of float64 by its sum over the ranks
    ranks : how many
    """

    def __init__(
        self, net: Any, layers: Dict[int, Any], sum_over_ranks: Callable[[np.ndarray], None], ranks: int
    ) -> None:
        self._net = net
        self._sum_over_ranks = sum_over_ranks
        self._ranks = ranks
        self._factors = {number: float(ranks) for number in layers}  # right for sums, and settled again for others
        self._ignored = {number: int(layer.loss_param.ignore_label) for number, layer in layers.items()}
        self._exchanges = self._plan([number for number, layer in layers.items() if is_counted(layer)])
        net.before_forward(self._before_forward)
        net.after_forward(self._after_forward)
        net.after_backward(self._after_backward)

    def close(self) -> None:
        """Let go of the net, which keeps this object alive for its callbacks, and of who sums up."""
        del self._net, self._sum_over_ranks

    def _plan(self, counted: List[int]) -> Dict[int, List[int]]:
        """Before which layer the counts of which layers are exchanged."""
        exchanges: Dict[int, List[int]] = {}
        while counted:
            first = counted[0]
            known = {blob for number in range(first) for blob in self._net._top_ids(number)}
            exchanges[first] = [number for number in counted if self._net._bottom_ids(number)[1] in known]
            counted = [number for number in counted if number not in exchanges[first]]
        return exchanges

    def _before_forward(self, number: int) -> None:
        layers = self._exchanges.get(number)
        if layers is None:
            return
        own = [self._count(layer) for layer in layers]
        total = np.array(own, np.float64)
        self._sum_over_ranks(total)
        for layer, mine, all_ranks in zip(layers, own, total):
            self._factors[layer] = self._ranks * max(1.0, mine) / max(1.0, float(all_ranks))

    def _count(self, number: int) -> float:
        """How many labels of a layer count; Caffe, too, cuts them to whole numbers first."""
        labels = self._net._blobs[self._net._bottom_ids(number)[1]].data
        return float(np.count_nonzero(labels.astype(np.int32) != self._ignored[number]))

    def _after_forward(self, number: int) -> None:
        if number in self._factors:
            self._net._blobs[self._net._top_ids(number)[0]].data[...] *= np.float32(self._factors[number])

    def _after_backward(self, number: int) -> None:
        if self._factors.get(number, 1.0) != 1.0:
            self._net._blobs[self._net._bottom_ids(number)[0]].diff[...] *= np.float32(self._factors[number])
