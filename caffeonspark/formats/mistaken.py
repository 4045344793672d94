"""What people mistake for one of Caffe's files: Git LFS pointers, web pages, prototxts, files of the other format."""

from __future__ import annotations

from ..errors import DataError

__all__ = ["refuse_mistaken"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TEXT = bytes({*range(32, 127), 9, 10, 13})
_LOOKED_AT = 4096  # bytes: a file of numbers has others than letters among them


def refuse_mistaken(start: bytes, name: str, what: str, hdf5: bool) -> None:
    """Raise DataError, which says what it is, where a file is none that Caffe writes.

    Parameters
    ----------
    start : its first bytes; all of them, where it is small
    name : what errors call it
    what : what it has to be, for errors: ``model``
    hdf5 : whether its name says HDF5
    """
    start = start[:_LOOKED_AT]
    if not start:
        raise DataError(f"{name} is no {what}: it is empty")
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{name} is no {what} but a Git LFS pointer to one: run 'git lfs pull' where it comes from")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{name} is no {what} but a web page: fetch the file itself")
    if not start.translate(None, _TEXT):
        raise DataError(
            f"{name} is no {what} but text: a prototxt describes a net, and the weights are in a .caffemodel file"
        )
    if start.startswith(_HDF5) != hdf5:
        if hdf5:
            raise DataError(
                f"{name} is no HDF5 file, or it is damaged: Caffe takes every name that ends in .h5 for one"
            )
        raise DataError(f"{name} is an HDF5 file: Caffe takes only names that end in .h5 for one, so add that")
