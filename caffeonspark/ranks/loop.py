"""The iterations of a rank: batches in, gradients exchanged, validations, snapshots and the model out."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

import numpy as np

from ..comm.tcp import TCPCommunicator
from ..comm.wire import FrameKind
from ..data.batches import Feed
from ..engines.base import Trainer
from ..errors import TrainingError
from ..formats.endings import model_ending
from ..nets.schema import SolverParameter
from ..plans.job import Job
from .validate import Validator

if TYPE_CHECKING:
    from .rank import Rank

__all__ = ["Loop"]

_REPORT_SECONDS = 0.25  # between two progress reports


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
        """Whether this validation is the best so far."""
        value = float(np.mean(outputs[self.name]))
        better = self.value is None or (value < self.value if self.lower else value > self.value)
        if better and np.isfinite(value):
            self.value, self.since = value, 0
            return True
        self.since += 1
        return False


class Loop:
    """The iterations of one rank.

    Parameters
    ----------
    rank : whose they are
    trainer : Trainer
    comm : TCPCommunicator
    feeds : the batches of each data layer of the train net
    validators : one for each test net
    """

    def __init__(
        self,
        rank: Rank,
        trainer: Trainer,
        comm: TCPCommunicator,
        feeds: Sequence[Feed],
        validators: Sequence[Validator],
    ) -> None:
        self.rank = rank
        self.job = rank.job
        self.connection = rank.connection
        self.trainer = trainer
        self.comm = comm
        self.feeds = feeds
        self.validators = validators
        self.solver = rank.solver
        self.model_ending = model_ending(self.solver.snapshot_format == SolverParameter.HDF5)
        self.stats = np.zeros(2, np.float32)  # loss, votes to stop
        self.tests_done = self.job.start.tests_done
        self.best = Best(rank.job)
        self.best_sent = rank.job.start.best is not None
        self.history: List[Any] = []
        self.reported = time.monotonic()
        # seconds spent in iterations, of them loading batches and waiting for other ranks
        self.training = 0.0
        self.loading = 0.0
        self.waited = 0.0

    # ---- hooks of an iteration

    def load(self) -> None:
        self.rank.heartbeat()
        begin = time.perf_counter()
        inputs = self.trainer.inputs
        for layer, feed in zip(self.job.train.layers, self.feeds):
            feed.load([inputs[top.name] for top in layer.tops])
        self.loading += time.perf_counter() - begin

    def exchange(self, loss: float) -> None:
        """Make gradients, BatchNorm statistics and loss the mean over the ranks."""
        self.stats[0] = loss
        self.stats[1] = self.connection.stopping
        before = self.comm.waited  # which also counts what validation waits
        self.comm.all_reduce(
            [*self.trainer.gradients, *self.trainer.statistics, self.stats],
            scale=None if self.comm.size == 1 else 1.0 / self.comm.size,
        )
        self.waited += self.comm.waited - before
        if not np.isfinite(self.stats[0]):
            self.report()  # how it came to that
            raise TrainingError(
                f"the loss became {self.stats[0]} at iteration {self.trainer.iteration}: lower base_lr, or set "
                "clip_gradients; the weights before are in the newest snapshot"
            )

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
            begin = time.perf_counter()
            rate = trainer.rate
            trainer.step(self.load, self.exchange)
            if self.stats[1] > 0:
                stopped = "signal"
            self.connection.check()
            self.training += time.perf_counter() - begin
            self.record_iteration(at, float(self.stats[0]), rate)
            if solver.snapshot and trainer.iteration % solver.snapshot == 0 and not stopped:
                self.snapshot()
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
        self.report()
        over = False
        for number, validator in enumerate(self.validators):
            rows, outputs = validator.run(self.tests_done)
            if self.rank.rank == 0:
                self.connection.send(
                    FrameKind.VALIDATION, net=number, iteration=self.trainer.iteration, rows=rows, outputs=outputs
                )
            if number == 0 and self.best.update(outputs) and self.job.settings.best:
                self.send_model(best=True)
            if number == 0 and self.job.settings.patience:
                over = self.best.since >= self.job.settings.patience
        self.tests_done += 1
        return over

    def check_weights_equal(self) -> None:
        """Raise TrainingError unless every rank has the same weights, to the bit; called before they are saved."""
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

    def snapshot(self) -> None:
        self.check_weights_equal()
        self.trainer.reseed(self.job.seed)  # as a run that resumes from here will
        if self.rank.rank != 0:
            return
        self.report()
        weights, state = self.trainer.snapshot()
        about = {
            "iteration": self.trainer.iteration,
            "tests_done": self.tests_done,
            "best": self.best.value,
            "since_best": self.best.since,
        }
        self.connection.send_file(FrameKind.SNAPSHOT_WEIGHTS, weights, **about)
        self.connection.send_file(FrameKind.SNAPSHOT_STATE, state, **about)

    def send_model(self, best: bool) -> None:
        """Hand the weights over as the model."""
        self.check_weights_equal()
        self.best_sent = self.best_sent or best
        if self.rank.rank == 0:
            path = os.path.join(self.rank.folder, f"model-{self.trainer.iteration}{self.model_ending}")
            self.trainer.save_weights(path)
            self.connection.send_file(FrameKind.MODEL, path, iteration=self.trainer.iteration, best=best)

    def finish(self, stopped: str) -> None:
        self.report()
        if stopped != "signal" and not (self.job.settings.best and self.best_sent):
            self.send_model(best=False)
        self.connection.send(FrameKind.DONE, iteration=self.trainer.iteration, stopped=stopped)
        # nobody leaves before everybody's last collective is over
        self.comm.barrier()

    # ---- reports

    def record_iteration(self, iteration: int, loss: float, rate: float) -> None:
        if self.rank.rank == 0:
            self.history.append([iteration, loss, rate])
        if time.monotonic() - self.reported > _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Tell the driver about the iterations since the last report."""
        self.reported = time.monotonic()
        self.connection.send(
            FrameKind.PROGRESS,
            iteration=self.trainer.iteration,
            history=self.history,
            training=self.training,
            waited=self.waited,
            loading=self.loading,
        )
        self.history = []
