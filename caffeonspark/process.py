"""Forked helper processes: what they inherit, and that they end with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import traceback
from typing import Callable, Iterable

__all__ = ["fork", "reap"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def fork(run: Callable[[], None], keep: Iterable[int], ignore_signals: bool = False) -> int:
    """Fork a process that runs ``run`` and exits; its id.

    Parameters
    ----------
    run : must not return anything; what it raises is written to standard error
    keep : file descriptors it may use, besides standard error. All others are closed: a JVM must see the sockets
        of its Python worker close with the worker, whatever the worker's helpers do.
    ignore_signals : True for a helper that outlives the signals meant for its parent, and ends by itself when the
        parent is gone; otherwise it is killed with its parent
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        handler = signal.SIG_IGN if ignore_signals else signal.SIG_DFL
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)
        if not ignore_signals:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
        _close_others({2, *keep})
        run()
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def _close_others(keep: Iterable[int]) -> None:
    kept = set(keep)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def reap(child: int, kill: bool = False) -> None:
    """Wait for a child to end, or end it."""
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
