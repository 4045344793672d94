"""What benchmarks find, and how it is written down: text, Markdown, JSON and pictures, all from the same values."""

from __future__ import annotations

import pathlib
import statistics
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

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
class Curve:
    """One line of a plot.

    Attributes
    ----------
    name : str
    points : (x, y), by x
    measured : drawn as marks that a line connects; else as a line alone, as what is calculated is
    like : the curve whose colour it has
    """

    name: str
    points: Tuple[Tuple[float, float], ...]
    measured: bool = True
    like: str = ""


@dataclass(frozen=True)
class Plot:
    """What a result's picture shows where it is not its ratios.

    Attributes
    ----------
    x, y : what is on the axes, with units
    curves : at least one
    logarithmic : which of the axes are: "", "x", "y" or "xy"
    level : a horizontal line at this y
    """

    x: str
    y: str
    curves: Tuple[Curve, ...]
    logarithmic: str = ""
    level: Optional[float] = None


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
    plot : its picture; without it the picture is of the ratios
    """

    name: str
    title: str
    compared: str
    columns: Tuple[str, ...]
    rows: Tuple[Tuple[str, Tuple[Cell, ...]], ...]
    ratios: Tuple[Ratio, ...] = ()
    notes: Tuple[str, ...] = ()
    plot: Optional[Plot] = None


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


def in_words(size: float) -> str:
    """So many bytes, as people read it."""
    for unit in ("bytes", "KB", "MB"):
        if size < 1024 or unit == "MB":
            break
        size /= 1024
    return f"{size:g} {unit}"


def written(value: Cell) -> str:
    """A value as people read it."""
    if isinstance(value, str):
        return value
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"


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


def section(result: Result, picture: str = "", remarks: Sequence[str] = ()) -> List[str]:
    """The lines of a table under a heading of its own, with what is to be read first and the file of its picture."""
    lines = ["", f"## {result.title}", ""]
    for remark in remarks:
        lines += [remark, ""]
    lines += [f"{result.compared[:1].upper()}{result.compared[1:]}.", ""]
    if result.rows:
        lines += table(("", *result.columns), result.rows)
    if result.ratios:
        ratios = [(one.name, (f"{one.median:.3f}", f"{one.low:.3f} to {one.high:.3f}")) for one in result.ratios]
        lines += ["", *table(("Ratio", "median", "rounds"), ratios)]
    for note in result.notes:
        lines += ["", note]
    return [*lines, "", f"![{result.title}]({picture})"] if picture else lines


def table(head: Sequence[str], rows: Sequence[Tuple[str, Sequence[Cell]]], align: str = "---:") -> List[str]:
    """The lines of a table, whose cells are to the right as numbers are, or with "---" to the left."""
    lines = [tuple(head), ("---", *(align for _ in head[1:])), *((n, *map(written, values)) for n, values in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


# ---- as JSON


def as_values(result: Result) -> Dict[str, Any]:
    """The same values, unrounded, JSON-able."""
    return asdict(result)


def from_values(values: Mapping[str, Any]) -> Result:
    """The result of what ``as_values`` has made of it, and JSON of that."""
    plot = values["plot"]
    if plot is not None:
        curves = (Curve(**{**one, "points": _tuples(one["points"])}) for one in plot["curves"])
        plot = Plot(**{**plot, "curves": tuple(curves)})
    rows = tuple((name, tuple(cells)) for name, cells in values["rows"])
    ratios = tuple(Ratio(**one) for one in values["ratios"])
    columns, notes = tuple(values["columns"]), tuple(values["notes"])
    return Result(**{**values, "columns": columns, "rows": rows, "ratios": ratios, "notes": notes, "plot": plot})


def _tuples(points: Sequence[Sequence[float]]) -> Tuple[Tuple[float, float], ...]:
    return tuple((x, y) for x, y in points)


# ---- as pictures


def picture(result: Result, path: pathlib.Path) -> bool:
    """Draw a result's plot, or its ratios; whether there is either."""
    if not result.ratios and result.plot is None:
        return False
    from matplotlib.figure import Figure

    if result.plot is not None:
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(result.title, fontsize=10)
        _draw_plot(axes, result.plot)
        figure.savefig(str(path), dpi=100)
        return True

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
    _logarithmic(axes, sorted({one.at for one in ratios if one.at is not None}), in_words)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.axhline(1.0, color="grey", linewidth=1)
    axes.set_xlabel("bytes")
    axes.set_ylabel("ratio: median and range of the rounds")
    axes.legend(fontsize=7)


def _colours(count: int) -> List[Any]:
    """As many as there are curves, and no two alike."""
    import matplotlib

    return list(matplotlib.colormaps["tab10" if count <= 10 else "tab20"].colors)


def _logarithmic(axes: Any, at: Sequence[float], name: Callable[[float], str]) -> None:
    """Have an x axis that is marked where something was measured."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [name(value) for value in at], fontsize=8)
    axes.set_xticks([], minor=True)


def _draw_plot(axes: Any, plot: Plot) -> None:
    colours: Dict[str, Any] = {}
    axes.set_prop_cycle(color=_colours(sum(bool(curve.name) for curve in plot.curves)))
    for curve in plot.curves:
        xs, ys = zip(*curve.points)
        style: Dict[str, Any] = {"marker": "o", "markersize": 4} if curve.measured else {"linestyle": "--"}
        (drawn,) = axes.plot(xs, ys, linewidth=1, label=curve.name, color=colours.get(curve.like), **style)
        if curve.name:
            colours[curve.name] = drawn.get_color()
    if "x" in plot.logarithmic:
        at = sorted({x for curve in plot.curves for x, _ in curve.points})
        _logarithmic(axes, at, in_words if plot.x == "bytes" else "{:g}".format)
    if "y" in plot.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0 if plot.level is None else None)
    if plot.level is not None:
        axes.axhline(plot.level, color="grey", linewidth=1)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.grid(alpha=0.2)
    axes.legend(fontsize=7)
