"""Disks without room: said with the folder and the setting that names another one, before native code ends over it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from typing import Iterator, Tuple

from ..errors import StorageError

__all__ = [
    "DRIVER_SETTING",
    "EXECUTOR_SETTING",
    "check_room",
    "naming_full_disks",
    "reserved",
    "scratch_folder",
    "temporary_folder",
]

#: What says where temporary files go.
DRIVER_SETTING = "TMPDIR in the driver's environment"
EXECUTOR_SETTING = "spark.local.dir (on YARN, yarn.nodemanager.local-dirs; SPARK_LOCAL_DIRS elsewhere)"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BESIDE_NUMBERS = 1 << 16  # bytes of a model's file that are not its parameters, at least


@contextlib.contextmanager
def naming_full_disks(folder: str, setting: str) -> Iterator[None]:
    """What cannot be written in the block for want of room is a StorageError.

    Parameters
    ----------
    folder : where temporary files are written in the block
    setting : what chooses another one
    """
    try:
        yield
    except OSError as e:
        nowhere = isinstance(e, FileNotFoundError) and "No usable temporary directory" in str(e)
        if e.errno not in _FULL and not nowhere:
            raise
        where = str(e.filename) if e.filename and not nowhere else folder
        raise StorageError(f"{_full(where, setting)}{'' if nowhere else f' ({e.strerror})'}") from e


def _full(folder: str, setting: str) -> str:
    try:
        left = f" ({shutil.disk_usage(folder).free >> 20} MB left)"
    except OSError:
        left = ""
    return f"the disk of {folder} is full, or a limit is reached{left}: make room, or set {setting} to a larger one"


def scratch_folder() -> str:
    """Where temporary files go: on an executor Spark's local folder, whose content goes when the executor does."""
    folders = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")
    return folders[0] or tempfile.gettempdir()


def temporary_folder() -> str:
    """Where this process's temporary files go; raises StorageError where no place for them has room."""
    with naming_full_disks(os.environ.get("TMPDIR", "/tmp"), DRIVER_SETTING):
        return tempfile.gettempdir()


def check_room(folder: str, size: int, what: str, setting: str) -> None:
    """Raise StorageError unless ``size`` bytes are free in a folder for ``what``."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StorageError(
            f"{what} takes {size >> 20} MB in {folder}, and {free >> 20} MB are free: make room there, or set "
            f"{setting} to a larger one"
        )


@contextlib.contextmanager
def reserved(*files: Tuple[str, int]) -> Iterator[None]:
    """Room for files that native code writes in the block, each a (path, least size in bytes).

    Native code that meets a full disk ends the process, or leaves a file cut short; here that is an OSError.
    """
    try:
        for path, size in files:
            with open(path, "wb") as f:
                _allocate(f.fileno(), size + _BESIDE_NUMBERS)
        yield
        for path, size in files:
            if os.path.getsize(path) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.path.dirname(path))
    except BaseException:
        for path, _ in files:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise


def _allocate(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as e:
        if e.errno in _FULL:  # others: a file system that cannot, which says nothing of its room
            raise
