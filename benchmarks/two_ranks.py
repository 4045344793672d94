"""What Spark gains: two ranks against one ``caffe train`` with two BLAS threads, on the same samples and cores."""

from __future__ import annotations

from typing import List

from .common import alternate, kernel_in_words, rounds, session, shorter
from .one_rank import ours, prepare, stock
from .results import Result, medians, ratio

ITERATIONS, ROUNDS = shorter(500, 200), rounds(3)
BATCH = 64  # of each rank; Caffe alone takes both ranks' at once


def run() -> List[Result]:
    alone = prepare(ITERATIONS, 2 * BATCH, "alone")
    shared = prepare(ITERATIONS, BATCH, "shared")
    spark = session("local-cluster[2,1,1024]")
    found = alternate(
        {
            "caffe train": lambda: stock(alone, threads=1),
            "caffe train, 2 threads": lambda: stock(alone, threads=2),
            "two ranks": lambda: ours(spark, shared, ranks=2),
        },
        ROUNDS,
    )
    spark.stop()
    about = f"LeNet on MNIST, {2 * BATCH} samples an iteration ({kernel_in_words()}), {ROUNDS} rounds"
    compared = tuple(ratio(found, "two ranks", rival) for rival in ("caffe train", "caffe train, 2 threads"))
    return [Result("two_ranks", "Two ranks", about, ("ms an iteration",), medians(found), compared)]
