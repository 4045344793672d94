"""One rank: loads its records, meets its peers, and steps its solver until the end.

Runs in the Python worker of a barrier task. Errors never leave the task as exceptions, which Spark would wrap
in Java stacks: they go to the driver over the rank's line.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence

import numpy as np

from ..comm import seal
from ..comm.base import Communicator
from ..comm.tcp import TCPCommunicator, connect
from ..data.batches import Batches, Draws
from ..data.pool import PooledBatches, drop_bad_images, needs_decoding
from ..data.records import BadRecords, Records
from ..data.source import FrameReader, RangeReader
from ..data.store import RecordStore, scratch_folder
from ..errors import CaffeOnSparkError, DataError, RankLost, TrainingError
from ..plan import LayerPlan
from ..proto.schema import SolverParameter
from ..spread import bounds, rows_by_layer
from .addresses import bare_host, interface_address, open_gate
from .job import Job
from .keeper import Line, describe
from .validate import Validator

if TYPE_CHECKING:
    import pyarrow as pa

    from ..comm.handshake import Gate
    from ..solver import TrainingSolver

__all__ = ["run_rank"]

_REPORT_SECONDS = 0.25  # between two progress reports
_TICK_SECONDS = 1.0  # between two signs of life


def run_rank(job: Job, files: Sequence[Any], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The function of the barrier task.

    Parameters
    ----------
    job : Job
    files : Spark broadcasts of the weights and the state that ``job.start`` lists
    batches : the rows of frame sources, by ``rows_for_ranks``
    """
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    rank = context.partitionId()
    hosts = [bare_host(info.address.rpartition(":")[0]) or "127.0.0.1" for info in context.getTaskInfos()]
    # the folder outlives the line, whose keeper may still have files of it to send when the rank is done
    with tempfile.TemporaryDirectory(prefix="caffeonspark-", dir=scratch_folder()) as folder:
        line = open_line(job, rank, hosts[rank])
        try:
            _Rank(job, rank, hosts, line, folder).run(files, batches)
        except BaseException as e:  # also KeyboardInterrupt and SystemExit: the driver decides what they mean
            with contextlib.suppress(RankLost):  # the driver that gave this rank up does not listen any more
                line.send("failed", time=time.time(), **describe(e))
        finally:
            line.close()
    yield from ()


def open_line(job: Job, rank: int, host: str) -> Line:
    """The line to the driver. What goes wrong before it stands can only be raised, for Spark to tell the driver."""
    try:
        if job.credentials.sealed:
            seal.require()
        return Line.open(job.driver, job.credentials, rank)
    except CaffeOnSparkError as e:
        raise type(e)(f"rank {rank} of {job.ranks} on {host}: {e.message}") from None


