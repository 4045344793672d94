"""Copies of growing local files on file systems that cannot be appended to."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from typing import Callable, List

from ..errors import StorageError
from ..storage import Storage

__all__ = ["FileUploader"]

_PAUSE, _SHARE = 5.0, 20.0  # seconds between two stores, at least; and how many times as long as a store takes
_PATIENCE = 60.0  # seconds that the last store may take


class FileUploader:
    """Stores a growing local file whole, now and then, in a thread: a slow file system holds up nothing.

    Parameters
    ----------
    storage : Storage
    uri : where to
    path : the local file
    say : told what went wrong; called by whoever calls ``ask`` and ``close``
    """

    def __init__(self, storage: Storage, uri: str, path: str, say: Callable[[str], None]) -> None:
        self._storage = storage
        self._uri = uri
        self._path = path
        self._say = say
        self._told: List[str] = []
        self._asked = 0  # bytes of the file that are to be stored
        self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="caffeonspark-uploader", daemon=True)
        self._thread.start()

    def ask(self, size: int) -> None:
        """Store the first ``size`` bytes soon."""
        self._tell()
        with self._news:
            self._asked = size
            self._news.notify()

    def close(self) -> None:
        """Wait for the last store."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._told.append(f"{self._uri} could not be stored within {_PATIENCE:.0f} s")
        self._tell()

    def _tell(self) -> None:
        while self._told:
            self._say(f"warning: {self._told.pop(0)}")

    def _run(self) -> None:
        stored, pause, failed = 0, _PAUSE, False
        last = -math.inf
        while True:
            with self._news:
                while not self._closing and (self._asked == stored or time.monotonic() - last < pause):
                    self._news.wait(None if self._asked == stored else max(0.0, last + pause - time.monotonic()))
                size = self._asked
                if self._closing and size == stored:
                    return
            begin = time.monotonic()
            try:
                self._store(size)
                stored, failed = size, False
            except (StorageError, OSError) as e:
                if not failed or self._closing:
                    self._told.append(f"{self._uri} is not stored: {e.message if isinstance(e, StorageError) else e}")
                failed = True
                if self._closing:
                    return
            last = time.monotonic()
            pause = max(_PAUSE, _SHARE * (last - begin))

    def _store(self, size: int) -> None:
        with tempfile.NamedTemporaryFile(prefix="caffeonspark-") as copy, open(self._path, "rb") as f:
            left = size
            while left:
                piece = f.read(min(left, 1 << 20))
                copy.write(piece)
                left -= len(piece)
            copy.flush()
            self._storage.store(copy.name, self._uri)
