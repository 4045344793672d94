"""What more ranks bring: on this machine, on machines with links of 1 and 10 Gbit/s, and calculated to 64 ranks.

The machines are network namespaces of this one (``namespaces``), the ranks those of ``caffeonspark local``. A model of
the exchange (``growth_model``) is fitted to all-reduces among up to four machines; its error on what was measured, and
on four machines when it knew of fewer, stands next to what it foretells.
"""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import growth_model
from .all_reduce import KILO, MEGA, OURS, Side
from .common import ROOT, SHORT, alternate, best_kernel, kernel_in_words, rounds, shorter
from .growth_model import Measured, Setting
from .namespaces import Machine, Unavailable, machines, payload, spread
from .one_rank import prepare, stock
from .results import Curve, Plot, Result, in_words, ratio

PATIENCE = 300.0  # seconds for a training
PER_HOST = 8  # ranks on a machine, where many ranks are calculated
LINKS = (1.0, 10.0)  # Gbit/s


class Work(NamedTuple):
    """How a net is trained.

    Attributes
    ----------
    batch : of a rank
    iterations, skipped : how many, and the first ones that are not counted of a ``caffe train``
    gradients : bytes
    """

    batch: int
    iterations: int
    skipped: int
    gradients: int


NETS: Dict[str, Work] = {
    "lenet_lmdb": Work(64, shorter(200, 100), 20, 431_080 * 4),
    "cifar10_quick": Work(100, 40, 5, 145_578 * 4),
}
if SHORT:
    del NETS["cifar10_quick"]
CAFFENET = Work(16, 5, 1, 60_965_224 * 4)
RANKS = (1, 2) if SHORT else (1, 2, 4, 8)
#: (machines, ranks on each)
SHAPES = ((2, 1), (4, 1)) if SHORT else ((2, 1), (2, 2), (4, 1), (4, 2))
SIZES = (64 * KILO, MEGA, 4 * MEGA) if SHORT else (4 * KILO, 64 * KILO, MEGA, 16 * MEGA, 244 * MEGA)
CALCULATED = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = rounds(3)


# ---- training


def train(solver: str, ranks: int, on: Sequence[Machine] = ()) -> float:
    """Milliseconds an iteration of ``caffeonspark local`` with so many ranks on each of these machines, or on this one
    alone, by rank 0's own clock. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        words = ["local", "-np", str(ranks), "-train", "-conf", solver, "-model", f"file:{folder}/m.caffemodel"]
        words += ["-blasKernel", "environment"]
        if on:
            words += ["-join", str(ranks * (len(on) - 1)), "-interface", on[0].interface]
        commands: List[subprocess.Popen] = []
        log = pathlib.Path(folder) / "log"
        environment = {**os.environ, "CAFFEONSPARK_SECRET": secrets.token_hex(16), "PYTHONPATH": str(ROOT)}

        def start(before: Sequence[str], words: Sequence[str], **streams: Any) -> subprocess.Popen:
            program = [*before, sys.executable, "-m", "caffeonspark", *words]
            commands.append(subprocess.Popen(program, env=environment, text=True, **streams))
            return commands[-1]

        with log.open("w") as err:
            try:
                first = start(on[0].before if on else (), words, stdout=subprocess.PIPE, stderr=err)
                if on:
                    line = next((one for one in first.stdout or () if one.startswith("caffeonspark join ")), "")
                    join = line.split()[1:]
                    for machine in on[1:] if join else ():
                        start(machine.before, [*join, "-np", str(ranks)], stdout=subprocess.DEVNULL, stderr=err)
                statuses = [command.wait(PATIENCE) for command in commands]
            finally:
                for command in commands:
                    command.kill()
                    command.wait()
        if any(statuses):
            raise RuntimeError(
                f"a training of {ranks} ranks on {len(on) or 1} machines ended: {log.read_text()[-500:]}"
            )
        return pace((pathlib.Path(folder) / "m.metrics.jsonl").read_text())


def pace(metrics: str) -> float:
    """Milliseconds an iteration between rank 0's first and last report in a metrics file."""
    records = [json.loads(line) for line in metrics.splitlines()]
    first, *_, last = [one for one in records if one["event"] == "pace" and one["rank"] == 0]
    return float((last["training"] - first["training"]) / (last["iteration"] - first["iteration"]) * 1000)


