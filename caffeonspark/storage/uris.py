"""URIs and paths as text: their parts, whatever they name."""

from __future__ import annotations

import os
import re

__all__ = ["is_local", "join", "local_path", "parent", "scheme"]

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
