"""What 2, 8 and 64 ranks are for the driver that watches them: meeting, memory, processor, and the page.

The ranks are real but for the solver: their connections, sidecars, neighbours and reports are those of training
(``reporting_ranks``). They share this machine's processors with the driver, so meeting takes longer than on a cluster.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Dict, List, Sequence

from .common import ROOT, SHORT, alternate, rounds
from .results import Curve, Plot, Result

RANKS = (2, 64) if SHORT else (2, 8, 16, 32, 64)
SECONDS, ROUNDS = 3.0 if SHORT else 10.0, rounds(3)
COLUMNS = {
    "connected": "s until all have met",
    "opened": "s of it until the driver has all",
    "after": "MB of the driver",
    "grown": "MB of it for the ranks",
    "processor": "% of a core for the driver",
    "page_bytes": "KB of an answer to the page",
    "page_milliseconds": "ms for it",
}


def drive(ranks: int, seconds: float) -> Dict[str, float]:
    """``many_ranks_driver.Found``, and how the driver has grown."""
    program = [sys.executable, "-m", "benchmarks.many_ranks_driver", str(ranks), str(seconds)]
    done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300 + seconds)
    if done.returncode:
        raise RuntimeError(f"the driver of {ranks} ranks ended with status {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "grown": found["after"] - found["before"]}


def measure(counts: Sequence[int], seconds: float, rounds_: int) -> Result:
    """The table."""
    found: Dict[int, List[Dict[str, float]]] = {count: [] for count in counts}

    def meet(count: int) -> float:
        found[count].append(drive(count, seconds))
        return found[count][-1]["connected"]

    alternate({f"{count} ranks": lambda count=count: meet(count) for count in counts}, rounds_)
    units = {"processor": 100.0, "page_bytes": 1 / 1024}
    middle = {
        count: {name: statistics.median(one[name] for one in rounds_of) * units.get(name, 1.0) for name in COLUMNS}
        for count, rounds_of in found.items()
    }
    rows = tuple((f"{count} ranks", tuple(values.values())) for count, values in middle.items())
    curves = tuple(
        Curve(title, tuple((float(count), middle[count][name]) for count in counts))
        for name, title in COLUMNS.items()
        if name in ("connected", "grown", "processor", "page_bytes")
    )
    about = (
        "ranks that meet and report four times a second and compute nothing, 8 for each of several loopback "
        f"addresses, for {seconds:g} s; with a metrics file and a page that is asked for twice a second; everything "
        f"shares this machine's processors; medians of {rounds_} rounds"
    )
    return Result(
        "many_ranks",
        "Many ranks that only report",
        about,
        tuple(COLUMNS.values()),
        rows,
        plot=Plot("ranks", "seconds, MB, % of a core, KB", curves, logarithmic="xy"),
    )


def run() -> List[Result]:
    return [measure(RANKS, SECONDS, ROUNDS)]
