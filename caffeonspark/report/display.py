"""Runs as notebooks show them: a small table and a curve, in HTML that needs nothing else."""

from __future__ import annotations

import html
import math
from typing import Iterable, List, Mapping, Sequence, Tuple

__all__ = ["curve_svg", "shown", "table"]

Point = Tuple[float, float]  # iteration, value

_TRAIN = "#2563eb"
_COLORS = ("#c2570c", "#047857", "#7c3aed", "#0e7490")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 150, 52, 52, 8, 18  # in pixels
_MOST_POINTS = 150  # of a line
_MOST_TEXT = 120  # characters of a value in a table


def shown(value: object) -> str:
    """A value in one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def table(title: str, rows: Iterable[Tuple[str, object]]) -> str:
    """A table of names and values, whose long values are cut."""
    lines = [
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(shown(value))}</td></tr>"
        for name, value in rows
    ]
    return f"<div><b>{html.escape(shown(title))}</b><table>{''.join(lines)}</table></div>"


def curve_svg(losses: Sequence[Point], tests: Mapping[str, Sequence[Point]]) -> str:
    """The training's loss and what validations found, as a picture of at most 16 KB; "" where there is no line to draw.

    Parameters
    ----------
    losses : (iteration, loss) of every iteration, or of some
    tests : points by the name of their curve; those that are no losses have their own scale, at the right
    """
    lines = [("training loss", _TRAIN, _means(losses, _MOST_POINTS), True)]
    for (name, points), color in zip(tests.items(), _COLORS):
        is_loss = "loss" in name.lower()
        lines.append((f"validation {name}" if is_loss else name, color, _means(points, _MOST_POINTS // 2), is_loss))
    lines = [line for line in lines if line[2]]
    if not any(len(points) > 1 for _, _, points, _ in lines):
        return ""
    first = min(points[0][0] for _, _, points, _ in lines)
    last = max(points[-1][0] for _, _, points, _ in lines)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT + 16 * len(lines)}' "
        "font-family='sans-serif' font-size='11' fill='currentColor'>",
        f"<path d='M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}' fill='none' stroke='currentColor' "
        "opacity='.4'/>",
        f"<text x='{_LEFT}' y='{_HEIGHT - 4}'>{first:g}</text>",
        f"<text x='{_WIDTH - _RIGHT}' y='{_HEIGHT - 4}' text-anchor='end'>iteration {last:g}</text>",
    ]
    for is_loss, x, anchor in ((True, _LEFT - 4, "end"), (False, _WIDTH - _RIGHT + 4, "start")):
        chosen = [line for line in lines if line[3] == is_loss]
        values = [value for _, _, points, _ in chosen for _, value in points]
        if not values:
            continue
        low, high = min(values), max(values)
        logarithmic = is_loss and low > 0 and high / low > 20
        for value, y in ((high, _TOP + 8), (low, _HEIGHT - _BOTTOM)):
            parts.append(f"<text x='{x}' y='{y}' text-anchor='{anchor}'>{value:.3g}</text>")
        for _, color, points, _ in chosen:
            path = " ".join(
                f"{_LEFT + (at - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT):.1f},"
                f"{_y(value, low, high, logarithmic):.1f}"
                for at, value in points
            )
            parts.append(f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.6'/>")
    for number, (name, color, points, _) in enumerate(lines):
        y = _HEIGHT + 12 + 16 * number
        parts.append(f"<rect x='{_LEFT}' y='{y - 6}' width='14' height='3' fill='{color}'/>")
        parts.append(f"<text x='{_LEFT + 20}' y='{y}'>{html.escape(shown(name))}: {points[-1][1]:.4g}</text>")
    return "".join([*parts, "</svg>"])


def _y(value: float, low: float, high: float, logarithmic: bool) -> float:
    if logarithmic:
        value, low, high = math.log(value), math.log(low), math.log(high)
    share = (value - low) / (high - low) if high > low else 0.5
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _means(points: Sequence[Point], most: int) -> List[Point]:
    """The finite ones; of many, the means of successive ones, each at the last of them."""
    finite = [point for point in points if math.isfinite(point[1])]
    size = -(-len(finite) // most) or 1
    groups = [finite[at : at + size] for at in range(0, len(finite), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
