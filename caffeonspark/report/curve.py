"""The training curve that is left next to the model: a page of its own, and a picture where matplotlib is installed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from typing import Any, Callable, Dict, List, Sequence

from ..errors import Interrupted
from ..formats.endings import name_beside
from ..storage import Storage
from .base import Observer, Record
from .page import page_html
from .result import TrainingResult
from .state import RunState

__all__ = ["Curve", "draw_png", "static_page"]

_COLORS = ("#c2570c", "#047857", "#7c3aed", "#0e7490", "#a16207", "#be185d")
_TRAIN = "#2563eb"
_RANKS = ("#1e3a8a", "#c81e1e", "#92400e", "#065f46", "#5b21b6", "#155e75", "#9d174d", "#44403c")


class Curve(Observer):
    """Leaves the curve next to the model when the run is over, however it ended.

    Parameters
    ----------
    storage : Storage
    model : where the model is
    state : of the run, told everything before this observer is
    say : told where the curve is
    """

    def __init__(self, storage: Storage, model: str, state: RunState, say: Callable[[str], None]) -> None:
        self._storage = storage
        self._model = model
        self._state = state
        self._say = say
        self._hurry = False

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        self._hurry = isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted)  # a second Ctrl-C

    def record(self, record: Record) -> None:
        if record["event"] != "end" or self._state.empty:
            return
        page = self._state.page()
        uris = [name_beside(self._model, ".curve.html")]
        self._storage.write(uris[0], static_page(page).encode())
        hint = ""
        if not self._hurry:
            try:
                picture = draw_png(page)
            except ImportError:
                hint = " (for a picture as well: pip install matplotlib)"
            else:
                uris.insert(0, name_beside(self._model, ".curve.png"))
                self._storage.write(uris[0], picture)
        self._say(f"training curve: {', '.join(uris)}{hint}")


def static_page(page: Dict[str, Any]) -> str:
    """The page of a run that gets no more news."""
    return page_html(json.dumps({**page, "live": False}, separators=(",", ":")))


def draw_png(page: Dict[str, Any]) -> bytes:
    """The curves as a PNG, from what ``RunState.page`` gives. Raises ImportError without matplotlib."""
    with _private_cache():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        train = page["train"]
        losses = [test for test in page["tests"] if test["loss"] and test["points"]]
        others = [test for test in page["tests"] if not test["loss"] and test["points"]]
        heights = [3.0, *([2.2] if others else []), 1.4]
        tall = sum(heights) + 1.0
        figure = Figure(figsize=(9.6, tall), dpi=100)  # its own layout engines would double the time this takes
        figure.subplots_adjust(0.09, 0.55 / tall, 0.985, 1 - 0.45 / tall, hspace=0.08)
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
        _draw_loss(axes[0], train, losses)
        for one, color in zip(page["apart"], _RANKS):
            _plot_points(axes[0], one, color, linewidth=0.8, linestyle=":")
        if others:
            _draw_tests(axes[1], others)
        axes[-1].plot(train["iteration"], train["lr"], color=_TRAIN, drawstyle="steps-post")
        axes[-1].set_ylabel("learning rate")
        axes[-1].ticklabel_format(axis="x", style="plain")
        axes[-1].set_xlabel("iteration")
        for axis in axes:
            axis.grid(color="#e6e9ef", linewidth=0.8)
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color("#aab2c0")
            _draw_marks(axis, page["marks"], labelled=axis is axes[0])
        for axis in axes[: 2 if others else 1]:
            axis.legend(fontsize=8.5, framealpha=0.85, edgecolor="#dfe3ea", ncols=2)
        for axis in axes:
            axis.yaxis.set_label_coords(-0.07, 0.5)
        figure.suptitle(_title(page), fontsize=11, y=1 - 0.16 / tall, va="top")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


@contextlib.contextmanager
def _private_cache() -> Any:
    """matplotlib wants a folder to write to, and says so loudly on clusters where the home folder is none."""
    home = os.path.expanduser("~")
    if "MPLCONFIGDIR" in os.environ or os.access(home, os.W_OK):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]


def _draw_loss(axis: Any, train: Dict[str, List[Any]], losses: Sequence[Dict[str, Any]]) -> None:
    x = train["iteration"]
    if train["low"] != train["high"]:
        axis.fill_between(x, train["low"], train["high"], color=_TRAIN, alpha=0.2, linewidth=0)
    axis.plot(x, train["loss"], color=_TRAIN, alpha=0.35, linewidth=0.9, label="training, every iteration")
    axis.plot(x, train["smooth"], color=_TRAIN, linewidth=1.7, label="training, smoothed")
    for test, color in zip(losses, _COLORS):
        _plot_points(axis, test, color)
    smooth = [value for value in train["smooth"] if value > 0]
    if smooth and min(train["low"]) > 0 and max(smooth) / min(smooth) > 20:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_ylabel("loss")


def _draw_tests(axis: Any, tests: Sequence[Dict[str, Any]]) -> None:
    for number, test in enumerate(tests[:12]):
        _plot_points(axis, test, _COLORS[(number + 1) % len(_COLORS)])
    axis.set_ylabel("validation")


def _plot_points(axis: Any, test: Dict[str, Any], color: str, **style: Any) -> None:
    points = [(at, float("nan") if value is None else value) for at, value in test["points"]]
    marker = "o" if len(points) <= 60 else None
    style = {"linewidth": 1.5, "marker": marker, "markersize": 3.5, **style}
    axis.plot(*zip(*points), color=color, label=test["name"], **style)


def _draw_marks(axis: Any, marks: Sequence[Dict[str, Any]], labelled: bool) -> None:
    def label(text: str) -> str:
        return text if labelled else "_nolegend_"

    at: Dict[str, List[int]] = {}
    for mark in marks:
        at.setdefault(mark["kind"], []).append(mark["iteration"])
    if "snapshot" in at:
        floor = axis.get_xaxis_transform()  # data along x, the axis's own height along y
        axis.plot(
            at["snapshot"],
            [0.0] * len(at["snapshot"]),
            "^",
            color="#66718a",
            markersize=5,
            transform=floor,
            clip_on=False,
            label=label("snapshot"),
        )
    for kind, color, style in (("restart", "#c81e1e", "--"), ("resumed", "#66718a", "--")):
        for number, iteration in enumerate(at.get(kind, [])):
            text = label(kind) if number == 0 else "_nolegend_"
            axis.axvline(iteration, color=color, linestyle=style, linewidth=1.1, label=text)
    if "best model" in at:
        axis.axvline(at["best model"][-1], color="#047857", linestyle=":", linewidth=1.6, label=label("best model"))


def _title(page: Dict[str, Any]) -> str:
    how = {"finished": "", "stopped": ", stopped", "failed": ", failed"}.get(page["phase"], ", not at its end")
    return f"{page['name']}: {page['iteration']} of {page['max_iter']} iterations{how}"
