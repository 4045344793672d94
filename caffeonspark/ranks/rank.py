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
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..comm import encryption
from ..comm.addresses import interface_address, open_listener
from ..comm.base import Communicator
from ..comm.handshake import PeerConnection
from ..comm.helped import can_help, with_helper
from ..comm.helper import Helper
from ..comm.shared_memory import share_memory
from ..comm.tcp import connect
from ..comm.wire import FrameKind
from ..data.batches import Batches, BatchRandom, Blocks, Feed
from ..data.pool import PooledBatches, needs_decoding
from ..data.records import BadRecords
from ..data.store import RecordStore
from ..engines import blas
from ..engines.base import Trainer
from ..engines.registry import engine_named
from ..errors import CaffeOnSparkError, DataError, RankLost
from ..nets.schema import SolverParameter
from ..plans.job import Job
from ..plans.made_data import tell_rank
from ..settings import Settings
from ..storage import EXECUTOR_SETTING, naming_full_disks, scratch_folder
from ..sync.base import Strategy
from ..sync.registry import strategy_for
from ..sync.settlement import settlement_for
from .loop import Loop
from .records import load_records
from .sidecar import DriverConnection, describe
from .suspects import watch_suspect
from .validate import Validator

if TYPE_CHECKING:
    import pyarrow as pa

    from ..comm.handshake import Listener

__all__ = ["listen", "run_rank"]


def run_rank(
    job: Job, secret: bytes, rank: int, hosts: Sequence[str], files: Sequence[Any], batches: Iterator[pa.RecordBatch]
) -> None:
    """Run a rank in this process. What goes wrong is told to the driver, and raised only where that cannot be.

    Parameters
    ----------
    job : Job
    secret : the attempt's bootstrap
    rank : int
    hosts : the address of each rank's machine
    files : Spark broadcasts of the files that ``job.start`` lists: the weights, the state, the parts
    batches : the rows of frame sources, by ``rows_for_ranks``
    """
    # the folder outlives the connection, whose sidecar may still have files of it to send when the rank is done
    full = naming_full_disks(scratch_folder(), EXECUTOR_SETTING)
    with full, tempfile.TemporaryDirectory(prefix="caffeonspark-", dir=scratch_folder()) as folder:
        connection = open_connection(job, secret, rank, hosts[rank], folder)
        try:
            with naming_full_disks(scratch_folder(), EXECUTOR_SETTING):
                Rank(job, rank, hosts, connection, folder).run(files, batches)
        except BaseException as e:  # also KeyboardInterrupt and SystemExit: the driver decides what they mean
            with contextlib.suppress(RankLost):  # the driver that gave this rank up does not listen any more
                connection.send(FrameKind.FAILED, time=time.time(), **describe(e))
        finally:
            connection.close()


def open_connection(job: Job, secret: bytes, rank: int, host: str, folder: str) -> DriverConnection:
    """The connection to the driver. Errors before there is one can only be raised, for Spark to tell the driver."""
    try:
        if job.invitation.encrypted:
            encryption.require()
        return DriverConnection.open(job.driver, job.invitation.accept(secret), rank, folder)
    except CaffeOnSparkError as e:
        raise type(e)(f"rank {rank} of {job.ranks} on {host}: {e.message}") from None


def listen(settings: Settings, hosts: Sequence[str], host: str, me: int) -> Listener:
    """A listener for other ranks on one of the ``hosts`` of the job; ``me`` as for Listener. Raises ConfigError."""
    own = interface_address(settings.interface, ipv6=":" in host) if settings.interface else host
    return open_listener(own, settings.ports, None, me, hosts.count(host) + 1)


