"""Sending this library to the executors, so that they run the driver's version whatever they have installed."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from typing import Any, Dict, List, Set

__all__ = ["ship_library"]

_lock = threading.Lock()
_shipped: Dict[str, Set[str]] = {}  # by application, the archives that it has


def ship_library(context: Any) -> None:
    """Send this library to the executors of a SparkContext, once for each application."""
    from pyspark import SparkFiles

    package = os.path.dirname(os.path.abspath(__file__))
    if not os.path.isdir(package):  # imported from an archive that was shipped with --py-files
        return
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for path in _modules(package):
            with open(path, "rb") as f:
                info = zipfile.ZipInfo(os.path.join("caffeonspark", os.path.relpath(path, package)))
                z.writestr(info, f.read())
    content = archive.getvalue()
    name = f"caffeonspark-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    with _lock:
        shipped = _shipped.setdefault(context.applicationId, set())
        if name in shipped:
            return
        # Spark serves the file from here as long as the application runs, and removes the folder with it
        folder = os.path.join(SparkFiles.getRootDirectory(), "caffeonspark-library")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path, "wb") as f:
            f.write(content)
        context.addPyFile(path)
        shipped.add(name)


def _modules(package: str) -> List[str]:
    found = []
    for folder, _, names in os.walk(package):
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)
