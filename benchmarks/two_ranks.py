"""What Spark gains: two ranks against one ``caffe train`` with two BLAS threads, on the same samples and cores."""

from __future__ import annotations

import statistics
import sys

from .common import alternate, ratios, session
from .one_rank import ours, prepare, stock

ITERATIONS, ROUNDS = 500, 5
BATCH = 64  # of each rank; Caffe alone takes both ranks' at once


def main() -> None:
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
    print(f"\nLeNet on MNIST, {2 * BATCH} samples an iteration: milliseconds an iteration (median)")
    for name, values in found.items():
        print(f"  {name:24} {statistics.median(values):8.3f}")
    print(f"  ratio                    {ratios(found, 'two ranks', 'caffe train')}")
    print(f"  ratio to 2 BLAS threads  {ratios(found, 'two ranks', 'caffe train, 2 threads')}")
    sys.stdout.flush()
