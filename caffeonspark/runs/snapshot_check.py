"""Whether a snapshot is whole: all its files are there, can be read, and are what was saved."""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, Tuple

from ..errors import DataError, StorageError
from ..formats.checksums import check_content
from ..formats.endings import ending_of
from ..formats.shapes import read_shapes
from ..formats.solverstate import state_iteration
from ..storage import Storage
from .saved_net import recorded

__all__ = ["checked_ending", "part_names", "part_uri", "problem_of", "read_about", "stem"]


def problem_of(storage: Storage, weights: str, state: str) -> str:
    """Why the snapshot of these weights and this state is not whole; "" if it is.

    Everything of it is read. Where stock Caffe saved it there are no checksums: it is whole if it can be parsed.
    Raises StorageError where it cannot be known, because the file system does not answer.
    """
    about: Dict[str, Any] = {}
    if storage.exists(state + ".json"):
        try:
            about = read_about(storage, state)
        except DataError as e:
            return e.message
    parts = [part_uri(state, rank, ending) for rank, ending in part_names(about)]
    for uri in (weights, state, *parts):
        if not storage.exists(uri):
            return f"{uri} is missing"
        if storage.is_folder(uri):
            return f"{uri} is a folder"
        try:
            content = _content_of(storage, uri)
            check_content(content, about.get("files", {}).get(os.path.basename(uri)), uri, state + ".json")
            if uri == weights:
                read_shapes(content, uri)
            elif uri == state:
                _check_state(content, uri)
        except DataError as e:
            return e.message
    return ""


def _content_of(storage: Storage, uri: str) -> bytes:
    """What is in a file. Raises DataError where it cannot be read, StorageError where no file can."""
    try:
        return storage.read(uri)
    except StorageError as e:
        storage.exists(uri)  # raises where the file system does not answer
        raise DataError(e.message) from e


def _check_state(content: bytes, uri: str) -> None:
    with tempfile.NamedTemporaryFile(prefix="caffeonspark-", suffix=ending_of(uri)) as f:
        f.write(content)
        f.flush()
        iteration = state_iteration(f.name, uri)
    named = re.search(r"_iter_(\d+)$", stem(uri))
    if named and int(named.group(1)) != iteration:
        raise DataError(f"{uri} is of iteration {iteration}, not of the one in its name: put the right file there")


def read_about(storage: Storage, state: str) -> Dict[str, Any]:
    """What stands next to a solver state, {} where nothing does. Raises DataError if it is damaged, or a folder."""
    uri = state + ".json"
    if not storage.exists(uri):
        return {}
    content = _content_of(storage, uri)
    try:
        about = dict(json.loads(content))
        part_names(about)
        recorded(about.get("net") or ())
        for file in dict(about.get("files", {})).values():
            str(file["sha256"]), int(file["bytes"])
        return about
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{uri} is damaged: remove it to resume without it") from None


def part_names(about: Mapping[str, Any]) -> List[Tuple[int, str]]:
    """(rank, ending) of each part of a snapshot, rank by rank."""
    return [
        (rank, checked_ending(ending)) for rank, endings in enumerate(about.get("parts") or ()) for ending in endings
    ]


def part_uri(state: str, rank: int, ending: str) -> str:
    """Where a rank's part of the snapshot with this state is."""
    return f"{stem(state)}.rank{rank}{ending}"


def stem(name: str) -> str:
    """A path or URI without its ending, the same for both files of a snapshot."""
    ending = ending_of(name)
    return name[: -len(ending)] if name.endswith(ending) else name


def checked_ending(ending: str) -> str:
    """The ending of a part's name; raises ValueError for one that could lead to another folder."""
    if not re.fullmatch(r"(\.\w+)+", ending):
        raise ValueError(f"'{ending}' is no ending of a part")
    return ending
