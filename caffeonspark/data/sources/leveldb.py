"""LevelDBs, read by LevelDB itself in a private view of their files.

LevelDB locks the folder it opens and writes to it: its log, a new list of its tables, and the tables that it makes of
the newest entries. So what it opens is a folder of this process's own, with links to the tables, which never change,
and copies of the little that does. Links end in .sst, as tables did before LevelDB 1.14: such files are still looked
for, and never written. A new table may have the number of one that an interrupted writer left, and a link of its name
would lead LevelDB to write into that. The user's folder is neither locked nor written; any number of processes may
read it, also from read-only media.

LevelDB knows neither how many entries there are nor the i-th one. They are counted once, by the driver, who notes the
key of every so many: from there others begin, and see by these keys that they read the same database.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import struct
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ...errors import ConfigError, DataError
from ...storage import DRIVER_SETTING, EXECUTOR_SETTING, naming_full_disks, scratch_folder
from .lmdb_file import shown, why_not_opened

__all__ = ["LevelDBContents", "LevelDBFile"]

_log = logging.getLogger(__name__)

_COPIED = re.compile(r"CURRENT|MANIFEST-\d+|\d+\.log")
_TABLE = re.compile(r"\d+\.(ldb|sst)")

#: As Caffe opens them. The buffer is what a log that is read back may fill: less would make more tables of it.
_BUFFER = 256 << 20
_TABLES = 100

_OTHER = "it is not what the run was planned with"
_MARKS = 512  # keys noted, at least, where there are so many
_LARGE = 1 << 30  # bytes, of which counting takes a while

_POINTER = b"version https://git-lfs"
_PREFIX = "caffeonspark-leveldb-"
_ABANDONED = 600.0  # seconds, after which a view that nobody holds is removed

#: What was counted, by the path and the state of the files.
_counted: Dict[Tuple[str, Tuple[Tuple[str, Tuple[int, int]], ...]], LevelDBContents] = {}

#: A table in LevelDB's list of them: number, size, first and last key.
_LISTED = re.compile(rb"^ ?(\d+):\d+\['(.*)' @ \d+ : \d+ \.\. '(.*)' @ \d+ : \d+\]$", re.MULTILINE)


@dataclass(frozen=True)
class LevelDBContents:
    """What a LevelDB held when it was looked at.

    Attributes
    ----------
    entries : how many there are
    marks : the keys of the entries 0, ``step``, 2 * ``step``, …
    step : how many entries apart they are
    last : the last key; b"" where there is no entry
    """

    entries: int
    marks: Tuple[bytes, ...]
    step: int
    last: bytes


class LevelDBFile:
    """A LevelDB as it was when it was opened.

    Parameters
    ----------
    path : its folder
    name : what errors call it, by default its path
    planned : what it holds, where that is known

    Attributes
    ----------
    name : what it is and where, for errors

    Raises
    ------
    ConfigError
        Where plyvel is not installed.
    DataError
        Here and by every method: where it is no LevelDB, is damaged, or has changed.
    """

    def __init__(self, path: str, name: str = "", planned: Optional[LevelDBContents] = None) -> None:
        self.name = f"LevelDB {name or path}"
        self._path = os.path.abspath(path)
        self._plyvel = _import_plyvel(self.name)
        self._contents = planned
        self._files = self._listed()
        scratch = scratch_folder()
        setting = EXECUTOR_SETTING if os.environ.get("SPARK_LOCAL_DIRS") else DRIVER_SETTING
        with naming_full_disks(scratch, setting), contextlib.ExitStack() as cleanup:
            self._view = cleanup.enter_context(_view(scratch))
            self._fill()
            try:
                self._db = self._plyvel.DB(
                    self._view,
                    create_if_missing=False,
                    paranoid_checks=True,
                    write_buffer_size=_BUFFER,
                    max_open_files=_TABLES,
                )
            except self._plyvel.Error as e:
                raise self._error(_text(e), self._file_at_start()) from None
            cleanup.callback(self._db.close)
            self._cleanup = cleanup.pop_all()

    def close(self) -> None:
        self._cleanup.close()

    # ---- the view

    def _listed(self) -> Dict[str, Tuple[int, int]]:
        """Size and time of modification (ns) of each of its files, by name."""
        found = {}
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if _COPIED.fullmatch(entry.name) or _TABLE.fullmatch(entry.name):
                        state = entry.stat()
                        found[entry.name] = (state.st_size, state.st_mtime_ns)
        except OSError as e:
            raise DataError(f"{self.name} cannot be opened: {why_not_opened(e)}") from None
        if "CURRENT" not in found:
            raise DataError(f"{self.name} cannot be opened: there is no file CURRENT in it")
        return found

    def _fill(self) -> None:
        for name in self._files:
            source = os.path.join(self._path, name)
            if _TABLE.fullmatch(name):
                os.symlink(source, os.path.join(self._view, name.partition(".")[0] + ".sst"))
                continue
            try:
                shutil.copyfile(source, os.path.join(self._view, name))
            except OSError as e:
                if e.filename == source and not e.filename2:
                    raise self._error(str(e.strerror), name) from None
                raise

    def _writer(self) -> str:
        """Who has it open, in a sentence; "" where nobody has."""
        request = struct.pack("@hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            with open(os.path.join(self._path, "LOCK"), "rb") as lock:
                kind, _, _, _, process = struct.unpack("@hhqqi", fcntl.fcntl(lock, fcntl.F_GETLK, request))
        except OSError:
            return ""
        if kind == fcntl.F_UNLCK:
            return ""
        who = f"Process {process}" if process > 0 else "Another process"
        return f"{who} has it open, and may be writing to it: wait for its end. "

    # ---- what it holds

    def contents(self) -> LevelDBContents:
        """What is compared between those who read the same database. The first time its entries are counted."""
        if self._contents is None:
            key = (os.path.realpath(self._path), tuple(sorted(self._files.items())))
            if key not in _counted:
                _counted[key] = self._count()
            self._contents = _counted[key]
        return self._contents

    def _count(self) -> LevelDBContents:
        size = sum(size for size, _ in self._files.values())
        if not any(name.endswith(".log") for name in self._files):
            _log.warning(
                "caffeonspark: %s has no file *.log, as every LevelDB has; its newest entries, which were in it, are "
                "not read: copy the whole folder",
                self.name,
            )
        if size >= _LARGE:
            _log.info("counting the entries of %s (%.1f GB): no number of them is kept there", self.name, size / 1e9)
        marks: List[bytes] = []
        count, step, last = 0, 1, b""
        for last, _ in self._entries(None):
            if count % step == 0:
                marks.append(last)
                if len(marks) == 2 * _MARKS:
                    marks, step = marks[::2], 2 * step
            count += 1
        return LevelDBContents(count, tuple(marks), step, last)

    def difference(self, planned: LevelDBContents, copied: bool) -> str:
        """Why its first or last key is not what was planned with, in words; "" if they are. What is between them is
        compared as it is read."""
        for what, key, backwards in (
            ("first key", planned.marks[0] if planned.marks else b"", False),
            ("last key", planned.last, True),
        ):
            found = next((found for found, _ in self._entries(None, backwards)), b"")
            if found != key:
                return f"{_OTHER}: the {what} was {shown(key)} and is {shown(found)} here"
        return ""

    def check_unchanged(self) -> None:
        """Find out whether something has written to it since it was opened."""
        now = self._listed()
        changed = [name for name, state in self._files.items() if now.get(name) != state]
        if changed:
            raise DataError(
                f"{self.name} was written to while it was read: {changed[0]} is not what it was. Start again when "
                "nothing writes to it any more, or use a copy"
            )

    def read(self, start: int, stop: int, step: int = 1) -> Iterator[Tuple[int, bytes, bytes]]:
        """(number, key, value) of the entries ``start``, ``start + step``, … below ``stop``, in their order."""
        contents = self.contents()
        stop = min(stop, contents.entries)
        if stop <= start:
            return
        mark = start // contents.step
        number = mark * contents.step
        for key, value in self._entries(contents.marks[mark]):
            if number % contents.step == 0 and key != contents.marks[number // contents.step]:
                raise self._moved(number, contents.marks[number // contents.step], key)
            if number >= start and (number - start) % step == 0:
                yield number, key, value
            number += 1
            if number == stop:
                return
        raise self._moved(number, contents.last, b"")

    def _entries(self, start: Optional[bytes], backwards: bool = False) -> Iterator[Tuple[bytes, bytes]]:
        """Keys and values, from a key on."""
        last = start or b""
        try:
            with self._db.iterator(start=start, reverse=backwards, verify_checksums=True, fill_cache=False) as found:
                for last, value in found:
                    yield last, value
        except self._plyvel.Error as e:
            self.check_unchanged()
            place = f", behind the key '{shown(last)}'" if last else ""
            raise self._error(_text(e) + place, self._table_behind(last)) from None

    # ---- errors

    def _moved(self, number: int, planned: bytes, found: bytes) -> DataError:
        here = f"'{shown(found)}'" if found else "not there"
        return DataError(
            f"{self.name}: {_OTHER}: entry {number} was '{shown(planned)}' and is {here}. Start again, with a new "
            "source, when all of it is there"
        )

    def _error(self, what: str, file: str) -> Exception:
        """What LevelDB says of a file."""
        what = what.replace(f"{self._view}/{file.partition('.')[0]}.sst", file).replace(f"{self._view}/", "")
        if "No space left" in what or "quota exceeded" in what:
            return OSError(errno.ENOSPC, what, scratch_folder())
        if "comparator" in what:
            return DataError(f"{self.name} is in another order than that of its keys' bytes, which Caffe reads: {what}")
        if file in self._files:
            try:
                with open(os.path.join(self._path, file), "rb") as f:
                    start = f.read(len(_POINTER))
            except FileNotFoundError:  # it was there when the folder was listed
                return DataError(
                    f"{self.name} was written to while it was opened: {file} is gone. {self._writer()}Start again when "
                    "nothing writes to it any more, or use a copy"
                )
            except OSError as e:
                return DataError(f"{self.name} cannot be read: {file}: {e.strerror}")
            if start == _POINTER:
                return DataError(f"{self.name}: {file} is a pointer of git-lfs: fetch the files (git lfs pull)")
            what = what if start else "it is empty"
        return DataError(
            f"{self.name} is damaged: {file}: {what}. {self._writer()}Copy it again, and compare the copy with the "
            "original (sha256sum)"
        )

    def _file_at_start(self) -> str:
        """The name of the file that cannot be read when the database is opened."""
        log = os.path.join(self._view, "LOG")
        with contextlib.suppress(OSError), open(log, errors="replace") as f:
            dropped = re.search(r"(\d+\.log): dropping", f.read())
            if dropped:
                return dropped.group(1)
        with contextlib.suppress(OSError), open(os.path.join(self._view, "CURRENT"), errors="replace") as f:
            name = f.read().strip()
            if name in self._files:
                return name
        return "CURRENT"

    def _table_behind(self, key: bytes) -> str:
        """The name of the first table that has something behind a key."""
        listed = self._db.get_property(b"leveldb.sstables") or b""
        tables = [(first, number) for number, first, last in _LISTED.findall(listed) if last > key]
        number = int(min(tables)[1]) if tables else 0
        names = [f"{number:06}.ldb", f"{number:06}.sst"]
        return next((name for name in names if name in self._files), "a table")


def _text(error: Any) -> str:
    """What LevelDB says, in a line."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _import_plyvel(what: str) -> Any:
    try:
        import plyvel
    except ImportError as e:
        raise ConfigError(
            f"{what}: LevelDB needs plyvel, on every executor, which cannot be imported here ({e}): pip install "
            "'caffeonspark[leveldb]'"
        ) from None
    return plyvel


@contextlib.contextmanager
def _view(scratch: str) -> Iterator[str]:
    """A folder of this process's own, which is removed in the end; also one of a process that was killed."""
    _remove_abandoned(scratch)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=scratch)
    held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # NFS locks no folders, and nobody takes one there for abandoned
            fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_abandoned(scratch: str) -> None:
    """Remove the views of processes that are no more."""
    for entry in os.scandir(scratch):
        if not entry.name.startswith(_PREFIX):
            continue
        with contextlib.suppress(OSError):
            held = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(held).st_mtime < time.time() - _ABANDONED:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(held)
