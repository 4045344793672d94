"""What Spark costs: one rank through Spark against ``caffe train``, on the same net, data and BLAS threads."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from typing import List

from .common import BUILD, alternate, kernel_in_words, prototxts, rounds, session, shorter
from .results import Result, medians, ratio

ITERATIONS, SKIPPED, ROUNDS = shorter(700, 200), 100, rounds(5)


def prepare(
    iterations: int = ITERATIONS,
    batch: int = 64,
    name: str = "lenet",
    net: str = "lenet_lmdb",
    skipped: int = SKIPPED,
) -> str:
    """A net's prototxts with absolute paths, without validation and snapshots; the solver's path."""
    return prototxts(net, name, batch, max_iter=iterations, display=skipped, solver_mode="CPU")


def stock(solver: str, threads: int = 1, skipped: int = SKIPPED, copies: int = 1) -> float:
    """Milliseconds an iteration of ``caffe train`` with so many BLAS threads, by its log's own clock; of several at
    once, the mean."""
    blas = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    env = {**os.environ, **blas, "GLOG_minloglevel": "0"}
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(copies)]
        command = ["caffe", "train", "-solver", solver]
        processes = [subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=BUILD) for log in logs]
        paces = []
        for process, log in zip(processes, logs):
            status = process.wait()
            log.seek(0)
            text = log.read()
            if status:
                raise RuntimeError(f"caffe train ended with status {status}: {text[-300:]}")
            paces.append(pace(text, skipped))
    return sum(paces) / copies


def pace(log: str, skipped: int) -> float:
    """Milliseconds an iteration after the first ones, by the clock of a ``caffe train``'s log."""
    clock = {}
    pattern = r"^I\d+ (\d\d):(\d\d):([\d.]+) .*\] Iteration (\d+) \("
    for hours, minutes, seconds, iteration in re.findall(pattern, log, re.M):
        clock[int(iteration)] = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    last = max(clock)
    return (clock[last] - clock[skipped]) % 86_400 / (last - skipped) * 1000


def ours(spark, solver: str, ranks: int = 1, kernel: str = "environment", skipped: int = SKIPPED, **flags) -> float:
    """Milliseconds an iteration of so many ranks, by the first one's own clock; by default with the kernel that
    OpenBLAS has in ``caffe train``."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    model = f"file:{BUILD}/lenet.caffemodel"
    config = Config(spark, conf=solver, model=model, clusterSize=ranks, quiet=True, blasKernel=kernel, **flags)
    result = CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    paces = result.timings[0]
    first = next(pace for pace in paces if pace.iteration >= skipped)
    return (paces[-1].training - first.training) / (paces[-1].iteration - first.iteration) * 1000


def run() -> List[Result]:
    solver = prepare()
    spark = session("local-cluster[1,1,1024]")
    found = alternate({"caffe train": lambda: stock(solver), "one rank": lambda: ours(spark, solver)}, ROUNDS)
    spark.stop()
    about = f"LeNet on MNIST, batch 64, one BLAS thread ({kernel_in_words()}), {ROUNDS} rounds"
    compared = [ratio(found, "one rank", "caffe train")]
    return [Result("one_rank", "One rank", about, ("ms an iteration",), medians(found), tuple(compared))]
