"""Files of a shared file system that every node gets a copy of.

Spark itself brings them: its executors fetch what ``SparkContext.addFile`` names through Hadoop's file systems, with
the application's own credentials, once for each node (``spark.files.useFetchCache``), and keep it in Spark's local
directories until the application ends. So neither a native HDFS library nor a credential is needed here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Dict, Tuple

from ...errors import ConfigError, DataError, StorageError
from ...storage import java_message
from .base import SourceConfig

__all__ = ["Fetched", "fetch"]

_log = logging.getLogger(__name__)

#: By application and name, what was fetched under it: the URI and what its files were.
_fetched: Dict[Tuple[str, str], Tuple[str, Any]] = {}


@dataclass(frozen=True)
class Fetched:
    """A folder that was fetched.

    Attributes
    ----------
    uri : where it came from
    name : its name among the files that Spark brought
    sizes : (name, bytes) of the files in it
    """

    uri: str
    name: str
    sizes: Tuple[Tuple[str, int], ...]

    def path(self) -> str:
        """Where it is on this node. Raises DataError if it is not whole."""
        from pyspark import SparkFiles

        folder: str = SparkFiles.get(self.name)
        for name, size in self.sizes:
            path = os.path.join(folder, name)
            here = os.path.getsize(path) if os.path.exists(path) else None
            if here != size:
                found = "is missing" if here is None else f"has {here} bytes"
                raise DataError(
                    f"{self.uri}: the copy on this node is damaged: {name} {found}, where the original has {size} "
                    "bytes. Is the disk of Spark's local directories (spark.local.dir) full?"
                )
        return folder


def fetch(config: SourceConfig, uri: str, where: str) -> Fetched:
    """Have Spark bring the folder ``uri`` to the driver now, and to each node before its next task.

    Parameters
    ----------
    config : SourceConfig
    uri : a folder of small and large files, without folders in it
    where : file and layer, for errors

    Raises
    ------
    ConfigError
        If another folder of the same name was fetched, or this one has changed since.
    DataError
        If it changed meanwhile.
    """
    context = config.spark().sparkContext
    storage = config.storage
    uri = storage.qualified(uri).rstrip("/")
    files = storage.files(uri)
    name = uri.rpartition("/")[2]
    key = (str(context.applicationId), name)
    before = _fetched.get(key)
    if before is not None and before[0] != uri:
        raise ConfigError(
            f"{where}: {uri} and {before[0]} have the same name, which Spark brings them to the nodes under: rename one"
        )
    if before is not None and before[1] != files:
        raise ConfigError(f"{where}: {uri} has changed since this application fetched it: start a new application")
    if before is None:
        size = sum(size for size, _ in files.values())
        if not config.quiet:
            _log.info("fetching %s (%.1f MB): the driver now, each node once", uri, size / 1e6)
        try:
            context.addFile(uri, recursive=True)
        except Exception as e:
            raise StorageError(f"{where}: {uri} cannot be fetched: {java_message(e)}") from e
        if storage.files(uri) != files:
            raise DataError(
                f"{where}: {uri} was written to while it was fetched: start a new application when it is whole"
            )
        _fetched[key] = (uri, files)
    return Fetched(uri, name, tuple((file, size) for file, (size, _) in files.items()))
