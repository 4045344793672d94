"""The records of a run: the lines of the metrics file, from which everything else that shows a run is made.

docs/metrics.md describes every kind of record and field; ``FORMAT`` counts its incompatible changes.
"""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from ..engines.registry import engine_named
from ..errors import Interrupted, without_passwords
from ..formats.endings import name_beside
from ..nets.given import is_text
from ..storage import local_path
from .base import Observer, Record
from .result import RankMachine, RankTiming, TrainingResult, ValidationResult
from .speed import Speed

if TYPE_CHECKING:
    from ..plans.run_config import RunConfig
    from ..settings import Settings

__all__ = ["FORMAT", "WIDEST", "Recorder", "curve_name", "name_of", "shown_flag"]

FORMAT = 1
#: Output blobs with more values have no curves; the metrics file has them all.
WIDEST = 16
_TIMING_SECONDS = 10.0  # between two records of a rank's timing
_SECRET = re.compile("(?i)secret|password|token|access[.]?key")  # after spark.redaction.regex


class Recorder(Observer):
    """Makes records of what happens.

    Parameters
    ----------
    config : RunConfig
    emit : takes each record
    """

    def __init__(self, config: RunConfig, emit: Callable[[Record], None]) -> None:
        self._config = config
        self._emit = emit
        self._result: Optional[TrainingResult] = None
        self._speed = Speed()
        self._hosts: Dict[int, str] = {}
        self._machines: Dict[int, RankMachine] = {}
        self._timings: Dict[
            int, Tuple[float, RankTiming]
        ] = {}  # of each rank, when its timing was recorded, and the newest one

    def _record(self, event: str, **values: Any) -> None:
        seconds = 0.0 if self._result is None else self._result.seconds()
        self._emit({"event": event, "seconds": round(seconds, 3), **{k: _plain_text(v) for k, v in values.items()}})

    # ---- the run

    def started(self, result: TrainingResult, about: str) -> None:
        self._result = result
        self._speed.start(result.seconds(), result.iteration)
        config = self._config
        self._record(
            "start",
            format=FORMAT,
            time=round(time.time(), 3),
            iteration=result.iteration,
            max_iter=result.max_iter,
            samples=result.samples,
            ranks=config.ranks,
            cluster=about,
            net=str(config.nets.train.message.name),
            model=result.model,
            resumed=result.resumed,
            settings=shown_settings(config.settings),
            solver=solver_fields(config.solver),
            versions=versions(config),
        )

    def restarted(self, result: TrainingResult, error: BaseException) -> None:
        self._speed.start(result.seconds(), result.iteration)
        self._timings.clear()
        self._record("restart", iteration=result.iteration, restarts=result.restarts, error=one_line(error))

    def finished(self, result: TrainingResult) -> None:
        self._end("finished", None)

    def failed(self, result: TrainingResult, error: BaseException) -> None:
        stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
        self._end("stopped" if stopped else "failed", error)

    def _end(self, outcome: str, error: Optional[BaseException]) -> None:
        result = self._result
        if result is None:  # it failed before it began
            return
        for rank in sorted(self._timings):
            self._record_timing(rank, self._timings[rank][1])
        self._record(
            "end",
            time=round(time.time(), 3),
            outcome=outcome,
            iteration=result.iteration,
            stopped=result.stopped,
            restarts=result.restarts,
            refused=result.refused,
            tampered=result.tampered,
            error="" if error is None else one_line(error),
        )

    # ---- on the way

    def note(self, text: str) -> None:
        self._record("note", text=" ".join(text.split()))

    def saved(self, result: TrainingResult, kind: str, iteration: int, uri: str) -> None:
        self._record("saved", what=kind, iteration=iteration, place=uri)

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if (result.hosts, result.machines) != (self._hosts, self._machines):
            self._hosts, self._machines = dict(result.hosts), dict(result.machines)
            numbers = range(self._config.ranks)
            hosts = [self._hosts.get(number, "") for number in numbers]
            machines = [asdict(self._machines[number]) if number in self._machines else None for number in numbers]
            self._record("hosts", hosts=hosts, machines=machines, rows=result.rows, samples=result.samples)
        if rank == 0 and new:
            self._iterations(result, timing, new)
        before, _ = self._timings.get(rank, (-math.inf, None))
        now = result.seconds()
        if now - before >= _TIMING_SECONDS:
            self._record_timing(rank, timing)
            before = now
        self._timings[rank] = before, timing

    def _iterations(self, result: TrainingResult, timing: RankTiming, new: Sequence[Tuple[int, float, float]]) -> None:
        now = round(result.seconds(), 3)
        self._speed.update(now, timing.iteration, timing.training)
        speed = self._speed.per_second()
        samples = None if speed is None else round(speed * result.samples, 1)
        for iteration, loss, rate in new:
            known: Dict[str, Mapping[int, float]] = {"passes": result.passes, "gradient_norm": result.gradient_norms}
            more = {name: values[iteration] for name, values in known.items() if iteration in values}
            self._emit(
                {
                    "event": "iteration",
                    "seconds": now,
                    "iteration": iteration,
                    "epoch": round(result.epoch(iteration), 6),
                    "loss": finite(loss),
                    "lr": rate,
                    "samples_per_second": samples,
                    **more,
                }
            )

    def _record_timing(self, rank: int, timing: RankTiming) -> None:
        self._record(
            "pace",
            rank=rank,
            iteration=timing.iteration,
            training=round(timing.training, 3),
            waited=round(timing.waited, 3),
            loading=round(timing.loading, 3),
        )

    def rank_losses(self, result: TrainingResult, iteration: int, losses: Sequence[float]) -> None:
        self._record("rank_losses", iteration=iteration, losses=[finite(loss) for loss in losses])

    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        self._emit(
            {
                "event": "validation",
                "seconds": round(test.seconds, 3),
                "iteration": test.iteration,
                "epoch": round(result.epoch(test.iteration), 6),
                "net": test.net,
                "rows": test.rows,
                "outputs": {name: [finite(value) for value in values] for name, values in test.outputs.items()},
            }
        )


