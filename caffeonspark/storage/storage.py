"""Reading and writing whole files on the driver, on the local disk and on any file system that Spark reaches.

``file:`` names a file of the driver's machine, and its path may be relative. Any other scheme, and a path
without one when ``fs.defaultFS`` is not local, goes through Hadoop's client. A file is written under a temporary
name next to its place and renamed when it is complete: it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ..errors import ConfigError, StorageError
from .base import FileSystem
from .hadoop import HadoopFiles
from .local import LocalFiles
from .uris import join, local_path, parent, scheme

__all__ = ["Storage", "all_or_nothing", "find_file", "spark_path"]


class Storage:
    """Files as the driver sees them.

    Parameters
    ----------
    hadoop : HadoopFiles or None
        What reaches other file systems than the local one. Without it, only local files can be used.
    """

    def __init__(self, hadoop: Optional[HadoopFiles] = None) -> None:
        self._local = LocalFiles()
        self._hadoop = hadoop

    # ---- where a path leads

    def on_local_disk(self, uri: str) -> bool:
        """Whether ``uri`` is a file of the driver's own file system."""
        kind = scheme(uri)
        return kind == "file" or (kind == "" and (self._hadoop is None or self._hadoop.default_is_local()))

    def _of(self, uri: str) -> FileSystem:
        """The file system of ``uri``."""
        return self._local if self.on_local_disk(uri) else self._hadoop_of(uri)

    def _hadoop_of(self, uri: str) -> HadoopFiles:
        if self._hadoop is None:
            raise StorageError(
                f"{uri}: only local files can be used without a SparkSession: copy it to a local disk (hdfs dfs -get), "
                "or use Spark"
            )
        return self._hadoop

    # ---- operations

    def exists(self, uri: str) -> bool:
        """Whether there is a file or folder."""
        return self._of(uri).exists(uri)

    def is_folder(self, uri: str) -> bool:
        """Whether there is a folder."""
        return self._of(uri).is_folder(uri)

    def names(self, folder: str) -> List[str]:
        """The sorted names in a folder; empty if there is no such folder."""
        return self._of(folder).names(folder)

    def qualified(self, uri: str) -> str:
        """``uri`` with the scheme and the authority of its Hadoop file system, which executors understand too."""
        return self._hadoop_of(uri).qualified(uri)

    def place(self, uri: str) -> str:
        """One name for each place, whatever links and relative paths lead there, without a slash at its end."""
        if self.on_local_disk(uri):
            return "file:" + os.path.realpath(local_path(uri)).rstrip("/")
        return self.qualified(uri).rstrip("/")

    def files(self, folder: str) -> Dict[str, Tuple[int, int]]:
        """By name, the (bytes, time of change in ms) of the files in a folder of a Hadoop file system."""
        return self._hadoop_of(folder).files(folder)

    def fetch(self, uri: str, to: str) -> None:
        """Copy a file to the local path ``to``."""
        self._of(uri).fetch(uri, to)

    def read(self, uri: str) -> bytes:
        """The content of a file."""
        return self._of(uri).read(uri)

    def store(self, source: str, uri: str) -> None:
        """Put a copy of the local file ``source`` at ``uri``, replacing what is there, whole or not at all."""
        self._of(uri).store(source, uri)

    def write(self, uri: str, content: bytes) -> None:
        """Make ``content`` the whole content of the file ``uri``."""
        with tempfile.NamedTemporaryFile(prefix="caffeonspark-") as f:
            f.write(content)
            f.flush()
            self.store(f.name, uri)

    def create(self, uri: str, content: bytes) -> bool:
        """Make a small file where there is none; False where there is one. Of several who try, one succeeds."""
        return self._of(uri).create(uri, content)

    def modified(self, uri: str) -> Optional[float]:
        """When a file was written last, in seconds by the file system's own clock; None if there is no such file."""
        return self._of(uri).modified(uri)

    def make_folder(self, uri: str) -> None:
        """Make a folder, and those it is in, where they are missing."""
        self._of(uri).make_folder(uri)

    def remove(self, uri: str) -> None:
        """Remove a file if it is there."""
        self._of(uri).remove(uri)

    def remove_folder(self, uri: str) -> None:
        """Remove a folder and what is in it, if it is there."""
        self._of(uri).remove_folder(uri)

    def rename(self, uri: str, to: str) -> None:
        """Give a file or folder another name, which nothing has yet, on the same file system."""
        self._of(uri).rename(uri, to)

    def check_writable(self, uri: str) -> None:
        """Raise StorageError unless a file can be written at ``uri``. What is there is not touched."""
        probe = join(parent(uri), _name_like(os.path.basename(uri)))
        try:
            if uri.endswith("/") or self.is_folder(uri):
                raise StorageError(f"{uri} is a folder: name a file in it")
            self.write(probe, b"probe")  # a byte takes a block of a space quota, as the model will
            self.remove(probe)
            self._of(uri).check_replaceable(uri)
        except StorageError as e:
            raise StorageError(f"the place of {uri} cannot be written to: {e.message}") from e


def _name_like(name: str) -> str:
    """A name that nothing has, and that a file system takes where it takes this one: as long, of the same letters."""
    token = secrets.token_hex(4)
    if len(name.encode()) < 200:
        return f"{name}.{token}"
    left = len(name.encode()) - len(token)
    kept = name.encode()[:left].decode(errors="ignore")
    return kept + token + "x" * (left - len(kept.encode()))


def spark_path(storage: Storage, uri: str) -> str:
    """The same place as Spark's readers and writers take it."""
    return "file://" + os.path.abspath(local_path(uri)) if storage.on_local_disk(uri) else uri


@contextlib.contextmanager
def all_or_nothing(storage: Storage, folder: str, names: Sequence[str]) -> Iterator[str]:
    """A temporary folder in which to write files and folders called ``names``.

    They move into ``folder``, replacing what is there, when the block has ended well; otherwise they are removed.
    """
    part = join(folder, f".{secrets.token_hex(4)}.part")
    try:
        storage.make_folder(part)
        yield part
        for name in names:
            target = join(folder, name)
            if storage.exists(target):
                storage.rename(target, join(part, f"{name}.old"))
            storage.rename(join(part, name), target)
    finally:
        if storage.exists(part):
            storage.remove_folder(part)


def find_file(storage: Storage, path: str, what: str) -> str:
    """Where a file is: as given on the default file system, else on the local disk.

    Raises
    ------
    ConfigError
        If it is in neither place, or is a folder; the message begins with ``what``.
    """
    for candidate in (path, "file:" + path):
        if (":" not in path.partition("/")[0] or candidate == path) and storage.exists(candidate):
            if storage.is_folder(candidate):
                raise ConfigError(f"{what} {path} is a folder: name the file")
            return candidate
    raise ConfigError(f"{what} {path} does not exist")
