"""What an accuracy takes with -sync all_reduce, average and elastic: by the interval and by the number of ranks."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from .common import SHORT, prototxts
from .results import Cell, Result
from .trainings import Training, train


class Work(NamedTuple):
    """What a net is trained to.

    Attributes
    ----------
    title : of its table
    batch : samples in an iteration of a rank
    accuracy : to be reached, on all test rows that a validation looks at
    every : iterations between two validations
    tested : batches of a validation
    most : iterations
    limit : seconds of a training at most
    parameters : float32 numbers that ranks exchange
    """

    title: str
    batch: int
    accuracy: float
    every: int
    tested: int
    most: int
    limit: float
    parameters: int


INTERVALS, RANKS = ((1, 10), (1, 2)) if SHORT else ((1, 10, 50), (1, 2, 4))
NETS: Dict[str, Work] = (
    {"lenet_lmdb": Work("LeNet on MNIST", 64, 0.90, 20, 10, 200, 60, 431_080)}
    if SHORT
    else {
        "lenet_lmdb": Work("LeNet on MNIST", 64, 0.98, 50, 100, 3000, 120, 431_080),
        "cifar10_quick": Work("cifar10_quick on CIFAR-10", 100, 0.55, 50, 50, 2000, 240, 145_578),
    }
)
COLUMNS = (
    "accuracy",
    "iterations",
    "s",
    "ms an iteration",
    "MB that a rank sends",
    "share of time in communication",
)


def sides(ranks: int) -> List[Tuple[str, Dict[str, object], int]]:
    """(name, flags, iterations between exchanges) of what so many ranks are trained by."""
    if ranks == 1:  # one rank is the same to the bit in all of them but elastic
        return [("one rank", {}, 0)]
    found: List[Tuple[str, Dict[str, object], int]] = [("all_reduce", {}, 1)]
    for mode, intervals in (("average", INTERVALS), ("elastic", (10,))):
        found += [(f"{mode}, T = {T}", {"sync": mode, "syncInterval": T}, T) for T in intervals]
    return [(f"{ranks} ranks, {name}", flags, interval) for name, flags, interval in found]


def sent(parameters: int, ranks: int, exchanges: int) -> float:
    """MB that each rank of a ring sends for so many all-reduces of float32: 2 (ranks - 1) / ranks of them."""
    return exchanges * 2 * (ranks - 1) / ranks * 4 * parameters / 1e6


def reached(training: Training, accuracy: float) -> Optional[Tuple[int, float]]:
    """(iteration, accuracy) of the first validation that is as good."""
    return next(((at, value) for at, value in training.tests("accuracy") if value >= accuracy), None)


def measured(net: str, work: Work, ranks: int, name: str, flags: Mapping[str, object], interval: int) -> List[Cell]:
    """The values of a row."""
    fields = {"test_iter": work.tested, "test_interval": work.every, "max_iter": work.most, "display": 0}
    file = f"modes_{net}_{'_'.join(map(str, (ranks, *flags.values())))}"
    solver = prototxts(net, file, work.batch, solver_mode="CPU", **fields)
    training = train(file, solver, ranks, flags, lambda one: reached(one, work.accuracy) is not None, work.limit)
    found = reached(training, work.accuracy)
    done = max((one["iteration"] for one in training.of("pace")), default=0)
    ms = training.seconds_at(done) / done * 1000 if done else 0.0
    share = f"{100 * training.waiting_share():.0f} %" if ranks > 1 else ""
    if found is None:
        best = max((value for _, value in training.tests("accuracy")), default=0.0)
        return [f"not reached: {best:.3f}", f"> {done}", "", ms, "", share]
    at, accuracy = found
    exchanges = at // interval if interval else 0
    return [accuracy, f"{at}", training.seconds_at(at), ms, sent(work.parameters, ranks, exchanges), share]


def measure(net: str, work: Work) -> Result:
    """The table of a net."""
    rows = []
    for ranks in RANKS:
        for name, flags, interval in sides(ranks):
            rows.append((name, tuple(measured(net, work, ranks, name, flags, interval))))
    return Result(
        f"modes_{net}",
        f"Modes: {work.title}",
        f"until a validation has an accuracy of {work.accuracy:g}, one every {work.every} iterations; batch "
        f"{work.batch} a rank, one BLAS thread a rank, one training each; T is -syncInterval; seconds are those in "
        "iterations, validations are not counted",
        COLUMNS,
        tuple(rows),
        notes=(
            f"What is sent is calculated, of a ring over TCP: 2 (N - 1) / N of {work.parameters:,} float32 numbers "
            "each time the ranks meet. Ranks on one machine, as here, exchange through shared memory. Waiting for the "
            "slowest rank is communication here. More ranks than cores share these, so seconds are then not those of "
            "as many machines.",
        ),
    )


def run() -> List[Result]:
    return [measure(net, work) for net, work in NETS.items()]
