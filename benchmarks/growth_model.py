"""How long an all-reduce takes on so many machines, from a few coefficients that are fitted to what was measured.

An all-reduce is the sum of what each of these takes, times a coefficient that is not negative:

    steps between machines      2 (hosts - 1), where processors are shared times the processes of each
    steps within one            2 (ranks of a host - 1), likewise
    bytes on the link           at the link's speed, of what a host sends: bytes 2 (hosts - 1) / hosts
    bytes sent                  the same number, where processors are shared times the processes of each
    bytes added in memory       all bytes, likewise; none where each host has one rank

The third has a coefficient, too, which is 1 where nothing but the link counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np


@dataclass(frozen=True)
class Setting:
    """Where an all-reduce runs.

    Attributes
    ----------
    hosts : machines
    ranks : on each of them
    link : bytes a second that a machine can send while it receives as many; None where there is one machine
    processes : for each processor: 1 where each rank has its own
    """

    hosts: int
    ranks: int
    link: Optional[float]
    processes: float = 1.0

    def features(self, size: int) -> List[float]:
        """What the coefficients of ``FEATURES`` are for, of an all-reduce of ``size`` bytes."""
        between = self.hosts > 1
        carried = 2 * (self.hosts - 1) / self.hosts * size
        return [
            2 * (self.hosts - 1) * self.processes,
            2 * (self.ranks - 1) * self.processes,
            carried / self.link if between and self.link else 0.0,
            carried * self.processes if between else 0.0,
            size * self.processes if self.ranks > 1 else 0.0,
        ]


FEATURES = (
    "s for a step between machines",
    "s for a step within one",
    "of the link's own time",
    "s for a byte sent",
    "s for a byte added in memory",
)


@dataclass(frozen=True)
class Measured:
    """The median time of an all-reduce of ``size`` bytes, in seconds."""

    setting: Setting
    size: int
    seconds: float


@dataclass(frozen=True)
class Model:
    """Coefficients of ``FEATURES``."""

    coefficients: Tuple[float, ...]

    def seconds(self, setting: Setting, size: int) -> float:
        return float(np.dot(self.coefficients, setting.features(size)))

    def error(self, one: Measured) -> float:
        """By which part of what was measured the model is too high (or, negative, too low)."""
        return self.seconds(one.setting, one.size) / one.seconds - 1


def fit(measured: Sequence[Measured]) -> Model:
    """The model with the least squares of relative errors."""
    from scipy.optimize import nnls

    rows = np.array([one.setting.features(one.size) for one in measured])
    rows /= np.array([one.seconds for one in measured])[:, None]
    scale = np.maximum(rows.max(axis=0), 1e-300)  # coefficients of one size
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    return Model(tuple(float(value) for value in found / scale))


def errors(model: Model, measured: Sequence[Measured]) -> Tuple[float, float]:
    """(median, largest) size of the relative errors."""
    sizes = sorted(abs(model.error(one)) for one in measured)
    return float(np.median(sizes)), sizes[-1]


def foretold(measured: Sequence[Measured]) -> Optional[Tuple[float, float]]:
    """The errors at the most machines of a model that was fitted to fewer: how far it can be trusted beyond what was
    measured. None where there is one number of machines."""
    most = max(one.setting.hosts for one in measured)
    known = [one for one in measured if one.setting.hosts < most]
    if not any(one.setting.hosts > 1 for one in known):
        return None
    return errors(fit(known), [one for one in measured if one.setting.hosts == most])


def efficiency(compute: float, exchange: float) -> float:
    """The part of an iteration that is not waiting for gradients, where nothing overlaps."""
    return compute / (compute + exchange)
