"""A model on its way to executors: sent to an application's executors once, however often it is used."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Set, Tuple

from ..plans.net_plan import NetPlan
from ..plans.weights_match import check_all_there
from ..spark.jvm import is_stopped, jvm_runs

if TYPE_CHECKING:
    from pyspark import Broadcast, SparkContext

__all__ = ["ModelFile"]


class ModelFile:
    """A model file, which an application's executors get once.

    When it is garbage-collected, executors may forget it. What was made with it before gets it again from the driver.

    Parameters
    ----------
    content : of the file, of any size
    ending : of its name, which tells the format
    """

    def __init__(self, content: bytes, ending: str) -> None:
        self.content = content
        self.ending = ending
        self._lock = threading.Lock()
        self._application = ""
        self._broadcasts: List[Broadcast[bytes]] = []  # one, or none
        self._checked: Set[bytes] = set()
        weakref.finalize(self, _forget, self._broadcasts).atexit = False

    @functools.cached_property
    def digest(self) -> str:
        """The checksum of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def check(self, plan: NetPlan) -> None:
        """Raise ConfigError, or DataError, unless it has every parameter of the net."""
        if plan.content not in self._checked:
            check_all_there(plan, f"the model{self.ending}", self.content)
            self._checked.add(plan.content)

    def broadcast(self, context: SparkContext) -> Broadcast[bytes]:
        """The content as a broadcast of the application."""
        with self._lock:
            if self._application != context.applicationId:
                _start_forgetting()
                self._broadcasts[:] = [context.broadcast(self.content)]
                self._application = str(context.applicationId)
            return self._broadcasts[0]

    # locks and broadcasts stay where they are

    def __deepcopy__(self, memo: Dict[int, Any]) -> ModelFile:
        return self

    def __reduce__(self) -> Tuple[Any, ...]:
        return ModelFile, (self.content, self.ending)


# ---- executors' copies of models that are gone

_forgotten: queue.SimpleQueue[Broadcast[bytes]] = queue.SimpleQueue()
_lock = threading.Lock()


def _forget(broadcasts: List[Broadcast[bytes]]) -> None:
    """Called by the garbage collector, anywhere in any thread: even in the middle of a call of the JVM."""
    for broadcast in broadcasts:
        _forgotten.put(broadcast)


@functools.lru_cache(maxsize=None)
def _started() -> threading.Thread:
    thread = threading.Thread(target=_work, name="caffeonspark-forgotten-models", daemon=True)
    thread.start()
    return thread


def _start_forgetting() -> None:
    with _lock:
        _started()


def _work() -> None:
    while True:
        broadcast = _forgotten.get()
        with contextlib.suppress(Exception):  # the application may end meanwhile, and its executors with it
            if jvm_runs() and not is_stopped(broadcast._sc):
                broadcast.unpersist()
