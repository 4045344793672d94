"""What a run asks of what its ranks are started by, over all its attempts: Spark, or this machine."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import Callable, ContextManager, List, Optional, Sequence, Tuple

from ..data.sources.base import Source
from ..launchers.base import Launcher
from ..plans.run_config import RunConfig
from .snapshots import StartFiles

__all__ = ["Cluster"]

Say = Callable[[str], None]


class Cluster(ABC):
    """Where the ranks of one run are started.

    Parameters
    ----------
    config : RunConfig of the run
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def application(self) -> str:
        """The name of what the run is a part of, which no other has."""

    @property
    def attempt(self) -> int:
        """Which attempt of the application this driver is, from 1."""
        return 1

    @abstractmethod
    def describe(self) -> str:
        """One line that says how many ranks there are and why."""

    @property
    def command(self) -> Tuple[List[str], Tuple[str, ...]]:
        """The words that begin a command line that trains here, and the flags that they stand for."""
        return ["caffeonspark", "-train"], ()

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError for settings that cannot work, with no look at data or machines."""

    @abstractmethod
    def check_encryption(self, say: Say) -> None:
        """Raise ConfigError where encryption is asked for and cannot be had; tell what it leaves open."""

    def claimed(self, name: str, say: Say, stop: threading.Event) -> ContextManager[None]:
        """A block in which the run has the places of its ranks, among the runs of this process.

        Parameters
        ----------
        name : of the run, as others that wait are told; "" for its model's
        say : told what is waited for
        stop : ends the wait, and is set when all runs are to end
        """
        return contextlib.nullcontext()

    @abstractmethod
    def wait(self, say: Say, stop: threading.Event) -> None:
        """Return when all ranks can be started, or ``stop`` is set. Raises ConfigError where they never can."""

    def prepare(self) -> None:  # noqa: B027, where ranks start may have all they need
        """Bring to where ranks start what they need in addition to their job."""

    def needed(self, then: str) -> ContextManager[None]:
        """A block that ends with one line that says so, and ``then``, where the cluster itself is gone."""
        return contextlib.nullcontext()

    def is_there(self) -> bool:
        """Whether another attempt can be started at all."""
        return True

    def why_ended(self, error: Optional[BaseException]) -> str:
        """What somebody did to the ranks, or to what they are a part of, in a few words; "" if nothing.

        Parameters
        ----------
        error : what an attempt ended with
        """
        return ""

    def signals(self) -> ContextManager[None]:
        """A block in which Ctrl-C and SIGTERM are this process's alone to handle."""
        return contextlib.nullcontext()

    @abstractmethod
    def launcher(
        self, sources: Sequence[Sequence[Source]], start: StartFiles, cleanup: contextlib.ExitStack
    ) -> Launcher:
        """What starts the ranks of an attempt.

        Parameters
        ----------
        sources : of the data layers of the training net, and of each test net
        start : where they start from
        cleanup : closed when the attempt is over
        """

    @abstractmethod
    def take_fresh(self, kernels: Sequence[str]) -> None:
        """From the next attempt on, have the ranks in processes that have loaded nothing but these kernels."""
