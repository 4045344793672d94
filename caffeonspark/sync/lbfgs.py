"""L-BFGS over all records of all ranks, each of which keeps a part of the curvature pairs (``type: "LBFGS"``)."""

from __future__ import annotations

import math
import os
import tempfile
import time
from typing import Any, Callable, ClassVar, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import ConfigError, DataError
from ..nets.schema import SolverParameter
from ..plans.net_plan import NetPlan
from ..plans.whole_data import check_whole_data
from ..settings import Settings
from ..storage import scratch_folder
from .base import Progress, Strategy
from .full_batch import FullPass
from .line_search import strong_wolfe
from .quasi_newton import WINDOW, CurvaturePairs, has_converged
from .shards import Shard

__all__ = ["LBFGS"]

_ENDING = ".lbfgs"
_KEPT = 64e6  # bytes of weights and history, over all ranks, that are kept as training goes
_KEEP_SECONDS = 1.0  # between two such snapshots
_WITHOUT_EFFECT = (
    "base_lr",
    "lr_policy",
    "gamma",
    "power",
    "stepsize",
    "stepvalue",
    "momentum",
    "momentum2",
    "iter_size",
)


class _Point(NamedTuple):
    """Where the weights are; vectors are this rank's shard, float64.

    Attributes
    ----------
    weights : as float32 can hold them, which the net has
    gradient : of the objective
    value : the objective
    loss : its part that the net computes
    """

    weights: np.ndarray
    gradient: np.ndarray
    value: float
    loss: float


