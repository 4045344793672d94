"""Caffe's ``HDF5Data`` layer: a text file of HDF5 files, and one top for each dataset of its name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Iterator, List, Mapping, Tuple

import numpy as np

from ...errors import ConfigError, DataError
from ...formats.hdf5 import checked, reading_hdf5
from ...nets.text import lines_of
from ..records import BadRecords, Column, Records
from ..tops import NumberTop
from .base import RangeReader, RangeSource

__all__ = ["HDF5Reader", "HDF5Source"]

_CHUNK = 256  # records, of which
_CHUNK_BYTES = 64 << 20  # is the most where they are large
_WHAT = "HDF5Data file"
_NUMBERS = "biuf"  # of numpy's kinds of dtypes
_SPACES = re.compile(r"[ \t\v\f]+")


@dataclass(frozen=True)
class HDF5Reader(RangeReader):
    """Reads rows of datasets that continue over several files.

    Attributes
    ----------
    paths : the files, the same on every node
    starts : number of each file's first record, and the number of records
    tops : one NumberTop for each dataset
    """

    paths: Tuple[str, ...]
    starts: Tuple[int, ...]
    tops: Tuple[NumberTop, ...]

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        record = 8 * sum(math.prod(top.shape) for top in self.tops)
        chunk = step * max(1, min(_CHUNK, _CHUNK_BYTES // max(1, record)))
        for path, first, end in zip(self.paths, self.starts, self.starts[1:]):
            low = max(start, first)
            low += (start - low) % step
            if low >= min(stop, end):
                continue
            with reading_hdf5(path, path, _WHAT) as f:
                self._check_same(path, f, end - first)
                for begin in range(low, min(stop, end), chunk):
                    upto = min(stop, end, begin + chunk)
                    numbers = np.arange(begin, upto, step, dtype=np.int64)
                    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found
                        columns: List[Column] = [
                            np.asarray(
                                checked(f[top.name], in_pieces=True)[begin - first : upto - first : step], np.float32
                            ).reshape(-1, *top.shape)
                            for top in self.tops
                        ]
                    yield Records([str(number) for number in numbers], columns, numbers)

    def _check_same(self, path: str, f: Any, count: int) -> None:
        """Raise DataError unless a file has the datasets that the driver saw: ``count`` records as wide as the tops."""
        for top in self.tops:
            found = tuple(f[top.name].shape) if top.name in f else None
            if not found or (found[0], math.prod(found[1:])) != (count, math.prod(top.shape)):
                has = "is gone" if found is None else f"is {_sizes(found)} and was {_sizes((count, *top.shape))}"
                raise DataError(
                    f"{path}: dataset '{top.name}' {has} when the run began: something has written to the file since, "
                    "or it is another one on this machine: start again"
                )


def _sizes(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single value"


class HDF5Source(RangeSource):
    """The files an ``HDF5Data`` layer lists."""

    layer_types: ClassVar[Mapping[str, str]] = {"HDF5Data": "hdf5_data_param"}
    _paths: Tuple[str, ...] = ()
    _starts: Tuple[int, ...] = (0,)

    @property
    def description(self) -> str:
        return f"HDF5 list {self.parameters().source}"

    def open(self) -> None:
        param = self.parameters()
        if self.layer.HasField("transform_param"):
            raise ConfigError(f"{self.where}: HDF5Data does not transform data: take transform_param away")
        self.shuffle = bool(param.shuffle)
        listing = self.config.files.read(param.source, f"{self.where}: source", beside=self.net.path)
        lines = [line.strip() for line in lines_of(listing) if line.strip()]
        if not lines:
            raise DataError(f"{self.where}: {self.description} is empty")
        self._paths = tuple(path for line in lines for path in self._files_of(line))
        starts = [0]
        for path in self._paths:
            starts.append(starts[-1] + self._look(path))
        if not starts[-1]:
            raise DataError(f"{self.where}: {self.description} has no record")
        self._starts = tuple(starts)

    def _files_of(self, line: str) -> List[str]:
        """The files of a line of the list: one, in whose name spaces may be, or several with spaces between, as Caffe
        reads them."""
        found = {name: self.config.files.find(name, beside=self.net.path) for name in (line, *_SPACES.split(line))}
        names = [line] if found[line] is not None else _SPACES.split(line)
        missing = [name for name in names if found[name] is None]
        if missing:
            name = line if missing == names else missing[0]
            raise ConfigError(f"{self.where}: source {self.parameters().source}: {name} does not exist")
        return [self.path_on_nodes(str(found[name]), "file") for name in names]

    def _look(self, path: str) -> int:
        """The number of records in a file, whose datasets have to be as wide as those of the files before.

        Blobs have the shapes of the first file's records, as in Caffe.
        """
        with reading_hdf5(path, f"{self.where}: {path}", _WHAT) as f:
            tops, counts = [], set()
            for name in self.layer.top:
                if name not in f:
                    raise DataError(f"{self.where}: {path} has no dataset '{name}', which top '{name}' reads")
                dataset = checked(f[name], in_pieces=True)
                shape = dataset.shape
                if dataset.dtype.kind not in _NUMBERS:
                    raise DataError(f"{self.where}: {path}: dataset '{name}' holds {dataset.dtype}, not numbers")
                if not shape:
                    raise DataError(f"{self.where}: {path}: dataset '{name}' is a single value, not a list of records")
                counts.add(int(shape[0]))
                tops.append(NumberTop(name, tuple(int(size) for size in shape[1:])))
        if len(counts) > 1:
            raise DataError(f"{self.where}: {path}: its datasets have different numbers of records: {sorted(counts)}")
        for top, before in zip(tops, self.tops):
            if math.prod(top.shape) != math.prod(before.shape):
                raise DataError(
                    f"{self.where}: {path}: a record of dataset '{top.name}' is {_sizes(top.shape)}, and in the files "
                    f"before {_sizes(before.shape)}"
                )
        self.tops = self.tops or tuple(tops)
        return counts.pop()

    def count(self) -> int:
        return self._starts[-1]

    def reader(self) -> HDF5Reader:
        return HDF5Reader(self._paths, self._starts, tuple(top for top in self.tops if isinstance(top, NumberTop)))
