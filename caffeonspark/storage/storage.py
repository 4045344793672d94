"""Reading and writing whole files on the driver, on any file system Spark can reach.

``file:`` names a file of the driver's machine, and its path may be relative. Any other scheme, and a path
without one when ``fs.defaultFS`` is not local, goes through Hadoop's FileSystem in Spark's JVM, so no native
HDFS library and no credential is needed here. A file is written under a temporary name beside its place and
renamed when it is complete: it is there whole or not at all.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from typing import Any, Dict, List, Optional, Tuple

from ..errors import StorageError

__all__ = ["Storage", "is_local", "java_message", "join", "local_path", "parent", "scheme"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+):")


def scheme(uri: str) -> str:
    """The scheme of ``uri`` in lower case, or an empty string."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else ""


def is_local(uri: str) -> bool:
    """Whether ``uri`` says ``file:``."""
    return scheme(uri) == "file"


def local_path(uri: str) -> str:
    """The path in a ``file:`` URI (``file:a``, ``file:/a``, ``file:///a``), or ``uri`` itself."""
    if not is_local(uri):
        return uri
    path = uri[len("file:") :]
    if path.startswith("///"):
        return path[2:]
    if path.startswith("//"):  # file://host/path: the host is meaningless here
        return "/" + path[2:].partition("/")[2]
    return path


def join(folder: str, name: str) -> str:
    """``name`` inside the folder that a URI or path names."""
    if not folder or folder.endswith(("/", ":")):
        return folder + name
    return f"{folder}/{name}"


def parent(uri: str) -> str:
    """The folder that holds what ``uri`` names, in the same form (``file:a`` → ``file:``)."""
    prefix = scheme(uri)
    prefix = uri[: len(prefix) + 1] if prefix else ""
    path = uri[len(prefix) :]
    head = os.path.dirname(path)
    return prefix + head