class LBFGS(Strategy):
    """The objective is the mean loss over all records and Caffe's L2 term, ``weight_decay / 2 * decay_mult * |w|^2``.

    Its value and its gradient are those of one pass (``FullPass``). All else is done on shards: rank r has its part of
    the weights, of the gradient and of the curvature pairs, in float64, because differences of close points are all
    that L-BFGS knows; dot products are added up over the ranks. Where the weights go next, each rank tells the others
    for its shard, rounded to the net's float32, so all ranks have the same weights to the bit.

    The trainer only computes gradients. Its solver's rate is 0; it makes one step in an iteration, for its count.
    """

    flags: ClassVar[Tuple[str, ...]] = ("lbfgsHistory", "tol")
    if_not_finite: ClassVar[str] = "it is so where training starts: look at the weights' fillers and at the data"
    whole_data: ClassVar[bool] = True

    # ---- before training

    @classmethod
    def check(cls, solver: Any, train: NetPlan, where: str) -> List[str]:
        check_whole_data(train, 'type: "LBFGS"', same_each_pass=True)
        if solver.weight_decay and solver.regularization_type != "L2":
            raise ConfigError(
                f'{where}: regularization_type: "{solver.regularization_type}" has no gradient where a weight is 0, '
                'and L-BFGS needs one everywhere: take L2, or another type than "LBFGS"'
            )
        if solver.clip_gradients > 0:
            raise ConfigError(
                f"{where}: clip_gradients makes of the gradient what is no gradient of the objective, which L-BFGS "
                "needs: take it away; its line search bounds the steps"
            )
        given = {field.name for field, _ in solver.ListFields()}
        unused = [name for name in _WITHOUT_EFFECT if name in given]
        if unused:
            return [f'{", ".join(unused)}: without effect with type: "LBFGS", whose line search finds each step']
        return []

    @classmethod
    def engine_solver(cls, solver: Any) -> Any:
        made = type(solver)()
        made.CopyFrom(solver)
        for name in (*_WITHOUT_EFFECT, "weight_decay"):
            made.ClearField(name)
        made.type, made.base_lr, made.lr_policy = "SGD", 0.0, "fixed"
        return made

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        vectors = 2 * settings.lbfgsHistory + 7  # the pairs; weights, gradient, direction, and what comes of them
        return 8e-6 * vectors * train.parameters / ranks

    def begin(self, blocks: Sequence[int], solver: SolverParameter) -> None:
        comm, multipliers = self.comm, self.trainer.multipliers
        self._pass = FullPass(self.trainer, comm, blocks)
        #: The arrays that are learned.
        self._learned = [number for number, (rate, _) in enumerate(multipliers) if rate]
        sizes = [array.size for array in self._of(self.trainer.weights)]
        self._shards = [Shard(sizes, rank, comm.size) for rank in range(comm.size)]
        self._mine = self._shards[comm.rank]
        decays = [solver.weight_decay * multipliers[number][1] for number in self._learned]
        #: (range in the shard, factor of its weights in the gradient)
        self._decays = [(mine, decays[number]) for number, _, mine in self._mine.pieces if decays[number]]
        self._pairs = CurvaturePairs(self.settings.lbfgsHistory, self._dot)
        self._here: Optional[_Point] = None
        self._first = math.nan  # the objective before the first iteration
        self._recent: List[float] = []  # and after the newest ones
        self._counted = True  # whether the trainer has counted the iteration
        self._passes = 0  # of this iteration
        self._stop = self._keep = False
        self._kept_at = time.monotonic()
        self._small = sum(sizes) * (4 + 8 * (2 * self.settings.lbfgsHistory + 1)) <= _KEPT

    def start(self, weights: Sequence[str], state: Optional[str], parts: Optional[Mapping[str, str]]) -> None:
        super().start(weights, state, parts)
        if parts and _ENDING in parts:
            self._restore(parts[_ENDING])

    # ---- iterations

    def iterate(self, load: Callable[[], None]) -> Progress:
        at = self.trainer.iteration
        self._passes = 0
        if self._here is None:
            self._here = self._evaluate(load, self._mine.read(self._of(self.trainer.weights)))
            self._first = self._here.value
        here, step, ended = self._here, 0.0, ""
        self._counted = False
        norm = math.sqrt(self._dot(here.gradient, here.gradient))
        if math.isfinite(here.value) and has_converged(self._first, self._recent, norm, self.settings.tol):
            ended = "tol"
        else:
            step = self._search(load, here) if math.isfinite(here.value) else 0.0
            ended = "" if step else "line search"
        keep, self._keep = self._keep, False
        if keep:
            self._kept_at = time.monotonic()
        entry = at, here.loss, step
        return Progress((entry,), self._stop, ended=ended, keep=keep, passes=self._passes, gradient_norm=norm)

    def _search(self, load: Callable[[], None], here: _Point) -> float:
        """Go to a better point; the step length, as a multiple of the direction, 0 where none is found."""
        found = self._along(load, here, self._pairs.direction(here.gradient))
        if found is None and len(self._pairs):
            self._pairs.clear()
            found = self._along(load, here, self._pairs.direction(here.gradient))
        if found is None:
            self._set_weights(here.weights)
            return 0.0
        step, there = found
        self._pairs.add(there.weights - here.weights, there.gradient - here.gradient)
        self._here = there
        self._recent = [*self._recent, there.value][-WINDOW:]
        return step

    def _along(self, load: Callable[[], None], here: _Point, direction: np.ndarray) -> Optional[Tuple[float, _Point]]:
        """A step length that keeps the Wolfe conditions, and the point; None where there is none."""
        slope = self._dot(here.gradient, direction)
        if not slope < 0:
            return None
        newest: List[Tuple[float, _Point]] = []

        def evaluate(step: float) -> Tuple[float, float]:
            point = self._evaluate(load, here.weights + step * direction)
            newest[:] = [(step, point)]
            return point.value, self._dot(point.gradient, direction)

        first = 1.0 if len(self._pairs) else 1 / math.sqrt(self._dot(here.gradient, here.gradient))
        found = strong_wolfe(evaluate, here.value, slope, first)
        if found is None:
            return None
        if newest[0][0] != found:  # it is not where the weights are now
            evaluate(found)
        return newest[0]

    # ---- what takes all ranks

    def _evaluate(self, load: Callable[[], None], weights: np.ndarray) -> _Point:
        """The objective and its gradient, by a pass with these weights, which are the trainer's then."""
        weights = weights.astype(np.float32).astype(np.float64)
        self._set_weights(weights)
        found: List[_Point] = []
        loading, passes = self._pass.loading(load), len(self._pass.blocks)
        if self._counted:
            found.append(self._objective(weights, self.trainer.compute(passes, loading)))
        else:
            self._counted = True
            self.trainer.step_over(
                max(1, passes), loading, lambda losses: found.append(self._taken(self._objective(weights, losses)))
            )
        self._passes += 1
        return found[0]

    def _objective(self, weights: np.ndarray, losses: Sequence[float]) -> _Point:
        """What a pass comes to, while its gradients are there."""
        term = sum(0.5 * decay * float(weights[mine] @ weights[mine]) for mine, decay in self._decays)
        seconds = time.monotonic() - self._kept_at
        votes = [float(self.wants_stop()), float(self._small and self.comm.rank == 0 and seconds > _KEEP_SECONDS)]
        loss, term, stop, keep = self._pass.reduce(losses, [term, *votes])
        self._stop, self._keep = stop > 0, keep > 0
        gradient = self._mine.read(self._of(self.trainer.gradients))
        for mine, decay in self._decays:
            gradient[mine] += decay * weights[mine]
        value = loss + term
        return _Point(weights, gradient, value if math.isfinite(value) else math.inf, loss)

    def _taken(self, point: _Point) -> _Point:
        """The point, whose gradients the trainer's own step is not to see: 0 times infinity is no number."""
        for gradient in self.trainer.gradients:
            gradient[...] = 0
        return point

    def _set_weights(self, mine: np.ndarray) -> None:
        arrays = self._of(self.trainer.weights)
        self._mine.write(arrays, mine)
        for rank, shard in enumerate(self._shards):
            self.comm.broadcast(shard.views(arrays), rank)

    def _dot(self, one: np.ndarray, other: np.ndarray) -> float:
        total = np.array([one @ other])
        self.comm.all_reduce([total])
        return float(total[0])

    def _of(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Those of the arrays that are learned."""
        return [arrays[number] for number in self._learned]

    # ---- snapshots

    def parts(self) -> Dict[str, str]:
        """Its shard of the curvature pairs and of the gradient, and the objectives by which it will end."""
        here = self._here
        if here is None:
            return {}
        number, path = tempfile.mkstemp(_ENDING, dir=scratch_folder())
        pairs, numbers = self._pairs, [here.value, here.loss, self._first, *self._recent]
        head = [float(len(pairs)), float(len(numbers)), *numbers]
        with os.fdopen(number, "wb") as f:
            for vector in (np.array(head), here.gradient, *pairs.steps, *pairs.changes):
                f.write(np.ascontiguousarray(vector, "<f8").data)
        return {_ENDING: path}

    def _restore(self, path: str) -> None:
        """Go on from a file that is float64 throughout: how many pairs and numbers, these, and the vectors."""
        content = np.fromfile(path, "<f8")
        pairs, count = (int(number) for number in content[:2]) if content.size > 2 else (0, 0)
        size = self._mine.size
        if count < 3 or content.size != 2 + count + (1 + 2 * pairs) * size:
            raise DataError(
                f"rank {self.comm.rank}'s part of the snapshot (…{_ENDING}) is of another net, or damaged: remove the "
                "snapshot's .solverstate.json, then every rank starts from its model and solver state"
            )
        value, loss, self._first, *self._recent = (float(number) for number in content[2 : 2 + count])
        gradient, *vectors = content[2 + count :].reshape(1 + 2 * pairs, size)
        self._here = _Point(self._mine.read(self._of(self.trainer.weights)), gradient, value, loss)
        for step, change in zip(vectors[:pairs], vectors[pairs:]):
            self._pairs.add(step, change)
