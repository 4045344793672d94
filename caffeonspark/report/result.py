"""What a training run did: the values that observers and callers get."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

__all__ = ["RankMachine", "RankTiming", "TrainingResult", "ValidationResult"]

_MOST_TIMINGS = 5000  # of a rank


@dataclass(frozen=True)
class ValidationResult:
    """One validation.

    Attributes
    ----------
    iteration : when
    net : number of the test net
    rows : how many rows it covered
    seconds : since the start of the run
    outputs : each output blob's mean over the rows
    """

    iteration: int
    net: int
    rows: int
    seconds: float
    outputs: Dict[str, List[float]]


@dataclass(frozen=True)
class RankTiming:
    """Where a rank's time went, up to an iteration.

    Attributes
    ----------
    iteration : int
    training : seconds in iterations
    waited : of them, waiting for other ranks
    loading : of them, loading batches
    """

    iteration: int
    training: float
    waited: float
    loading: float


@dataclass(frozen=True)
class RankMachine:
    """What a rank computes with.

    Attributes
    ----------
    processor : its name
    cores : how many of them the rank's process may use
    blas : OpenBLAS and its version, "" for another BLAS
    kernel : the one that OpenBLAS uses, "" for another BLAS
    threads : of OpenBLAS, 0 for another BLAS
    """

    processor: str
    cores: float
    blas: str
    kernel: str
    threads: int


@dataclass
class TrainingResult:
    """What a run did, and how far it is while it runs.

    Attributes
    ----------
    model : where the model is
    max_iter : how many iterations there are to be
    samples : samples in an iteration, over all ranks
    hosts : the ranks' hosts
    machines : what the ranks compute with, a RankMachine each
    rows : how many training records there are, once they are loaded
    iteration : how many iterations are done
    history : (iteration, loss, learning rate) of every iteration
    tests : the validations
    stopped : why it ended before max_iter ("" if it did not): "patience" or "signal"
    best : the ValidationResult whose weights are the model, with -best
    restarts : how often it was started anew
    timings : for each rank, its RankTiming at every report, a few in a second; of long runs, not all of them
    refused : connections that driver and ranks hung up on, because whoever it was did not know the attempt's secret
    tampered : encrypted connections that ended because what came was not what the other end had sent
    resumed : the solver state it went on from, "" if it began at the beginning
    """

    model: str
    max_iter: int = 0
    samples: int = 1
    hosts: Dict[int, str] = field(default_factory=dict)
    machines: Dict[int, RankMachine] = field(default_factory=dict)
    rows: int = 0
    iteration: int = 0
    history: List[Tuple[int, float, float]] = field(default_factory=list)
    tests: List[ValidationResult] = field(default_factory=list)
    stopped: str = ""
    best: Optional[ValidationResult] = None
    restarts: int = 0
    timings: Dict[int, List[RankTiming]] = field(default_factory=dict)
    refused: int = 0
    tampered: int = 0
    resumed: str = ""
    _begun: float = field(default_factory=time.monotonic, repr=False)

    def seconds(self) -> float:
        """Since the run began, all its attempts together."""
        return time.monotonic() - self._begun

    def record_timing(self, rank: int, timing: RankTiming) -> None:
        """Take a rank's report. There is no end to them in a long run: some are forgotten, the first and last never."""
        timings = self.timings.setdefault(rank, [])
        timings.append(timing)
        if len(timings) > _MOST_TIMINGS:
            del timings[1:-1:2]

    def epoch(self, iteration: int) -> float:
        """How often the training records were gone through at an iteration."""
        return iteration * self.samples / self.rows if self.rows else 0.0

    def rewind(self, iteration: int) -> None:
        """Forget what came after ``iteration``: the run goes on from there."""
        self.history = [entry for entry in self.history if entry[0] < iteration]
        self.tests = [test for test in self.tests if test.iteration < iteration]
        self.iteration = iteration
