"""Files of every file system that Hadoop's client reaches, through a JVM that has it.

So no native HDFS library and no credential is needed in Python.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..errors import StorageError
from .base import FileSystem

__all__ = ["HadoopFiles", "java_message"]


class HadoopFiles(FileSystem):
    """Hadoop's file systems, by URI.

    Parameters
    ----------
    jvm : py4j's view of the JVM's classes
    gateway : py4j's gateway to it, which makes arrays
    configuration : a Hadoop Configuration in the JVM; it names the default file system and how each is reached
    """

    def __init__(self, jvm: Any, gateway: Any, configuration: Any) -> None:
        self._classes = jvm.org.apache.hadoop.fs
        self._new_array = gateway.new_array
        self._configuration = configuration

    def default_is_local(self) -> bool:
        """Whether a path without a scheme is one of the local disk."""
        default = self._configuration.get("fs.defaultFS")
        return default is None or str(default).startswith("file:")

    def _open(self, uri: str) -> Tuple[Any, Any]:
        """(FileSystem, Path) of ``uri`` in the JVM."""
        with _java_errors(uri):
            path = self._classes.Path(uri)
            return path.getFileSystem(self._configuration), path

    def _local(self, path: str) -> Any:
        """The Path of a local file."""
        return self._classes.Path("file://" + os.path.abspath(path))

    def exists(self, uri: str) -> bool:
        fs, path = self._open(uri)
        with _java_errors(uri):
            return bool(fs.exists(path))

    def is_folder(self, uri: str) -> bool:
        fs, path = self._open(uri)
        with _java_errors(uri):
            return bool(fs.exists(path)) and bool(fs.getFileStatus(path).isDirectory())

    def names(self, folder: str) -> List[str]:
        fs, path = self._open(folder)
        with _java_errors(folder):
            if not fs.exists(path):
                return []
            return sorted(str(status.getPath().getName()) for status in fs.listStatus(path))

    def qualified(self, uri: str) -> str:
        """``uri`` with the scheme and the authority of its file system, which executors understand too."""
        fs, path = self._open(uri)
        return str(fs.makeQualified(path).toString())

    def files(self, folder: str) -> Dict[str, Tuple[int, int]]:
        """By name, the (bytes, time of change in ms) of the files in a folder."""
        fs, path = self._open(folder)
        with _java_errors(folder):
            found = [status for status in fs.listStatus(path) if status.isFile()]
            return {str(s.getPath().getName()): (int(s.getLen()), int(s.getModificationTime())) for s in found}

    def fetch(self, uri: str, to: str) -> None:
        fs, path = self._open(uri)
        with _java_errors(uri):
            if not fs.exists(path):
                raise StorageError(f"{uri}: No such file or directory")
            fs.copyToLocalFile(False, path, self._local(to), True)

    def read(self, uri: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch:
            copy = os.path.join(scratch, "file")
            self.fetch(uri, copy)
            with open(copy, "rb") as f:
                return f.read()

    def store(self, source: str, uri: str) -> None:
        fs, path = self._open(uri)
        folder = path.getParent() or self._classes.Path(".")
        part = self._classes.Path(folder, f".{path.getName()}.{secrets.token_hex(4)}.part")
        with _java_errors(f"cannot write {uri}"):
            try:
                fs.copyFromLocalFile(False, True, self._local(source), part)
                self._replace(fs, part, path)
            finally:
                if fs.exists(part):
                    fs.delete(part, False)

    def _replace(self, fs: Any, path: Any, target: Any) -> None:
        """Rename a file; what ``target`` names is replaced in the same step where the file system can."""
        if not fs.exists(target):
            if not fs.rename(path, target):
                raise StorageError(f"cannot write {target.toString()}: renaming {path.toString()} failed")
            return
        kind = getattr(self._classes, "Options$Rename")
        overwrite = self._new_array(kind, 1)
        overwrite[0] = kind.OVERWRITE
        try:
            at = self._classes.FileContext.getFileContext(fs.getUri(), self._configuration)
        except Exception:  # a file system without this interface
            fs.delete(target, False)
            self._replace(fs, path, target)
            return
        at.rename(fs.makeQualified(path), fs.makeQualified(target), overwrite)

    def create(self, uri: str, content: bytes) -> bool:
        fs, path = self._open(uri)
        with _java_errors(f"cannot write {uri}"):
            try:
                stream = fs.create(path, False)
            except Exception as e:
                if "AlreadyExists" in str(e):
                    return False
                raise
            try:
                stream.write(bytearray(content))
            finally:
                stream.close()
            return True

    def modified(self, uri: str) -> Optional[float]:
        fs, path = self._open(uri)
        with _java_errors(uri):
            return float(fs.getFileStatus(path).getModificationTime()) / 1000 if fs.exists(path) else None

    def check_replaceable(self, uri: str) -> None:
        return  # permissions are the folder's, and a probe next to the file has met them

    def make_folder(self, uri: str) -> None:
        fs, path = self._open(uri)
        with _java_errors(f"cannot write {uri}"):
            if not fs.mkdirs(path):
                raise StorageError(f"cannot write {uri}: making the folder failed")

    def remove(self, uri: str) -> None:
        self._delete(uri, False)

    def remove_folder(self, uri: str) -> None:
        self._delete(uri, True)

    def _delete(self, uri: str, recursive: bool) -> None:
        fs, path = self._open(uri)
        with _java_errors(f"cannot remove {uri}"):
            fs.delete(path, recursive)

    def rename(self, uri: str, to: str) -> None:
        fs, path = self._open(uri)
        _, target = self._open(to)
        with _java_errors(f"cannot write {to}"):
            if not fs.rename(path, target):
                raise StorageError(f"cannot write {to}: renaming {uri} failed")


@contextlib.contextmanager
def _java_errors(what: str) -> Iterator[None]:
    """What the JVM raises in the block comes out as a StorageError that begins with ``what``."""
    try:
        yield
    except StorageError:
        raise
    except Exception as e:
        raise StorageError(f"{what}: {java_message(e)}") from e


def java_message(error: BaseException) -> str:
    """What a Java exception says, in one line and without its stack."""
    java = getattr(error, "java_exception", None)
    if java is None:
        return " ".join(str(error).split())
    text = str(java.getMessage() or java.toString()).splitlines()[0]
    if "quota" in text and "exceeded" in text:
        text += (
            " (while a file is written, HDFS counts a whole block for each replica): remove files there, or have the "
            "quota raised (hdfs dfsadmin -setSpaceQuota, -setQuota)"
        )
    return text
