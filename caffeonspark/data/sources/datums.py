"""Databases of Caffe Datums, LMDBs and LevelDBs: stock ``Data`` layers, and MemoryData layers with ``source_class:
com.yahoo.ml.caffe.LMDB``.

The folder's content decides which of the two it is. Nothing in it is locked or written (``lmdb_file``, ``leveldb``), so
read-only media, files of other owners and other readers do not matter. One on HDFS, S3 or the like is fetched to
every node. Record i is the i-th in key order, as Caffe's cursor gives it. What the driver found is in the reader, and
everybody who reads compares.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Iterator, List, Optional, Protocol, Tuple, Union

import numpy as np

from ...errors import ConfigError, DataError
from ...nets.schema import Datum
from ...storage import local_path
from ..records import BadRecord, BadRecords, Column, Records
from ..tops import Top
from .base import RangeReader, RangeSource, SourceConfig
from .fetched import Fetched, fetch
from .fields import say_once
from .images import ImageSource, image_entry
from .leveldb import LevelDBContents, LevelDBFile
from .lmdb_file import Contents as LMDBContents
from .lmdb_file import LMDBFile, shown

__all__ = [
    "Contents",
    "DatumReader",
    "DatumSource",
    "Location",
    "datum_array",
    "find_database",
    "holds_floats",
    "look_at",
    "open_database",
    "parse_datum",
    "read_entries",
]

#: A database at a path that is the same on every node, or one that every node fetched.
Location = Union[str, Fetched]
#: What the driver found in a database.
Contents = Union[LMDBContents, LevelDBContents]

_CHUNK = 256  # records, of which
_CHUNK_BYTES = 64 << 20  # is the most where they are large


class Database(Protocol):
    """A database that is open; every method raises DataError where it is damaged or has changed.

    Attributes
    ----------
    name : what it is and where, for errors
    """

    name: str

    def contents(self) -> Any:
        """What is compared between those who read the same database."""

    def difference(self, planned: Any, copied: bool) -> str:
        """Why it is not what was planned with, in words, "" if it is; ``copied`` if this is a node's own copy."""

    def read(self, start: int, stop: int, step: int = 1) -> Iterator[Tuple[int, bytes, bytes]]:
        """(number, key, value) of the entries ``start``, ``start + step``, … below ``stop``, in the order of keys."""

    def check_unchanged(self) -> None:
        """Find out whether something has written to it since it was opened."""

    def close(self) -> None:
        """Done with it."""


@contextlib.contextmanager
def open_database(location: Location, planned: Optional[Contents] = None) -> Iterator[Database]:
    """Open a database for reading; ``planned`` is what it has to hold. Raises DataError."""
    copied = isinstance(location, Fetched)
    path, name = (location.path(), location.uri) if isinstance(location, Fetched) else (location, location)
    database: Database
    if isinstance(planned, LevelDBContents) or (planned is None and _kind_of(_names(path)) == "LevelDB"):
        database = LevelDBFile(path, name, planned)
    else:
        database = LMDBFile(path, name)
    with contextlib.closing(database):
        difference = "" if planned is None else database.difference(planned, copied)
        if difference:
            raise DataError(f"{database.name}: {difference}. Start again, with a new source, when all of it is there")
        yield database


def _names(path: str) -> List[str]:
    return os.listdir(path) if os.path.isdir(path) else []


def _kind_of(names: List[str]) -> str:
    """What a folder is that holds these files; "" where it is neither."""
    return "LMDB" if "data.mdb" in names else "LevelDB" if "CURRENT" in names else ""


def look_at(location: Location) -> Contents:
    """What a database holds. Raises DataError."""
    with open_database(location) as database:
        found: Contents = database.contents()
    return found


def read_entries(
    location: Location, start: int, stop: int, step: int = 1, planned: Optional[Contents] = None
) -> Iterator[Tuple[int, bytes, bytes]]:
    """(number, key, value) of the entries ``start``, ``start + step``, … below ``stop``. Raises DataError, also
    where the database does not hold what was planned with."""
    with open_database(location, planned) as database:
        yield from database.read(start, stop, step)


def find_database(config: SourceConfig, path: str, where: str) -> Tuple[str, Location]:
    """What kind of database ``path`` is, ``LMDB`` or ``LevelDB``, and where it is on every node, fetched there if need
    be. Raises ConfigError with ``where``."""
    storage = config.storage
    if not storage.exists(path):
        raise ConfigError(f"{where} {path} does not exist")
    names = storage.names(path) if storage.is_folder(path) else None
    kind = "LMDB" if names is None else _kind_of(list(names))
    if not kind:
        raise ConfigError(f"{where} {path} is a folder without data.mdb or CURRENT, so no LMDB and no LevelDB")
    if storage.on_local_disk(path):
        return kind, os.path.abspath(local_path(path))
    if names is None:
        raise ConfigError(f"{where} {path} is a file: name the folder that holds data.mdb")
    return kind, fetch(config, path, where)


