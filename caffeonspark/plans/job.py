"""What a rank gets to know of a training run: plain, picklable values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

from ..comm.credentials import Invitation
from ..settings import Settings
from .net_plan import LayerPlan, NetPlan

__all__ = ["Job", "ResumePoint", "Suspect", "ValidationPlan"]


@dataclass(frozen=True)
class ResumePoint:
    """Where training starts from; the files travel separately, in Spark broadcasts.

    Attributes
    ----------
    weights : endings (``.caffemodel`` or ``.caffemodel.h5``) of the weight files to copy layers from, in order
    state : ending of the solver state to restore, or None
    iteration : the state's iteration, 0 without one
    tests_done : how many validations came before
    best : the best value of the monitored output before, or None
    since_best : validations since then
    best_saved : whether the model of then is saved
    uri : where the solver state is, for people; "" without one
    parts : for each rank the endings of its own files in the snapshot, which travel behind the others, rank by rank; ()
        where there are none for these ranks
    """

    weights: Tuple[str, ...] = ()
    state: Optional[str] = None
    iteration: int = 0
    tests_done: int = 0
    best: Optional[float] = None
    since_best: int = 0
    best_saved: bool = False
    uri: str = ""
    parts: Tuple[Tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ValidationPlan:
    """One test net and how it is run.

    Attributes
    ----------
    net : NetPlan
    rows : samples a run uses, over all ranks; None for all there are. Where no layer of the net reads data, those of
        each rank
    """

    net: NetPlan
    rows: Optional[int]


@dataclass(frozen=True)
class Suspect:
    """A batch at which a rank's process ended.

    Attributes
    ----------
    rank : int
    iteration : of the solver, -1 before it began
    net : 0 in training, n in a validation with the n-th test net; before, the number of a data layer
    batch : its number in the validation, 0 in training; before, how many of the layer's records were loaded
    """

    rank: int
    iteration: int
    net: int
    batch: int


@dataclass(frozen=True)
class Job:
    """A training run as every rank sees it.

    Attributes
    ----------
    ranks : int
    solver : the user's SolverParameter, serialised
    train : NetPlan
    validations : the test nets
    seed : of everything random but the engine's own
    start : where it starts from
    driver : (host, port) of the rank server
    invitation : to this attempt; a rank needs its bootstrap secret too, which is not in here
    settings : the flags, without those that may hold passwords
    suspect : where a rank died in the attempt before, whose batch there is to be named, or None
    """

    ranks: int
    solver: bytes
    train: NetPlan
    validations: Tuple[ValidationPlan, ...]
    seed: int
    start: ResumePoint
    driver: Tuple[str, int]
    invitation: Invitation
    settings: Settings
    suspect: Optional[Suspect] = None

    def validation_layers(self) -> List[Tuple[ValidationPlan, int]]:
        """Each validation and the number of its first layer in ``layers``."""
        found, number = [], len(self.train.layers)
        for validation in self.validations:
            found.append((validation, number))
            number += len(validation.net.layers)
        return found

    def layers(self) -> List[LayerPlan]:
        """Every data layer: the train net's, then the test nets'."""
        found = list(self.train.layers)
        for validation in self.validations:
            found += validation.net.layers
        return found
