"""Opening HDF5 files, with the package that is needed for it named where it is missing."""

from __future__ import annotations

import contextlib
import math
from typing import Any, BinaryIO, Iterator, Union

from ..errors import ConfigError, DataError
from ..storage import special_file
from .mistaken import refuse_mistaken

__all__ = ["checked", "import_h5py", "open_hdf5", "reading_hdf5"]


def import_h5py(what: str) -> Any:
    """The module h5py; raises ConfigError where it is missing, for ``what`` needs it."""
    try:
        import h5py
    except ImportError as e:
        raise ConfigError(f"{what}: HDF5 needs h5py ({e}): pip install 'caffeonspark[hdf5]'") from None
    return h5py


def open_hdf5(path: Union[str, BinaryIO], mode: str = "r", name: str = "") -> Any:
    """Open the HDF5 file at the local ``path``, or that is open there; errors call it ``name`` if it is given.

    Raises ConfigError without h5py, DataError for what is no HDF5 file.
    """
    h5py = import_h5py(name or str(path))
    kind = special_file(path) if isinstance(path, str) else ""  # a pipe would be waited for
    if kind:
        raise DataError(f"{name or path} cannot be opened as HDF5: it is {kind}")
    try:
        return h5py.File(path, mode)
    except OSError as e:
        _refuse_mistaken(path, name or str(path))
        raise DataError(f"{name or path} cannot be opened as HDF5: {e}") from None


def _refuse_mistaken(path: Union[str, BinaryIO], name: str) -> None:
    if not isinstance(path, str):
        path.seek(0)
        refuse_mistaken(path.read(4096), name, "HDF5 file", hdf5=True)
        return
    with contextlib.suppress(OSError), open(path, "rb") as f:
        refuse_mistaken(f.read(4096), name, "HDF5 file", hdf5=True)


def checked(dataset: Any, in_pieces: bool = False) -> Any:
    """The dataset; raises ValueError where it says that it has more in it than there is in the file, and reading it
    would take all memory there is. One that is read ``in_pieces`` may have its data in other files."""
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    layout = dataset.id.get_create_plist()
    filters = {layout.get_filter(number)[0] for number in range(layout.get_nfilters())}
    most = dataset.id.get_storage_size() * _BEST_RATIO if filters else dataset.file.id.get_filesize()
    elsewhere = in_pieces and (dataset.is_virtual or dataset.external)
    if filters <= _KNOWN_FILTERS and size > most and not elsewhere:
        raise ValueError(f"{dataset.name} has {size} bytes by its shape {dataset.shape}, more than the file can hold")
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > _MOST_CHUNK:
        raise ValueError(f"{dataset.name} has chunks of {chunk} bytes, and {_MOST_CHUNK} is the most that is read")
    return dataset


_KNOWN_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: H5Zpublic.h
_BEST_RATIO = 1040  # of deflate: 1032, and a little for the ends
_MOST_CHUNK = 1 << 30  # bytes that HDF5 takes for a single record of a compressed dataset


@contextlib.contextmanager
def reading_hdf5(path: Union[str, BinaryIO], name: str, what: str, mode: str = "r") -> Iterator[Any]:
    """One of Caffe's HDF5 files, open; what is not there or cannot be read becomes a DataError.

    Parameters
    ----------
    name : what errors call the file
    what : the kind of file, for errors: ``model``
    """
    try:
        with open_hdf5(path, mode, name) as f:
            yield f
    except (AttributeError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as e:  # h5py's
        raise DataError(f"{name} is no {what} of Caffe's, or it is damaged: {e}") from None
