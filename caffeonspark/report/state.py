"""What the page and the curves show of a run: kept in bounded memory however long the run is."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

from .base import Observer, Record
from .records import WIDEST, curve_name, name_of
from .result import RankTiming, TrainingResult
from .speed import Speed

__all__ = ["RunState", "Series"]

_MOST_POINTS = 800  # of a curve
_MOST_NOTES = 200
_MOST_MARKS = 200
_MOST_RANKS = 8  # that have a curve each; of more, the lowest and the highest loss have one
_TIMING_WINDOW = 30.0  # seconds over which a rank's time is split up


#: An iteration, and the values of each of some curves there.
_Point = Tuple[int, List[Optional[float]]]


@dataclass
class _Bucket:
    """Some successive iterations."""

    first: int
    count: int
    loss: float  # sum
    low: float
    high: float
    lr: float  # of the last one
    speed: float  # sum
    speeds: int
    passes: int = 0  # sum; 0 where nobody counts them
    norm: Optional[float] = None  # of the gradient, of the last one

    def add(self, other: _Bucket) -> None:
        self.count += other.count
        self.loss += other.loss
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        self.lr = other.lr
        self.speed += other.speed
        self.speeds += other.speeds
        self.passes += other.passes
        self.norm = other.norm


class Series:
    """Loss, learning rate, speed and what L-BFGS tells over the iterations, in at most ``_MOST_POINTS`` buckets.

    Every bucket covers as many iterations; when there are too many buckets, that number is doubled.
    """

    def __init__(self) -> None:
        self.width = 1  # iterations in a bucket
        self._buckets: List[_Bucket] = []

    def __len__(self) -> int:
        return len(self._buckets)

    def copy(self) -> Series:
        other = Series()
        other.width = self.width
        other._buckets = [_Bucket(**vars(bucket)) for bucket in self._buckets]
        return other

    def add(
        self,
        iteration: int,
        loss: float,
        lr: float,
        speed: Optional[float],
        passes: int = 0,
        norm: Optional[float] = None,
    ) -> None:
        """Take the next iteration."""
        speeds = int(speed is not None)
        self._put(_Bucket(iteration, 1, loss, loss, loss, lr, speed or 0.0, speeds, passes, norm))
        if len(self._buckets) > _MOST_POINTS:
            self.width *= 2
            buckets, self._buckets = self._buckets, []
            for bucket in buckets:
                self._put(bucket)

    def _put(self, bucket: _Bucket) -> None:
        if self._buckets and self._buckets[-1].first // self.width == bucket.first // self.width:
            self._buckets[-1].add(bucket)
        else:
            self._buckets.append(bucket)

    def cut(self, iteration: int) -> None:
        """Forget ``iteration`` and what came after, and the earlier ones in its bucket."""
        self._buckets = [b for b in self._buckets if b.first - b.first % self.width + self.width <= iteration]

    def columns(self) -> Dict[str, List[Any]]:
        """Columns with an entry for each bucket.

        ``iteration`` is its first; ``loss`` the mean, between ``low`` and ``high``; ``smooth`` the mean of the buckets
        around it; ``speed`` and ``passes`` the mean, ``norm`` that of its last iteration, None where it is not known.
        """
        loss = [b.loss / b.count for b in self._buckets]
        return {
            "iteration": [b.first for b in self._buckets],
            "loss": [_short(v) for v in loss],
            "low": [_short(b.low) for b in self._buckets],
            "high": [_short(b.high) for b in self._buckets],
            "smooth": [_short(v) for v in smooth(loss)],
            "lr": [_short(b.lr) for b in self._buckets],
            "speed": [_short(b.speed / b.speeds) if b.speeds else None for b in self._buckets],
            "passes": [_short(b.passes / b.count) if b.passes else None for b in self._buckets],
            "norm": [_rounded(b.norm) for b in self._buckets],
        }


def smooth(values: Sequence[float]) -> List[float]:
    """The mean over the twentieth of the values around each: less at the beginning, so that it lies symmetrically in a
    steep descent, and the newest half of it at the end."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    widest, count = max(1, len(values) // 40), len(values)
    found = []
    for at in range(count):
        side = min(widest, at)
        end = min(at + side, count - 1)
        found.append((sums[end + 1] - sums[at - side]) / (end + 1 - at + side))
    return found


