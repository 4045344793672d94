"""The iterations of a rank: batches in, validations, snapshots and the model out; its strategy exchanges."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..comm.base import Communicator
from ..comm.wire import FrameKind
from ..data.batches import Feed
from ..engines.base import Trainer
from ..errors import LossNotFinite, TrainingError
from ..formats.endings import model_ending
from ..nets.schema import SolverParameter
from ..plans.job import Job
from ..sync.base import Entry, Strategy
from ..sync.settlement import Settlement
from .finite import FiniteWeights
from .sidecar import DriverConnection
from .validate import Validator

__all__ = ["Loop"]

_REPORT_SECONDS = 0.25  # between two progress reports
_REPORT_ENTRIES = 10_000  # iterations in one frame, which holds some 90,000: as many as a strategy likes come at once


class Best:
    """The best validation so far, by the output that -monitor names.

    Lower is better for outputs with "loss" or "err" in their name, higher for others.
    """

    def __init__(self, job: Job) -> None:
        outputs = job.validations[0].net.outputs if job.validations else ()
        losses = [name for name in outputs if "loss" in name.lower()]
        self.name = job.settings.monitor or (losses or list(outputs) or [""])[0]
        self.lower = any(part in self.name.lower() for part in ("loss", "err"))
        self.value = job.start.best
        self.since = job.start.since_best

    def update(self, outputs: Dict[str, List[float]]) -> bool:
        """Whether this validation is the best so far; False of a net without outputs."""
        if not outputs:
            return False
        value = float(np.mean(outputs[self.name]))
        better = self.value is None or (value < self.value if self.lower else value > self.value)
        if better and np.isfinite(value):
            self.value, self.since = value, 0
            return True
        self.since += 1
        return False


class RankLosses:
    """What each rank's own loss was since the last report: the mean of what a strategy gave of it meanwhile.

    Attributes
    ----------
    iteration : the newest one that is in it
    """

    def __init__(self) -> None:
        self.iteration = 0
        self._sums = np.zeros(0)
        self._count = 0

    def add(self, iteration: int, losses: Sequence[float]) -> None:
        if losses:
            self.iteration = iteration
            self._sums = self._sums + losses if self._count else np.array(losses, float)
            self._count += 1

    def take(self) -> List[float]:
        """One for each rank, of six digits; nothing where there was nothing."""
        means = [float(f"{value / self._count:.6g}") for value in self._sums] if self._count else []
        self._count = 0
        return means


class Loop:
    """The iterations of one rank.

    Parameters
    ----------
    job : Job
    solver : the user's SolverParameter
    trainer : Trainer
    strategy : how it stays one model with the other ranks'
    comm : Communicator
    connection : to the driver
    feeds : the batches of each data layer of the train net
    validators : one for each test net
    folder : for temporary files
    settlement : for ranks that round differently, or None
    """

    def __init__(
        self,
        job: Job,
        solver: Any,
        trainer: Trainer,
        strategy: Strategy,
        comm: Communicator,
        connection: DriverConnection,
        feeds: Sequence[Feed],
        validators: Sequence[Validator],
        folder: str,
        settlement: Optional[Settlement] = None,
    ) -> None:
        self.job = job
        self.solver = solver
        self.trainer = trainer
        self.strategy = strategy
        self.comm = comm
        self.connection = connection
        self.feeds = feeds
        self.validators = validators
        self.folder = folder
        self.settlement = settlement
        self.model_ending = model_ending(solver.snapshot_format == SolverParameter.HDF5)
        self.tests_done = job.start.tests_done
        self.best = Best(job)
        self.finite = FiniteWeights(job.train, trainer.weights)
        self.best_sent = bool(job.settings.best and job.start.best_saved)
        self.history: List[Entry] = []
        self.rank_losses = RankLosses()
        self.passes: List[Tuple[int, int]] = []  # (iteration, how often it went through all data)
        self.norms: List[Tuple[int, float]] = []  # (iteration, norm of the gradient it began with)
        self.reported = time.monotonic()
        # seconds spent in iterations, of them loading batches and waiting for other ranks
        self.training = 0.0
        self.loading = 0.0
        self.waited = 0.0

    def load(self) -> None:
        self.connection.heartbeat()
        self.connection.whereabouts.enter(self.trainer.iteration)
        begin = time.perf_counter()
        inputs = self.trainer.inputs
        for layer, feed in zip(self.job.train.layers, self.feeds):
            if layer.any_size or self.strategy.whole_data:
                self.trainer.reshape(feed.shapes())
                inputs = self.trainer.inputs
            feed.load([inputs[top.name] for top in layer.tops])
        self.loading += time.perf_counter() - begin

    # ---- the whole

    def run(self) -> None:
        trainer, solver = self.trainer, self.solver
        test_interval = int(solver.test_interval) if self.validators else 0
        stopped = ""
        while trainer.iteration < solver.max_iter and not stopped:
            at = trainer.iteration
            if test_interval and at % test_interval == 0 and (at or solver.test_initialization) and self.validate():
                stopped = "patience"
                break
            begin, waited = time.perf_counter(), self.comm.waited  # which also counts what validation waits
            progress = self.strategy.iterate(self.load)
            self.connection.whereabouts.leave()
            self.connection.check()
            self.training += time.perf_counter() - begin
            self.waited += self.comm.waited - waited
            stopped = "signal" if progress.stop else progress.ended
            if progress.passes:
                self.passes.append((at, progress.passes))
            if progress.gradient_norm is not None and math.isfinite(progress.gradient_norm):
                self.norms.append((at, progress.gradient_norm))
            self.rank_losses.add(trainer.iteration - 1, progress.rank_losses)
            self.record(progress.history)
            if self.settlement is not None:
                self.settlement.after_iteration()
            due = bool(solver.snapshot and trainer.iteration % solver.snapshot == 0)
            if (due or progress.keep) and not stopped:
                self.snapshot(passing=not due)
        at = trainer.iteration
        if not stopped and test_interval and at % test_interval == 0:
            self.validate()
        if stopped == "signal" or self.is_due_at_the_end(solver, at):
            self.snapshot()
        self.finish(stopped)

    @staticmethod
    def is_due_at_the_end(solver: Any, at: int) -> bool:
        """Whether ``snapshot_after_train`` asks for a snapshot: where it is set, or ``snapshot`` is, and there is none
        of this iteration yet."""
        wanted = bool(solver.snapshot_after_train and (solver.snapshot or solver.HasField("snapshot_after_train")))
        return wanted and not (solver.snapshot and at % solver.snapshot == 0)

    def validate(self) -> bool:
        """Run every test net; whether patience with the first one is over."""
        self.settle()
        self.record(self.strategy.exchange_losses())
        self.report()
        over = False
        with self.strategy.view():
            for number, validator in enumerate(self.validators):
                rows, outputs = validator.run(self.tests_done)
                if self.comm.rank == 0:
                    self.connection.send(
                        FrameKind.VALIDATION, net=number, iteration=self.trainer.iteration, rows=rows, outputs=outputs
                    )
                if number == 0 and self.best.update(outputs) and self.job.settings.best:
                    self.send_model(best=True)
                if number == 0 and self.job.settings.patience:
                    over = self.best.since >= self.job.settings.patience
        self.tests_done += 1
        return over

    def check_weights(self) -> None:
        """Raise TrainingError unless every rank has the same model, to the bit, and LossNotFinite where it holds what
        is no number; called in ``view`` before it is saved."""
        self.finite.check(self.trainer.weights, self.trainer.iteration, self.strategy.if_not_finite)
        digest = hashlib.sha256()
        for blob in self.trainer.weights:
            digest.update(np.ascontiguousarray(blob).data)
        digests = self.comm.all_gather(digest.digest())
        different = [str(rank) for rank, found in enumerate(digests) if found != digests[0]]
        if different:
            raise TrainingError(
                f"rank {', '.join(different)} of {len(digests)} came to other weights than rank 0 by iteration "
                f"{self.trainer.iteration}: they are not saved. The ranks' machines do not compute alike: a different "
                "Caffe or BLAS, or a defect"
            )

    def settle(self) -> None:
        """Before the ranks' weights have to be one model."""
        if self.settlement is not None:
            self.settlement.settle()

    def snapshot(self, passing: bool = False) -> None:
        """Hand a snapshot over; a ``passing`` one is only there until the next."""
        self.settle()
        self.record(self.strategy.exchange_losses())
        self.trainer.reseed(self.job.seed)  # as a run that resumes from here will
        iteration, weights, state = self.trainer.iteration, "", ""
        parts = self.strategy.parts()
        with self.strategy.view():
            self.check_weights()
            if self.comm.rank == 0:
                self.report()
                weights, state = self.trainer.snapshot()
        everybodys = [json.loads(endings) for endings in self.comm.all_gather(json.dumps(list(parts)).encode())]
        for ending, path in parts.items():
            self.connection.send_file(FrameKind.SNAPSHOT_PART, path, iteration=iteration, ending=ending)
        if self.comm.rank == 0:
            self.connection.send_file(FrameKind.SNAPSHOT_WEIGHTS, weights, iteration=iteration)
            self.connection.send_file(
                FrameKind.SNAPSHOT_STATE,
                state,
                iteration=iteration,
                tests_done=self.tests_done,
                best=self.best.value,
                since_best=self.best.since,
                best_saved=self.best_sent,
                parts=everybodys if any(everybodys) else [],
                **({"passing": True} if passing else {}),
            )

    def send_model(self, best: bool) -> None:
        """Hand the weights over as the model; called in ``view``."""
        self.check_weights()
        self.best_sent = self.best_sent or best
        if self.comm.rank == 0:
            path = os.path.join(self.folder, f"model-{self.trainer.iteration}{self.model_ending}")
            self.trainer.save_weights(path)
            self.connection.send_file(FrameKind.MODEL, path, iteration=self.trainer.iteration, best=best)

    def finish(self, stopped: str) -> None:
        self.settle()
        self.record(self.strategy.exchange_losses())
        self.report()
        if stopped != "signal" and not (self.job.settings.best and self.best_sent):
            with self.strategy.view():
                self.send_model(best=False)
        self.connection.send(FrameKind.DONE, iteration=self.trainer.iteration, stopped=stopped)
        # nobody leaves before everybody's last collective is over
        self.comm.barrier()

    # ---- reports

    def record(self, history: Sequence[Entry]) -> None:
        """Take note of iterations; raises TrainingError for a loss that is no number."""
        for iteration, loss, rate in history:
            if not math.isfinite(loss):
                self.report()  # how it came to that
                start = self.job.start
                if iteration == start.iteration:
                    self.finite.check_first_loss(loss, iteration, resumed=start.state is not None)
                raise LossNotFinite(f"the loss became {loss} at iteration {iteration}: {self.strategy.if_not_finite}")
            if self.comm.rank == 0:
                self.history.append((iteration, loss, rate))
        if time.monotonic() - self.reported > _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Tell the driver about the iterations since the last report."""
        self.reported = time.monotonic()
        losses = self.rank_losses.take()
        if losses and self.comm.rank == 0:
            self.connection.send(FrameKind.RANK_LOSSES, iteration=self.rank_losses.iteration, losses=losses)
        for begin in range(0, len(self.history) or 1, _REPORT_ENTRIES):
            self.connection.send(
                FrameKind.PROGRESS,
                iteration=self.trainer.iteration,
                history=self.history[begin : begin + _REPORT_ENTRIES],
                passes=self.passes if begin == 0 else [],
                norms=self.norms if begin == 0 else [],
                training=self.training,
                waited=self.waited,
                loading=self.loading,
            )
        self.history, self.passes, self.norms = [], [], []
