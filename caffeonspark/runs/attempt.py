"""The ranks of one attempt, watched from launch to the last good-bye."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..causes import ENVIRONMENT
from ..comm.credentials import Credentials, Invitation
from ..comm.encryption import BROKEN
from ..comm.wire import FrameKind
from ..data.records import BadRecords
from ..engines.registry import engine_named
from ..errors import CaffeOnSparkError, InfrastructureError, Interrupted, RankLost, StallError, TrainingError, from_text
from ..launchers.base import Launcher, RunningRanks
from ..plans.job import Job
from ..plans.net_plan import LayerPlan
from ..plans.run_config import RunConfig
from ..report.base import Observer
from ..report.result import RankTiming, TrainingResult, ValidationResult
from ..sync.registry import strategy_for
from .failures import first_failure, stage_error
from .kernels import RankKernels
from .rank_server import Event, RankServer
from .refusals import Refusals

__all__ = ["Attempt"]

_GRACE = 1.0  # seconds in which other ranks' accounts of a failure are waited for
_RELEASE = 2.5  # seconds in which every rank that still runs ends when it is called off
_LOAD = 60.0  # seconds in which a rank has loaded its engine
_START = 600.0  # seconds a rank may come after the first: its node may be fetching files, and Spark notices a lost one

MakeJob = Callable[[Tuple[str, int], Invitation], Job]
#: (rank, kind, iteration and other facts that the rank sent, local path): a file that a rank handed over
TakeFile = Callable[[int, str, Mapping[str, Any], str], None]


class Attempt:
    """Starts the ranks once, and watches them.

    Parameters
    ----------
    config : RunConfig
    layers : the data layers of all nets
    launcher : starts them
    result : filled in as the ranks report
    observer : told about everything
    folder : where files that ranks send arrive
    take_file : called with each of them
    stop : set from outside to end training when the ranks hear of it, or at once where they do not train yet

    Attributes
    ----------
    unresponsive : executors whose tasks did not end when their ranks were done or called off
    suspect_batch : what is in the batch that a rank died of in the attempt before, when the rank has come there again
    launched : the ranks, once they were started
    """

    def __init__(
        self,
        config: RunConfig,
        layers: Sequence[LayerPlan],
        launcher: Launcher,
        result: TrainingResult,
        observer: Observer,
        folder: str,
        take_file: TakeFile,
        stop: threading.Event,
    ) -> None:
        self.config = config
        self.layers = layers
        self.launcher = launcher
        self.result = result
        self.observer = observer
        self.folder = folder
        self.take_file = take_file
        self.stop = stop
        self.ranks = config.ranks
        self.engine = engine_named(config.settings.engine)
        self.strategy = strategy_for(config.settings, config.solver.type)
        self.ready: Dict[int, Dict[str, Any]] = {}
        self.done: Dict[int, Dict[str, Any]] = {}
        self.ended: Dict[int, str] = {}  # rank: how its line ended
        self.failures: List[Tuple[float, Event]] = []
        self.heard: Dict[int, float] = {}  # rank: when it last said something
        self.first_heard = math.inf  # when the first rank came
        self.loaded: Set[int] = set()  # ranks whose engine is
        self.unresponsive: List[str] = []
        self.suspect_batch = ""
        self.refusals = Refusals(result, observer.note)
        self.launched: Optional[RunningRanks] = None
        self.kernels = RankKernels(
            config.settings.blasKernel,
            self.ranks,
            self.strategy.lockstep,
            launcher.fresh,
            lambda: launcher.kernels_differ(),
            observer.note,
        )

    def run(self, make_job: MakeJob) -> None:
        """Launch and watch. Raises the first failure, or Interrupted."""
        launcher = self.launcher
        checksum = self.config.settings.checksum
        credentials = Credentials.new(encrypted=launcher.encrypted, checksum=checksum)
        with RankServer(launcher.bind_host, self.config.settings.ports, credentials, self.ranks, self.folder) as server:
            job = make_job((launcher.driver_host, server.address[1]), credentials.invitation())
            self.observer.doing(self.result, launcher.waiting)
            launched = self.launched = launcher.start(job, credentials.secret)
            try:
                self.watch(server, launched)
            except BaseException as e:
                server.send_all(FrameKind.ABORT, reason="the driver gave up")
                if isinstance(e, InfrastructureError) and not self.unresponsive:
                    self.unresponsive += self.silent_executors(launched, server)
                raise
            finally:
                self.refusals.count("the driver", server.refused, last=True)
                # every rank is done or called off: an executor that does not answer is not waited for
                silent = launched.end(patience=3.0)
                if self.heard or not self.unresponsive:  # otherwise they were at work on the rows
                    self.unresponsive = sorted({*self.unresponsive, *silent})

    # ---- watching

    def watch(self, server: RankServer, launched: RunningRanks) -> None:
        """Handle events until every rank has said good-bye, or the first failure is understood."""
        stage_ended: Optional[float] = None
        told_to_stop = False
        while len(self.done) < self.ranks or len(self.ended) < self.ranks:
            try:
                event: Optional[Event] = server.events.get(timeout=0.1)
            except queue.Empty:
                event = None
            if event is not None:
                self.on_event(event, server)
            if self.failures:
                break
            if self.stop.is_set() and not told_to_stop:
                if len(self.ready) < self.ranks:
                    raise Interrupted("before the ranks were ready")
                server.send_all(FrameKind.STOP)
                told_to_stop = True
                after = self.strategy.stops_after
                self.observer.note(f"stopping after {after}; a second signal stops at once")
            if event is None:
                self.refusals.count("the driver", server.refused)
                self.check_start(launched)
                self.check_stall()
                if not launched.running:
                    stage_ended = stage_ended or time.monotonic()
                    if time.monotonic() - stage_ended > _GRACE:
                        raise self.stage_failure(launched)
        if self.failures:
            self.collect_failures(server)
            self.result.tampered += sum(BROKEN in str(event.data) for _, event in self.failures)
            raise self.error_before_connection(launched) or first_failure(
                self.failures, self.ranks, self.result.hosts, self.engine.explain_crash
            )

    def check_start(self, launched: RunningRanks) -> None:
        """Raise StallError when a rank cannot come because its executor's Python is stuck."""
        missing = [rank for rank in range(self.ranks) if rank not in self.heard]
        stuck = launched.stuck(missing, started=len(missing) < self.ranks) if missing else {}
        for executor, why in stuck.items():
            self.unresponsive.append(executor)
            raise StallError(f"executor {executor} does not start its rank: {why}")

    def check_stall(self) -> None:
        """Raise StallError when a rank said nothing for too long, or never came although others did."""
        if not self.heard:
            return  # the stage may be waiting for the cluster, and Spark's own errors end it
        now = time.monotonic()
        loading = len(self.ready) < self.ranks
        for rank in range(self.ranks):
            if rank in self.ended or (loading and rank in self.ready):  # who is ready waits for the others
                continue
            silent = now - self.heard.get(rank, self.first_heard)
            patience = self.config.settings.stallTimeout + 2 * _GRACE  # its peers notice first, and know more
            if rank not in self.heard:
                patience = max(patience, _START)
            elif not loading and rank not in self.loaded:
                patience = max(patience, _LOAD)
            if silent > patience:
                host = self.result.hosts.get(rank, "an unknown host")
                what = "said nothing" if rank in self.heard else "did not start"
                raise StallError(
                    f"rank {rank} of {self.ranks} on {host} {what} for {silent:.0f} s: it is stuck, or -stallTimeout "
                    f"{self.config.settings.stallTimeout:g} is shorter than one of its iterations"
                )

    def on_event(self, event: Event, server: RankServer) -> None:
        now = time.monotonic()
        self.first_heard = min(now, self.first_heard)
        self.heard[event.rank] = now
        try:
            if event.path is not None:
                self.take_file(event.rank, event.kind, event.data, event.path)
            else:
                self.handle(event, server, now)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            where = f"rank {event.rank} of {self.ranks}"
            raise RankLost(f"{where} sent a '{event.kind[:40]}' that no rank sends ({e!r})") from e

    def handle(self, event: Event, server: RankServer, now: float) -> None:
        handlers: Dict[str, Callable[[Event], None]] = {
            FrameKind.HELLO: self.on_hello,
            FrameKind.HEARTBEAT: lambda event: None,  # a sign of life
            FrameKind.READY: self.on_ready,
            FrameKind.REFUSED: self.on_refused,
            FrameKind.ENGINE: self.on_engine,
            FrameKind.PROGRESS: self.on_progress,
            FrameKind.RANK_LOSSES: self.on_rank_losses,
            FrameKind.VALIDATION: self.on_test,
            FrameKind.DONE: self.on_done,
            FrameKind.SUSPECT: lambda event: setattr(self, "suspect_batch", str(event.data["batch"])),
            FrameKind.LOG: lambda event: self.observer.log(event.rank, [str(line) for line in event.data["lines"]]),
            FrameKind.BYE: lambda event: self.ended.update({event.rank: "bye"}),
        }
        handler = handlers.get(event.kind)
        if handler is not None:
            handler(event)
            if event.kind == FrameKind.HELLO and self.config.settings.logRanks:
                server.send(event.rank, FrameKind.LOG)
            if event.kind == FrameKind.READY and len(self.ready) == self.ranks:
                self.send_peer_addresses(server)
        elif event.kind in (FrameKind.FAILED, FrameKind.DIED, FrameKind.LOST, FrameKind.CLAIMED):
            self.ended[event.rank] = event.kind
            self.failures.append((now, event))
        else:
            raise ValueError("an unknown kind")

    def on_hello(self, event: Event) -> None:
        self.result.hosts[event.rank] = str(event.data["host"])
        self.kernels.hello(event.rank, self.result.hosts[event.rank], dict(event.data["blas"]))
        self.say_ready()

    def on_engine(self, event: Event) -> None:
        self.loaded.add(event.rank)
        mine, theirs = self.engine.versions(), dict(event.data["versions"])
        if mine != theirs:
            raise TrainingError(different_versions(event.rank, self.result.hosts[event.rank], mine, theirs))
        self.result.machines[event.rank] = self.kernels.engine(event.rank, event.data)

    def on_ready(self, event: Event) -> None:
        self.ready[event.rank] = event.data
        self.say_ready()

    def on_refused(self, event: Event) -> None:
        hosts = {str(host)[:100]: int(count) for host, count in event.data["hosts"].items()}
        self.refusals.count(f"rank {event.rank}", hosts, last=True)

    def say_ready(self) -> None:
        there, ready = len(self.heard), len(self.ready)
        if there < self.ranks:
            self.observer.doing(self.result, f"{self.launcher.waiting}: {there} of {self.ranks} are there")
        elif ready < self.ranks:
            self.observer.doing(self.result, f"loading records: {ready} of {self.ranks} ranks have theirs")
        else:
            self.observer.doing(self.result, "connecting the ranks")

    def send_peer_addresses(self, server: RankServer) -> None:
        """Everybody has loaded its records and listens: tell each where the others are."""
        self.check_bad_records()
        addresses = [self.ready[rank]["address"] for rank in range(self.ranks)]
        if self.config.settings.compress != "none" and len({host for host, _ in addresses}) == 1:
            self.observer.note("-compress compresses nothing here: all ranks are on one host")
        totals = [self.layer_total(number) for number in range(len(self.layers))]
        self.result.rows = sum(int(data["epoch"]) for data in self.ready.values())
        if self.strategy.whole_data:
            self.result.samples = self.result.rows
        server.introduce(addresses=addresses, totals=totals, kernels=list(self.kernels.chosen))
        self.heard = dict.fromkeys(range(self.ranks), time.monotonic())

    def layer_total(self, number: int) -> int:
        """How many records a layer's source has, skipped ones included."""
        return sum(int(data["totals"][number]) for data in self.ready.values())

    def check_bad_records(self) -> None:
        """Say what was skipped; raises DataError where it was too much."""
        for number, layer in enumerate(self.layers):
            bad = BadRecords(layer.description, layer.bad)
            good = 0
            for rank in range(self.ranks):
                counts, examples = self.ready[rank]["bad"][number]
                bad.add(counts, examples)
                good += int(self.ready[rank]["rows"][number])
            if bad.total:
                bad.check(good)
                self.observer.note(bad.describe(good))

    def on_progress(self, event: Event) -> None:
        data = event.data
        timing = RankTiming(
            int(data["iteration"]), float(data["training"]), float(data["waited"]), float(data["loading"])
        )
        self.result.record_timing(event.rank, timing)
        new = [(int(iteration), float(loss), float(rate)) for iteration, loss, rate in data["history"]]
        if event.rank == 0:
            self.result.history += new
            self.result.passes.update((int(at), int(passes)) for at, passes in data.get("passes", ()))
            self.result.gradient_norms.update((int(at), float(norm)) for at, norm in data.get("norms", ()))
            self.result.iteration = timing.iteration
        self.observer.progress(self.result, event.rank, timing, new)

    def on_rank_losses(self, event: Event) -> None:
        losses = [float(loss) for loss in event.data["losses"]]
        self.observer.rank_losses(self.result, int(event.data["iteration"]), losses)

    def on_test(self, event: Event) -> None:
        data = event.data
        outputs = dict(data["outputs"])
        test = ValidationResult(
            int(data["iteration"]), int(data["net"]), int(data["rows"]), self.result.seconds(), outputs
        )
        self.result.tests.append(test)
        self.observer.tested(self.result, test)

    def on_done(self, event: Event) -> None:
        self.done[event.rank] = event.data
        self.result.iteration = int(event.data["iteration"])
        self.result.stopped = str(event.data["stopped"])

    # ---- failures

    def collect_failures(self, server: RankServer) -> None:
        """Call the others off, and wait a moment for their accounts: the first to arrive need not be the cause."""
        server.send_all(FrameKind.ABORT, reason="another rank failed")
        self.listen(server, _GRACE)

    def listen(self, server: RankServer, seconds: float) -> None:
        """Take note of how ranks end, for so long."""
        deadline = time.monotonic() + seconds
        while len(self.ended) < self.ranks and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty, CaffeOnSparkError):
                self.on_event(server.events.get(timeout=0.05), server)

    def silent_executors(self, launched: RunningRanks, server: RankServer) -> List[str]:
        """The executors of ranks that were called off and did not end: frozen, or cut off."""
        self.listen(server, _RELEASE)
        missing: Set[int] = {rank for rank in range(self.ranks) if rank not in self.ended}
        if not missing:
            return []
        executors = launched.executors()
        return sorted({executors[rank] for rank in missing if rank in executors})

    def stage_failure(self, launched: RunningRanks) -> CaffeOnSparkError:
        """The stage ended although not every rank did."""
        early = self.error_before_connection(launched)
        if early is not None:
            return early
        missing = [str(rank) for rank in range(self.ranks) if rank not in self.done]
        who = f"rank {', '.join(missing)}"
        if launched.error is None:
            return RankLost(f"{who} ended without having trained")
        return stage_error(launched.error, who)

    def error_before_connection(self, launched: RunningRanks) -> Optional[CaffeOnSparkError]:
        """The error of a rank that could not open its connection to the driver, and whose end ended the others."""
        error = launched.error
        if launched.running or error is None:
            return None
        return error if isinstance(error, CaffeOnSparkError) else from_text(str(error))


def different_versions(rank: int, host: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What to say when a rank runs other software than the driver."""
    parts = [f"{name} {theirs.get(name)} (driver: {mine[name]})" for name in mine if mine[name] != theirs.get(name)]
    return f"rank {rank} on {host} has {', '.join(parts)}. {ENVIRONMENT}"