def _short(value: float) -> float:
    return float(f"{value:.5g}")


@dataclass
class _Rank:
    """What is known of a rank in the attempt under way."""

    heard: float = 0.0  # when it last reported, in seconds of the run
    timings: Deque[Tuple[float, RankTiming]] = field(default_factory=deque)

    def take(self, now: float, timing: RankTiming) -> None:
        self.heard = now
        self.timings.append((now, timing))
        while len(self.timings) > 2 and now - self.timings[1][0] > _TIMING_WINDOW:
            self.timings.popleft()

    def recent(self) -> RankTiming:
        """Iterations and seconds in the newest window."""
        last = self.timings[-1][1]
        first = self.timings[0][1] if len(self.timings) > 1 else RankTiming(0, 0.0, 0.0, 0.0)
        return RankTiming(
            last.iteration - first.iteration,
            last.training - first.training,
            last.waited - first.waited,
            last.loading - first.loading,
        )


class RunState(Observer):
    """How a run stands, from its records alone, or live with more detail between them.

    Parameters
    ----------
    earlier : gives the records of the runs this one continues from
    """

    def __init__(self, earlier: Callable[[], Iterator[Record]] = lambda: iter(())) -> None:
        self._earlier = earlier
        self._lock = threading.Lock()
        #: Goes up whenever there is something new to show.
        self.version = 0
        self.phase = "starting"
        self.error = ""
        self._what = "starting"
        self._start: Record = {"iteration": 0, "max_iter": 0, "samples": 1, "ranks": 0, "model": "", "net": ""}
        self._begun = time.time()
        self._begun_monotonic = time.monotonic()
        self._seconds = 0.0  # of the newest record
        self._iteration = 0
        self._epoch = 0.0
        self._train = Series()
        self._at_start: Tuple[int, Series] = (0, Series())
        self._at_snapshot: Tuple[int, Series] = (0, Series())
        self._speed = Speed()
        self._samples_per_second: Optional[float] = None
        self._tests: Dict[Tuple[int, str], List[_Point]] = {}
        self._apart: List[_Point] = []  # the losses of the ranks, or of more than have curves the lowest and highest
        self._newest_apart: List[Optional[float]] = []  # of every rank
        self._marks: Deque[Dict[str, Any]] = deque(maxlen=_MOST_MARKS)
        self._notes: Deque[Tuple[float, str]] = deque(maxlen=_MOST_NOTES)
        self._hosts: List[str] = []
        self._machines: List[Optional[Dict[str, Any]]] = []
        self._rows = 0
        self._ranks: Dict[int, _Rank] = {}
        self._end: Optional[Record] = None

    # ---- being told

    def record(self, record: Record) -> None:
        if record["event"] == "start" and record["resumed"]:
            for earlier in self._earlier():
                self._take(earlier)
        self._take(record)

    def _take(self, record: Record) -> None:
        with self._lock:
            self._seconds = record["seconds"]
            getattr(self, f"_on_{record['event']}", lambda record: None)(record)
            self.version += 1

    def doing(self, result: TrainingResult, what: str) -> None:
        with self._lock:
            self.phase, self._what = "starting", what
            self.version += 1

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        with self._lock:
            now = result.seconds()
            self._ranks.setdefault(rank, _Rank()).take(now, timing)
            self._seconds = now
            if self.phase == "starting":
                self.phase = "training"
            if rank == 0:
                self._iteration = timing.iteration
                if new:
                    self._speed.update(now, timing.iteration, timing.training)
            self.version += 1

    # ---- the records

    def _on_start(self, record: Record) -> None:
        if record["ranks"] != self._start["ranks"]:  # other curves
            self._apart.clear()
        self._start = record
        self._begun = record["time"] - record["seconds"]
        self._begun_monotonic = time.monotonic() - record["seconds"]
        self.phase, self._what, self.error, self._end = "starting", "starting", "", None
        self._ranks.clear()
        self._rewind(record["iteration"])
        self._at_start = record["iteration"], self._train.copy()
        self._speed.start(record["seconds"], record["iteration"])
        if record["iteration"]:
            self._marks.append({"kind": "resumed", "iteration": record["iteration"]})

    def _on_restart(self, record: Record) -> None:
        self._marks.append(
            {"kind": "restart", "iteration": record["iteration"], "from": self._iteration, "why": record["error"]}
        )
        self.phase, self._what = "starting", "restarting"
        self._ranks.clear()
        self._rewind(record["iteration"])
        self._speed.start(record["seconds"], record["iteration"])

    def _rewind(self, iteration: int) -> None:
        self._samples_per_second = None
        for at, series in (self._at_snapshot, self._at_start):
            if at == iteration:
                self._train = series.copy()
                break
        else:
            self._train.cut(iteration)
        for points in (*self._tests.values(), self._apart):
            points[:] = [point for point in points if point[0] < iteration]
        self._newest_apart = []
        self._iteration = iteration

    def _on_hosts(self, record: Record) -> None:
        self._hosts, self._rows = record["hosts"], record["rows"]
        self._machines = record.get("machines", [])  # earlier versions did not say
        self._start = {**self._start, "samples": record.get("samples", self._start["samples"])}

    def _on_iteration(self, record: Record) -> None:
        self.phase = "training"
        self._iteration = record["iteration"] + 1
        self._samples_per_second = record["samples_per_second"]
        if record["loss"] is not None:
            self._train.add(
                record["iteration"],
                record["loss"],
                record["lr"],
                record["samples_per_second"],
                record.get("passes", 0),
                record.get("gradient_norm"),
            )

    def _on_pace(self, record: Record) -> None:
        timing = RankTiming(record["iteration"], record["training"], record["waited"], record["loading"])
        rank = self._ranks.setdefault(record["rank"], _Rank())
        if not rank.timings or rank.timings[-1][1].iteration < timing.iteration:  # not heard of live
            rank.take(record["seconds"], timing)

    def _on_rank_losses(self, record: Record) -> None:
        values = self._newest_apart = record["losses"]
        if len(values) > _MOST_RANKS:
            known = [value for value in values if value is not None]
            values = [min(known), max(known)] if known else [None, None]
        _put(self._apart, record["iteration"], values)

    def _on_validation(self, record: Record) -> None:
        for name, values in record["outputs"].items():
            points = self._tests.setdefault((record["net"], name), [])
            if len(values) <= WIDEST:
                _put(points, record["iteration"], values)

    def _on_saved(self, record: Record) -> None:
        self._marks.append({"kind": record["what"], "iteration": record["iteration"]})
        if record["what"] == "snapshot":
            self._at_snapshot = record["iteration"], self._train.copy()

    def _on_note(self, record: Record) -> None:
        self._notes.append((record["seconds"], record["text"][:2000]))

    def _on_end(self, record: Record) -> None:
        self.phase, self.error, self._end = record["outcome"], record["error"][:4000], record
        self._iteration = record["iteration"]

    # ---- showing

    @property
    def empty(self) -> bool:
        """Whether there is no curve to draw."""
        return not len(self._train)

    @property
    def over(self) -> bool:
        return self._end is not None

    def page(self) -> Dict[str, Any]:
        """Everything the page shows, as JSON-able values of bounded size. May be called from any thread."""
        with self._lock:
            start = self._start
            left = None if self.over or self.phase != "training" else self._speed.left(self._left())
            return {
                "version": self.version,
                "phase": self.phase,
                "doing": self._what if self.phase == "starting" else "",
                "error": self.error,
                "stopped": self._end["stopped"] if self._end else "",
                "name": name_of(start),
                "model": start["model"],
                "cluster": start.get("cluster", ""),
                "settings": {**start.get("settings", {}), **start.get("versions", {})},
                "solver": start.get("solver", {}),
                "begun": self._begun,
                "seconds": round(self._seconds if self.over else max(self._seconds, self._elapsed()), 1),
                "iteration": self._iteration,
                "first": start["iteration"],
                "max_iter": start["max_iter"],
                "epoch": round(self._iteration * start["samples"] / self._rows, 3) if self._rows else 0,
                "rows": self._rows,
                "left": None if left is None else round(left, 1),
                "samples_per_second": self._samples_per_second,
                "train": self._train.columns(),
                "tests": self._test_curves(),
                "apart": self._rank_curves(),
                "marks": list(self._marks),
                "notes": [[round(seconds, 1), text] for seconds, text in self._notes],
                "ranks": self._rank_rows(),
            }

    def _elapsed(self) -> float:
        """Seconds since the run began, whatever becomes of the clock."""
        return time.monotonic() - self._begun_monotonic

    def _left(self) -> int:
        return max(0, int(self._start["max_iter"]) - self._iteration)

    def _test_curves(self) -> List[Dict[str, Any]]:
        """One curve for each value of each output blob."""
        curves = []
        for (net, name), points in self._tests.items():
            some = _thinned(points)
            for number in range(max((len(values) for _, values in some), default=0)):
                title = curve_name(net, name, number, len(some[0][1]))
                curves.append(
                    {
                        "name": title,
                        "loss": "loss" in name.lower(),
                        "points": [[at, _rounded(values[number])] for at, values in some if number < len(values)],
                    }
                )
        return curves

    def _rank_curves(self) -> List[Dict[str, Any]]:
        """The loss of each rank, or the lowest and the highest of many, where their models differ."""
        some = _thinned(self._apart)
        width = len(some[-1][1]) if some else 0
        many = int(self._start["ranks"]) > _MOST_RANKS
        names = ["lowest of the ranks", "highest of the ranks"] if many else [f"rank {n}" for n in range(width)]
        return [
            {
                "name": name,
                "points": [[at, _rounded(values[number])] for at, values in some if number < len(values)],
            }
            for number, name in enumerate(names[:width])
        ]

    def _rank_rows(self) -> List[Dict[str, Any]]:
        """Each rank's host, iteration, and how it spent its newest seconds; ``slowest`` waits least for the others."""
        rows: List[Dict[str, Any]] = []
        share = self._start["samples"] / max(1, int(self._start["ranks"]))  # samples a rank has of an iteration
        for number in range(max(int(self._start["ranks"]), len(self._hosts))):
            row: Dict[str, Any] = {
                "rank": number,
                "host": self._hosts[number] if number < len(self._hosts) else "",
                "machine": self._machines[number] if number < len(self._machines) else None,
                "iteration": None,
                "slowest": False,
            }
            if number < len(self._newest_apart):
                row["loss"] = _rounded(self._newest_apart[number])
            rank = self._ranks.get(number)
            if rank is not None and rank.timings:
                recent, total = rank.recent(), rank.timings[-1][1]
                working = recent.training - recent.waited
                row.update(
                    iteration=total.iteration,
                    heard=round(rank.heard, 1),
                    training=round(total.training, 1),
                    waited=round(total.waited, 1),
                    loading=round(total.loading, 1),
                    waiting_share=_part(recent.waited, recent.training),
                    loading_share=_part(recent.loading, recent.training),
                    alone=round(recent.iteration * share / working, 1) if working > 0 else None,
                )
            rows.append(row)
        known = [row for row in rows if row["iteration"] is not None and row["waiting_share"] is not None]
        if len(known) == len(rows) > 1:
            min(known, key=lambda row: row["waiting_share"])["slowest"] = True
        return rows


def _put(points: List[_Point], iteration: int, values: List[Optional[float]]) -> None:
    """Take the next point, and drop some where there are many."""
    points.append((iteration, values))
    if len(points) > 2 * _MOST_POINTS:
        del points[1:-1:2]


def _thinned(points: List[_Point]) -> List[_Point]:
    """At most ``_MOST_POINTS`` of them, the newest always."""
    stride = -(-len(points) // _MOST_POINTS) or 1
    return points[::-1][::stride][::-1]


def _part(some: float, whole: float) -> Optional[float]:
    return round(min(1.0, max(0.0, some / whole)), 4) if whole > 0 else None


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else _short(value)