class Rank:
    """One rank's run.

    Parameters
    ----------
    job : Job
    rank : int
    hosts : the address of each rank's machine
    connection : to the driver
    folder : for temporary files
    """

    def __init__(self, job: Job, rank: int, hosts: Sequence[str], connection: DriverConnection, folder: str) -> None:
        self.job = job
        self.solver = SolverParameter.FromString(job.solver)
        self.rank = rank
        self.hosts = hosts
        self.host = hosts[rank]
        self.connection = connection
        self.folder = folder
        self.engine = engine_named(job.settings.engine)
        self.strategy = strategy_for(job.settings, self.solver.type)
        tell_rank(rank, job.ranks)

    def run(self, files: Sequence[Any], batches: Iterator[pa.RecordBatch]) -> None:
        connection = self.connection
        connection.send(
            FrameKind.HELLO,
            host=self.host,
            machine=socket.gethostname(),
            pid=os.getpid(),
            blas=blas.facts(),
        )
        bad = [BadRecords(layer.description, layer.bad) for layer in self.job.layers()]
        stores, totals = load_records(
            self.job,
            self.rank,
            batches,
            bad,
            connection.heartbeat,
            connection.whereabouts.enter_loading,
            may_be_empty=self.strategy.whole_data,
        )
        connection.whereabouts.leave()
        feeds: List[Feed] = []
        helper: Optional[Helper] = None
        spares: Dict[int, PeerConnection] = {}
        try:
            with self.open_listener() as listener:
                connection.send(
                    FrameKind.READY,
                    address=list(listener.address),
                    rows=[len(store) for store in stores],
                    epoch=len(stores[0]) if self.job.train.layers else 0,
                    totals=totals,
                    bad=[[one.counts, one.examples] for one in bad],
                )
                peers = connection.wait(FrameKind.PEERS, timeout=86_400)
                addresses = [(str(host), int(port)) for host, port in peers.data["addresses"]]
                feeds = self.make_batches(stores)
                helper = self.start_helper([host for host, _ in addresses])
                # before connecting: that a rank takes its time to load is no stall of its connections
                digest = self.load_engine(str(peers.data["kernels"][self.rank]))
                over_tcp = connect(
                    self.rank,
                    addresses,
                    listener,
                    connection.credentials_for_peers(peers),
                    stall_timeout=self.job.settings.stallTimeout,
                    watch=connection.fileno(),
                    on_watch=connection.check,
                    compressed=self.job.settings.compress != "none",
                    spares=spares if helper is not None else None,
                )
                if listener.refused:
                    connection.send(FrameKind.REFUSED, hosts=dict(listener.refused))
            shared = share_memory(over_tcp)
            helped = shared if helper is None else with_helper(shared, helper, spares)
            with helped as comm, contextlib.closing(self.make_trainer()) as trainer:
                watch_suspect(self.job, self.rank, connection, stores, feeds)
                blocks = self.blocks(feeds)
                strategy = self.start_strategy(trainer, comm, files, blocks)
                for feed in feeds:
                    feed.used = trainer.iteration * (int(self.solver.iter_size) if blocks is None else len(blocks))
                validators = self.make_validators(stores, trainer, comm, peers.data["totals"])
                settlement = settlement_for(strategy, trainer, comm, digest)
                Loop(
                    self.job,
                    self.solver,
                    trainer,
                    strategy,
                    comm,
                    connection,
                    feeds,
                    validators,
                    self.folder,
                    settlement,
                ).run()
        finally:
            for feed in feeds:
                feed.close()
            if helper is not None:
                helper.close()
            for spare in spares.values():
                spare.sock.close()
        for store in stores:
            store.close()

    def open_listener(self) -> Listener:
        """Where the other ranks connect to this one."""
        return listen(self.job.settings, self.hosts, self.host, self.rank)

    # ---- data

    def batch_random(self, layer: int) -> BatchRandom:
        return BatchRandom(self.job.seed, self.rank, layer)

    def make_batches(self, stores: Sequence[RecordStore]) -> List[Feed]:
        """The training layers' batches, made by helper processes where images have to be decoded."""
        feeds: List[Feed] = []
        for number, layer in enumerate(self.job.train.layers):
            if self.strategy.whole_data:
                feeds.append(Blocks(stores[number], layer.batch_size, self.batch_random(number), layer.description))
                continue
            batches = Batches(
                stores[number], layer.batch_size, self.batch_random(number), layer.shuffle, layer.description
            )
            decoders = self.job.settings.decoders
            pooled = decoders and needs_decoding(stores[number]) and not layer.any_size
            feeds.append(PooledBatches(batches, decoders) if pooled else batches)
        return feeds

    def blocks(self, feeds: Sequence[Feed]) -> Optional[List[int]]:
        """How many records each block of a pass has; None where there are no passes. Raises DataError."""
        if not self.strategy.whole_data:
            return None
        sizes = [feed.sizes for feed in feeds if isinstance(feed, Blocks)]
        for layer, other in zip(self.job.train.layers[1:], sizes[1:]):
            if other != sizes[0]:
                raise DataError(
                    f"{layer.description} has {sum(other)} records for rank {self.rank}, and "
                    f"{self.job.train.layers[0].description} has {sum(sizes[0])}: a pass through all data needs as many"
                )
        return sizes[0]

    # ---- trainer

    def start_helper(self, hosts: Sequence[str]) -> Optional[Helper]:
        """The process that exchanges gradients while the trainer computes, where that may be worth it; the same on
        every rank. It is forked before the engine is loaded."""
        return Helper.start() if can_help(hosts) and self.strategy.wants_helper(self.job.train) else None

    def load_engine(self, kernel: str) -> str:
        """Load the engine with this kernel of its BLAS, and tell the driver how it computes; its
        ``arithmetic``, where there are others to compare it with."""
        blas.use(kernel)
        self.engine.show_log(self.job.settings.logRanks)
        versions, digest = self.engine.versions(), ""
        if self.job.ranks > 1:
            digest = self.engine.arithmetic()
        used = blas.in_use()
        self.connection.send(
            FrameKind.ENGINE,
            versions=versions,
            digest=digest,
            kernel=used.kernel if used else "",
            threads=used.threads if used else 0,
        )
        return digest

    def make_trainer(self) -> Trainer:
        train = self.job.train
        trainer = self.engine.trainer(
            self.strategy.engine_solver(self.solver),
            train.message(),
            [validation.net.message() for validation in self.job.validations],
            self.rank,
            self.folder,
        )
        trainer.check_indices(train.indexed)
        if train.weighted:
            trainer.weigh_samples(train.weighted)
        return trainer

    def start_strategy(
        self, trainer: Trainer, comm: Communicator, files: Sequence[Any], blocks: Optional[Sequence[int]]
    ) -> Strategy:
        """The strategy, with the trainer at where training starts from; ``blocks`` as in ``Strategy.begin``."""
        strategy = self.strategy(trainer, comm, self.job.settings, lambda: self.connection.stopping)
        if blocks is not None:
            strategy.begin(blocks, self.solver)
        weights, state, parts = self.write_files(files)
        strategy.start(weights, state, parts)
        if state is not None:
            trainer.reseed(self.job.seed)
        for path in [*weights, *([state] if state else []), *(parts or {}).values()]:
            os.unlink(path)
        return strategy

    def write_files(self, files: Sequence[Any]) -> Tuple[List[str], Optional[str], Optional[Dict[str, str]]]:
        """Local copies of the weights, of the state, and by their endings of this rank's own parts, where there are
        any; other ranks' are not fetched."""
        start, rank = self.job.start, self.rank
        common = [*start.weights, *([start.state] if start.state is not None else [])]
        first = len(common) + sum(map(len, start.parts[:rank]))
        own = start.parts[rank] if start.parts else ()
        paths = []
        for number, ending in [*enumerate(common), *enumerate(own, first)]:
            path = os.path.join(self.folder, f"start{number}{ending}")
            with open(path, "wb") as f:
                f.write(files[number].value)
            paths.append(path)
        count = len(start.weights)
        state = paths[count] if start.state is not None else None
        return paths[:count], state, dict(zip(own, paths[len(common) :])) if start.parts else None

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
                    totals[number : number + count],
                    validation.rows,
                    comm,
                    [self.batch_random(number + k) for k in range(count)],
                    self.connection.heartbeat,
                    partial(self.enter_validation, trainer, which + 1),
                )
            )
        return validators

    def enter_validation(self, trainer: Trainer, net: int, batch: int, records: Optional[Sequence[np.ndarray]]) -> None:
        """A batch of the ``net``-th test net (from 1) begins, or, with None, its last one is over."""
        if records is not None:
            self.connection.whereabouts.enter(trainer.iteration, net, batch, records)
        else:
            self.connection.whereabouts.leave()