def parse_datum(value: bytes, record: str) -> Any:
    """The Datum in ``value``; raises BadRecord."""
    datum = Datum()
    try:
        datum.ParseFromString(value)
    except MemoryError:
        raise BadRecord(record, "record too large", "there is not enough memory for the Datum") from None
    except Exception:  # protobuf's DecodeError, whose class differs between its runtimes
        raise BadRecord(record, "corrupt Datum", "the value is not a Datum") from None
    return datum


def holds_floats(datum: Any) -> bool:
    """Whether a Datum's values are its floats. Where it has bytes too, Caffe takes the bytes."""
    return not datum.data and bool(len(datum.float_data))


def datum_array(datum: Any, record: str) -> np.ndarray:
    """The (channels, height, width) array of a Datum that is not encoded, uint8 or float32; raises BadRecord."""
    shape = (datum.channels, datum.height, datum.width)
    try:
        floats = holds_floats(datum)
        values = np.array(datum.float_data, np.float32) if floats else np.frombuffer(datum.data, np.uint8)
    except MemoryError:
        raise BadRecord(record, "record too large", "there is not enough memory for the Datum") from None
    if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
        raise BadRecord(
            record, "corrupt Datum", f"the Datum says {'x'.join(map(str, shape))} and holds {values.size} values"
        )
    return values.reshape(shape)


@dataclass(frozen=True)
class DatumReader(RangeReader):
    """Reads Datums from a database.

    Attributes
    ----------
    path : where it is, the same on every node; or what every node fetched
    image : the first top
    label : whether the layer has a label top
    planned : what the driver found in it
    """

    path: Location
    image: Top
    label: bool
    planned: Optional[Contents] = None

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        ids: List[str] = []
        index: List[int] = []
        images: List[Any] = []
        labels: List[float] = []
        size = 0
        with open_database(self.path, self.planned) as database:
            for number, key, value in database.read(start, stop, step):
                record = shown(key)
                try:
                    datum = parse_datum(value, record)
                    array = None if datum.encoded else datum_array(datum, record)
                    images.append(image_entry(self.image, record, array, datum.data))
                except BadRecord as e:
                    database.check_unchanged()
                    bad.report(e)
                    continue
                ids.append(record)
                index.append(number)
                labels.append(float(datum.label))
                size += len(value)
                if len(ids) == _CHUNK or size > _CHUNK_BYTES:
                    yield self._chunk(ids, index, images, labels)
                    ids, index, images, labels, size = [], [], [], [], 0
        if ids:
            yield self._chunk(ids, index, images, labels)

    def _chunk(self, ids: List[str], index: List[int], images: List[Any], labels: List[float]) -> Records:
        image: Column = images if self.image.fixed is None else np.stack(images)
        columns: List[Column] = [image]
        if self.label:
            columns.append(np.array(labels, np.float32))
        return Records(ids, columns, np.array(index, np.int64))


class DatumSource(ImageSource, RangeSource):
    """The database of a ``Data`` layer, or of a MemoryData layer with CoSData's extension fields."""

    _kind = "database"
    _location: Location = ""
    _contents: Contents

    @property
    def description(self) -> str:
        uri = self._location if isinstance(self._location, str) else self._location.uri
        return f"{self._kind} {uri or self.parameters().source}"

    def open(self) -> None:
        self._kind, self._location = find_database(self.config, self.source_path(), f"{self.where}: source")
        problem: Optional[DataError] = None
        try:
            with open_database(self._location) as database:
                self._contents = database.contents()
                self._compare_backend()
                # the first record that can be used; only it, where all have to be
                for _, key, value in database.read(0, self._contents.entries if self.config.skip else 1):
                    found = self._settle_tops(shown(key), value)
                    if found is None:
                        return
                    problem = problem or found
        except DataError as e:
            raise DataError(f"{self.where}: {e.message}") from None
        raise problem or DataError(f"{self.where}: {self.description} is empty")

    def _compare_backend(self) -> None:
        """Say where the layer names the other kind of database; what names none would be a LevelDB to Caffe."""
        if self.layer.type != "Data" or not self.layer.data_param.HasField("backend"):
            return
        field = self.layer.data_param.DESCRIPTOR.fields_by_name["backend"]
        named = field.enum_type.values_by_number[self.layer.data_param.backend].name
        if named != self._kind.upper():
            say_once(
                f"{self.where}: data_param.backend is {named}, and {self.parameters().source} is "
                f"{'an' if self._kind == 'LMDB' else 'a'} {self._kind}, and is read as one"
            )

    def _settle_tops(self, record: str, value: bytes) -> Optional[DataError]:
        """Make the tops as this record has them; why that cannot be, or None."""
        try:
            datum = parse_datum(value, record)
            image = None if datum.encoded else datum_array(datum, record)
            self.tops = self.make_tops(record, image, datum.data)
        except BadRecord as e:
            return DataError(f"{self.where}: {self.description}: {e.message}")
        except DataError as e:
            return e
        return None

    def count(self) -> int:
        return self._contents.entries

    def reader(self) -> DatumReader:
        image = self.tops[0]
        return DatumReader(self._location, image, len(self.tops) > 1, self._contents)
