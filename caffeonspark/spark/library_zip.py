"""Sending this library to the executors, so that they run the driver's version whatever they have installed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import threading
import zipfile
from typing import Any, Dict, List, Set

__all__ = ["library_digest", "library_files", "library_folder", "ship_library"]

_lock = threading.Lock()
_shipped: Dict[str, Set[str]] = {}  # by application, the archives that it has


def ship_library(context: Any) -> None:
    """Send this library to the executors of a SparkContext, once for each application."""
    from pyspark import SparkFiles

    if not os.path.isdir(library_folder()):  # imported from an archive that was shipped with --py-files
        return
    content = _archive()
    name = f"caffeonspark-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    with _lock:
        shipped = _shipped.setdefault(context.applicationId, set())
        if name in shipped:
            return
        # Spark serves the file from here as long as the application runs, and removes the folder with it
        folder = os.path.join(SparkFiles.getRootDirectory(), "caffeonspark-library")
        path = _write_private(folder, name, content)
        context.addPyFile(path)
        with contextlib.suppress(FileNotFoundError):  # Spark's own copy for the driver
            os.chmod(os.path.join(SparkFiles.getRootDirectory(), name), 0o600)
        shipped.add(name)


def _write_private(folder: str, name: str, content: bytes) -> str:
    """A file that executors will run, so that nobody else may write it, nor have made it before; its path."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)  # whatever the umask says
    path = os.path.join(folder, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(content)
    return path


@functools.lru_cache(maxsize=None)  # as the library was when it was first sent: a job may begin with each query
def _archive() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for name, path in library_files().items():
            with open(path, "rb") as f:
                z.writestr(zipfile.ZipInfo(f"caffeonspark/{name}"), f.read())
    return archive.getvalue()


def library_folder() -> str:
    """Where this library is."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def library_files() -> Dict[str, str]:
    """The paths of this library's modules and schemas by their names relative to its folder, sorted."""
    package = library_folder()
    found: List[str] = []
    for folder, _, names in os.walk(package):
        found += [os.path.join(folder, name) for name in names if name.endswith((".py", ".proto"))]
    return {os.path.relpath(path, package): path for path in sorted(found)}


def library_digest() -> str:
    """A name for the content of the library's files."""
    digest = hashlib.sha256()
    for name, path in library_files().items():
        with open(path, "rb") as f:
            content = f.read()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
