"""Git LFS pointers: what stands in place of a large file in a clone that was made without Git LFS."""

from __future__ import annotations

from ..errors import DataError

__all__ = ["refuse_pointer"]


def refuse_pointer(start: bytes, name: str, what: str) -> None:
    """Raise DataError where a file called ``name``, to be a ``what``, begins as a pointer does."""
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{name} is no {what} but a Git LFS pointer to one: run 'git lfs pull' where it comes from")