def here(net: str, work: Work) -> Result:
    """Ranks of this machine against as many ``caffe train``s that know nothing of each other."""
    solver = prepare(work.iterations, work.batch, f"{net}_growth", net, work.skipped)
    runs = {}
    for ranks in RANKS:
        runs[f"{ranks} caffe train"] = lambda ranks=ranks: stock(solver, skipped=work.skipped, copies=ranks)
        runs[f"{ranks} ranks"] = lambda ranks=ranks: train(solver, ranks)
    found = alternate(runs, ROUNDS)
    rows, compared = [], []
    speed: Dict[str, List[Tuple[float, float]]] = {"ranks": [], "caffe train": []}
    for ranks in RANKS:
        middle = {side: statistics.median(found[f"{ranks} {side}"]) for side in speed}
        for side, points in speed.items():
            points.append((float(ranks), ranks * work.batch / middle[side] * 1000))
        name = "1 rank" if ranks == 1 else f"{ranks} ranks"
        rows.append((name, (middle["ranks"], middle["caffe train"], speed["ranks"][-1][1])))
        label = f"{name} / {ranks} caffe train{'s' if ranks > 1 else ''}"
        compared.append(ratio(found, f"{ranks} ranks", f"{ranks} caffe train", label))
    curves = [
        Curve("ranks of one model", tuple(speed["ranks"])),
        Curve("as many caffe trains that know nothing of each other", tuple(speed["caffe train"]), like=""),
    ]
    about = (
        f"batch {work.batch} a rank, one thread for each process, {os.cpu_count()} cores ({kernel_in_words()}), "
        f"{ROUNDS} rounds; against as many caffe trains at once that know nothing of each other"
    )
    return Result(
        f"growth_{net}",
        f"More ranks on this machine: {net}",
        about,
        ("ms an iteration", "of as many caffe trains", "samples a second"),
        tuple(rows),
        tuple(compared),
        plot=Plot("ranks", "samples a second", tuple(curves)),
    )


# ---- exchanging


def exchange(hosts: int, ranks: int, gigabits: Optional[float], sizes: Sequence[int]) -> List[Measured]:
    """The all-reduces of ours in a setting. Raises Unavailable."""
    processes = max(1.0, hosts * ranks / (os.cpu_count() or 1))
    setting = Setting(hosts, ranks, payload(gigabits) if gigabits else None, processes)
    if gigabits is None:
        return _exchanged(setting, hosts * ranks, None, sizes)
    with machines(hosts, gigabits) as found:
        return _exchanged(setting, hosts * ranks, spread(hosts * ranks, found), sizes)


