"""Executors whose Python does not start: found while ranks are waited for."""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, Sequence, Tuple

__all__ = ["StuckPython"]

_LOOK_SECONDS, _SHARE = 5.0, 10.0  # between two looks, at least; and how many times as long as a look takes
_NO_FORK = 20.0  # seconds that a daemon may take for what takes it milliseconds
_NO_WORD = 120.0  # seconds that a process may take to load this library and to call the driver

Tasks = Dict[int, Tuple[str, int]]  # by partition: (executor, id)


class StuckPython:
    """Looks at tasks in a thread of its own, because an executor that is frozen answers late or never.

    Parameters
    ----------
    tasks : gives those that run
    state : what a task of an executor waits for (``spark.jvm.waits_for_python``)
    """

    def __init__(self, tasks: Callable[[], Tasks], state: Callable[[str, int], str]) -> None:
        self._tasks = tasks
        self._state = state
        self._ranks: Sequence[int] = ()
        self._found: Dict[int, Tuple[str, int, str, float]] = {}  # executor, task, state, and since when
        self._asked = 0.0
        self._thread: threading.Thread = threading.Thread()
        self._over = threading.Event()

    def look(self, ranks: Sequence[int], started: bool) -> Dict[str, str]:
        """By executor, why the ``ranks`` will not come, by what the last looks found.

        Before any rank has ``started``, tasks may be those that compute the rows, with Python of the user's own.
        """
        self._ranks, self._asked = ranks, time.monotonic()
        if not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="caffeonspark-python-watch", daemon=True)
            self._thread.start()
        stuck = {}
        for executor, _, state, since in list(self._found.values()):
            seconds = self._asked - since
            if state == "a process" and seconds > _NO_FORK:
                stuck[executor] = (
                    f"its pyspark.daemon gave the task no Python process for {seconds:.0f} s: it is frozen"
                )
            elif state == "its process" and started and seconds > _NO_WORD:
                stuck[executor] = f"the Python process of the task said nothing for {seconds:.0f} s: it is frozen"
        return stuck

    def _run(self) -> None:
        """Look until nobody has asked for a while, or ``close``."""
        while not self._over.is_set() and time.monotonic() - self._asked < 2 * _LOOK_SECONDS:
            begin = time.monotonic()
            try:
                for rank, (executor, task) in self._tasks().items():
                    if rank not in self._ranks:
                        continue
                    now = executor, task, self._state(executor, task)
                    before = self._found.get(rank)
                    if before is None or before[:3] != now:
                        self._found[rank] = (*now, time.monotonic())
            except Exception:  # executors that are gone, or the JVM: others find that
                self._found.clear()
            self._over.wait(max(_LOOK_SECONDS, _SHARE * (time.monotonic() - begin)))

    def close(self) -> None:
        """End the thread; one that waits for an executor that does not answer ends when it is told so."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
