"""OpenBLAS's kernels: ranks with different ones against ranks with one, and the chosen one against ``caffe train``."""

from __future__ import annotations

import os
import sys
from typing import Dict, List, Tuple

from .common import BUILD, SHORT, alternate, prototxts, rounds, session, shorter
from .one_rank import ours, prepare, stock
from .results import Result, medians, ratio

ITERATIONS, ALONE, ROUNDS = shorter(500, 100), shorter(200, 150), rounds(3)
RANKS = (2,) if SHORT else (2, 4)
BATCHES = {"lenet_lmdb": 64} if SHORT else {"lenet_lmdb": 64, "cifar10_quick": 100}  # of all ranks together
EQUAL, OTHER = "Haswell", "Sandybridge"  # what even executors have, and odd ones where they are mixed

# local-cluster gives each executor a working folder of its number
_WORKER = """#!/bin/sh
case "$(pwd -P)" in *[13579]) OPENBLAS_CORETYPE={odd} ;; *) OPENBLAS_CORETYPE={even} ;; esac
export OPENBLAS_CORETYPE
exec {python} "$@"
"""


def mixed_session(ranks: int, odd: str):
    """A session whose executors' environments name their kernels."""
    worker = BUILD / f"python-{odd}"
    worker.write_text(_WORKER.format(odd=odd, even=EQUAL, python=sys.executable))
    worker.chmod(0o755)
    os.environ["PYSPARK_PYTHON"] = str(worker)
    return session(f"local-cluster[{ranks},1,1024]")


def with_validation(name: str, ranks: int) -> str:
    """A net's prototxts with absolute paths and its batch shared by the ranks; the solver's path."""
    return prototxts(
        name,
        f"{name}_{ranks}",
        BATCHES[name] // ranks,
        max_iter=ITERATIONS,
        snapshot=ITERATIONS // 4,
        test_iter=100,
        test_interval=ITERATIONS // 2,
    )


def train(spark, solver: str, ranks: int) -> Tuple[float, float, List[str]]:
    """(accuracy, milliseconds an iteration, kernels). It ends well only where all ranks have the same weights."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    config = Config(
        spark,
        conf=solver,
        model=f"file:{BUILD}/kernels.caffemodel",
        clusterSize=ranks,
        quiet=True,
        blasKernel="environment",
    )
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    timings = cos.result.timings[0]
    pace = (timings[-1].training - timings[0].training) / (timings[-1].iteration - timings[0].iteration)
    kernels = [cos.result.machines[rank].kernel for rank in range(ranks)]
    return cos.result.tests[-1].outputs["accuracy"][0], pace * 1000, kernels


def mixed() -> Result:
    """Accuracy and cost of ranks that do not round alike."""
    rows, notes = [], []
    for name in BATCHES:
        for ranks in RANKS:
            solver = with_validation(name, ranks)
            found: Dict[str, Tuple[float, float, List[str]]] = {}
            for kind, odd in (("equal", EQUAL), ("mixed", OTHER)):
                spark = mixed_session(ranks, odd)
                found[kind] = train(spark, solver, ranks)
                spark.stop()
            assert len(set(found["mixed"][2])) == 2, found["mixed"][2]
            rows += [(f"{name}, {ranks} ranks, {kind}", taken[:2]) for kind, taken in found.items()]
            notes.append(
                f"{name}, {ranks} ranks: mixed / equal, one run each: {found['mixed'][1] / found['equal'][1]:.3f}"
            )
    about = f"ranks with {EQUAL} and {OTHER} against ranks with {EQUAL} only, {ITERATIONS} iterations"
    columns = ("accuracy", "ms an iteration")
    return Result("kernels_mixed", "Ranks that do not round alike", about, columns, tuple(rows), notes=tuple(notes))


def chosen() -> List[Result]:
    """One rank against ``caffe train``, with no variable set for either."""
    from caffeonspark.engines import blas

    os.environ.pop(blas.VARIABLE, None)
    here = blas.facts()
    taken = f"OpenBLAS {here['openblas']} takes {here['own']}, -blasKernel auto {here['kernels'][0]}"
    spark = session("local-cluster[1,1,1024]")
    results = []
    for net, batch in BATCHES.items():
        solver = prepare(ALONE, batch, f"{net}_alone", net)
        runs = {"caffe train": lambda: stock(solver), "one rank": lambda: ours(spark, solver, kernel="auto")}  # noqa: B023
        found = alternate(runs, ROUNDS)
        about = f"batch {batch}, {taken}, {ROUNDS} rounds"
        compared = (ratio(found, "one rank", "caffe train"),)
        title = f"The chosen kernel, {net}"
        results.append(Result(f"kernels_{net}", title, about, ("ms an iteration",), medians(found), compared))
    spark.stop()
    return results


def run() -> List[Result]:
    return [*chosen(), mixed()]
