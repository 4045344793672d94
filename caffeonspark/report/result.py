"""What a training run did: the values that observers and callers get."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from .display import curve_svg, shown, table

__all__ = [
    "RankMachine",
    "RankTiming",
    "ShownRun",
    "TrainingResult",
    "ValidationResult",
    "shown_outputs",
]

_MOST_TIMINGS = 5000  # of a rank


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        net = f", net={self.net}" if self.net else ""
        return f"ValidationResult(iteration={self.iteration}{net}, rows={self.rows}: {shown_outputs(self.outputs)})"


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


class ShownRun:
    """How a run is shown: a line, and in notebooks a table and its curve, however long it was."""

    model: str
    iteration: int
    max_iter: int
    samples: int
    rows: int
    stopped: str
    tests: List[ValidationResult]

    def epoch(self, iteration: int) -> float:
        """How often the training records were gone through at an iteration."""
        return iteration * self.samples / self.rows if self.rows else 0.0

    def _losses(self) -> List[Tuple[float, float]]:
        """(iteration, loss) of the iterations that are known."""
        raise NotImplementedError

    def _facts(self) -> List[Tuple[str, str]]:
        losses, epoch = self._losses(), self.epoch(self.iteration)
        facts = [("iteration", f"{self.iteration} of {self.max_iter}")]
        facts += [("epochs", f"{epoch:.3g}")] if epoch else []
        facts += [("loss", f"{losses[-1][1]:.4g}")] if losses else []
        newest = next((test for test in reversed(self.tests) if test.net == 0), None)
        if newest is not None:
            facts.append(("validation", f"{shown_outputs(newest.outputs)} (iteration {newest.iteration})"))
        facts += [("stopped by", self.stopped)] if self.stopped else []
        return [*facts, ("model", self.model)] if self.model else facts

    def _points(self) -> Dict[str, List[Tuple[float, float]]]:
        """(iteration, value) of the first test net's outputs of one value, by their names."""
        found: Dict[str, List[Tuple[float, float]]] = {}
        for test in self.tests:
            for name, values in test.outputs.items() if test.net == 0 else ():
                if len(values) == 1:
                    found.setdefault(name, []).append((float(test.iteration), values[0]))
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(', '.join(f'{name} {value}' for name, value in self._facts()))})"

    def _repr_html_(self) -> str:
        return table(type(self).__name__, self._facts()) + curve_svg(self._losses(), self._points())


@dataclass(repr=False)
class TrainingResult(ShownRun):
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
    passes : how often iterations went through all the data, where that is not once: by iteration
    gradient_norms : with L-BFGS, the norm of the gradient of what is minimised, at the weights that an iteration began
        with: by iteration
    tests : the validations
    stopped : why it ended before max_iter ("" if it did not): "patience", "signal", "tol" (the objective hardly falls
        any more) or "line search" (which finds no lower one)
    best : the ValidationResult whose weights are the model, with -best
    restarts : how often it was started again
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
    passes: Dict[int, int] = field(default_factory=dict)
    gradient_norms: Dict[int, float] = field(default_factory=dict)
    tests: List[ValidationResult] = field(default_factory=list)
    stopped: str = ""
    best: Optional[ValidationResult] = None
    restarts: int = 0
    timings: Dict[int, List[RankTiming]] = field(default_factory=dict)
    refused: int = 0
    tampered: int = 0
    resumed: str = ""
    _begun: float = field(default_factory=time.monotonic, repr=False)

    def _losses(self) -> List[Tuple[float, float]]:
        return [(float(at), loss) for at, loss, _ in self.history]

    def seconds(self) -> float:
        """Since the run began, all its attempts together."""
        return time.monotonic() - self._begun

    def record_timing(self, rank: int, timing: RankTiming) -> None:
        """Take a rank's report. There is no end to them in a long run: some are forgotten, the first and last never."""
        timings = self.timings.setdefault(rank, [])
        timings.append(timing)
        if len(timings) > _MOST_TIMINGS:
            del timings[1:-1:2]

    def rewind(self, iteration: int) -> None:
        """Forget what came after ``iteration``: the run continues from there."""
        self.history = [entry for entry in self.history if entry[0] < iteration]
        self.passes = {at: passes for at, passes in self.passes.items() if at < iteration}
        self.gradient_norms = {at: norm for at, norm in self.gradient_norms.items() if at < iteration}
        self.tests = [test for test in self.tests if test.iteration < iteration]
        self.iteration = iteration


def shown_outputs(outputs: Mapping[str, Sequence[float]]) -> str:
    """The outputs of a validation in a line: of wide blobs, the first values."""
    return ", ".join(
        f"{name} {' '.join(f'{v:.4f}' for v in value[:4])}{' …' if len(value) > 4 else ''}"
        for name, value in outputs.items()
    )
