"""Checksums of models and snapshots, which tell whether a bit of a file has changed since it was written.

A model's stands next to it in ``<model>.sha256``, which ``sha256sum -c`` reads, too; those of a snapshot's files stand
in its ``.solverstate.json``. Files that stock Caffe wrote have none, and are taken as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from typing import Any, Dict, Mapping, Optional, Tuple

from ..errors import DataError
from ..storage import Storage
from .endings import ending_of, state_ending

__all__ = ["FileSum", "check_content", "read_checked", "recorded_sum", "store_model", "sum_of", "write_model"]

#: ``{"sha256": in hexadecimal, "bytes": the size}``
FileSum = Dict[str, Any]

_PIECE = 1 << 20  # bytes read at once


def sum_of(path: str) -> FileSum:
    """Checksum and size of a local file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(_PIECE), b""):
            digest.update(piece)
            size += len(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}


def check_content(content: bytes, recorded: Optional[Mapping[str, Any]], name: str, beside: str) -> None:
    """Raise DataError where a file called ``name`` is not what is ``recorded`` of it in ``beside``; None takes
    everything."""
    if recorded is None:
        return
    size, unless = recorded.get("bytes"), f"(if another program wrote it since then, remove {beside})"
    if size is not None and int(size) != len(content):
        raise DataError(f"{name} is damaged: it has {len(content)} bytes, and had {size} when it was saved {unless}")
    if hashlib.sha256(content).hexdigest() != recorded.get("sha256"):
        raise DataError(f"{name} is damaged: its checksum is not the one of when it was saved {unless}")


def store_model(storage: Storage, path: str, uri: str) -> None:
    """Put the local file ``path`` in its place as a model, with its checksum next to it."""
    found = sum_of(path)
    storage.remove(_sum_file(uri))  # never the checksum of another model
    storage.store(path, uri)
    _write_sum(storage, uri, str(found["sha256"]))


def write_model(storage: Storage, uri: str, content: bytes) -> None:
    """Make ``content`` the model at ``uri``, with its checksum next to it."""
    storage.remove(_sum_file(uri))
    storage.write(uri, content)
    _write_sum(storage, uri, hashlib.sha256(content).hexdigest())


def read_checked(storage: Storage, uri: str) -> bytes:
    """The content of a model, or of a file of a snapshot. Raises DataError where it is not what was saved."""
    content = storage.read(uri)
    recorded, beside = recorded_sum(storage, uri)
    check_content(content, recorded, uri, beside)
    return content


def recorded_sum(storage: Storage, uri: str) -> Tuple[Optional[FileSum], str]:
    """What was recorded of a file when it was saved, if anything was, and where."""
    beside = _sum_file(uri)
    if storage.exists(beside):
        name = os.path.basename(uri)
        for line in storage.read(beside).decode(errors="replace").splitlines():
            match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.*)", line.strip())
            if match and os.path.basename(match.group(2)) == name:
                return {"sha256": match.group(1).lower()}, beside
        raise DataError(f"{beside} has no checksum of {name}: remove it to take the file as it is")
    ending = ending_of(uri)
    stem = uri[: -len(ending)] if uri.endswith(ending) else uri
    for about in (stem + state_ending(hdf5) + ".json" for hdf5 in (False, True)):
        if storage.exists(about):
            with contextlib.suppress(AttributeError, TypeError, ValueError):  # who needs it says that it is damaged
                found = json.loads(storage.read(about)).get("files", {}).get(os.path.basename(uri))
                if found is not None:
                    return dict(found), about
    return None, ""


def _sum_file(uri: str) -> str:
    return uri + ".sha256"


def _write_sum(storage: Storage, uri: str, digest: str) -> None:
    storage.write(_sum_file(uri), f"{digest}  {os.path.basename(uri)}\n".encode())
