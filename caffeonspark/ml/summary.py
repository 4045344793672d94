"""What training did, as a model keeps it: curves as pandas frames, saved with the model."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import pandas as pd

from ..errors import ConfigError, StorageError
from ..report.display import shown, table
from ..report.result import RankMachine, RankTiming, ShownRun, TrainingResult, ValidationResult
from ..storage import Storage, join

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["HasTrainingSummary", "TrainingSummary", "kept_summary", "read_summary", "write_summary"]

_log = logging.getLogger(__name__)

_FILE, _FORMAT = "summary.json", 1
# What a file holds at most, which keeps it below 2 MB: of longer runs, an even choice with the first and the last.
_MOST_ITERATIONS, _MOST_NUMBERS, _MOST_TIMINGS, _WIDEST = 10_000, 40_000, 200, 16
_PLAIN = ("model", "max_iter", "iteration", "samples", "rows", "stopped", "restarts", "resumed", "refused", "tampered")


@dataclass(repr=False, eq=False)
class TrainingSummary(ShownRun):
    """What training a model did.

    Attributes
    ----------
    history : pandas DataFrame of every iteration: ``iteration`` (int64), ``epoch``, ``loss`` and ``lr`` (float64). Of a
        loaded model, of at most 10,000 iterations, evenly chosen
    validation : pandas DataFrame of the first test net's validations: ``iteration`` (int64), ``epoch``, ``seconds``
        since the start (float64), ``rows`` (int64), and a column (float64) for each output of one value, by its name
    tests : all validations, a ValidationResult each, with all outputs; of a loaded model, outputs of at most 16 values
    duration : seconds that the run took, all its attempts together
    model, max_iter, samples, hosts, machines, rows, iteration, stopped, best, restarts, timings, refused, tampered,
    resumed : as TrainingResult has them
    """

    history: pd.DataFrame
    validation: pd.DataFrame
    tests: List[ValidationResult]
    duration: float
    model: str
    max_iter: int
    iteration: int
    samples: int
    rows: int
    stopped: str
    restarts: int
    resumed: str
    refused: int
    tampered: int
    hosts: Dict[int, str]
    machines: Dict[int, RankMachine]
    timings: Dict[int, List[RankTiming]]
    best: Optional[ValidationResult]

    @classmethod
    def of(cls, result: TrainingResult) -> TrainingSummary:
        """What is to be kept of a run that is over."""
        at, losses, rates = [list(column) for column in zip(*result.history)] or [[], [], []]
        history = _history(at, [result.epoch(int(i)) for i in at], losses, rates)
        kept = {name: getattr(result, name) for name in (*_PLAIN, "hosts", "machines", "timings", "best")}
        validation, tests = _validation(result.tests, result), list(result.tests)
        return cls(history=history, validation=validation, tests=tests, duration=result.seconds(), **kept)

    def seconds(self) -> float:
        """That the run took, all its attempts together."""
        return self.duration

    @property
    def objectiveHistory(self) -> List[float]:
        """The loss of each iteration in ``history``."""
        return [float(loss) for loss in self.history["loss"]]

    @property
    def totalIterations(self) -> int:
        """How many iterations were done."""
        return self.iteration

    def plot(self, ax: Optional[Axes] = None) -> Axes:
        """Draw the training's loss and what validations found, over the iterations.

        Outputs of the test net whose names have no "loss" in them, such as an accuracy, are drawn by a second scale at
        the right.

        Parameters
        ----------
        ax : where to draw; without it, a new figure of ``matplotlib.pyplot``

        Returns
        -------
        Axes
            With the losses.

        Raises
        ------
        ConfigError
            Where matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError:
            raise ConfigError("plot needs matplotlib: pip install 'caffeonspark[curve]'") from None

        axes: Any = pyplot.subplots(figsize=(8, 4))[1] if ax is None else ax
        axes.plot(self.history["iteration"], self.history["loss"], color="C0", linewidth=1, label="training loss")
        axes.set(xlabel="iteration", ylabel="loss")
        axes.grid(alpha=0.3)
        names = list(self.validation.columns[4:])
        others = None
        for number, name in enumerate(names, 1):
            if "loss" in name.lower():
                place, label = axes, f"validation {name}"
            else:
                others = axes.twinx() if others is None else others
                place, label = others, name
            place.plot(self.validation["iteration"], self.validation[name], "o-", color=f"C{number}", label=label)
            place.lines[-1].set_markersize(4)
        if others is not None:
            others.set_ylabel("validation")
        lines = [*axes.get_lines(), *(others.get_lines() if others is not None else [])]
        labels = [line.get_label() for line in lines]
        axes.legend(lines, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False)
        drawn: Axes = axes
        return drawn

    def _losses(self) -> List[Tuple[float, float]]:
        return list(zip(self.history["iteration"].astype(float), self.history["loss"]))

    # ---- in a file

    def to_json(self) -> str:
        """All of it in JSON, in bounded size."""
        history = self.history.iloc[_chosen(len(self.history), _MOST_ITERATIONS)]
        narrow = [_narrow(test) for test in self.tests]
        numbers = sum(len(values) for test in narrow[:1] for values in test["outputs"].values()) or 1
        timings = {
            rank: [asdict(some[i]) for i in _chosen(len(some), _MOST_TIMINGS)] for rank, some in self.timings.items()
        }
        return json.dumps(
            {
                "format": _FORMAT,
                **{name: getattr(self, name) for name in (*_PLAIN, "duration")},
                "history": {name: [_finite(v) for v in history[name].tolist()] for name in history},
                "tests": [narrow[i] for i in _chosen(len(narrow), max(2, _MOST_NUMBERS // numbers))],
                "best": None if self.best is None else _narrow(self.best),
                "hosts": self.hosts,
                "machines": {rank: asdict(machine) for rank, machine in self.machines.items()},
                "timings": timings,
            },
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> TrainingSummary:
        """What ``to_json`` wrote. Raises KeyError, TypeError or ValueError for other texts."""
        data = json.loads(text)
        if data["format"] != _FORMAT:
            raise ValueError(f"its format is {data['format']}, and this version reads {_FORMAT}")
        plain = {name: data[name] for name in (*_PLAIN, "duration")}
        tests = [_test(one) for one in data["tests"]]
        columns = [[math.nan if v is None else v for v in data["history"][name]] for name in _HISTORY]
        run = TrainingResult(model=data["model"], samples=data["samples"], rows=data["rows"])
        return cls(
            history=_history(*columns),
            validation=_validation(tests, run),
            tests=tests,
            best=None if data["best"] is None else _test(data["best"]),
            hosts={int(rank): str(host) for rank, host in data["hosts"].items()},
            machines={int(rank): _made(RankMachine, machine) for rank, machine in data["machines"].items()},
            timings={int(rank): [_made(RankTiming, one) for one in some] for rank, some in data["timings"].items()},
            **plain,
        )


_HISTORY = ("iteration", "epoch", "loss", "lr")


def _history(
    iterations: Sequence[float], epochs: Sequence[float], losses: Sequence[float], rates: Sequence[float]
) -> pd.DataFrame:
    frame = pd.DataFrame(dict(zip(_HISTORY, (iterations, epochs, losses, rates))), dtype="float64")
    return frame.astype({"iteration": "int64"})


def _validation(tests: Sequence[ValidationResult], run: TrainingResult) -> pd.DataFrame:
    rows = []
    for test in tests:
        if test.net == 0:
            first = {
                "iteration": test.iteration,
                "epoch": run.epoch(test.iteration),
                "seconds": test.seconds,
                "rows": test.rows,
            }
            scalars = {name: values[0] for name, values in test.outputs.items() if len(values) == 1}
            rows.append({**first, **{f"test {name}" if name in first else name: v for name, v in scalars.items()}})
    columns = list(rows[0]) if rows else ["iteration", "epoch", "seconds", "rows"]
    return pd.DataFrame(rows, columns=columns, dtype="float64").astype({"iteration": "int64", "rows": "int64"})


def _chosen(count: int, most: int) -> List[int]:
    """The places of ``most`` of so many, evenly: the first and the last are among them."""
    return list(range(count)) if count <= most else [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None


def _narrow(test: ValidationResult) -> Dict[str, Any]:
    """A validation for a file, without wide outputs."""
    outputs = {name: [_finite(v) for v in values] for name, values in test.outputs.items() if len(values) <= _WIDEST}
    return {
        "iteration": test.iteration,
        "net": test.net,
        "rows": test.rows,
        "seconds": test.seconds,
        "outputs": outputs,
    }


def _test(data: Mapping[str, Any]) -> ValidationResult:
    outputs = {name: [math.nan if v is None else v for v in values] for name, values in data["outputs"].items()}
    return ValidationResult(data["iteration"], data["net"], data["rows"], data["seconds"], outputs)


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    return kind(**{field.name: data[field.name] for field in fields(kind)})


def kept_summary(run: Union[TrainingResult, TrainingSummary, None]) -> Optional[TrainingSummary]:
    """What a model keeps of the run that trained it, or of the summary that was saved with it."""
    return TrainingSummary.of(run) if isinstance(run, TrainingResult) else run


def write_summary(storage: Storage, folder: str, summary: TrainingSummary) -> None:
    """Put it into the folder of a saved model."""
    storage.write(join(folder, _FILE), summary.to_json().encode())


def read_summary(storage: Storage, folder: str) -> Optional[TrainingSummary]:
    """The one in the folder of a saved model; None where there is none, as earlier versions wrote, or one that cannot
    be read, which is noted."""
    place = join(folder, _FILE)
    if not storage.exists(place):
        return None
    try:
        return TrainingSummary.from_json(storage.read(place).decode())
    except (KeyError, TypeError, ValueError, AttributeError, StorageError) as e:
        _log.warning("warning: the model has no summary: %s cannot be read (%s)", place, e)
        return None


class HasTrainingSummary:
    """A model with what its training did, and short words for itself."""

    summary: Optional[TrainingSummary]
    uid: str
    _net: Any

    @property
    def hasSummary(self) -> bool:
        """Whether there is a ``summary``."""
        return self.summary is not None

    def _about(self) -> List[Tuple[str, object]]:
        facts: List[Tuple[str, object]] = [("uid", self.uid)]
        if self._net is not None:
            facts.append(("net", self._net.message.name or self._net.path))
        if self.summary is not None:
            facts.append(("iterations", self.summary.totalIterations))
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {', '.join(f'{name}={shown(value)}' for name, value in self._about())}"

    def _repr_html_(self) -> str:
        page = table(type(self).__name__, self._about())
        return page if self.summary is None else page + self.summary._repr_html_()
