"""What people mistake for one of Caffe's files: Git LFS pointers, web pages, prototxts, files of the other format."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

from ..errors import DataError, suggest
from ..nets.upgrade import V0_TYPES

__all__ = ["refuse_mistaken", "refuse_versions"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PACKED = {
    b"\x1f\x8b\x08": "compressed by gzip: unpack it (gunzip)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it (unzstd)",
    b"BZh": "compressed by bzip2: unpack it (bunzip2)",
    b"\xfd7zXZ\x00": "compressed by xz: unpack it (unxz)",
    b"PK\x03\x04": "a zip archive, as PyTorch saves its models: it has to be one of Caffe's",
    **{bytes([128, version]): "a pickle of Python's: it has to be one of Caffe's" for version in (2, 3, 4, 5)},
}
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
    for magic, packed in _PACKED.items():
        if start.startswith(magic):
            raise DataError(f"{name} is no {what} but {packed}")
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


def refuse_versions(name: str, old: Sequence[Tuple[str, Optional[str]]], new: Sequence[str]) -> None:
    """Raise DataError where Caffe cannot bring a binary model up to date.

    Parameters
    ----------
    name : of the file
    old : name and, of layers of before 2014, type of each layer of before 2015; the type of others is None
    new : names of the others
    """
    if old and new:
        raise DataError(
            f"{name}: layer '{new[0]}': this model has 'layer' and, of older versions of Caffe, 'layers' "
            f"('{old[0][0]}'), which Caffe does not take: save it again"
        )
    kinds = [kind for _, kind in old if kind is not None]
    for layer, kind in old:
        if kind is None and kinds:
            raise DataError(f"{name}: layer '{layer}' is of 2014 and others are of before, which Caffe does not take")
        if kind and kind not in (*V0_TYPES, "padding"):
            raise DataError(
                f"{name}: layer '{layer}': unknown layer type '{kind}' of before 2014. {suggest(kind, V0_TYPES)}"
            )