class Storage:
    """Files as the driver sees them.

    Parameters
    ----------
    spark : SparkSession or None
        Whose JVM reaches Hadoop file systems. Without one, only local files can be used.
    """

    def __init__(self, spark: Optional[Any] = None) -> None:
        self._spark = spark

    # ---- where a path leads

    def _default_is_local(self) -> bool:
        if self._spark is None:
            return True
        default = self._spark.sparkContext._jsc.hadoopConfiguration().get("fs.defaultFS")
        return default is None or str(default).startswith("file:")

    def on_local_disk(self, uri: str) -> bool:
        """Whether ``uri`` is a file of the driver's own file system."""
        kind = scheme(uri)
        return kind == "file" or (kind == "" and self._default_is_local())

    def _hadoop(self, uri: str) -> Any:
        """(FileSystem, Path) of ``uri`` in the JVM."""
        if self._spark is None:
            raise StorageError(f"{uri}: only local files can be used without a SparkSession")
        jvm = self._spark.sparkContext._jvm
        try:
            path = jvm.org.apache.hadoop.fs.Path(uri)
            return path.getFileSystem(self._spark.sparkContext._jsc.hadoopConfiguration()), path
        except Exception as e:
            raise StorageError(f"{uri}: {java_message(e)}") from e

    # ---- operations

    def exists(self, uri: str) -> bool:
        if self.on_local_disk(uri):
            return os.path.exists(local_path(uri))
        fs, path = self._hadoop(uri)
        try:
            return bool(fs.exists(path))
        except Exception as e:
            raise StorageError(f"{uri}: {java_message(e)}") from e

    def is_folder(self, uri: str) -> bool:
        if self.on_local_disk(uri):
            return os.path.isdir(local_path(uri))
        fs, path = self._hadoop(uri)
        try:
            return bool(fs.exists(path)) and bool(fs.getFileStatus(path).isDirectory())
        except Exception as e:
            raise StorageError(f"{uri}: {java_message(e)}") from e

    def names(self, folder: str) -> List[str]:
        """The sorted names in a folder; empty if there is no such folder."""
        if self.on_local_disk(folder):
            path = local_path(folder) or "."
            return sorted(os.listdir(path)) if os.path.isdir(path) else []
        fs, path = self._hadoop(folder)
        try:
            if not fs.exists(path):
                return []
            return sorted(str(status.getPath().getName()) for status in fs.listStatus(path))
        except Exception as e:
            raise StorageError(f"{folder}: {java_message(e)}") from e

    def qualified(self, uri: str) -> str:
        """``uri`` with the scheme and the authority of its Hadoop file system, which executors understand too."""
        fs, path = self._hadoop(uri)
        return str(fs.makeQualified(path).toString())

    def files(self, folder: str) -> Dict[str, Tuple[int, int]]:
        """By name, the (bytes, time of change in ms) of the files in a folder of a Hadoop file system."""
        fs, path = self._hadoop(folder)
        try:
            found = [status for status in fs.listStatus(path) if status.isFile()]
            return {str(s.getPath().getName()): (int(s.getLen()), int(s.getModificationTime())) for s in found}
        except Exception as e:
            raise StorageError(f"{folder}: {java_message(e)}") from e

    def fetch(self, uri: str, to: str) -> None:
        """Copy a file to the local path ``to``."""
        if self.on_local_disk(uri):
            try:
                shutil.copyfile(local_path(uri), to)
            except OSError as e:
                raise StorageError(f"{local_path(uri)}: {e.strerror}") from e
            return
        fs, path = self._hadoop(uri)
        try:
            if not fs.exists(path):
                raise StorageError(f"{uri}: No such file or directory")
            target = self._spark.sparkContext._jvm.org.apache.hadoop.fs.Path("file://" + os.path.abspath(to))  # type: ignore[union-attr]
            fs.copyToLocalFile(False, path, target, True)
        except StorageError:
            raise
        except Exception as e:
            raise StorageError(f"{uri}: {java_message(e)}") from e

    def read(self, uri: str) -> bytes:
        """The content of a file."""
        if self.on_local_disk(uri):
            try:
                with open(local_path(uri), "rb") as f:
                    return f.read()
            except OSError as e:
                raise StorageError(f"{local_path(uri)}: {e.strerror}") from e
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch:
            copy = os.path.join(scratch, "file")
            self.fetch(uri, copy)
            with open(copy, "rb") as f:
                return f.read()

    def store(self, source: str, uri: str) -> None:
        """Put a copy of the local file ``source`` at ``uri``, replacing what is there, whole or not at all."""
        if self.on_local_disk(uri):
            target = os.path.abspath(local_path(uri))
            part = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{secrets.token_hex(4)}.part")
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                try:
                    shutil.copyfile(source, part)
                    with open(part, "rb") as f:
                        os.fsync(f.fileno())
                    os.replace(part, target)
                finally:
                    if os.path.exists(part):
                        os.unlink(part)
            except OSError as e:
                raise StorageError(f"cannot write {target}: {e.strerror}") from e
            return
        fs, path = self._hadoop(uri)
        jvm = self._spark.sparkContext._jvm  # type: ignore[union-attr]
        hadoop = jvm.org.apache.hadoop.fs
        part_path = hadoop.Path(path.getParent() or hadoop.Path("."), f".{path.getName()}.{secrets.token_hex(4)}.part")
        try:
            try:
                fs.copyFromLocalFile(False, True, hadoop.Path("file://" + os.path.abspath(source)), part_path)
                self._replace(fs, part_path, path)
            finally:
                if fs.exists(part_path):
                    fs.delete(part_path, False)
        except StorageError:
            raise
        except Exception as e:
            raise StorageError(f"cannot write {uri}: {java_message(e)}") from e

    def _replace(self, fs: Any, path: Any, target: Any) -> None:
        """Rename a file; what ``target`` names is replaced in the same step where the file system can."""
        if not fs.exists(target):
            if not fs.rename(path, target):
                raise StorageError(f"cannot write {target.toString()}: renaming {path.toString()} failed")
            return
        spark: Any = self._spark
        jvm, gateway = spark.sparkContext._jvm, spark.sparkContext._gateway
        kind = getattr(jvm.org.apache.hadoop.fs, "Options$Rename")
        overwrite = gateway.new_array(kind, 1)
        overwrite[0] = kind.OVERWRITE
        context = jvm.org.apache.hadoop.fs.FileContext
        try:
            at = context.getFileContext(fs.getUri(), spark.sparkContext._jsc.hadoopConfiguration())
        except Exception:  # a file system without this interface
            fs.delete(target, False)
            self._replace(fs, path, target)
            return
        at.rename(fs.makeQualified(path), fs.makeQualified(target), overwrite)

    def write(self, uri: str, content: bytes) -> None:
        """Make ``content`` the whole content of the file ``uri``."""
        with tempfile.NamedTemporaryFile(prefix="caffeonspark-") as f:
            f.write(content)
            f.flush()
            self.store(f.name, uri)

    def remove(self, uri: str) -> None:
        """Remove a file if it is there."""
        if self.on_local_disk(uri):
            if os.path.exists(local_path(uri)):
                os.unlink(local_path(uri))
            return
        fs, path = self._hadoop(uri)
        try:
            fs.delete(path, False)
        except Exception as e:
            raise StorageError(f"cannot remove {uri}: {java_message(e)}") from e

    def remove_folder(self, uri: str) -> None:
        """Remove a folder and what is in it, if it is there."""
        if self.on_local_disk(uri):
            shutil.rmtree(local_path(uri), ignore_errors=True)
            return
        fs, path = self._hadoop(uri)
        try:
            fs.delete(path, True)
        except Exception as e:
            raise StorageError(f"cannot remove {uri}: {java_message(e)}") from e

    def rename(self, uri: str, to: str) -> None:
        """Give a file or folder another name, which nothing has yet, on the same file system."""
        if self.on_local_disk(uri):
            try:
                os.rename(local_path(uri), local_path(to))
            except OSError as e:
                raise StorageError(f"cannot write {local_path(to)}: {e.strerror}") from e
            return
        fs, path = self._hadoop(uri)
        _, target = self._hadoop(to)
        try:
            done = fs.rename(path, target)
        except Exception as e:
            raise StorageError(f"cannot write {to}: {java_message(e)}") from e
        if not done:
            raise StorageError(f"cannot write {to}: renaming {uri} failed")

    def check_writable(self, uri: str) -> None:
        """Raise StorageError unless a file can be written beside ``uri``; leaves nothing behind."""
        probe = join(parent(uri), f".caffeonspark-{secrets.token_hex(4)}.probe")
        try:
            self.write(probe, b"probe")  # a byte takes a block of a space quota, as the model will
            self.remove(probe)
        except StorageError as e:
            raise StorageError(f"the place of {uri} cannot be written to: {e.message}") from e


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
