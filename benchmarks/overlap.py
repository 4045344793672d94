"""How much of an exchange over a link is hidden behind the backward pass.

Two machines (``namespaces``) with a rank each, that train by the library's strategy over its own channel, with the
gradients of real nets. The solver's time is a sleep that holds the GIL: so the machines have a processor to spare, as
those have whose BLAS does not take all, and what is measured is the channel alone. Rows of which this is said have a
solver that takes a processor instead, as many as a machine of two has.

Gradients are exchanged at the end, between two layers as they become final, or by helper processes. The library takes
whichever of the last two is faster.

With A the time of the backward pass behind the first layer whose gradients are final, C what the exchange adds to an
iteration where it comes at the end, and S what exchanging early saves, hidden is S / min(A, C).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from .common import ROOT, SHORT, alternate
from .namespaces import Unavailable, machines
from .overlap_rank import HELPED, LATE, PUMPED, WAYS
from .results import Ratio, Result, ratio

ROUNDS = 5
PORT = 4711
NAMES = {LATE: "at the end", PUMPED: "between layers", HELPED: "by helpers"}

Layers = Sequence[Tuple[int, float]]  # bytes of a layer's gradients, and how much of the backward pass it takes


class Work(NamedTuple):
    """What is trained: the layers, seconds of a backward pass by the link's Gbit/s, iterations of a round, and whether
    the solver takes a processor."""

    layers: Layers
    seconds: Dict[float, float]
    iterations: int
    busy: bool = False


#: Bytes by the nets' prototxts; shares of time by the multiplications of a layer's backward pass.
NETS: Dict[str, Work] = {
    "LeNet": Work(
        ((2_080, 0.067), (100_200, 0.745), (1_602_000, 0.186), (20_040, 0.002)), {1: 0.012, 10: 0.012}, iterations=20
    ),
    "20 layers of 1.4 MB": Work(((1_400_000, 0.05),) * 20, {1: 0.3, 10: 0.3}, iterations=3),
    "CaffeNet": Work(
        (
            (139_776, 0.078),
            (1_229_824, 0.333),
            (3_540_480, 0.223),
            (2_655_744, 0.167),
            (1_770_496, 0.111),
            (151_011_328, 0.057),
            (67_125_248, 0.025),
            (16_388_000, 0.006),
        ),
        {1: 2.0, 10: 0.5},
        iterations=1,
    ),
}
NETS["CaffeNet, no processor to spare"] = NETS["CaffeNet"]._replace(busy=True)


class Ranks:
    """The ranks of a measurement, each a process on a machine of its own."""

    def __init__(self, stack: contextlib.ExitStack, gigabits: float) -> None:
        places = stack.enter_context(machines(2, gigabits))
        words = [sys.executable, "-m", "benchmarks.overlap_rank"]
        addresses = [place.address for place in places]
        self._processes: List[subprocess.Popen] = []
        for rank, place in enumerate(places):
            command = [*place.before, *words, str(rank), str(PORT), *addresses]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            self._processes.append(process)
            stack.callback(self._end, process)
        for process in self._processes:
            self._hear(process)
        self._say("connect")

    def milliseconds(self, work: Work, seconds: float, way: str) -> float:
        """Of an iteration: the median, as the slower rank saw it."""
        net = [[size, share * seconds] for size, share in work.layers]
        self._say(json.dumps({"net": net, "way": way, "busy": work.busy, "iterations": work.iterations}))
        answers = [json.loads(self._hear(process)) for process in self._processes]
        return 1000 * max(statistics.median(answer["seconds"]) for answer in answers)

    def _say(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen) -> str:
        assert process.stdout is not None
        line: str = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a rank ended with status {process.wait()}")
        return line

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def ranks(gigabits: float) -> Iterator[Ranks]:
    with contextlib.ExitStack() as stack:
        yield Ranks(stack, gigabits)


def hidden(layers: Layers, backward: float, late: Sequence[float], early: Sequence[float], name: str) -> Ratio:
    """The hidden share of each round; times in milliseconds."""
    behind = backward * sum(share for _, share in layers[:-1]) / sum(share for _, share in layers)
    shares = sorted((end - soon) / min(behind, end - backward) for end, soon in zip(late, early))
    return Ratio(name, statistics.median(shares), shares[0], shares[-1])


def measure(gigabits: float, nets: Dict[str, Work], rounds: int) -> Result:
    """The table of a link."""
    rows: List[Tuple[str, Any]] = []
    shares: List[Ratio] = []
    compared: List[Ratio] = []
    title, name = f"Overlap, links of {gigabits:g} Gbit/s", f"overlap_{gigabits:g}"
    about = (
        f"two machines (network namespaces) with one rank each, a solver that sleeps or takes a processor, medians of "
        f"{rounds} rounds; hidden is what exchanging while backward runs saves, by the smaller of the exchange and the "
        "backward pass behind the first final gradient"
    )
    columns = ("backward, ms", *(f"{NAMES[way]}, ms" for way in WAYS))
    try:
        with ranks(gigabits) as group:
            for net, work in nets.items():
                seconds = work.seconds[gigabits]
                found = alternate(
                    {
                        NAMES[way]: lambda w=work, s=seconds, way=way: group.milliseconds(w, s, way)  # type: ignore[misc]
                        for way in WAYS
                    },
                    rounds,
                )
                rows.append((net, (1000 * seconds, *(statistics.median(found[NAMES[way]]) for way in WAYS))))
                for way in (PUMPED, HELPED):
                    late, early = found[NAMES[LATE]], found[NAMES[way]]
                    shares.append(hidden(work.layers, 1000 * seconds, late, early, f"{net}: hidden {NAMES[way]}"))
                    compared.append(ratio(found, NAMES[way], NAMES[LATE], f"{net}: {NAMES[way]} / {NAMES[LATE]}"))
    except Unavailable as e:
        return Result(name, title, about, columns, (), notes=(f"Not measured: {e}.",))
    return Result(name, title, about, columns, tuple(rows), (*shares, *compared))


def run() -> List[Result]:
    nets = {name: NETS[name] for name in list(NETS)[: 2 if SHORT else None]}
    return [measure(gigabits, nets, 2 if SHORT else ROUNDS) for gigabits in (1, 10)]
