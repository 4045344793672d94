"""Ranks as processes of this machine, and of machines that joined it: a run without Spark.

A rank's process is a new one (not a fork), gets its job through a pipe, ignores the signals that are meant for the
run, which its driver handles, and is killed by the kernel when the process that started it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..errors import CaffeOnSparkError, from_wire, to_wire
from ..plans.job import Job
from ..process import end_with_parent
from ..ranks.rank import run_rank
from .base import Launcher, RunningRanks

__all__ = ["LocalProcesses", "Machine", "Processes", "StoredFile"]

#: What says how many threads a rank's linear algebra has.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class StoredFile:
    """A file that ranks start from, on their machine."""

    path: str

    @property
    def value(self) -> bytes:
        """Its content, as a Spark broadcast has it."""
        with open(self.path, "rb") as f:
            return f.read()


class Group(ABC):
    """The ranks of an attempt on one machine.

    Attributes
    ----------
    alive : whether some of them may still run
    failed : whether one has ended and cannot have told why
    error : what one raised that could not tell the driver
    """

    @property
    @abstractmethod
    def alive(self) -> bool: ...

    @property
    @abstractmethod
    def failed(self) -> bool: ...

    @property
    @abstractmethod
    def error(self) -> Optional[CaffeOnSparkError]: ...

    @abstractmethod
    def end(self, patience: float) -> None:
        """Wait for them to end; end them after ``patience`` seconds."""


class Machine(ABC):
    """Another machine that starts ranks when it is told to.

    Attributes
    ----------
    host : its address
    count : how many ranks it takes
    """

    host: str
    count: int

    @abstractmethod
    def start(
        self,
        job: Job,
        secret: bytes,
        ranks: Sequence[int],
        hosts: Sequence[str],
        files: Sequence[StoredFile],
        environment: Mapping[str, str],
    ) -> Group:
        """Start these ranks; arguments as for ``Processes``. What goes wrong is told by the group."""


class Processes(Group):
    """Rank processes of this machine.

    Parameters
    ----------
    job : Job
    secret : the attempt's bootstrap
    ranks : which of the job's ranks
    hosts : the address of each rank's machine, of all of the job's
    files : what ``job.start`` lists
    environment : variables for them
    """

    def __init__(
        self,
        job: Job,
        secret: bytes,
        ranks: Sequence[int],
        hosts: Sequence[str],
        files: Sequence[StoredFile],
        environment: Mapping[str, str],
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._processes: List[Tuple[Any, Connection]] = []
        self._error: Optional[CaffeOnSparkError] = None
        try:
            with _environment({**_threads(len(ranks)), **environment}):
                for rank in ranks:
                    told, tell = spawn.Pipe(duplex=False)
                    what = (os.getpid(), tell, job, secret, rank, hosts, files)
                    process = spawn.Process(target=_rank_process, args=what, name=f"caffeonspark-rank-{rank}")
                    process.start()
                    tell.close()
                    self._processes.append((process, told))
        except BaseException:
            self.end(0.0)
            raise

    @property
    def alive(self) -> bool:
        return any(process.is_alive() for process, _ in self._processes)

    @property
    def failed(self) -> bool:
        return any(process.exitcode not in (None, 0) for process, _ in self._processes)

    @property
    def error(self) -> Optional[CaffeOnSparkError]:
        for _, told in self._processes:
            with contextlib.suppress(EOFError, OSError):  # it ended with nothing to tell
                if self._error is None and not told.closed and told.poll():
                    self._error = from_wire(json.loads(told.recv_bytes()))
        return self._error

    def end(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        for process, _ in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        _ = self.error
        for process, told in self._processes:
            if process.is_alive():
                process.kill()
                process.join()
            told.close()


def _rank_process(
    parent: int,
    tell: Connection,
    job: Job,
    secret: bytes,
    rank: int,
    hosts: Sequence[str],
    files: Sequence[StoredFile],
) -> None:
    """What a rank's process does."""
    end_with_parent(parent)
    os.setsid()  # a terminal's Ctrl-C is for the driver, and reaches no helper of the rank either
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        run_rank(job, secret, rank, hosts, files, iter(()))
    except Exception as e:
        tell.send_bytes(json.dumps(to_wire(e)).encode())
        os._exit(1)  # it is told: no traceback


def _threads(ranks: int) -> Dict[str, str]:
    """The cores of this machine shared out, where the environment does not say how many threads a rank has."""
    if any(name in os.environ for name in _THREADS):
        return {}
    return {_THREADS[0]: str(max(1, len(os.sched_getaffinity(0)) // ranks))}


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Processes that are started in the block have these variables, too."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():  # others of the process may read the rest meanwhile
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class LocalProcesses(Launcher):
    """Starts ranks here, and on the machines that joined.

    Parameters
    ----------
    count : how many of the ranks start here, the first ones; the others go to the machines, in order
    files : of what the job starts from
    host : this machine's address for the ranks
    machines : those that joined
    environment : variables for the ranks' processes (``spark.workers``)
    fresh : whether they have loaded no other kernels than such ranks
    encrypted : whether what ranks send is to be encrypted
    """

    waiting = "starting the ranks"

    def __init__(
        self,
        count: int,
        files: Sequence[StoredFile],
        host: str = "127.0.0.1",
        machines: Sequence[Machine] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
        encrypted: bool = False,
    ) -> None:
        self._count = count
        self._files = files
        self._host = host
        self._machines = machines
        self._environment = environment
        self.fresh = fresh
        self.encrypted = encrypted

    @property
    def driver_host(self) -> str:
        return self._host

    @property
    def bind_host(self) -> str:
        return self._host

    def start(self, job: Job, secret: bytes) -> RunningRanks:
        hosts = [self._host] * self._count
        for machine in self._machines:
            hosts += [machine.host] * machine.count
        assert len(hosts) == job.ranks, "the cluster waits for all machines"
        groups: List[Group] = []
        first = self._count
        for machine in self._machines:  # before what is here, which needs no files sent
            ranks = range(first, first + machine.count)
            first += machine.count
            groups.append(machine.start(job, secret, ranks, hosts, self._files, self._environment))
        groups.append(Processes(job, secret, range(self._count), hosts, self._files, self._environment))
        return _Running(groups)

    def replace(self, executors: Sequence[str]) -> None:
        """Nothing stands for a rank but its process, which has ended."""


class _Running(RunningRanks):
    """The ranks of an attempt; those that another one's end leaves without sense do not count as running."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups

    @property
    def error(self) -> Optional[BaseException]:  # type: ignore[override]
        return next((group.error for group in self._groups if group.error is not None), None)

    @property
    def running(self) -> bool:
        return any(group.alive for group in self._groups) and not any(group.failed for group in self._groups)

    def executors(self) -> Dict[int, str]:
        return {}

    def end(self, patience: float) -> List[str]:
        deadline = time.monotonic() + patience
        for group in self._groups:
            group.end(max(0.0, deadline - time.monotonic()))
        return []
