"""What Storage asks of a file system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import List, Optional

__all__ = ["FileSystem"]


class FileSystem(ABC):
    """Whole files by URI. What goes wrong is a StorageError that names the file."""

    @abstractmethod
    def exists(self, uri: str) -> bool:
        """Whether there is a file or folder."""

    @abstractmethod
    def is_folder(self, uri: str) -> bool:
        """Whether there is a folder."""

    @abstractmethod
    def names(self, folder: str) -> List[str]:
        """The sorted names in a folder; empty if there is no such folder."""

    @abstractmethod
    def fetch(self, uri: str, to: str) -> None:
        """Copy a file to the local path ``to``."""

    @abstractmethod
    def read(self, uri: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def store(self, source: str, uri: str) -> None:
        """Put a copy of the local file ``source`` at ``uri``, replacing what is there, whole or not at all."""

    @abstractmethod
    def create(self, uri: str, content: bytes) -> bool:
        """Make a small file where there is none; False where there is one. Of several who try, one succeeds."""

    @abstractmethod
    def modified(self, uri: str) -> Optional[float]:
        """When a file was written last, in seconds by the file system's own clock; None if there is no such file."""

    @abstractmethod
    def check_replaceable(self, uri: str) -> None:
        """Raise StorageError where a file that is there cannot be replaced, as far as that can be seen; it stays."""

    @abstractmethod
    def make_folder(self, uri: str) -> None:
        """Make a folder, and those it is in, where they are missing."""

    @abstractmethod
    def remove(self, uri: str) -> None:
        """Remove a file if it is there."""

    @abstractmethod
    def remove_folder(self, uri: str) -> None:
        """Remove a folder and what is in it, if it is there."""

    @abstractmethod
    def rename(self, uri: str, to: str) -> None:
        """Give a file or folder another name, which nothing has yet, on the same file system."""