def _exchanged(setting: Setting, ranks: int, on: Optional[List[Machine]], sizes: Sequence[int]) -> List[Measured]:
    side = Side(OURS, ranks, sys.executable, "", on)
    try:
        runs = {
            in_words(size): lambda size=size: side.milliseconds(size, max(1, min(50, 8 * MEGA // size)))
            for size in sizes
        }
        found = alternate(runs, ROUNDS)
    finally:
        side.close()
    return [Measured(setting, size, statistics.median(found[in_words(size)]) / 1000) for size in sizes]


def named(setting: Setting) -> str:
    """A setting as people read it."""
    if setting.link is None:
        return f"{setting.ranks} ranks of one machine"
    gigabits = next(one for one in LINKS if payload(one) == setting.link)
    return f"{setting.hosts} machines with {setting.ranks}, {gigabits:g} Gbit/s"


def exchanges(measured: Sequence[Measured], notes: Sequence[str]) -> Result:
    """The table of what was measured and what the model says of it."""
    model = growth_model.fit(measured)
    rows, curves = [], []
    settings = list(dict.fromkeys(one.setting for one in measured))
    for setting in settings:
        own = [one for one in measured if one.setting == setting]
        middle, most = growth_model.errors(model, own)
        rows.append((named(setting), (*(one.seconds * 1000 for one in own), 100 * middle, 100 * most)))
        points = tuple((float(one.size), one.seconds * 1000) for one in own)
        drawn = tuple((float(one.size), model.seconds(setting, one.size) * 1000) for one in own)
        curves += [Curve(named(setting), points), Curve("", drawn, measured=False, like=named(setting))]
    middle, most = growth_model.errors(model, measured)
    said = [
        f"The model is off by {100 * middle:.0f} % in the median of what it was fitted to, {100 * most:.0f} % at most."
    ]
    beyond = growth_model.foretold(measured)
    if beyond:
        said.append(
            "Fitted without the most machines, it is off on them by "
            f"{100 * beyond[0]:.0f} % in the median, {100 * beyond[1]:.0f} % at most."
        )
    words = (f"{value:.3g} {name}" for name, value in zip(growth_model.FEATURES, model.coefficients))
    said.append(f"Its coefficients: {', '.join(words)}.")
    sizes = [in_words(one.size) for one in measured if one.setting == settings[0]]
    about = (
        "ours with checksums, as ranks exchange gradients; machines are network namespaces with one link each, all on "
        f"this machine's {os.cpu_count()} cores; medians of {ROUNDS} rounds, and how far a model of five coefficients "
        "is off, which takes into account that the processes share the cores"
    )
    columns = (*(f"{size}, ms" for size in sizes), "model off by %", "at most")
    plot = Plot("bytes", "ms (marks: measured; dashes: model)", tuple(curves), logarithmic="xy")
    return Result(
        "growth_exchange", "All-reduce between machines", about, columns, tuple(rows), (), (*said, *notes), plot
    )


# ---- both


def check_iterations(model: growth_model.Model, compute: Dict[str, float]) -> Result:
    """Training on two machines, and what the model says of it; ``compute`` is milliseconds of an iteration of two
    ``caffe train``s at once, by net. Raises Unavailable."""
    rows = []
    for gigabits in LINKS:
        setting = Setting(2, 1, payload(gigabits))
        with machines(2, gigabits) as found:
            for net, work in NETS.items():
                solver = prepare(work.iterations, work.batch, f"{net}_growth", net, work.skipped)
                name = f"{net}, {gigabits:g} Gbit/s"
                times = alternate({name: lambda solver=solver, on=found: train(solver, 1, on)}, ROUNDS)[name]
                foretold = compute[net] + model.seconds(setting, work.gradients) * 1000
                measured = statistics.median(times)
                rows.append((name, (measured, foretold, 100 * (foretold / measured - 1))))
    about = (
        f"two machines with a rank each, medians of {ROUNDS} rounds; the model adds an all-reduce to an iteration of "
        "two caffe trains at once, so what overlaps shows as too high a figure"
    )
    columns = ("ms an iteration", "by the model", "off by %")
    return Result("growth_iterations", "Training on two machines, and the model of it", about, columns, tuple(rows))


def calculated(model: growth_model.Model, compute: Dict[str, float], said: Sequence[str]) -> Result:
    """What the model says of up to 64 ranks; ``compute`` is milliseconds of an iteration of one rank, by net."""
    works = {**NETS, "caffenet": CAFFENET}
    rows, curves = [], []
    for net, milliseconds in compute.items():
        for gigabits in LINKS:
            for most in (1, PER_HOST):
                points = []
                for ranks in CALCULATED:
                    own = min(ranks, most)
                    setting = Setting(ranks // own, own, payload(gigabits) if ranks > own else None)
                    taken = model.seconds(setting, works[net].gradients) * 1000 if ranks > 1 else 0.0
                    points.append((float(ranks), 100 * growth_model.efficiency(milliseconds, taken)))
                machine = "a machine each" if most == 1 else f"{most} a machine"
                name = f"{net}, {gigabits:g} Gbit/s, {machine}"
                rows.append((name, tuple(value for _, value in points)))
                if most == 1:
                    curves.append(Curve(f"{net}, {gigabits:g} Gbit/s", tuple(points), measured=False))
    about = (
        "calculated, not measured: % of the speed of as many trainings that know nothing of each other, by the model "
        "of the exchange and one rank's own time for an iteration on this machine, where each rank has a core of its "
        f"own and nothing overlaps. Batches: {', '.join(f'{net} {works[net].batch}' for net in compute)}"
    )
    plot = Plot("ranks, a machine each", "% of unconnected trainings (calculated)", tuple(curves), logarithmic="x")
    columns = tuple("1 rank" if ranks == 1 else f"{ranks} ranks" for ranks in CALCULATED)
    return Result("growth", "Growth to 64 ranks", about, columns, tuple(rows), (), tuple(said), plot)


def run() -> List[Result]:
    with best_kernel():
        alone = [here(net, work) for net, work in NETS.items()]
        measured: List[Measured] = []
        notes: List[str] = []
        for ranks in RANKS[1:]:
            measured += exchange(1, ranks, None, SIZES)
        try:
            for gigabits in LINKS:
                for hosts, ranks in SHAPES:
                    measured += exchange(hosts, ranks, gigabits, SIZES)
        except Unavailable as e:
            notes.append(f"Not measured between machines: {e}.")
        exchanged = exchanges(measured, notes)
        if notes:  # nothing to calculate from
            return [*alone, exchanged]
        model = growth_model.fit(measured)
        two = {net: _cell(table, 1, 1) for net, table in zip(NETS, alone)}
        one = {net: _cell(table, 0, 0) for net, table in zip(NETS, alone)}
        if not SHORT:
            path = prepare(CAFFENET.iterations, CAFFENET.batch, "caffenet_growth", "caffenet", CAFFENET.skipped)
            one["caffenet"] = stock(path, skipped=CAFFENET.skipped)
        checked = check_iterations(model, two)
    return [*alone, exchanged, checked, calculated(model, one, exchanged.notes[:2])]


def _cell(table: Result, row: int, column: int) -> float:
    value = table.rows[row][1][column]
    assert not isinstance(value, str)
    return value
