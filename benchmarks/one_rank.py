"""What Spark costs: one rank through Spark against ``caffe train``, on the same net, data and BLAS threads."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys

from .common import BUILD, alternate, prototxts, ratios, session

ITERATIONS, SKIPPED, ROUNDS = 700, 100, 5


def prepare(iterations: int = ITERATIONS, batch: int = 64, name: str = "lenet", net: str = "lenet_lmdb") -> str:
    """A net's prototxts with absolute paths, without validation and snapshots; the solver's path."""
    return prototxts(net, name, batch, max_iter=iterations, display=SKIPPED)


def stock(solver: str, threads: int = 1) -> float:
    """Milliseconds an iteration of ``caffe train`` with so many BLAS threads, by its log's own clock."""
    blas = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    env = {**os.environ, **blas, "GLOG_minloglevel": "0"}
    process = subprocess.run(
        ["caffe", "train", "-solver", solver], capture_output=True, text=True, check=True, env=env, cwd=BUILD
    )
    clock = {}
    pattern = r"^I\d+ (\d\d):(\d\d):([\d.]+) .*\] Iteration (\d+) \("
    for hours, minutes, seconds, iteration in re.findall(pattern, process.stderr, re.M):
        clock[int(iteration)] = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    first, last = SKIPPED, max(clock)
    return (clock[last] - clock[first]) % 86_400 / (last - first) * 1000


def ours(spark, solver: str, ranks: int = 1, kernel: str = "environment") -> float:
    """Milliseconds an iteration of so many ranks, by the first one's own clock; by default with the kernel that
    OpenBLAS has in ``caffe train``."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    config = Config(
        spark, conf=solver, model=f"file:{BUILD}/lenet.caffemodel", clusterSize=ranks, quiet=True, blasKernel=kernel
    )
    result = CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    paces = result.timings[0]
    first = next(pace for pace in paces if pace.iteration >= SKIPPED)
    return (paces[-1].training - first.training) / (paces[-1].iteration - first.iteration) * 1000


def main() -> None:
    solver = prepare()
    spark = session("local-cluster[1,1,1024]")
    found = alternate({"caffe train": lambda: stock(solver), "one rank": lambda: ours(spark, solver)}, ROUNDS)
    spark.stop()
    print("\nLeNet on MNIST, batch 64, one BLAS thread: milliseconds an iteration (median)")
    for name, values in found.items():
        print(f"  {name:12} {statistics.median(values):8.3f}")
    print(f"  ratio        {ratios(found, 'one rank', 'caffe train')}")
    sys.stdout.flush()
