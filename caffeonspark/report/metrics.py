"""The metrics file: every record of a run, a line of JSON each, next to the model.

On the driver's own disk the file grows as the run goes, for ``tail -f``. Hadoop's file systems cannot be
appended to in general: there the file is kept in a temporary folder and stored whole now and then.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from typing import BinaryIO, Callable, Iterator, List, Optional, Sequence, Tuple

from ..errors import without_passwords
from ..storage import Storage, is_local, local_path
from .base import Observer, Record
from .file_uploader import FileUploader
from .result import RankTiming, TrainingResult

__all__ = ["MetricsFile", "read_metrics"]

_LOOK_SECONDS = 1.0  # between two looks whether the file is still where it was made
_DONE_ANEW = ("iteration", "rank_losses", "validation")
_STORED_AT = ("start", "validation", "saved", "restart", "end")


def read_metrics(path: str, end: Optional[int] = None) -> Iterator[Record]:
    """The records of a metrics file that count, in order.

    Iterations, ranks' losses and validations that were done again, after a restart or by a run that resumed, are there
    once: a ``start`` or ``restart`` record takes back those before it that are of its iteration or a later one. A last
    line that was cut off is left out.

    Parameters
    ----------
    path : a local file
    end : read only so many bytes
    """
    restarts: List[Tuple[int, float]] = []  # line and iteration of each, the newest last
    for number, line in enumerate(_lines(path, end)):
        if line.startswith((b'{"event":"start"', b'{"event":"restart"')):
            restarts.append((number, json.loads(line)["iteration"]))
    floors = []
    lowest = math.inf
    for number, iteration in reversed(restarts):
        lowest = min(lowest, iteration)
        floors.append((number, lowest))
    for number, line in enumerate(_lines(path, end)):
        while floors and floors[-1][0] <= number:
            floors.pop()
        record = json.loads(line)
        again = floors and record["event"] in _DONE_ANEW and record["iteration"] >= floors[-1][1]
        if not again:
            yield record


def _lines(path: str, end: Optional[int]) -> Iterator[bytes]:
    left = math.inf if end is None else end
    with open(path, "rb") as f:
        for line in f:
            left -= len(line)
            if left < 0 or not line.endswith(b"\n"):
                return
            yield line


class MetricsFile(Observer):
    """Writes the metrics file.

    A run that starts at the beginning starts the file again. One that resumes continues the file,
    if the file knows that snapshot. A file that somebody removes is put back, whole, and its folder with it.

    Parameters
    ----------
    storage : Storage
    uri : where the file goes
    say : told what went wrong with keeping it
    """

    def __init__(self, storage: Storage, uri: str, say: Callable[[str], None]) -> None:
        self._uri = uri
        self._say = say
        self._looked = -math.inf  # when the file was looked for
        self._missed = False  # whether it was said that it is gone, and cannot be put back
        self._file: Optional[BinaryIO] = None
        self._kept = 0
        self._cleanup = contextlib.ExitStack()
        self._uploader: Optional[FileUploader] = None
        if storage.on_local_disk(uri):
            self._path = os.path.abspath(local_path(uri))
        else:
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="caffeonspark-"))
            self._path = os.path.join(folder, "metrics.jsonl")
            self._uploader = FileUploader(storage, uri, self._path, say)
        self._storage = storage

    def earlier(self) -> Iterator[Record]:
        """The records that count of the runs this one continues from."""
        return read_metrics(self._path, self._kept) if self._kept else iter(())

    def record(self, record: Record) -> None:
        if record["event"] == "start":
            self._open(record)
        if self._file is None:  # what is said before the start says nothing of the run
            return
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        if record["event"] != "iteration":
            self._flush()
        if self._uploader is not None and record["event"] in _STORED_AT:
            self._uploader.ask(self._file.tell())

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if self._file is not None and new:
            self._flush()

    def _flush(self, look_anyway: bool = False) -> None:
        assert self._file is not None
        self._file.flush()
        now = time.monotonic()
        if look_anyway or now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            if not os.path.lexists(self._path):
                self._put_back()

    def _put_back(self) -> None:
        """Make the file again, of what is still open: without a folder nothing of it would be left in the end."""
        assert self._file is not None
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            whole = open(self._path, "w+b")
            self._file.seek(0)
            shutil.copyfileobj(self._file, whole)
            whole.flush()
        except OSError as e:
            self._file.seek(0, os.SEEK_END)
            if not self._missed:
                self._missed = True
                self._say(f"warning: {self._path} was removed, and cannot be put back: {e.strerror}")
            return
        self._file.close()
        self._file, self._missed = whole, False
        self._say(f"warning: {self._path} was removed while the run goes on: it is put back")

    def _open(self, start: Record) -> None:
        if start["resumed"]:
            if self._uploader is not None and self._storage.exists(self._uri):
                self._storage.fetch(self._uri, self._path)
            self._kept = known_up_to(self._path, start["resumed"], start["iteration"])
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._file = open(self._path, "r+b" if self._kept else "w+b")
        self._file.truncate(self._kept)
        self._file.seek(self._kept)

    def close(self) -> None:
        if self._file is not None:
            self._flush(look_anyway=True)
            if self._uploader is not None:
                self._uploader.ask(self._file.tell())
            self._file.close()
            self._file = None
        if self._uploader is not None:
            self._uploader.close()
        self._cleanup.close()


def known_up_to(path: str, uri: str, iteration: int) -> int:
    """How many bytes of a metrics file to keep: its whole lines if it knows the snapshot at ``uri``, else none."""
    if not os.path.exists(path):
        return 0
    known, size = False, 0
    try:
        for line in _lines(path, None):
            size += len(line)
            if line.startswith(b'{"event":"saved"'):
                record = json.loads(line)
                if record["iteration"] == iteration and _same_uri(record["place"], uri):
                    known = True
    except (ValueError, KeyError):  # somebody else's file
        return 0
    return size if known else 0


def _same_uri(one: str, other: str) -> bool:
    def plain(uri: str) -> str:
        return os.path.abspath(local_path(uri)) if is_local(uri) else without_passwords(uri)

    return plain(one) == plain(other)
