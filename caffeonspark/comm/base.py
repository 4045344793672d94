"""What a communicator does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Callable, List, Optional, Sequence, Type

import numpy as np

__all__ = ["Communicator", "Pending"]


class Pending(ABC):
    """An all-reduce that was begun. Its arrays are not to be touched before it is over."""

    @abstractmethod
    def progress(self) -> bool:
        """Do what can be done without waiting for anything; whether it is over."""

    @abstractmethod
    def wait(self) -> None:
        """Return when it is over. Those that were begun before it are over then, too."""


class _Postponed(Pending):
    """One that is done when it is waited for."""

    def __init__(self, reduce: Callable[[], None]) -> None:
        self._reduce = reduce
        self._over = False

    def progress(self) -> bool:
        return self._over

    def wait(self) -> None:
        if not self._over:
            self._over = True
            self._reduce()


class Communicator(ABC):
    """Collectives among ``size`` ranks; every rank calls the same ones in the same order.

    A communicator that raised is broken and stays so: ``abort`` it. One thread uses it at a time.

    Attributes
    ----------
    rank : int, from 0
    size : int
    waited : seconds spent in collectives so far, waiting for other ranks
    overlaps : whether it is worth to begin all-reduces early and in parts, because links between machines work
        meanwhile; the same on every rank, and a function of where the ranks are
    helps : whether ``begin_aside`` has a process to do it; the same on every rank
    """

    rank: int
    size: int
    waited: float
    overlaps: bool = False
    helps: bool = False

    @abstractmethod
    def all_reduce(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> None:
        """Replace each array by its sum over the ranks, times ``scale``, in place and bit-equal on every rank.

        Parameters
        ----------
        arrays : C-contiguous arrays of one float dtype, the same shapes on every rank
        scale : factor applied to the sum, in the arrays' dtype; 1 / size gives the mean
        compressed : so many of the arrays, from the first, may go between hosts in 16 bits where they are float32; the
            same on every rank

        Notes
        -----
        The order of the additions is part of the interface, because float addition is not associative. It depends on
        the arrays' sizes and the ranks' hosts alone, and is the same whichever way the values take, over connections or
        through shared memory. Take the concatenation of the arrays, n values long.

        Where all ranks are on one host, or each on its own: up to 64 KB (``layout.SMALL``), when every pair of
        ranks is connected (up to ``layout.MESH`` ranks), the sum is ((g0 + g1) + g2) + …, in rank order.
        Otherwise value i belongs to segment k, where ``n * k // size <= i < n * (k + 1) // size``, and its sum
        starts at the k-th rank of the ring: ((g[k] + g[k+1]) + g[k+2]) + …, indices modulo size. The ring's order
        is ``ring_order`` of ``layout``: ranks sorted by host.

        Where there are several hosts, and one of them has several ranks: the ranks of each host are added up first, in
        rank order: P = ((g0 + g1) + g2) + …. Hosts are sorted by name. Of H hosts, value i belongs to segment k, where
        ``n * k // H <= i < n * (k + 1) // H``, and its sum starts at host k: ((P[k] + P[k+1]) + P[k+2]) + …, indices
        modulo H.

        Compressed arrays are summed up by themselves, in the order for several hosts, and the others as if they were
        alone. Each host's P gets what rounding left of it the last time; those of the hosts that are added to
        host k's are rounded after that, and the scaled sum is rounded once more, for host k too, so that every rank
        has the same. Within a host nothing is compressed, nor is it where all ranks share one machine's memory.
        """

    def begin_all_reduce(
        self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0
    ) -> Pending:
        """Begin what ``all_reduce`` does. ``progress`` and ``wait`` continue it; the caller may compute meanwhile.

        Several may be pending. They are waited for in the order in which they were begun, the same on every rank, and
        before any other collective; when each of them makes progress is every rank's own business.
        """
        return _Postponed(lambda: self.all_reduce(arrays, scale, compressed))

    def begin_aside(self, arrays: Sequence[np.ndarray], scale: Optional[float] = None, compressed: int = 0) -> Pending:
        """As ``begin_all_reduce``, for arrays that were given to ``share``; the results are the same. Where the
        communicator ``helps``, it makes progress in another process while the caller computes, and others that are
        begun by ``begin_all_reduce`` may overtake it."""
        return self.begin_all_reduce(arrays, scale, compressed)

    def share(self, arrays: Sequence[np.ndarray]) -> None:
        """Prepare for arrays that are going to be reduced again and again; every rank calls it with the same shapes.

        What is planned for lists of them is kept, and so is their memory, until the communicator ends. Where ranks
        share memory this moves the arrays' pages into it, at their addresses. It changes no result.
        """
        return None

    @abstractmethod
    def broadcast(self, arrays: Sequence[np.ndarray], root: int = 0) -> None:
        """Replace each array by the root's."""

    @abstractmethod
    def all_gather(self, data: bytes) -> List[bytes]:
        """The ``data`` of every rank, in rank order."""

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self.all_gather(b"")

    @abstractmethod
    def close(self) -> None:
        """End the communicator after every rank's last collective."""

    @abstractmethod
    def abort(self) -> None:
        """Close every connection at once: the peers' pending collectives fail within milliseconds."""

    def __enter__(self) -> Communicator:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
