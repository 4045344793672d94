"""One rank: loads its records, meets its peers, and steps its trainer until the end.

Runs in the Python worker of a barrier task. Errors never leave the task as exceptions, which Spark would wrap
in Java stacks: they go to the driver over the rank's connection to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence

import numpy as np

from ..comm import encryption
from ..comm.addresses import interface_address, open_listener
from ..comm.base import Communicator
from ..comm.tcp import connect
from ..comm.wire import FrameKind
from ..data.batches import Batches, BatchRandom, Feed
from ..data.pool import PooledBatches, drop_bad_images, needs_decoding
from ..data.records import BadRecords, Records
from ..data.sources.base import FrameReader, RangeReader
from ..data.store import RecordStore, scratch_folder
from ..engines.base import Trainer
from ..engines.registry import engine_named
from ..errors import CaffeOnSparkError, DataError, RankLost
from ..nets.schema import SolverParameter
from ..plans.job import Job
from ..plans.net_plan import LayerPlan
from ..spark.partitioning import bounds, rows_by_layer
from .loop import Loop
from .sidecar import DriverConnection, describe
from .validate import Validator

if TYPE_CHECKING:
    import pyarrow as pa

    from ..comm.handshake import Listener

__all__ = ["run_rank"]

_HEARTBEAT_SECONDS = 1.0  # between two signs of life


def run_rank(
    job: Job, rank: int, hosts: Sequence[str], files: Sequence[Any], batches: Iterator[pa.RecordBatch]
) -> None:
    """Run a rank in this process. What goes wrong is told to the driver, and raised only where that cannot be.

    Parameters
    ----------
    job : Job
    rank : int
    hosts : the address of each rank's machine
    files : Spark broadcasts of the weights and the state that ``job.start`` lists
    batches : the rows of frame sources, by ``rows_for_ranks``
    """
    # the folder outlives the connection, whose sidecar may still have files of it to send when the rank is done
    with tempfile.TemporaryDirectory(prefix="caffeonspark-", dir=scratch_folder()) as folder:
        connection = open_connection(job, rank, hosts[rank])
        try:
            Rank(job, rank, hosts, connection, folder).run(files, batches)
        except BaseException as e:  # also KeyboardInterrupt and SystemExit: the driver decides what they mean
            with contextlib.suppress(RankLost):  # the driver that gave this rank up does not listen any more
                connection.send(FrameKind.FAILED, time=time.time(), **describe(e))
        finally:
            connection.close()


def open_connection(job: Job, rank: int, host: str) -> DriverConnection:
    """The connection to the driver. Errors before there is one can only be raised, for Spark to tell the driver."""
    try:
        if job.credentials.encrypted:
            encryption.require()
        return DriverConnection.open(job.driver, job.credentials, rank)
    except CaffeOnSparkError as e:
        raise type(e)(f"rank {rank} of {job.ranks} on {host}: {e.message}") from None


class Rank:
    """The state of one rank's run."""

    def __init__(self, job: Job, rank: int, hosts: Sequence[str], connection: DriverConnection, folder: str) -> None:
        self.job = job
        self.solver = SolverParameter.FromString(job.solver)
        self.rank = rank
        self.hosts = hosts
        self.host = hosts[rank]
        self.connection = connection
        self.folder = folder
        self.engine = engine_named(job.settings.engine)
        self.last_heartbeat = time.monotonic()

    def run(self, files: Sequence[Any], batches: Iterator[pa.RecordBatch]) -> None:
        self.connection.send(
            FrameKind.HELLO,
            host=self.host,
            machine=socket.gethostname(),
            pid=os.getpid(),
            versions=self.engine.versions(),
        )
        layers = self.job.layers()
        bad = [BadRecords(layer.description, layer.bad) for layer in layers]
        stores = self.load_records(layers, bad, batches)
        with self.open_listener() as listener:
            self.connection.send(
                FrameKind.READY,
                address=list(listener.address),
                rows=[len(store) for store in stores],
                bad=[[one.counts, one.examples] for one in bad],
            )
            peers = self.connection.wait(FrameKind.PEERS, timeout=86_400)
            comm = connect(
                self.rank,
                [(str(host), int(port)) for host, port in peers.data["addresses"]],
                listener,
                self.job.credentials,
                stall_timeout=self.job.settings.stallTimeout,
                watch=self.connection.fileno(),
                on_watch=self.connection.check,
            )
        with comm:
            feeds = self.make_batches(stores)
            try:
                with contextlib.closing(self.build_trainer(files, comm)) as trainer:
                    for feed in feeds:
                        feed.used = trainer.iteration * int(self.solver.iter_size)
                    validators = self.make_validators(stores, trainer, comm, peers.data["totals"])
                    Loop(self, trainer, comm, feeds, validators).run()
            finally:
                for feed in feeds:
                    feed.close()
        for store in stores:
            store.close()

    def open_listener(self) -> Listener:
        """Where the other ranks connect to this one."""
        job, host = self.job, self.host
        own = interface_address(job.settings.interface, ipv6=":" in host) if job.settings.interface else host
        needed = self.hosts.count(host) + 1
        return open_listener(own, job.settings.ports, job.credentials, self.rank, needed)

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
                records = reader.decode(rows, bad[number]).positioned(index)
                stores[number].append(layers[number].without_bad_labels(records, bad[number]))
            self.heartbeat()
        for number, (layer, store) in enumerate(zip(layers, stores)):
            if isinstance(layer.reader, RangeReader):
                for records in self.read_range(layer, number < training, bad[number]):
                    store.append(layer.without_bad_labels(records, bad[number]))
                    self.heartbeat()
            store.finish()
            if layer.bad.skip and needs_decoding(store):
                drop_bad_images(store, bad[number], self.job.settings.decoders, self.heartbeat)
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

    def heartbeat(self) -> None:
        """Between pieces of work: tell the driver that this rank is at it, and hear what it wants."""
        self.connection.check()
        now = time.monotonic()
        if now - self.last_heartbeat > _HEARTBEAT_SECONDS:
            self.last_heartbeat = now
            self.connection.send(FrameKind.HEARTBEAT)

    def align(self, layers: Sequence[LayerPlan], stores: Sequence[RecordStore], bad: Sequence[BadRecords]) -> None:
        """Where layers of one net had the same number of records, keep only those that none of them skipped.

        Images and labels in databases of their own belong together by their positions.
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

    def batch_random(self, layer: int) -> BatchRandom:
        return BatchRandom(self.job.seed, self.rank, layer)

    def make_batches(self, stores: Sequence[RecordStore]) -> List[Feed]:
        """The training layers' batches, made by helper processes where images have to be decoded."""
        feeds: List[Feed] = []
        for number, layer in enumerate(self.job.train.layers):
            batches = Batches(
                stores[number], layer.batch_size, self.batch_random(number), layer.shuffle, layer.description
            )
            decoders = self.job.settings.decoders
            pooled = decoders and needs_decoding(stores[number])
            feeds.append(PooledBatches(batches, decoders) if pooled else batches)
        return feeds

    # ---- trainer

    def build_trainer(self, files: Sequence[Any], comm: Communicator) -> Trainer:
        trainer = self.engine.trainer(
            self.solver,
            self.job.train.message(),
            [validation.net.message() for validation in self.job.validations],
            self.rank,
            self.folder,
        )
        start = self.job.start
        paths = self.write_files(files)
        if start.state is not None:
            trainer.restore(paths[0], paths[-1])
            trainer.reseed(self.job.seed)
        else:
            for path in paths:
                trainer.load_weights(path)
        for path in paths:
            os.unlink(path)
        comm.broadcast(trainer.weights)
        return trainer

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
        self, stores: Sequence[RecordStore], trainer: Trainer, comm: Communicator, totals: List[int]
    ) -> List[Validator]:
        validators = []
        for which, (validation, number) in enumerate(self.job.validation_layers()):
            count = len(validation.net.layers)
            validators.append(
                Validator(
                    validation.net,
                    trainer.test_net(which),
                    stores[number : number + count],
                    min(totals[number : number + count]),
                    validation.rows,
                    comm,
                    [self.batch_random(number + k) for k in range(count)],
                    self.heartbeat,
                )
            )
        return validators
