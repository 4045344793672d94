"""A run of MLflow, logged by MLflow's own client in a thread: a slow or absent server holds up nothing."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..errors import ConfigError
from .base import Observer, Record
from .downsampler import Downsampler, Point, validation_points
from .records import name_of
from .result import RankTiming, TrainingResult

__all__ = ["MLflow"]

_MOST_A_SECOND = 1.0
_PAUSE, _AFTER_FAILURE = 5.0, 30.0  # seconds between two requests
_PATIENCE, _IMPATIENCE = 60.0, 10.0  # seconds that the last request may take; and if there was never an answer
_SILENCE = 15.0  # seconds without an answer that are worth a note
_BATCH, _PARAMS = 1000, 100  # MLflow's limits for a request
_LONGEST = 250  # characters of a parameter, of MLflow 1 and its databases
_MOST_WAITING = 200_000  # points
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Observer):
    """Logs to a run: the active one of this thread, that of MLFLOW_RUN_ID, or else a new one, in the experiment of
    MLFLOW_EXPERIMENT_NAME as MLflow has it.

    Parameters
    ----------
    uri : of the tracking server or store; "default" for MLflow's own default
    say : told where the run is, and what went wrong

    Raises
    ------
    ConfigError
        When MLflow is not installed, or does not know such a URI.
    """

    def __init__(self, uri: str, say: Callable[[str], None]) -> None:
        try:
            import mlflow
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as e:
            raise ConfigError(f"-mlflow needs MLflow ({e}): pip install mlflow-skinny") from None
        try:
            self._client = MlflowClient(tracking_uri=None if uri == "default" else uri)
        except MlflowException as e:
            raise ConfigError(f"-mlflow {uri}: {e}") from None
        active = mlflow.active_run() if uri == "default" else None
        self._run = active.info.run_id if active is not None else os.environ.get("MLFLOW_RUN_ID", "")
        self._own = not self._run  # whether its end is this observer's business
        self._begun = False
        self._say = say
        self._told: List[str] = []
        self._thinned = Downsampler(_MOST_A_SECOND)
        self._start: Optional[Record] = None
        self._end: Optional[Record] = None
        self._points: List[Point] = []
        self._lost = 0
        self._news = threading.Condition()
        self._closing = False
        self._asked: Optional[float] = None  # since when an answer is waited for
        self._told_of_silence = False
        self._thread = threading.Thread(target=self._work, name="caffeonspark-mlflow", daemon=True)

    def record(self, record: Record) -> None:
        self._tell()
        event = record["event"]
        if event == "start":
            self._start = record
            self._thread.start()
        elif event == "iteration":
            self._thinned.add(record)
        elif event == "restart":
            self._thinned.forget()
        elif event == "validation":
            self._take([*self._thinned.take(last=True), *validation_points(record)])
        elif event == "end":
            self._take(self._thinned.take(last=True))
            self._end = record

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if new:
            self._take(self._thinned.take())

    def _take(self, points: Sequence[Point]) -> None:
        with self._news:
            self._points += points
            surplus = len(self._points) - _MOST_WAITING
            if surplus > 0:
                del self._points[:surplus]
                self._lost += surplus

    def close(self) -> None:
        if self._start is None:
            return
        with self._news:
            self._closing = True
            self._news.notify()
        patience = _PATIENCE if self._begun else _IMPATIENCE
        self._thread.join(patience)
        if self._thread.is_alive():
            self._told.append(f"warning: MLflow did not answer within {patience:.0f} s")
        self._lost += len(self._points)
        if self._lost:
            self._told.append(f"warning: {self._lost} points were not logged to MLflow; the metrics file has them")
        self._tell()

    def _tell(self) -> None:
        asked = self._asked
        if asked is not None and time.monotonic() - asked > _SILENCE and not self._told_of_silence:
            self._told_of_silence = True
            self._told.append(f"warning: MLflow has not answered for {_SILENCE:.0f} s; it gets the points when it does")
        while self._told:
            self._say(self._told.pop(0))

    # ---- the thread

    def _work(self) -> None:
        failed = False
        while True:
            with self._news:
                if not self._closing:
                    self._news.wait(_AFTER_FAILURE if failed else _PAUSE)
                closing = self._closing
            self._asked = time.monotonic()
            try:
                self._begin()
                self._log()
                if closing:
                    self._finish()
                failed = False
            except Exception as e:  # of the client, of its HTTP library, of what is behind it
                if not failed:
                    self._told.append(f"warning: MLflow: {' '.join(str(e).split())}")
                failed = True
            self._asked = None
            if closing:
                return

    def _begin(self) -> None:
        """Make the run if there is none, and say how it was set up, once."""
        start = self._start
        if start is None or self._begun:
            return
        if not self._run:
            from mlflow.tracking.context.registry import resolve_tags

            tags = resolve_tags({"caffeonspark.model": start["model"]})
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
            found = self._client.get_experiment_by_name(name)
            number = found.experiment_id if found is not None else self._client.create_experiment(name)
            self._run = self._client.create_run(number, run_name=name_of(start), tags=tags).info.run_id
            self._told.append(f"MLflow run {self._run} in experiment {name}")
        self._begun = True
        self._log_params(start)

    def _log_params(self, start: Record) -> None:
        from mlflow.entities import Param

        shown: Dict[str, Any] = {"ranks": start["ranks"], "samples_per_iteration": start["samples"]}
        shown.update({**start["solver"], **start["settings"], **start["versions"]})
        params = [Param(clean(name), str(value)[:_LONGEST]) for name, value in shown.items()]
        for first in range(0, len(params), _PARAMS):
            self._client.log_batch(self._run, params=params[first : first + _PARAMS])

    def _log(self) -> None:
        from mlflow.entities import Metric

        while True:
            with self._news:
                some, self._points = self._points[:_BATCH], self._points[_BATCH:]
            if not some:
                return
            metrics = [Metric(clean(p.name), p.value, int(p.time * 1000), p.iteration) for p in some]
            try:
                self._client.log_batch(self._run, metrics=metrics)
            except BaseException:
                with self._news:
                    self._points = some + self._points
                raise

    def _finish(self) -> None:
        if self._end is not None and self._end["error"]:
            self._client.set_tag(self._run, "caffeonspark.error", self._end["error"][:_LONGEST])
        if self._own:
            outcome = self._end["outcome"] if self._end is not None else "failed"
            self._client.set_terminated(self._run, _STATUS[outcome])


def clean(name: str) -> str:
    """A name with no characters but those MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name)