def finite(value: float) -> Optional[float]:
    """The value, or None for what JSON has no word for."""
    return float(value) if math.isfinite(value) else None


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _plain_text(value: Any) -> Any:
    """What a record says, without passwords in URIs."""
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, dict):
        return {name: _plain_text(one) for name, one in value.items()}
    return [_plain_text(one) for one in value] if isinstance(value, list) else value


def shown_settings(settings: Settings) -> Dict[str, Any]:
    """The flags that were given, without passwords."""
    return {name: shown_flag(name, value) for name, value in settings.changed().items()}


def shown_flag(name: str, value: Any) -> Any:
    """The value of a flag, without passwords."""
    if name == "conf" and isinstance(value, str) and is_text(value):
        return "(given as an object)"
    if name == "readerOptions":
        names = [option.partition("=")[0] for option in value]
        return [f"{key}=…" if _SECRET.search(key) else _plain_text(option) for key, option in zip(names, value)]
    if name == "mlflow":
        return re.sub(r"//[^/]*@", "//…@", str(value))
    return _plain_text(value)


def solver_fields(solver: Any) -> Dict[str, Any]:
    """The solver's plain settings, by their names in the prototxt; numbers as they were written there."""
    found: Dict[str, Any] = {}
    for field, value in solver.ListFields():
        if field.message_type is not None or field.is_extension:
            continue
        repeated = field.label == field.LABEL_REPEATED
        values = [_plain(field, one) for one in (value if repeated else [value])]
        found[field.name] = values if repeated else values[0]
    return found


def _plain(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return float(f"{value:.7g}") if isinstance(value, float) else value


def versions(config: RunConfig) -> Dict[str, str]:
    """The software that trained: the library, what its engine names (Caffe, Python), and Spark."""
    import caffeonspark

    engine = engine_named(config.settings.engine)
    spark = {} if config.session is None else {"Spark": str(config.session.version)}
    return {"caffeonspark": caffeonspark.__version__, **engine.versions(), **spark}


# ---- names


def name_of(start: Record) -> str:
    """What to call a run: its model's name, else its net's."""
    name = os.path.basename(local_path(str(start["model"])))
    return name_beside(name, "") or str(start["net"]) or "training"


def curve_name(net: int, name: str, number: int, width: int) -> str:
    """What a validation's value is called everywhere: ``test/accuracy``; ``test1/prob/3`` in the second net."""
    title = f"test{net or ''}/{name}"
    return title if width == 1 else f"{title}/{number}"
