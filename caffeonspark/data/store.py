"""A rank's records on local disk, read batch by batch.

Arrays of one size go to one file each, images of any size to one file with an offset table. The files are
unlinked as soon as they are open, so nothing is left behind however the process ends, and they are read
with ``pread`` into the batch, so a partition of any size costs the rank only its offset tables (the page
cache belongs to the machine, not to the process).
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..storage import scratch_folder
from .records import Column, Records
from .tops import Top

__all__ = ["RecordStore"]


class _Array:
    """Records of one dtype and shape, one after the other in a file."""

    def __init__(self, folder: str, dtype: np.dtype, shape: Tuple[int, ...]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)
        weakref.finalize(self, self._file.close)  # where a failure passed by close
        self._dtype = dtype
        self._shape = shape
        self._size = int(dtype.itemsize * np.prod(shape, dtype=np.int64))
        self._buffer = np.empty((0, *shape), dtype)

    def append(self, column: Column) -> None:
        assert isinstance(column, np.ndarray)
        self._file.write(np.ascontiguousarray(column, self._dtype).data)

    def finish(self) -> None:
        self._file.flush()

    def read(self, rows: np.ndarray) -> Column:
        if len(self._buffer) < len(rows):
            self._buffer = np.empty((len(rows), *self._shape), self._dtype)
        out = self._buffer[: len(rows)]
        raw = out.reshape(-1).data.cast("B")
        starts = [0, *(np.flatnonzero(rows[1:] - rows[:-1] != 1) + 1).tolist()]  # of consecutive records: one read each
        for start, stop in zip(starts, [*starts[1:], len(rows)]):
            piece = raw[start * self._size : stop * self._size]
            _read_exactly(self._file.fileno(), piece, int(rows[start]) * self._size)
        return out

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class _Entries:
    """Records of any size: the bytes in a file, where each starts in memory."""

    def __init__(self, folder: str) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)
        weakref.finalize(self, self._file.close)  # where a failure passed by close
        self._sizes: List[np.ndarray] = []
        self._starts = np.zeros(1, np.int64)

    def append(self, column: Column) -> None:
        assert isinstance(column, list)
        self._sizes.append(np.fromiter((len(entry) for entry in column), np.int64, len(column)))
        self._file.writelines(column)

    def finish(self) -> None:
        self._file.flush()
        sizes = np.concatenate([np.zeros(1, np.int64), *self._sizes])
        self._starts = np.cumsum(sizes)
        self._sizes = []

    def read(self, rows: np.ndarray) -> Column:
        entries = []
        for row in rows:
            start, stop = int(self._starts[row]), int(self._starts[row + 1])
            entry = bytearray(stop - start)
            _read_exactly(self._file.fileno(), memoryview(entry), start)
            entries.append(bytes(entry))
        return entries

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def _read_exactly(fd: int, into: memoryview, offset: int) -> None:
    done = 0
    while done < len(into):
        count = os.preadv(fd, [into[done:]], offset + done)
        if count == 0:
            raise OSError("the record store is shorter than its table says")
        done += count


class RecordStore:
    """The records of one data layer on one rank.

    Append chunks in any order, then ``finish``; records are then numbered from 0 by their index in the source.

    Parameters
    ----------
    tops : the layer's tops, which say how each column is stored
    folder : where the files go; Spark's local folder by default
    keep_ids : whether ``chunks`` will be asked for the records' ids; they are kept anyway where a record can turn
        out unusable when it is read, as encoded images can
    """

    def __init__(self, tops: Sequence[Top], folder: Optional[str] = None, keep_ids: bool = False) -> None:
        self.tops = tuple(tops)
        where = folder or scratch_folder()
        self._columns = [_Entries(where) if top.fixed is None else _Array(where, *top.fixed) for top in tops]
        self._ids = _Entries(where) if keep_ids or any(top.fixed is None for top in tops) else None
        self._indices: List[np.ndarray] = []
        self._order = np.zeros(0, np.int64)

    def append(self, records: Records) -> None:
        """Add a chunk."""
        for column, values in zip(self._columns, records.columns):
            column.append(values)
        if self._ids is not None:
            self._ids.append([name.encode() for name in records.ids])
        self._indices.append(np.asarray(records.index, np.int64))

    def finish(self) -> None:
        """Settle the order; nothing can be appended afterwards."""
        for column in self._columns:
            column.finish()
        if self._ids is not None:
            self._ids.finish()
        index = np.concatenate(self._indices) if self._indices else np.zeros(0, np.int64)
        self._indices = [index]
        self._order = np.argsort(index, kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    @property
    def indices(self) -> np.ndarray:
        """The records' positions in the source, ascending."""
        found: np.ndarray = self._indices[0][self._order]
        return found

    def keep(self, records: np.ndarray) -> None:
        """Forget all but these records (numbers from 0, ascending); the rest are renumbered."""
        self._order = self._order[records]

    def filenos(self) -> List[int]:
        """The files' descriptors, for helper processes that read too."""
        return [file.fileno() for file in self._files()]

    def _files(self) -> List[Union[_Array, _Entries]]:
        return [*self._columns, *([self._ids] if self._ids is not None else [])]

    def id_of(self, record: int) -> str:
        """The id of a record (numbers from 0); only where ids are kept."""
        assert self._ids is not None
        return bytes(self._ids.read(self._order[[record]])[0]).decode()

    def read(self, records: np.ndarray) -> List[Column]:
        """The columns of these records (numbers from 0). Arrays are valid until the next call."""
        rows = self._order[records]
        return [column.read(rows) for column in self._columns]

    def chunks(self, size: int) -> Iterator[Records]:
        """All records in order, ``size`` at a time, with their ids."""
        assert self._ids is not None
        for start in range(0, len(self), size):
            numbers = np.arange(start, min(start + size, len(self)))
            rows = self._order[numbers]
            columns = [c.copy() if isinstance(c, np.ndarray) else c for c in self.read(numbers)]
            ids = [bytes(name).decode() for name in self._ids.read(rows)]
            yield Records(ids, columns, self._indices[0][rows])

    def close(self) -> None:
        for file in self._files():
            file.close()
