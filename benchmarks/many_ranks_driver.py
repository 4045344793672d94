"""The driver of ranks that only report: a program, because what a process keeps in memory shows best in a new one.

    many_ranks_driver.py RANKS SECONDS

It prints a line of JSON; ``Found`` says what is in it.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import types
import urllib.request
from typing import Any, List, NamedTuple, Tuple

from benchmarks.reporting_ranks import Part, Reporting


class Found(NamedTuple):
    """Of one number of ranks.

    Attributes
    ----------
    opened, told, connected : seconds from the first rank's start until the last one's connection to the driver stood,
        it knew of the others, and it had met its neighbours
    before, after : MB that the driver's process keeps, before there are ranks and at the end
    processor : seconds of the driver's processor for a second in which ranks report and a page is looked at
    page_bytes, page_milliseconds : of what the page asks for
    """

    opened: float
    told: float
    connected: float
    before: float
    after: float
    processor: float
    page_bytes: float
    page_milliseconds: float


def megabytes() -> float:
    """That this process keeps."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status says no VmRSS")


class Viewer:
    """Somebody who looks at the page, and the answers' sizes and times."""

    def __init__(self, url: str) -> None:
        self.sizes: List[int] = []
        self.seconds: List[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(url,), daemon=True)
        self._thread.start()

    def _look(self, url: str) -> None:
        while not self._over.wait(0.5):
            begin = time.perf_counter()
            with urllib.request.urlopen(f"{url}state?after=0&page=bench", timeout=30) as answer:
                data = answer.read()
            self.seconds.append(time.perf_counter() - begin)
            self.sizes.append(len(data))

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)


def clock() -> Any:
    """An observer that says what the driver's processor did between the first report of a rank and the last."""
    from caffeonspark.report import Observer

    class Clock(Observer):
        def __init__(self) -> None:
            self.looks: List[Tuple[float, float]] = []

        def progress(self, *report: Any) -> None:
            self.looks = [*self.looks[:1], (time.monotonic(), time.process_time())]

        @property
        def load(self) -> float:
            """Seconds of the processor for one second."""
            (first, used), (last, used_at_last) = self.looks
            return (used_at_last - used) / (last - first)

    return Clock()


def drive(ranks: int, seconds: float) -> Found:
    """Watch so many ranks as a run does, with a metrics file and a page."""
    from benchmarks.common import prototxts
    from caffeonspark import Config
    from caffeonspark.engines import blas
    from caffeonspark.engines.registry import engine_named
    from caffeonspark.report import Web, observers_for
    from caffeonspark.report.result import TrainingResult
    from caffeonspark.runs.attempt import Attempt

    facts = blas.facts()
    solver = prototxts("lenet_lmdb", "many_ranks", 64, max_iter=1_000_000, solver_mode="CPU")
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        model = f"file:{folder}/lenet.caffemodel"
        flags = {"clusterSize": ranks, "quiet": True, "web": True, "blasKernel": "environment", "train": True}
        config = Config(None, conf=solver, model=model, **flags).run_config
        times = clock()
        observer = observers_for(config, own=[times])
        versions = engine_named(config.settings.engine).versions()
        result = TrainingResult(model=model, max_iter=1_000_000, samples=64 * ranks)
        launcher = Reporting(Part(ranks, seconds, facts, versions))
        (web,) = [member for member in observer._members if isinstance(member, Web)]
        viewer = Viewer(web.url)
        observer.started(result, f"{ranks} ranks that only report")
        attempt = Attempt(config, [], launcher, result, observer, folder, _no_files, threading.Event())
        before = megabytes()
        attempt.run(lambda address, invitation: types.SimpleNamespace(driver=address, invitation=invitation))
        after = megabytes()
        viewer.close()
        observer.finished(result)
        observer.close()
    if len(launcher.times) != ranks or result.iteration == 0:
        raise RuntimeError(f"{len(launcher.times)} of {ranks} ranks came to the end, at iteration {result.iteration}")
    began = min(one["began"] for one in launcher.times)
    opened, told, connected = (
        max(one[name] for one in launcher.times) - began for name in ("opened", "told", "connected")
    )
    late = viewer.seconds[len(viewer.seconds) // 2 :]
    page = statistics.median(late) * 1000
    return Found(opened, told, connected, before, after, times.load, float(viewer.sizes[-1]), page)


def _no_files(rank: int, kind: str, about: Any, path: str) -> None:
    raise RuntimeError(f"rank {rank} sent a {kind}")


if __name__ == "__main__":
    print(json.dumps(drive(int(sys.argv[1]), float(sys.argv[2]))._asdict()))
