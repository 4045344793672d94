"""``caffeonspark snapshots FOLDER``: the snapshots and models in a folder, and whether they are whole."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from ..errors import ConfigError, DataError, StorageError
from ..formats.checksums import read_checked, recorded_sum
from ..formats.endings import model_ending, state_ending
from ..formats.shapes import read_shapes
from ..runs.snapshot_check import problem_of, read_about
from ..spark.session import start_spark, storage_of
from ..storage import Storage, join, local_path, scheme

__all__ = ["Saved", "main", "saved_in"]

_USAGE = """usage: caffeonspark snapshots FOLDER

Lists the snapshots and models in a folder: the iteration, when it was saved, and whether it is whole. Every file is
read, and compared with the checksums of when it was saved. FOLDER is on the local disk, or a URI that Spark reaches.
Exit status 1 if anything is damaged."""

_SNAPSHOT = re.compile(r"(.+_iter_(\d+))\.(?:caffemodel|solverstate)(\.h5)?")
_MODEL = re.compile(r".+\.caffemodel(\.h5)?")
_PART = re.compile(r".+_iter_\d+\.rank\d+(\.\w+)+")


@dataclass(frozen=True)
class Saved:
    """A snapshot or a model in a folder.

    Attributes
    ----------
    name : of the model; of a snapshot what both of its files' names begin with
    iteration : of a snapshot; -1 for a model, whose file does not tell
    when : it was saved, in seconds since 1970
    problem : why it is not whole; "" if it is
    checked : whether there were checksums to compare it with
    """

    name: str
    iteration: int
    when: float
    problem: str
    checked: bool

    def __str__(self) -> str:
        kind = "model" if self.iteration < 0 else f"iteration {self.iteration}"
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.when))
        whole = "whole" if self.checked else "can be read (it has no checksums)"
        return f"{self.name}  {kind}  {when}  {f'damaged: {self.problem}' if self.problem else whole}"


def saved_in(storage: Storage, folder: str) -> List[Saved]:
    """The snapshots in a folder, by name and iteration, then the models. Raises ConfigError if there is no folder."""
    if not storage.is_folder(folder or "."):
        raise ConfigError(f"{folder} is no folder")
    times = _times(storage, folder)
    snapshots: Dict[Tuple[str, int, str], None] = {}
    models = []
    for name in storage.names(folder):
        match = _SNAPSHOT.fullmatch(name)
        if match and not _PART.fullmatch(name):
            snapshots[match.group(1), int(match.group(2)), match.group(3) or ""] = None
        elif _MODEL.fullmatch(name) and not _PART.fullmatch(name):
            models.append(name)
    found = [
        _snapshot(storage, folder, stem, iteration, ending, times)
        for stem, iteration, ending in sorted(snapshots, key=lambda one: (re.sub(r"\d+$", "", one[0]), one[1:]))
    ]
    return found + [_model(storage, join(folder, name), times.get(name, 0.0)) for name in models]


def _snapshot(storage: Storage, folder: str, stem: str, iteration: int, ending: str, times: Dict[str, float]) -> Saved:
    hdf5 = bool(ending)
    weights, state = stem + model_ending(hdf5), stem + state_ending(hdf5)
    problem = problem_of(storage, join(folder, weights), join(folder, state))
    about: Dict[str, Any] = {}
    with contextlib.suppress(DataError, StorageError):  # the problem says so
        about = read_about(storage, join(folder, state))
    when = float(about.get("saved", times.get(state, times.get(weights, 0.0))))
    return Saved(stem + ending, iteration, when, problem, "files" in about)


def _model(storage: Storage, uri: str, when: float) -> Saved:
    name, problem, recorded = os.path.basename(uri), "", None
    try:
        recorded, _ = recorded_sum(storage, uri)
        read_shapes(read_checked(storage, uri), uri)
    except (DataError, StorageError) as e:
        problem = e.message
    return Saved(name, -1, when, problem, recorded is not None)


def _times(storage: Storage, folder: str) -> Dict[str, float]:
    """When the files in a folder were changed, by name."""
    if storage.on_local_disk(folder):
        with os.scandir(local_path(folder) or ".") as entries:
            return {entry.name: entry.stat(follow_symlinks=False).st_mtime for entry in entries}
    return {name: changed / 1000 for name, (_, changed) in storage.files(folder).items()}


@contextlib.contextmanager
def _storage_for(folder: str) -> Iterator[Storage]:
    """What reaches a folder: Spark only where it has to."""
    if scheme(folder) == "file" or (not scheme(folder) and os.path.isdir(folder)):
        yield Storage()
        return
    with start_spark() as spark:
        yield storage_of(spark)


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status. Raises CaffeOnSparkError."""
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(_USAGE)
        return 0 if argv else 1
    if len(argv) > 1:
        raise ConfigError(f"snapshots takes one folder, not {' '.join(argv)}. See -help.")
    with _storage_for(argv[0]) as storage:
        found = saved_in(storage, argv[0])
    for one in found:
        print(one)
    if not found:
        print(f"no snapshot or model in {argv[0]}")
    return 1 if any(one.problem for one in found) else 0
