"""What watching a run costs: metrics file, event file and a page that is looked at, against nothing of it."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from typing import List

from .common import BUILD, alternate, rounds, session, shorter
from .one_rank import prepare
from .results import Result, medians, ratio

ROUNDS, ITERATIONS = rounds(5), shorter(400, 200)


def look_at(url: str, over: threading.Event) -> None:
    """Ask for news as the page does."""
    version = 0
    while not over.is_set():
        try:
            with urllib.request.urlopen(f"{url}state?after={version}&page=bench", timeout=30) as answer:
                version = json.load(answer)["version"]
        except OSError:
            return
        over.wait(0.4)


def pace(spark, solver: str, watched: bool) -> float:
    """Milliseconds an iteration, by the rank's own clock."""
    from caffeonspark import Config, DataSource
    from caffeonspark.report import Observer, Web, observers_for
    from caffeonspark.runs.run import train

    board = {"tensorboard": f"file:{BUILD}/board", "web": True} if watched else {}
    config = Config(spark, conf=solver, model=f"file:{BUILD}/lenet.caffemodel", quiet=True, **board)
    observer: Observer = observers_for(config.run_config) if watched else Observer()
    over, viewer = threading.Event(), None
    if watched:
        (web,) = [member for member in observer._members if isinstance(member, Web)]
        viewer = threading.Thread(target=look_at, args=(web.url, over))
        viewer.start()
    result = train(config.run_config, DataSource(spark).getSource(config, True), [], observer)
    over.set()
    if viewer is not None:
        viewer.join()
    paces = result.timings[0]
    first = next(pace for pace in paces if pace.iteration >= 100)
    return (paces[-1].training - first.training) / (paces[-1].iteration - first.iteration) * 1000


def driver_cost() -> float:
    """Microseconds of the driver's time for an iteration's records, in reports of ten."""
    from caffeonspark.report.base import Observers
    from caffeonspark.report.metrics import MetricsFile
    from caffeonspark.report.records import Recorder
    from caffeonspark.report.result import RankTiming, TrainingResult
    from caffeonspark.report.state import RunState
    from caffeonspark.report.tensorboard import TensorBoard
    from caffeonspark.storage import Storage

    class Given:
        """As much of a Config as the Recorder needs once a run is started."""

        ranks = 1

    observers, place = Observers(), f"file:{BUILD}/cost.metrics.jsonl"
    members = [MetricsFile(Storage(), place, print), RunState(), TensorBoard(Storage(), f"file:{BUILD}/cost", print)]
    recorder = Recorder(Given(), observers.record)
    observers.add([recorder, *members])
    result = TrainingResult("m", 10**6, 64, {0: "host"}, 60_000)
    recorder._result = result
    start = {"event": "start", "seconds": 0.0, "time": 0.0, "iteration": 0, "max_iter": 10**6, "resumed": ""}
    observers.record({**start, "samples": 64, "ranks": 1, "model": "m", "net": "n"})
    begin = time.perf_counter()
    for first in range(0, 100_000, 10):
        new = [(first + k, 0.123456789, 0.0123456789) for k in range(10)]
        observers.progress(result, 0, RankTiming(first + 10, first / 100, 0.0, 0.0), new)
    spent = time.perf_counter() - begin
    observers.close()
    return spent / 100_000 * 1e6


def run() -> List[Result]:
    solver = prepare(ITERATIONS)
    note = f"The driver's time for an iteration's records: {driver_cost():.1f} µs"
    spark = session("local-cluster[1,1,1024]")
    runs = {"watched": lambda: pace(spark, solver, True), "unwatched": lambda: pace(spark, solver, False)}
    found = alternate(runs, ROUNDS)
    spark.stop()
    about = f"LeNet on MNIST, one rank, one BLAS thread, {ROUNDS} rounds; metrics, events and a page against none"
    compared = (ratio(found, "watched", "unwatched"),)
    return [Result("monitoring", "Watching a run", about, ("ms an iteration",), medians(found), compared, (note,))]
