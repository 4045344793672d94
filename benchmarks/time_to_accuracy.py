"""How long until LeNet knows MNIST: Caffe alone, 1, 2 and 4 ranks, and PyTorch DDP with the same net.

What a user of CaffeOnSpark measured (its issue 259): the samples of an iteration, over all ranks, are the same on all
sides, 64 or 6,400; all validate on the 10,000 test images and end when the target is reached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import common, ddp
from .common import SHORT, best_kernel, kernel_in_words, prototxts, rounds, session
from .namespaces import Unavailable
from .results import Curve, Plot, Ratio, Result

TARGET = 0.9 if SHORT else 0.98
RANKS = (1, 2, 4)


class Work(NamedTuple):
    """Samples of an iteration, the solver's base_lr, iterations at most, validations every so many, and rounds."""

    batch: int
    rate: float
    iterations: int
    every: int
    rounds: int


#: The small one as in Caffe's example. Caffe's rate is too low for the large one: it would be a matter of hours.
WORKS = (Work(64, 0.01, 2000, 100, rounds(3)), Work(6400, 0.1, 150, 10, 1))
SHORT_WORKS = (Work(64, 0.01, 400, 50, 1),)


class Point(NamedTuple):
    """A validation: the iteration, seconds of training until it, seconds of everything since the start, accuracy."""

    iteration: int
    training: float
    whole: float
    accuracy: float


class Reached(NamedTuple):
    """One training until the target: its validations, the last of which reached it, unless there was no such."""

    points: Tuple[Point, ...]

    @property
    def at(self) -> Optional[Point]:
        return self.points[-1] if self.points and self.points[-1].accuracy >= TARGET else None


def solver(work: Work, ranks: int, seed: int) -> str:
    """The solver's path."""
    return prototxts(
        "lenet_lmdb",
        f"lenet_{work.batch}_{ranks}",
        work.batch // ranks,
        base_lr=work.rate,
        max_iter=work.iterations,
        display=work.every,
        test_iter=100,
        test_interval=work.every,
        random_seed=seed,
        solver_mode="CPU",
    )


# ---- Caffe


def stock(work: Work, seed: int) -> Reached:
    """``caffe train``, ended when its log says that the target is reached."""
    words = ["caffe", "train", "-solver", solver(work, 1, seed)]
    with tempfile.NamedTemporaryFile("r") as log:
        with open(log.name, "w") as out:
            env = {**os.environ, "GLOG_minloglevel": "0"}
            process = subprocess.Popen(words, stdout=out, stderr=out, env=env, cwd=common.BUILD)
        try:
            while True:
                ended = process.poll() is not None
                reached = Reached(validations(pathlib.Path(log.name).read_text()))
                if reached.at or ended:
                    break
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        if not reached.points:
            raise RuntimeError(f"caffe train has not validated: {pathlib.Path(log.name).read_text()[-300:]}")
    return reached


def validations(log: str) -> Tuple[Point, ...]:
    """What a ``caffe train``'s log says of its validations, by the log's own clock."""
    points: List[Point] = []
    first = begun = training = 0.0
    iteration = 0
    for hours, minutes, seconds, text in re.findall(r"^\w\d{4} (\d\d):(\d\d):([\d.]+) +\d+ \S+\] (.*)$", log, re.M):
        now = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        first = first or now
        testing = re.match(r"Iteration (\d+), Testing net", text)
        accuracy = re.match(r" *Test net output #\d+: accuracy = ([\d.]+)", text)
        if text.startswith("Solving "):
            begun = now
        elif testing:
            training += (now - begun) % 86_400
            iteration = int(testing.group(1))
        elif accuracy:
            begun = now
            points.append(Point(iteration, training, (now - first) % 86_400, float(accuracy.group(1))))
    return tuple(points)


# ---- ours


def until_target(points: List[Point]) -> Any:
    """An observer that notes the validations, and stops the run when one reaches the target."""
    from caffeonspark.report import Observer

    began = time.monotonic()

    class UntilTarget(Observer):
        def tested(self, result: Any, test: Any) -> None:
            seconds = next(one.training for one in result.timings[0] if one.iteration >= test.iteration)
            accuracy = test.outputs["accuracy"][0]
            points.append(Point(test.iteration, seconds, time.monotonic() - began, accuracy))
            if accuracy >= TARGET:
                os.kill(os.getpid(), signal.SIGTERM)  # as whoever looks at the curve would

    return UntilTarget()


