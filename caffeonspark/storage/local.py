"""Files of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import Iterator, List, Optional

from ..errors import StorageError
from .base import FileSystem
from .uris import local_path

__all__ = ["LocalFiles", "special_file", "whole_file"]


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """The path of a temporary file next to ``path`` to write; it gets that name when the block has ended well.

    A power cut leaves what was there before, or all that is new. Raises OSError where it cannot.
    """
    part = _part_of(path)
    try:
        yield part
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
        _sync_folder(os.path.dirname(path))
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _part_of(path: str) -> str:
    """A hidden name next to a file, not longer than names can be where the file's own is not."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(4)}.part")


def _sync_folder(path: str) -> None:
    """Have a folder's names on the disk; on file systems that know no such thing they are there without."""
    with contextlib.suppress(OSError):
        fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _make_folders(path: str) -> None:
    """Make a folder and those it is in, each of them lastingly."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        _sync_folder(os.path.dirname(folder))


@contextlib.contextmanager
def _linked(path: str) -> Iterator[None]:
    """A second name for a file, next to it."""
    other = _part_of(path)
    os.link(path, other, follow_symlinks=False)
    try:
        yield
    finally:
        os.unlink(other)


def _links_work(path: str) -> bool:
    """Whether the file system gives files of ours second names, next to ``path``."""
    own = _part_of(path)
    try:
        with open(own, "xb"), _linked(own):
            return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(own)


#: What stands where a file should, in words.
_NO_FILES = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def special_file(path: str) -> str:
    """What is at ``path``, where it is neither file nor folder, in words; "" if it is, or if nothing is there."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    return next((kind for is_of, kind in _NO_FILES if is_of(mode)), "")


def _check_readable(path: str) -> None:
    """Raise StorageError for what is no file: files are read several times, and a pipe gives its content once, or waits
    for ever."""
    kind = special_file(path)
    if kind:
        raise StorageError(f"{path} is {kind}, and files are read more than once: write its content to a file")


def _check_replaced(path: str) -> None:
    """Raise StorageError where a file would take the place of a pipe, device or socket."""
    kind = special_file(path)
    if kind:
        raise StorageError(f"{path} is {kind}: name a file")


class LocalFiles(FileSystem):
    """The local disk, by path or ``file:`` URI; paths may be relative."""

    def exists(self, uri: str) -> bool:
        return os.path.exists(local_path(uri))

    def is_folder(self, uri: str) -> bool:
        return os.path.isdir(local_path(uri))

    def names(self, folder: str) -> List[str]:
        path = local_path(folder) or "."
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def fetch(self, uri: str, to: str) -> None:
        _check_readable(local_path(uri))
        try:
            shutil.copyfile(local_path(uri), to)
        except OSError as e:
            raise StorageError(f"{local_path(uri)}: {e.strerror}") from e

    def read(self, uri: str) -> bytes:
        _check_readable(local_path(uri))
        try:
            with open(local_path(uri), "rb") as f:
                return f.read()
        except OSError as e:
            raise StorageError(f"{local_path(uri)}: {e.strerror}") from e

    def store(self, source: str, uri: str) -> None:
        target = os.path.abspath(local_path(uri))
        _check_replaced(target)
        try:
            _make_folders(os.path.dirname(target))
            with whole_file(target) as part:
                shutil.copyfile(source, part)
        except OSError as e:
            raise StorageError(f"cannot write {target}: {e.strerror}") from e

    def create(self, uri: str, content: bytes) -> bool:
        target = os.path.abspath(local_path(uri))
        try:
            _make_folders(os.path.dirname(target))
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        except OSError as e:
            raise StorageError(f"cannot write {target}: {e.strerror}") from e
        try:
            with open(fd, "wb") as f:
                f.write(content)
        except OSError as e:
            os.unlink(target)
            raise StorageError(f"cannot write {target}: {e.strerror}") from e
        return True

    def modified(self, uri: str) -> Optional[float]:
        try:
            return os.stat(local_path(uri)).st_mtime
        except OSError:
            return None

    def check_replaceable(self, uri: str) -> None:
        target = os.path.abspath(local_path(uri))
        if not os.path.lexists(target):
            return
        _check_replaced(target)
        folder, file, me = os.stat(os.path.dirname(target)), os.lstat(target), os.geteuid()
        problem = ""
        if folder.st_mode & stat.S_ISVTX and me not in (0, folder.st_uid, file.st_uid):
            problem = "in this sticky folder only its owner may"
        elif _links_work(target):
            try:  # refused for immutable files and those that are mounted by themselves, as replacing them would be
                with _linked(target):
                    pass
            except OSError as e:
                problem = str(e.strerror)
        if problem:
            raise StorageError(f"{target}, which is there, cannot be replaced: {problem}")

    def make_folder(self, uri: str) -> None:
        try:
            _make_folders(os.path.abspath(local_path(uri)))
        except OSError as e:
            raise StorageError(f"cannot write {local_path(uri)}: {e.strerror}") from e

    def remove(self, uri: str) -> None:
        try:
            os.unlink(local_path(uri))
        except FileNotFoundError:
            return
        except OSError as e:
            raise StorageError(f"cannot remove {local_path(uri)}: {e.strerror}") from e
        _sync_folder(os.path.dirname(local_path(uri)))

    def remove_folder(self, uri: str) -> None:
        shutil.rmtree(local_path(uri), ignore_errors=True)

    def rename(self, uri: str, to: str) -> None:
        try:
            os.rename(local_path(uri), local_path(to))
        except OSError as e:
            raise StorageError(f"cannot write {local_path(to)}: {e.strerror}") from e
