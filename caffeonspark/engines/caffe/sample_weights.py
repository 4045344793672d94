"""Losses whose samples weigh what a blob of the net says.

Caffe computes a loss as ``sum(l_i) / d`` over the samples i of a batch, and here it becomes
``sum(w_i * l_i) / sum(w_i * c_i)``, with c_i what sample i adds to Caffe's divisor d (``LossLayer::GetNormalizer`` in
src/caffe/layers/loss_layer.cpp): so a sample with weight 2 counts as two samples do, one with weight 0 as none.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

import numpy as np

from ...errors import DataError
from ...nets.sample_weight import SAMPLE_WEIGHT
from ...plans.normalization import is_counted, is_divided_by_batch, is_sum
from ...plans.sample_weights import WeightedLoss
from .pycaffe import places_of_layers

__all__ = ["SampleWeigher"]

_LARGEST_LOG = -float(np.log(np.finfo(np.float32).tiny))  # Caffe takes no smaller probability for a logarithm


class SampleWeigher:
    """Weighs the samples of losses, and of the gradients they begin, while the net computes.

    A loss is computed again where Caffe has computed it, so whatever is computed from it sees the right one; its
    gradient is scaled, sample by sample, where it has been computed, behind any Split.

    Parameters
    ----------
    net : pycaffe's net
    message : the NetParameter it was built from
    losses : the losses

    Attributes
    ----------
    places : the losses' numbers in the net
    """

    def __init__(self, net: Any, message: Any, losses: Sequence[WeightedLoss]) -> None:
        places = places_of_layers(net, message)
        self._net = net
        self._losses = {places[loss.layer]: _Loss(message.layer[loss.layer], loss.axis) for loss in losses}
        self.places = frozenset(self._losses)
        self._ranks = 1
        self._sum_over_ranks: Callable[[np.ndarray], None] = lambda array: None
        net.before_forward(self._before_forward)
        net.after_forward(self._after_forward)
        net.after_backward(self._after_backward)

    def normalize_over(self, ranks: int, sum_over_ranks: Callable[[np.ndarray], None]) -> None:
        """As ``Trainer.normalize_over``."""
        self._ranks, self._sum_over_ranks = ranks, sum_over_ranks

    def close(self) -> None:
        """Let go of the net, which keeps this object alive for its callbacks, and of who sums up."""
        del self._net, self._sum_over_ranks

    def _bottoms(self, place: int) -> Sequence[Any]:
        return [self._net._blobs[number] for number in self._net._bottom_ids(place)]

    def _before_forward(self, place: int) -> None:
        loss = self._losses.get(place)
        if loss is None:
            return
        first, second = (blob.data for blob in self._bottoms(place))
        weights = self._net.blobs[SAMPLE_WEIGHT].data.reshape(-1).astype(np.float64)
        if first.shape[loss.axis] != weights.size:
            raise DataError(
                f"layer '{loss.name}': its bottom has {first.shape[loss.axis]} samples, and there are {weights.size} "
                "weights: a layer before it takes samples away or adds some"
            )
        if loss.is_sum:
            loss.weights, loss.factor = weights, float(self._ranks)
            return
        counts = loss.counts(first.shape, second)
        total = np.array([weights @ counts])
        self._sum_over_ranks(total)
        loss.weights, loss.factor = weights, self._ranks / float(total[0]) if total[0] else 0.0
        loss.divisor = max(1.0, float(counts.sum()))

    def _after_forward(self, place: int) -> None:
        loss = self._losses.get(place)
        if loss is not None:
            first, second = (blob.data for blob in self._bottoms(place))
            losses = loss.of_samples(first, second)
            losses[loss.weights == 0] = 0  # also one that is infinite
            value = loss.weights @ losses * loss.factor
            self._net._blobs[self._net._top_ids(place)[0]].data[...] = value

    def _after_backward(self, place: int) -> None:
        loss = self._losses.get(place)
        if loss is None:
            return
        first, second = self._bottoms(place)
        shape = first.data.shape
        along = [1] * len(shape)
        along[loss.axis] = -1
        factors = (loss.weights * (loss.factor * loss.divisor)).astype(np.float32).reshape(along)
        first.diff[...] *= factors
        if loss.kind == "EuclideanLoss":  # the only one whose second bottom may be learned, too
            second.diff.reshape(shape)[...] *= factors


class _Loss:
    """A loss layer, and its numbers in this pass.

    Attributes
    ----------
    name, kind : of the layer
    axis : of the first bottom, along which the samples lie
    is_sum : whether nothing divides it
    weights : float64, of the samples
    divisor : what Caffe divides by
    factor : what the weighted sum is to be multiplied by
    """

    def __init__(self, layer: Any, axis: int) -> None:
        self.name, self.kind, self.axis = str(layer.name), str(layer.type), axis
        self.is_sum = is_sum(layer)
        self.weights = np.zeros(0)
        self.divisor = self.factor = 1.0
        self._counted = is_counted(layer)
        self._by_batch = is_divided_by_batch(layer)
        self._ignored = int(layer.loss_param.ignore_label) if layer.loss_param.HasField("ignore_label") else None
        self._softmax_axis = int(layer.softmax_param.axis) if self.kind == "SoftmaxWithLoss" else None

    def counts(self, shape: Sequence[int], labels: np.ndarray) -> np.ndarray:
        """What each sample adds to Caffe's divisor; float64. ``shape``: of the first bottom."""
        samples = shape[self.axis]
        if self._counted:
            return self._by_sample(self._labels(shape, labels) != self._ignored, shape)
        if self._softmax_axis is None:
            outer, inner = shape[0], math.prod(shape[1:])
        else:
            axis = self._softmax_axis % len(shape)
            outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        return np.full(samples, (outer if self._by_batch else outer * inner) / samples)

    def of_samples(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Each sample's loss, which nothing divides; float64."""
        if self.kind == "EuclideanLoss":
            return self._by_sample(np.square(first - second.reshape(first.shape)) / 2, first.shape)
        labels = self._labels(first.shape, second)
        if self._softmax_axis is None:
            targets = second.reshape(first.shape)
            losses = np.maximum(first, 0) - first * targets + np.log1p(np.exp(-np.abs(first)))
        else:
            axis = self._softmax_axis % first.ndim
            # an ignored label need not be a class
            right = labels if self._ignored is None else np.where(labels == self._ignored, 0, labels)
            scores = first - first.max(axis, keepdims=True)
            losses = np.log(np.exp(scores).sum(axis))
            losses -= np.take_along_axis(scores, np.expand_dims(right, axis), axis).squeeze(axis)
            np.minimum(losses, _LARGEST_LOG, out=losses)
        if self._ignored is not None:
            losses[labels == self._ignored] = 0
        return self._by_sample(losses, first.shape)

    def _labels(self, shape: Sequence[int], labels: np.ndarray) -> np.ndarray:
        """The labels as whole numbers, as Caffe cuts them, each where its loss is."""
        return labels.reshape(self._without_classes(shape)).astype(np.int32)

    def _without_classes(self, shape: Sequence[int]) -> Sequence[int]:
        if self._softmax_axis is None:
            return shape
        axis = self._softmax_axis % len(shape)
        return (*shape[:axis], *shape[axis + 1 :])

    def _by_sample(self, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The sum of each sample's values; float64. ``shape``: of the first bottom."""
        axes = self._without_classes(range(len(shape)))
        others = tuple(at for at, axis in enumerate(axes) if axis != self.axis)
        sums: np.ndarray = values.sum(others, dtype=np.float64)
        return sums
