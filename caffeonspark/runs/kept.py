"""What cannot be written to its place is kept where it can be."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from typing import Iterator, List, Mapping

from ..errors import StorageError
from ..storage import LocalFiles, local_path, temporary_folder

__all__ = ["folder_unless_needed", "kept"]


def kept(error: StorageError, files: Mapping[str, str]) -> StorageError:
    """The error to raise where files could not be written; their copies are on this machine, and it says where.

    Parameters
    ----------
    error : what writing them failed with
    files : local paths by the URIs where they were to go; one that is not there any more is left out
    """
    names = {os.path.basename(local_path(uri)): path for uri, path in files.items() if os.path.exists(path)}
    for base in _bases() if names else ():
        with contextlib.suppress(OSError):
            folder = tempfile.mkdtemp(prefix="caffeonspark-kept-", dir=base)
            try:
                for name, path in names.items():
                    LocalFiles().store(path, os.path.join(folder, name))
            except StorageError:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            places = " and ".join(os.path.join(folder, name) for name in names)
            return StorageError(f"{error.message}; what was to go there is kept on {socket.gethostname()} as {places}")
    return error


def _bases() -> Iterator[str]:
    """Folders that may have room, and last."""
    found: List[str] = ["/var/tmp"]
    if not os.environ.get("CONTAINER_ID"):  # a container's own folders, on YARN, go with the application
        found = [os.getcwd(), os.path.expanduser("~"), *found]
    yield from [*found, tempfile.gettempdir()]


@contextlib.contextmanager
def folder_unless_needed(*endings: str) -> Iterator[str]:
    """A temporary folder that is removed, unless the block fails and a file with one of the endings is in it."""
    folder = tempfile.mkdtemp(prefix="caffeonspark-", dir=temporary_folder())
    keep = False
    try:
        yield folder
    except BaseException:
        keep = any(name.endswith(endings) for name in os.listdir(folder))
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
