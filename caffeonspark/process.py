"""Forked processes: what they inherit, that they end with their parent, and one that only answers a question."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
import traceback
from typing import Callable, Iterable, Tuple

__all__ = ["end_with_parent", "fork", "reap", "run_in_child", "write_all"]

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
        # what the parent left to its garbage collector may own descriptors, whose numbers files of this process get
        # when they are closed below: they must not be closed once more by their old owners
        gc.freeze()
        handler = signal.SIG_IGN if ignore_signals else signal.SIG_DFL
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        if not ignore_signals:
            end_with_parent(parent)
        _close_others({2, *keep})
        run()
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent, the process ``parent``, ends; at once where that has happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _close_others(keep: Iterable[int]) -> None:
    kept = set(keep)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    # what is printed must not get into a pipe or file that is opened later and takes the number of one closed here
    for fd in {0, 1} - kept:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
    sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def reap(child: int, kill: bool = False) -> None:
    """Wait for a child to end, or end it."""
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def run_in_child(run: Callable[[Callable[[bytes], None]], None], timeout: float) -> Tuple[bytes, bytes, int]:
    """Run a function in a process of its own, where native code that aborts does no harm.

    Parameters
    ----------
    run : is given a function that sends bytes here; it must not return anything
    timeout : seconds after which the process is killed

    Returns
    -------
    (bytes, bytes, int)
        What it sent, what it wrote to standard error (with the traceback of what it raised), and its wait status.
    """
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()

    def work() -> None:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # without a handler of Python's that writes more than the reason
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this one
        os.dup2(err_write, 2)
        run(lambda data: write_all(out_write, data))

    try:
        child = fork(work, [out_write, err_write])
    finally:
        os.close(out_write)
        os.close(err_write)
    collected = {out_read: b"", err_read: b""}
    deadline = time.monotonic() + timeout
    try:
        left = [out_read, err_read]
        while left:
            ready, _, _ = select.select(left, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
            for fd in ready:
                piece = os.read(fd, 1 << 16)
                collected[fd] += piece
                if not piece:
                    left.remove(fd)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(out_read)
        os.close(err_read)
        _, status = os.waitpid(child, 0)
    return collected[out_read], collected[err_read], status


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` to a pipe, in as many pieces as it takes."""
    while data:
        data = data[os.write(fd, data) :]
