"""How near two ranks come to what the machine gives.

Against two ``caffe train``s at once that know nothing of each other, and against two ranks that only meet in a barrier
in each iteration.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple

from .common import SHORT, alternate, best_kernel, kernel_in_words, session
from .one_rank import ours, prepare, stock
from .results import Result, medians, ratio

RANKS = 2
BARRIER = "benchmarks.barrier_strategy:OnlyMeet"


class Work(NamedTuple):
    """What a net is trained with: the batch of a rank, iterations, the first that are not counted, and rounds."""

    batch: int
    iterations: int
    skipped: int
    rounds: int


_LONG: Dict[str, Work] = {
    "lenet_lmdb": Work(64, 700, 100, 5),
    "cifar10_quick": Work(100, 120, 20, 5),
    "caffenet": Work(16, 16, 4, 4),
}
#: CaffeNet's iterations take seconds.
NETS = {"lenet_lmdb": Work(64, 200, 100, 1), "cifar10_quick": Work(100, 30, 10, 1)} if SHORT else _LONG


def measure(spark, net: str, work: Work) -> Result:
    """The table of a net."""
    solver = prepare(work.iterations, work.batch, f"{net}_scaling", net, work.skipped)
    ranks: Dict[str, Any] = {"ranks": RANKS, "skipped": work.skipped}
    found = alternate(
        {
            "two caffe trains": lambda: stock(solver, skipped=work.skipped, copies=RANKS),
            "two ranks that only meet": lambda: ours(spark, solver, sync=BARRIER, **ranks),
            "two ranks": lambda: ours(spark, solver, **ranks),
        },
        work.rounds,
    )
    compared = tuple(ratio(found, "two ranks", rival) for rival in found if rival != "two ranks")
    about = (
        f"batch {work.batch} a rank, one BLAS thread for each process ({kernel_in_words()}), {work.rounds} rounds; of "
        "two caffe trains the mean"
    )
    return Result(f"scaling_{net}", f"Two ranks: {net}", about, ("ms an iteration",), medians(found), compared)


def run() -> List[Result]:
    with best_kernel() as settings:
        spark = session(f"local-cluster[{RANKS},1,1024]", settings)
        results = [measure(spark, net, work) for net, work in NETS.items()]
        spark.stop()
    return results