def ours(spark: Any, work: Work, ranks: int, seed: int) -> Reached:
    """So many ranks, stopped when the target is reached."""
    from caffeonspark import CaffeOnSpark, Config, DataSource
    from caffeonspark.errors import Interrupted

    points: List[Point] = []
    observer = until_target(points)
    folder = tempfile.mkdtemp(prefix="time_to_accuracy-", dir=common.BUILD)
    try:
        model = f"file:{folder}/lenet.caffemodel"
        path = solver(work, ranks, seed)
        config = Config(spark, conf=path, model=model, clusterSize=ranks, quiet=True, blasKernel="environment")
        data = DataSource(spark)
        with contextlib.suppress(Interrupted):
            CaffeOnSpark(spark, [observer]).trainWithValidation(
                data.getSource(config, True), data.getSource(config, False)
            )
    finally:
        shutil.rmtree(folder)
    return Reached(tuple(points))


# ---- PyTorch


def pytorch(torch: ddp.Given, work: Work, ranks: int, seed: int) -> Reached:
    request = {"batch": work.batch // ranks, "rate": work.rate, "iterations": work.iterations, "seed": seed}
    began = time.monotonic()
    found = torch.train("lenet_lmdb", ranks, alone=ranks == 1, every=work.every, until=TARGET, **request)[0]
    whole = time.monotonic() - began
    # of everything it tells the end only
    return Reached(tuple(Point(int(at), training, whole, right) for at, training, right in found["curve"]))


# ---- the tables


def measure(spark: Any, work: Work, torch: Optional[ddp.Given], ranks: Sequence[int]) -> Result:
    """The table of a batch size."""
    sides: Dict[str, Callable[[int], Reached]] = {"caffe train": lambda seed: stock(work, seed)}
    for count in ranks:
        name = "1 rank" if count == 1 else f"{count} ranks"
        sides[name] = lambda seed, count=count: ours(spark, work, count, seed)
    for count in ranks if torch is not None else ():
        name = "PyTorch" if count == 1 else f"PyTorch DDP, {count} ranks"
        sides[name] = lambda seed, count=count: pytorch(torch, work, count, seed)
    found: Dict[str, List[Reached]] = {name: [] for name in sides}
    for seed, (name, run) in itertools.product(range(1, work.rounds + 1), sides.items()):
        found[name].append(run(seed))
        at = found[name][-1].at
        said = f"{at.training:.1f} s" if at else "not reached"
        print(f"  round {seed}: {name} {said}", file=sys.stderr, flush=True)
    return as_result(work, found)


def as_result(work: Work, found: Dict[str, List[Reached]]) -> Result:
    rows, ratios, curves = [], [], []
    alone = found["caffe train"]
    for name, trainings in found.items():
        ends = [one.at for one in trainings]
        reached = [at for at in ends if at is not None]
        if len(reached) < len(ends):
            most = max((point.accuracy for one in trainings for point in one.points), default=0.0)
            rows.append((name, ("-", f"not reached in {work.iterations} iterations, {most:.4f} at most", "-")))
        else:
            middle = [statistics.median(values) for values in zip(*(at[:3] for at in reached))]
            rows.append((name, (f"{middle[0]:.0f}", *middle[1:])))
        by = [mine.training / its.training for mine, its in zip(ends, (one.at for one in alone)) if mine and its]
        if name != "caffe train" and by:
            label = f"{name} / caffe train, training"
            ratios.append(Ratio(label, statistics.median(by), min(by), max(by)))
        points = tuple((point.training, 100 * point.accuracy) for point in trainings[0].points)
        if points:
            curves.append(Curve(name, points))
    about = (
        f"LeNet on MNIST until {100 * TARGET:g} % of the 10,000 test images are right, {work.batch:,} samples an "
        f"iteration over all ranks, base_lr {work.rate:g}, validation every {work.every} iterations, {work.rounds} "
        f"round{'s' if work.rounds > 1 else ''} with another seed each; one thread for each process, on "
        f"{os.cpu_count()} cores ({kernel_in_words()}). Everything is from the start of the command, of the call with "
        "a Spark session that stands, or of PyTorch's processes"
    )
    title = f"Time to {100 * TARGET:g} %, {work.batch:,} samples an iteration"
    columns = ("iterations", "seconds of training", "seconds of everything, validation included")
    plot = Plot(
        "seconds of training, validation not included", "% of the test images", tuple(curves), level=100 * TARGET
    )
    return Result(f"time_to_accuracy_{work.batch}", title, about, columns, tuple(rows), tuple(ratios), plot=plot)


def run() -> List[Result]:
    ranks = (1, 2) if SHORT else RANKS
    note = ()
    try:
        torch = ddp.given("lenet_lmdb")
    except Unavailable as e:
        torch, note = None, (f"Not measured: PyTorch DDP: {e}.",)
    with best_kernel() as settings:
        spark = session(f"local-cluster[{max(ranks)},1,1024]", settings)
        found = [measure(spark, work, torch, ranks) for work in (SHORT_WORKS if SHORT else WORKS)]
        spark.stop()
    return [dataclasses.replace(one, notes=note) for one in found]
