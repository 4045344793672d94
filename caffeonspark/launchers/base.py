"""What an attempt asks of whatever starts its ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Dict, List, Optional, Sequence

from ..plans.job import Job

__all__ = ["Launcher", "RunningRanks"]


class RunningRanks(ABC):
    """The ranks of an attempt, from their start to their end.

    Attributes
    ----------
    error : what ended them, where something other than the ranks themselves or ``end`` did, or one that could not tell
        the driver
    """

    error: Optional[BaseException] = None

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether some rank may still run."""

    @abstractmethod
    def executors(self) -> Dict[int, str]:
        """By rank, the name of the executor that it runs in, as far as that is known."""

    def stuck(self, waited_for: Sequence[int], started: bool) -> Dict[str, str]:
        """By the name of their executors, why the ranks that are ``waited_for`` will not come; asked again and again
        while they do not, whether or not others have ``started``. Empty as long as they may still come."""
        return {}

    @abstractmethod
    def end(self, patience: float) -> List[str]:
        """Wait for the ranks to end; end them after ``patience`` seconds. The executors that were waited for in
        vain."""


class Launcher(ABC):
    """Starts ranks, and knows where they reach the driver.

    Attributes
    ----------
    fresh : whether the ranks start in processes that have computed nothing else
    encrypted : whether what ranks send is to be encrypted
    waiting : what is told while ranks are waited for
    """

    fresh: bool = False
    encrypted: bool = False
    waiting: str = "waiting for the ranks to start"

    @property
    @abstractmethod
    def driver_host(self) -> str:
        """The driver's address for the ranks."""

    @property
    @abstractmethod
    def bind_host(self) -> str:
        """The address to listen on at the driver."""

    @abstractmethod
    def start(self, job: Job, secret: bytes) -> RunningRanks:
        """Start the ranks of a job; returns at once. They get the attempt's bootstrap secret by a way of its own."""

    @abstractmethod
    def replace(self, executors: Sequence[str]) -> None:
        """Have others in the place of these executors, where that can be."""

    def kernels_differ(self) -> None:  # noqa: B027, most launchers have nothing to do then
        """Told where ranks take kernels that their processors would not take alone."""
