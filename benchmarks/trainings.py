"""Trainings by ``caffeonspark local``, watched through their metrics files while they last."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Tuple

from .common import BUILD

Record = Dict[str, Any]

_POLL = 0.25  # seconds
_PATIENCE = 300.0  # for ranks to start, and to hear of a request to stop and save


@dataclass(frozen=True)
class Training:
    """What a run's metrics file says.

    Attributes
    ----------
    records : of the file, in order
    """

    records: Tuple[Record, ...]

    def of(self, event: str) -> List[Record]:
        return [record for record in self.records if record["event"] == event]

    def seconds_at(self, iteration: int) -> float:
        """Seconds in iterations, validations and snapshots not counted, when so many were done: by rank 0's reports,
        evenly between two of them."""
        points = [(0, 0.0), *((one["iteration"], one["training"]) for one in self.of("pace") if one["rank"] == 0)]
        for (before, since), (after, until) in zip(points, points[1:]):
            if before <= iteration <= after and after > before:
                return float(since + (until - since) * (iteration - before) / (after - before))
        return float(points[-1][1])

    def waiting_share(self) -> float:
        """Of the time in iterations, what the ranks spent in exchanges, waiting for the slowest included."""
        newest = {one["rank"]: one for one in self.of("pace")}
        total = sum(one["training"] for one in newest.values())
        return sum(one["waited"] for one in newest.values()) / total if total else 0.0

    def tests(self, output: str) -> List[Tuple[int, float]]:
        """(iteration, value) of each validation."""
        found = [(one["iteration"], one["outputs"][output][0]) for one in self.of("validation")]
        return [(iteration, value) for iteration, value in found if value is not None]


def train(
    name: str,
    solver: str,
    ranks: int,
    flags: Mapping[str, object],
    enough: Callable[[Training], bool],
    limit: float,
) -> Training:
    """Train until it is enough, the solver ends, or so many seconds are over since the first iteration.

    Parameters
    ----------
    name : of the model's file
    solver : its path
    ranks : processes of this machine, one BLAS thread each
    flags : more flags, by name; True for one without a value
    enough : asked after every news
    limit : seconds

    Raises
    ------
    RuntimeError
        Where the run failed, with the end of what it said.
    """
    metrics = BUILD / f"{name}.metrics.jsonl"
    if metrics.exists():  # of an earlier training
        metrics.unlink()
    words = [sys.executable, "-m", "caffeonspark", "local", "-np", str(ranks), "-train", "-quiet", "-conf", solver]
    words += ["-model", f"file:{BUILD}/{name}.caffemodel"]
    for flag, value in flags.items():
        words += [f"-{flag}"] if value is True else [f"-{flag}", str(value)]
    with open(BUILD / f"{name}.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            begin, first = time.monotonic(), 0.0
            while process.poll() is None:
                told, now = read(metrics), time.monotonic()
                if not first and told.of("iteration"):
                    first = now
                if enough(told) or (now - first > limit if first else now - begin > _PATIENCE):
                    process.send_signal(signal.SIGTERM)
                    process.wait(_PATIENCE)
                    break
                time.sleep(_POLL)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        for snapshot in BUILD.glob(f"{name}*_iter_*"):  # of a run that was stopped
            snapshot.unlink()
        found = read(metrics)
        if not any(one["outcome"] in ("finished", "stopped") for one in found.of("end")):
            log.seek(0)
            raise RuntimeError(f"{name} failed: {log.read()[-500:]}")
    return found


def read(path: pathlib.Path) -> Training:
    """What a file that grows says by now: its whole lines."""
    if not path.exists():
        return Training(())
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return Training(tuple(json.loads(line) for line in lines))
