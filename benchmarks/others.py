"""How much of the machine others take while something is measured: all processes but this one and its descendants."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
import time
from typing import Dict, List, NamedTuple, Set, Tuple

#: Cores that others may take in the mean; more, and the machine is busy.
QUIET = 0.1
_LOOK = 5.0  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")


class Others(NamedTuple):
    """Cores that other processes took: in the mean, and in the worst few seconds."""

    mean: float
    most: float

    @property
    def busy(self) -> bool:
        return self.mean > QUIET

    def __str__(self) -> str:
        return f"{self.mean:.2f} cores, {self.most:.2f} at most"


def processes() -> Dict[Tuple[int, str], Tuple[int, int]]:
    """Of all processes, by number and start: (the parent, the processor's ticks so far)."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            values = stat.read_text().rpartition(")")[2].split()
            found[int(stat.parent.name), values[19]] = int(values[1]), int(values[11]) + int(values[12])
    return found


def taken_by_others(
    before: Dict[Tuple[int, str], Tuple[int, int]], after: Dict[Tuple[int, str], Tuple[int, int]], root: int
) -> int:
    """Ticks between two looks of processes that do not descend from ``root``."""
    parents = {number: parent for (number, _), (parent, _) in after.items()}
    children: Dict[int, List[int]] = {}
    for number, parent in parents.items():
        children.setdefault(parent, []).append(number)
    own: Set[int] = set()
    waiting = [root]
    while waiting:
        number = waiting.pop()
        own.add(number)
        waiting += children.get(number, [])
    return sum(ticks - before.get(process, (0, 0))[1] for process, (_, ticks) in after.items() if process[0] not in own)


class Watch:
    """Watches others in a thread: ``with Watch() as watch: …``, then ``watch.others``."""

    def __init__(self, look: float = _LOOK) -> None:
        self._look = look
        self._parts: List[Tuple[float, float]] = []  # (seconds, cores)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def others(self) -> Others:
        """So far. A look that was cut short counts by its length in the mean, and not as the worst."""
        seconds = sum(part for part, _ in self._parts)
        whole = [cores for part, cores in self._parts if part > self._look / 2] or [cores for _, cores in self._parts]
        mean = sum(part * cores for part, cores in self._parts) / seconds if seconds else 0.0
        return Others(mean, max([mean, *whole]))

    def _run(self) -> None:
        before, at = processes(), time.monotonic()
        while not self._over.is_set():
            self._over.wait(self._look)
            after, now = processes(), time.monotonic()
            ticks = taken_by_others(before, after, os.getpid())
            self._parts.append((now - at, ticks / _TICKS / (now - at)))
            before, at = after, now

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def look(seconds: float = 3.0) -> Others:
    """How much others take now."""
    with Watch(look=seconds) as watch:
        time.sleep(seconds)
    return watch.others


def wait_until_quiet(patience: float) -> Others:
    """Wait until others leave the machine alone; what they took at last, which is too much after ``patience``."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if not found.busy or time.monotonic() >= deadline:
            return found
