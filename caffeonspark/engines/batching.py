"""Batches through a TEST net, sample by sample: what validation, test and feature extraction share."""

from __future__ import annotations

import copy
from typing import Dict, Sequence, Tuple

import numpy as np

from ..data.records import BadRecord, Column, take
from ..data.tops import settle_sizes
from ..errors import DataError
from ..plans.net_plan import NetPlan
from .base import Predictor

__all__ = ["BatchedNet", "add_samples", "evened"]


def add_samples(sums: Dict[str, np.ndarray], values: Dict[str, np.ndarray]) -> None:
    """Add what ``BatchedNet.run`` found to float64 sums over all samples. Raises DataError where a blob's size is not
    always the same."""
    for name, value in values.items():
        total = value.sum(axis=0, dtype=np.float64)
        if name not in sums:
            sums[name] = total
        elif sums[name].shape != total.shape:
            raise DataError(
                f"output '{name}' has {total.size} values in one pass and {sums[name].size} in another, so it has no "
                "mean: take it out of the TEST net's outputs (a Silence layer), or extract it with -features"
            )
        else:
            sums[name] += total


def evened(values: Dict[str, np.ndarray], count: int) -> Dict[str, np.ndarray]:
    """What stands in a sum for a pass of ``count`` samples, however many it has: as in Caffe, all passes of a net that
    makes its data weigh the same."""
    return {name: value.mean(axis=0, keepdims=True, dtype=np.float64) * count for name, value in values.items()}


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
        made = (
            [] if plan.layers else [one for one in plan.message().layer if not one.bottom and one.type != "Parameter"]
        )
        self._made = next((top for layer in made for top in layer.top if plan.shapes.get(top)), "")
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
        return self._plan.width(blob)

    @property
    def _samples(self) -> int:
        """Samples in a unit of the plan: those of the first data layer."""
        return self.batch_size // self._plan.units

    def run(
        self, columns: Sequence[Sequence[Column]], draws: Sequence[np.ndarray], count: int, blobs: Sequence[str]
    ) -> Dict[str, np.ndarray]:
        """One forward pass.

        Parameters
        ----------
        columns : for each data layer the columns of its records: ``count``, at most the batch size, or as many as a
            pass has of them where the data layers have different batch sizes
        draws : for each data layer (records, 3) numbers in [0, 1)
        count : how many samples there are, of the first data layer; a net that makes its data tells it itself
        blobs : names of the blobs to return

        Returns
        -------
        dict of (count, width) float32 arrays; a blob that does not grow with the batch (a loss, an accuracy) is
        repeated for each sample

        Raises BadRecord with the row of a record that cannot be used, and the number of its data layer; DataError for
        an index out of range that no record can be blamed for.
        """
        columns, draws = list(columns), list(draws)
        shapes: Dict[str, Tuple[int, ...]] = {}
        for number, layer in enumerate(self._plan.layers):
            size = len(draws[number])
            if size < layer.batch_size and not self._plan.flexible:
                # a net that states its batch size somewhere (Reshape with dim 0) gets whole batches
                repeat = np.resize(np.arange(size), layer.batch_size)
                columns[number] = [take(column, repeat) for column in columns[number]]
                draws[number] = draws[number][repeat]
            shapes.update(layer.shapes(len(draws[number])))
            if layer.any_size:
                try:
                    own, columns[number] = settle_sizes(layer.tops, columns[number])
                except BadRecord as e:
                    e.layer = number
                    raise
                shapes.update(own)
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
        if self._made:  # plans/made_data.py has the rule
            count = len(data[self._made])
        return {name: self._by_sample(name, data[name], count) for name in blobs}

    def _by_sample(self, name: str, blob: np.ndarray, count: int) -> np.ndarray:
        position = self._plan.batch_axes.get(name)
        if position is None:
            return np.repeat(blob.reshape(1, -1), count, axis=0)
        axis, entries = position
        if self._made and blob.shape[axis] != count:
            raise DataError(
                f"blob '{name}' has {blob.shape[axis]} entries in a pass of {count} samples, as the first axis of "
                f"'{self._made}' has it: whose they are is not known"
            )
        each, left = divmod(entries, self._samples)
        if left or not each:  # of several samples, which have the same
            rows = np.array(np.moveaxis(blob, axis, 0), order="C").reshape(self._plan.units, -1)
            return np.repeat(rows, self._samples, axis=0)[:count]
        rows = np.moveaxis(blob, axis, 0)[: count * each]
        return np.array(rows, order="C").reshape(count, -1)
