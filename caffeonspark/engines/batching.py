"""Batches through a TEST net, sample by sample: what validation, test and feature extraction share."""

from __future__ import annotations

import copy
from typing import Dict, Sequence, Tuple

import numpy as np

from ..data.records import BadRecord, Column, take
from ..plans.net_plan import NetPlan
from .base import Predictor

__all__ = ["BatchedNet"]


class BatchedNet:
    """A TEST net and how its blobs are laid out.

    Parameters
    ----------
    plan : NetPlan
    net : Predictor built from it
    """

    def __init__(self, plan: NetPlan, net: Predictor) -> None:
        self._plan = plan
        self._net = net
        net.check_indices(plan.indexed)

    def for_plan(self, plan: NetPlan) -> BatchedNet:
        """The same net under another plan, whose data layers may fill their tops in another way."""
        other = copy.copy(self)
        other._plan = plan
        return other

    @property
    def batch_size(self) -> int:
        return self._plan.batch_size

    def width(self, blob: str) -> int:
        """How many values a sample has in a blob."""
        size = int(np.prod(self._plan.shapes[blob], dtype=np.int64))
        return size // self.batch_size if blob in self._plan.batch_axes else size

    def run(
        self, columns: Sequence[Sequence[Column]], draws: Sequence[np.ndarray], count: int, blobs: Sequence[str]
    ) -> Dict[str, np.ndarray]:
        """One forward pass.

        Parameters
        ----------
        columns : for each data layer the columns of ``count`` records, at most the batch size
        draws : for each data layer (count, 3) numbers in [0, 1)
        count : how many samples there are
        blobs : names of the blobs to return

        Returns
        -------
        dict of (count, width) float32 arrays; a blob that does not grow with the batch (a loss, an accuracy) is
        repeated for each sample

        Raises BadRecord with the row of a record that cannot be used, and the number of its data layer; DataError for
        an index out of range that no record can be blamed for.
        """
        size = count
        if count < self.batch_size and not self._plan.flexible:
            # a net that states its batch size somewhere (Reshape with dim 0) gets whole batches
            size = self.batch_size
            repeat = np.resize(np.arange(count), size)
            columns = [[take(column, repeat) for column in layer] for layer in columns]
            draws = [numbers[repeat] for numbers in draws]
        shapes: Dict[str, Tuple[int, ...]] = {}
        for layer in self._plan.layers:
            shapes.update(layer.shapes(size))
        self._net.reshape(shapes)
        data = self._net.blobs
        for number, (layer, values, numbers) in enumerate(zip(self._plan.layers, columns, draws)):
            try:
                for top, column in zip(layer.tops, values):
                    top.fill(column, top.samples(data[top.name]), numbers)
            except BadRecord as e:
                e.layer = number
                raise
        self._net.forward()
        data = self._net.blobs
        return {name: self._by_sample(name, data[name], count) for name in blobs}

    def _by_sample(self, name: str, blob: np.ndarray, count: int) -> np.ndarray:
        position = self._plan.batch_axes.get(name)
        if position is None:
            return np.repeat(blob.reshape(1, -1), count, axis=0)
        axis, entries = position
        rows = np.moveaxis(blob, axis, 0)[: count * entries]
        return np.array(rows, order="C").reshape(count, -1)
