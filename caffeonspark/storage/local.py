"""Files of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import Iterator, List

from ..errors import StorageError
from .base import FileSystem
from .uris import local_path

__all__ = ["LocalFiles", "whole_file"]


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """The path of a temporary file beside ``path`` to write; it gets that name when the block has ended well.

    Raises OSError where it cannot.
    """
    part = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


class LocalFiles(FileSystem):
    """The local disk, by path or ``file:`` URI; paths may be relative."""

    def exists(self, uri: str) -> bool:
        return os.path.exists(local_path(uri))

    def is_folder(self, uri: str) -> bool:
        return os.path.isdir(local_path(uri))

    def names(self, folder: str) -> List[str]:
        path = local_path(folder) or "."
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def fetch(self, uri: str, to: str) -> None:
        try:
            shutil.copyfile(local_path(uri), to)
        except OSError as e:
            raise StorageError(f"{local_path(uri)}: {e.strerror}") from e

    def read(self, uri: str) -> bytes:
        try:
            with open(local_path(uri), "rb") as f:
                return f.read()
        except OSError as e:
            raise StorageError(f"{local_path(uri)}: {e.strerror}") from e

    def store(self, source: str, uri: str) -> None:
        target = os.path.abspath(local_path(uri))
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with whole_file(target) as part:
                shutil.copyfile(source, part)
        except OSError as e:
            raise StorageError(f"cannot write {target}: {e.strerror}") from e

    def make_folder(self, uri: str) -> None:
        try:
            os.makedirs(local_path(uri), exist_ok=True)
        except OSError as e:
            raise StorageError(f"cannot write {local_path(uri)}: {e.strerror}") from e

    def remove(self, uri: str) -> None:
        try:
            os.unlink(local_path(uri))
        except FileNotFoundError:
            pass
        except OSError as e:
            raise StorageError(f"cannot remove {local_path(uri)}: {e.strerror}") from e

    def remove_folder(self, uri: str) -> None:
        shutil.rmtree(local_path(uri), ignore_errors=True)

    def rename(self, uri: str, to: str) -> None:
        try:
            os.rename(local_path(uri), local_path(to))
        except OSError as e:
            raise StorageError(f"cannot write {local_path(to)}: {e.strerror}") from e
