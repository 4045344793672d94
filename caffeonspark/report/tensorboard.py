"""Event files for TensorBoard, written by tensorboardX."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any, Callable, Optional, Sequence, Tuple

from ..errors import ConfigError
from ..storage import Storage, join, local_path
from .base import Observer, Record
from .downsampler import Downsampler, Point, validation_points
from .file_uploader import FileUploader
from .result import RankTiming, TrainingResult

__all__ = ["TensorBoard"]

_MOST_A_SECOND = 20.0
_FLUSH_SECONDS = 5


class TensorBoard(Observer):
    """Writes an event file.

    What a run does again after a restart, and what a resumed run does after its snapshot, hides what was there before:
    event files have a mark for that.

    Parameters
    ----------
    storage : Storage
    folder : on the driver's disk, or on a Hadoop file system, where the file is stored whole now and then
    say : told what went wrong

    Raises
    ------
    ConfigError
        When tensorboardX is not installed.
    StorageError
        When the folder cannot be written to.
    """

    def __init__(self, storage: Storage, folder: str, say: Callable[[str], None]) -> None:
        try:
            import tensorboardX
        except (ImportError, TypeError) as e:  # other releases than these fail with Caffe's protobuf in such ways
            raise ConfigError(
                f"-tensorboard needs tensorboardX ({e}): pip install 'tensorboardX>=2.5,<2.6', the release whose "
                "protobuf is also Caffe's"
            ) from None
        self._library = tensorboardX
        self._storage = storage
        self._folder = folder
        self._say = say
        self._cleanup = contextlib.ExitStack()
        self._writer: Any = None
        self._uploader: Optional[FileUploader] = None
        self._missed = False
        self._thinned = Downsampler(_MOST_A_SECOND)
        storage.check_writable(join(folder, "events"))

    def record(self, record: Record) -> None:
        event = record["event"]
        if event == "start":
            self._open(record["iteration"])
        if self._writer is None:
            return
        if event == "iteration":
            self._thinned.add(record)
        elif event == "restart":
            self._thinned.forget()
            self._take_back(record["iteration"])
        elif event == "validation":
            self._write(self._thinned.take(last=True))
            self._write(list(validation_points(record)))
        elif event == "end":
            self._write(self._thinned.take(last=True))
        if event in ("start", "validation", "saved", "restart", "end"):
            if self._uploader is not None:
                self._mirror_file()
            elif not self._missed and not os.path.exists(self._path):
                self._missed = True
                self._say(f"warning: {self._path} was removed: nothing more of this run comes to TensorBoard")

    def progress(
        self, result: TrainingResult, rank: int, timing: RankTiming, new: Sequence[Tuple[int, float, float]]
    ) -> None:
        if self._writer is not None and new:
            self._write(self._thinned.take())

    def _write(self, points: Sequence[Point]) -> None:
        for point in points:
            self._writer.add_scalar(point.name, point.value, point.iteration, walltime=point.time)

    def _open(self, iteration: int) -> None:
        if self._storage.on_local_disk(self._folder):
            self._path = local_path(self._folder)
        else:
            self._path = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="caffeonspark-"))
        self._writer = self._library.SummaryWriter(self._path, flush_secs=_FLUSH_SECONDS, purge_step=iteration)
        if not self._storage.on_local_disk(self._folder):
            self._writer.flush()
            name = os.listdir(self._path)[0]
            self._path = os.path.join(self._path, name)
            self._uploader = FileUploader(self._storage, join(self._folder, name), self._path, self._say)

    def _take_back(self, iteration: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._writer.file_writer.event_writer.add_event(Event(step=iteration, session_log=start))

    def _mirror_file(self) -> None:
        assert self._uploader is not None
        self._writer.flush()
        self._uploader.ask(os.path.getsize(self._path))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._uploader is not None:
            self._uploader.close()
        self._cleanup.close()