class _Rank:
    """The state of one rank's run."""

    def __init__(self, job: Job, rank: int, hosts: Sequence[str], line: Line, folder: str) -> None:
        self.job = job
        self.rank = rank
        self.hosts = hosts
        self.host = hosts[rank]
        self.line = line
        self.folder = folder
        self.ticked = time.monotonic()

    def run(self, files: Sequence[Any], batches: Iterator[pa.RecordBatch]) -> None:
        from ..solver import versions

        self.line.send("hello", host=self.host, machine=socket.gethostname(), pid=os.getpid(), versions=versions())
        layers = self.job.layers()
        bad = [BadRecords(layer.description, layer.bad) for layer in layers]
        stores = self.load_records(layers, bad, batches)
        with self.open_gate() as gate:
            self.line.send(
                "ready",
                address=list(gate.address),
                rows=[len(store) for store in stores],
                bad=[[one.counts, one.examples] for one in bad],
            )
            peers = self.line.wait("peers", timeout=86_400)
            comm = connect(
                self.rank,
                [(str(host), int(port)) for host, port in peers.data["addresses"]],
                gate,
                self.job.credentials,
                stall_timeout=self.job.stall_timeout,
                watch=self.line.fileno(),
                on_watch=self.line.check,
            )
        with comm:
            feeds = self.make_batches(stores)
            try:
                solver = self.build_solver(files, comm)
                for feed in feeds:
                    feed.used = solver.iteration * int(solver.param.iter_size)
                validators = self.make_validators(stores, solver, comm, peers.data["totals"])
                _Loop(self, solver, comm, feeds, validators).run()
            finally:
                for feed in feeds:
                    feed.close()
        for store in stores:
            store.close()

    def open_gate(self) -> Gate:
        """Where the other ranks connect to this one."""
        job, host = self.job, self.host
        own = interface_address(job.interface, ipv6=":" in host) if job.interface else host
        needed = self.hosts.count(host) + 1
        return open_gate(own, job.ports, job.credentials, self.rank, needed)

    # ---- data

    def load_records(
        self, layers: List[LayerPlan], bad: List[BadRecords], batches: Iterator[pa.RecordBatch]
    ) -> List[RecordStore]:
        """Every layer's records of this rank, in local stores."""
        training = len(self.job.train.layers)
        stores = [RecordStore(layer.tops) for layer in layers]
        for batch in batches:
            for number, rows, index in rows_by_layer(batch, len(layers)):
                reader = layers[number].reader
                assert isinstance(reader, FrameReader)
                records = reader.decode(rows, bad[number]).placed(index)
                stores[number].append(layers[number].without_bad_labels(records, bad[number]))
            self.tick()
        for number, (layer, store) in enumerate(zip(layers, stores)):
            if isinstance(layer.reader, RangeReader):
                for records in self.read_range(layer, number < training, bad[number]):
                    store.append(layer.without_bad_labels(records, bad[number]))
                    self.tick()
            store.finish()
            if layer.bad.skip and needs_decoding(store):
                drop_bad_images(store, bad[number], self.job.decoders, self.tick)
        self.align(layers[:training], stores[:training], bad)
        for validation, first in self.job.validation_layers():
            count = len(validation.net.layers)
            self.align(layers[first : first + count], stores[first : first + count], bad[first : first + count])
        for layer, store in zip(layers[:training], stores):
            if not len(store):
                raise DataError(
                    f"{layer.description} has no record for rank {self.rank} of {self.job.ranks}: "
                    "train with fewer ranks, or with more data"
                )
        return stores

    def tick(self) -> None:
        """Between pieces of work: tell the driver that this rank is at it, and hear what it wants."""
        self.line.check()
        now = time.monotonic()
        if now - self.ticked > _TICK_SECONDS:
            self.ticked = now
            self.line.send("working")

    def align(self, layers: Sequence[LayerPlan], stores: Sequence[RecordStore], bad: Sequence[BadRecords]) -> None:
        """Where layers of one net had the same number of records, keep only those that none of them skipped.

        Images and labels in databases of their own belong together by their places.
        """
        if len(stores) < 2 or not any(one.total for one in bad[: len(stores)]):
            return
        before = {len(store) + one.total for store, one in zip(stores, bad)}
        if len(before) > 1:
            return
        common = stores[0].indices
        for store in stores[1:]:
            common = np.intersect1d(common, store.indices)
        for store in stores:
            store.keep(np.flatnonzero(np.isin(store.indices, common)))

    def read_range(self, layer: LayerPlan, training: bool, bad: BadRecords) -> Iterator[Records]:
        reader, count = layer.reader, layer.count
        assert isinstance(reader, RangeReader) and count is not None
        if training:
            start, stop = bounds(count, self.job.ranks, self.rank)
            return reader.read(start, stop, 1, bad)
        return reader.read(self.rank, count, self.job.ranks, bad)

    def draws(self, layer: int) -> Draws:
        return Draws(self.job.seed, self.rank, layer)

    def make_batches(self, stores: Sequence[RecordStore]) -> List[Batches]:
        """The training layers' batches, made by helper processes where images have to be decoded."""
        feeds: List[Batches] = []
        for number, layer in enumerate(self.job.train.layers):
            feed = Batches(stores[number], layer.batch_size, self.draws(number), layer.shuffle, layer.description)
            if self.job.decoders and needs_decoding(stores[number]):
                feed = PooledBatches(feed, self.job.decoders)
            feeds.append(feed)
        return feeds

    # ---- solver

    def build_solver(self, files: Sequence[Any], comm: Communicator) -> TrainingSolver:
        from ..solver import TrainingSolver

        solver = TrainingSolver(
            SolverParameter.FromString(self.job.solver),
            self.job.train.message(),
            [validation.net.message() for validation in self.job.validations],
            self.rank,
            self.folder,
        )
        start = self.job.start
        paths = self.write_files(files)
        if start.state is not None:
            from .snapshots import with_learned_net

            with_learned_net(paths[-1], paths[0])
            solver.restore(paths[-1])
            solver.reseed(self.job.seed, self.rank)
        else:
            for path in paths:
                solver.load_weights(path)
        for path in paths:
            os.unlink(path)
        comm.broadcast(solver.weights)
        return solver

    def write_files(self, files: Sequence[Any]) -> List[str]:
        start = self.job.start
        endings = [*start.weights, *([start.state] if start.state is not None else [])]
        paths = []
        for number, (ending, content) in enumerate(zip(endings, files)):
            path = os.path.join(self.folder, f"start{number}{ending}")
            with open(path, "wb") as f:
                f.write(content.value)
            paths.append(path)
        return paths

    def make_validators(
        self, stores: Sequence[RecordStore], solver: TrainingSolver, comm: Communicator, totals: List[int]
    ) -> List[Validator]:
        validators = []
        for which, (validation, number) in enumerate(self.job.validation_layers()):
            count = len(validation.net.layers)
            validators.append(
                Validator(
                    validation.net,
                    solver.test_net(which),
                    stores[number : number + count],
                    min(totals[number : number + count]),
                    validation.rows,
                    comm,
                    [self.draws(number + k) for k in range(count)],
                    self.tick,
                )
            )
        return validators


