"""What benchmarks find, and how it is written down: text, Markdown, JSON and pictures, all from the same values."""

from __future__ import annotations

import json
import pathlib
import statistics
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

Cell = Union[float, str]


@dataclass(frozen=True)
class Ratio:
    """One side's values by a rival's, round by round.

    Attributes
    ----------
    name : whose by whose
    median, low, high : of the rounds
    line, at : where the comparison is one of many over a size: which line of the picture, and the size in bytes
    """

    name: str
    median: float
    low: float
    high: float
    line: str = ""
    at: Optional[float] = None

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Result:
    """One table.

    Attributes
    ----------
    name : of the benchmark's file, and of its picture
    title : what was measured
    compared : what with what, on which data, how often
    columns : what the values of a row are, with units
    rows : (name, values)
    ratios : one side by the other
    notes : what else there is to know, such as a rival that is not there
    """

    name: str
    title: str
    compared: str
    columns: Tuple[str, ...]
    rows: Tuple[Tuple[str, Tuple[Cell, ...]], ...]
    ratios: Tuple[Ratio, ...] = ()
    notes: Tuple[str, ...] = ()


def ratio(
    found: Mapping[str, Sequence[float]],
    name: str,
    rival: str,
    label: str = "",
    line: str = "",
    at: Optional[float] = None,
) -> Ratio:
    """``found[name]`` by ``found[rival]``, of the same rounds."""
    values = sorted(a / b for a, b in zip(found[name], found[rival]))
    return Ratio(label or f"{name} / {rival}", statistics.median(values), values[0], values[-1], line, at)


def medians(found: Mapping[str, Sequence[float]]) -> Tuple[Tuple[str, Tuple[Cell, ...]], ...]:
    """A row for each side: the median of its rounds."""
    return tuple((name, (statistics.median(values),)) for name, values in found.items())


# ---- as text


def written(value: Cell) -> str:
    """A value as people read it."""
    if isinstance(value, str):
        return value
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def text(result: Result) -> str:
    """The table for a terminal."""
    rows = [("", result.columns), *((name, tuple(map(written, values))) for name, values in result.rows)]
    first = max(len(name) for name, _ in [*rows, *((one.name, ()) for one in result.ratios)])
    widths = [max(len(values[at]) for _, values in rows) for at in range(len(result.columns))]
    lines = [f"{result.title}: {result.compared}"]
    for name, values in rows:
        cells = "  ".join(value.rjust(width) for value, width in zip(values, widths))
        lines.append(f"  {name.ljust(first)}  {cells}".rstrip())
    lines += [f"  {one.name.ljust(first)}  {one}" for one in result.ratios]
    return "\n".join([*lines, *(f"  {note}" for note in result.notes)])


# ---- as Markdown


def markdown(results: Sequence[Result], machine: Mapping[str, str], pictures: Mapping[str, str]) -> str:
    """A page of all tables.

    Parameters
    ----------
    machine : what they were measured on (``machine.describe``)
    pictures : by the title of a result, the file of its picture
    """
    lines = [
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks --markdown` (`make bench`) from one run on the machine below. The sides of a "
        "comparison run in turn, round after round; a ratio is the median of the rounds' ratios, with the lowest and "
        "the highest.",
        "",
        *_table(("Machine", ""), [(name, (value,)) for name, value in machine.items()]),
    ]
    for result in results:
        lines += ["", f"## {result.title}", "", f"{result.compared}.", ""]
        if result.rows:
            lines += _table(("", *result.columns), result.rows)
        if result.ratios:
            ratios = [(one.name, (f"{one.median:.3f}", f"{one.low:.3f} to {one.high:.3f}")) for one in result.ratios]
            lines += ["", *_table(("Ratio", "median", "rounds"), ratios)]
        for note in result.notes:
            lines += ["", note]
        if result.title in pictures:
            lines += ["", f"![{result.title}]({pictures[result.title]})"]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Tuple[str, Sequence[Cell]]]) -> List[str]:
    lines = [tuple(head), ("---", *("---:" for _ in head[1:])), *((n, *map(written, values)) for n, values in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


# ---- as JSON


def as_json(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The same values, unrounded."""
    data = {"machine": dict(machine), "results": [asdict(result) for result in results]}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


# ---- as pictures


def picture(result: Result, path: pathlib.Path) -> bool:
    """Draw the ratios of a result; whether there are any."""
    if not result.ratios:
        return False
    from matplotlib.figure import Figure

    sized = all(one.at is not None for one in result.ratios)
    figure = Figure(figsize=(8, 5 if sized else 1.2 + 0.4 * len(result.ratios)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(result.title, fontsize=10)
    (_draw_lines if sized else _draw_points)(axes, result.ratios)
    figure.savefig(str(path), dpi=100)
    return True


def _draw_points(axes: Any, ratios: Sequence[Ratio]) -> None:
    places = range(len(ratios))
    spread = [[one.median - one.low for one in ratios], [one.high - one.median for one in ratios]]
    axes.errorbar([one.median for one in ratios], places, xerr=spread, fmt="o", capsize=3)
    axes.axvline(1.0, color="grey", linewidth=1)
    axes.set_yticks(places, [one.name for one in ratios])
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.set_xlabel("ratio: median and range of the rounds")


def _draw_lines(axes: Any, ratios: Sequence[Ratio]) -> None:
    lines: Dict[str, List[Ratio]] = {}
    for one in ratios:
        lines.setdefault(one.line, []).append(one)
    for name, ones in lines.items():
        at = [one.at for one in ones]
        (drawn,) = axes.plot(at, [one.median for one in ones], marker="o", markersize=3, label=name)
        axes.fill_between(
            at, [one.low for one in ones], [one.high for one in ones], alpha=0.15, color=drawn.get_color()
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.axhline(1.0, color="grey", linewidth=1)
    axes.set_xlabel("bytes")
    axes.set_ylabel("ratio: median and range of the rounds")
    axes.legend(fontsize=7)