class _Best:
    """The best validation so far, by the output that -monitor names.

    Lower is better for outputs with "loss" or "err" in their name, higher for others.
    """

    def __init__(self, job: Job) -> None:
        outputs = job.validations[0].net.outputs if job.validations else ()
        losses = [name for name in outputs if "loss" in name.lower()]
        self.name = job.monitor or (losses or list(outputs) or [""])[0]
        self.lower = any(part in self.name.lower() for part in ("loss", "err"))
        self.value = job.start.best
        self.since = job.start.since_best

    def take(self, outputs: Dict[str, List[float]]) -> bool:
        """Whether this validation is the best so far."""
        value = float(np.mean(outputs[self.name]))
        better = self.value is None or (value < self.value if self.lower else value > self.value)
        if better and np.isfinite(value):
            self.value, self.since = value, 0
            return True
        self.since += 1
        return False


class _Loop:
    """The iterations."""

    def __init__(
        self,
        rank: _Rank,
        solver: TrainingSolver,
        comm: TCPCommunicator,
        feeds: Sequence[Batches],
        validators: Sequence[Validator],
    ) -> None:
        self.rank = rank
        self.job = rank.job
        self.line = rank.line
        self.solver = solver
        self.comm = comm
        self.feeds = feeds
        self.validators = validators
        self.stats = np.zeros(2, np.float32)  # loss, votes to stop
        self.tests_done = self.job.start.tests_done
        self.best = _Best(rank.job)
        self.best_sent = rank.job.start.best is not None
        self.history: List[Any] = []
        self.reported = time.monotonic()
        # seconds spent in iterations, of them loading batches and waiting for other ranks
        self.training = 0.0
        self.loading = 0.0
        self.waited = 0.0

    # ---- hooks of an iteration

    def load(self) -> None:
        self.rank.tick()
        begin = time.perf_counter()
        blobs = self.solver.inputs
        for layer, feed in zip(self.job.train.layers, self.feeds):
            feed.load([blobs[top.name] for top in layer.tops])
        self.loading += time.perf_counter() - begin

    def exchange(self, loss: float) -> None:
        """Make gradients, BatchNorm statistics and loss the mean over the ranks."""
        self.stats[0] = loss
        self.stats[1] = self.line.stopping
        before = self.comm.waited  # which also counts what validation waits
        self.comm.all_reduce(
            [*self.solver.gradients, *self.solver.statistics, self.stats],
            scale=None if self.comm.size == 1 else 1.0 / self.comm.size,
        )
        self.waited += self.comm.waited - before
        if not np.isfinite(self.stats[0]):
            self.report()  # how it came to that
            raise TrainingError(
                f"the loss became {self.stats[0]} at iteration {self.solver.iteration}: lower base_lr, or set "
                "clip_gradients; the weights before are in the newest snapshot"
            )

    # ---- the whole

    def run(self) -> None:
        solver, param = self.solver, self.solver.param
        user = SolverParameter.FromString(self.job.solver)  # the one that runs has testing and snapshots off
        test_interval = int(user.test_interval) if self.validators else 0
        stopped = ""
        while solver.iteration < param.max_iter and not stopped:
            at = solver.iteration
            if test_interval and at % test_interval == 0 and (at or user.test_initialization) and self.validate():
                stopped = "patience"
                break
            begin = time.perf_counter()
            rate = solver.rate
            solver.step(self.load, self.exchange)
            if self.stats[1] > 0:
                stopped = "signal"
            self.line.check()
            self.training += time.perf_counter() - begin
            self.note(at, float(self.stats[0]), rate)
            if user.snapshot and solver.iteration % user.snapshot == 0 and not stopped:
                self.snapshot()
        at = solver.iteration
        if not stopped and test_interval and at % test_interval == 0:
            self.validate()
        if stopped == "signal" or (user.snapshot and user.snapshot_after_train and at % user.snapshot):
            self.snapshot()
        self.finish(stopped)

    def validate(self) -> bool:
        """Run every test net; whether patience with the first one is over."""
        self.report()
        over = False
        for number, validator in enumerate(self.validators):
            rows, outputs = validator.run(self.tests_done)
            if self.rank.rank == 0:
                self.line.send("test", net=number, iteration=self.solver.iteration, rows=rows, outputs=outputs)
            if number == 0 and self.best.take(outputs) and self.job.keep_best:
                self.send_model(best=True)
            if number == 0 and self.job.patience:
                over = self.best.since >= self.job.patience
        self.tests_done += 1
        return over

    def snapshot(self) -> None:
        self.solver.reseed(self.job.seed, self.rank.rank)  # as a run that resumes from here will
        if self.rank.rank != 0:
            return
        self.report()
        weights, state = self.solver.snapshot()
        about = {
            "iteration": self.solver.iteration,
            "tests_done": self.tests_done,
            "best": self.best.value,
            "since_best": self.best.since,
        }
        self.line.send_file("snapshot weights", weights, **about)
        self.line.send_file("snapshot state", state, **about)

    def send_model(self, best: bool) -> None:
        """Hand the weights over as the model."""
        self.best_sent = self.best_sent or best
        if self.rank.rank == 0:
            path = os.path.join(self.rank.folder, f"model-{self.solver.iteration}{self.solver.model_ending}")
            self.solver.save_weights(path)
            self.line.send_file("model", path, iteration=self.solver.iteration, best=best)

    def finish(self, stopped: str) -> None:
        self.report()
        digest = hashlib.sha256()
        for blob in self.solver.weights:
            digest.update(np.ascontiguousarray(blob).data)
        if stopped != "signal" and not (self.job.keep_best and self.best_sent):
            self.send_model(best=False)
        self.line.send("done", iteration=self.solver.iteration, digest=digest.hexdigest(), stopped=stopped)
        # nobody leaves before everybody's last collective is over
        self.comm.barrier()

    # ---- reports

    def note(self, iteration: int, loss: float, rate: float) -> None:
        if self.rank.rank == 0:
            self.history.append([iteration, loss, rate])
        if time.monotonic() - self.reported > _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Tell the driver about the iterations since the last report."""
        self.reported = time.monotonic()
        self.line.send(
            "progress",
            iteration=self.solver.iteration,
            history=self.history,
            training=self.training,
            waited=self.waited,
            loading=self.loading,
        )
        self.history = []
