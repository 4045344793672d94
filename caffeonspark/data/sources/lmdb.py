"""LMDBs of Caffe Datums: stock ``Data`` layers, and MemoryData with ``source_class: com.yahoo.ml.caffe.LMDB``.

The database is read without its lock file (``lmdb_file``), so read-only media, foreign owners and other
readers do not matter. One that lies on HDFS, S3 or the like is fetched to every node. Record i is the i-th in key
order, as Caffe's cursor gives it. What the driver found is in the reader, and everybody who reads compares.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List, Optional, Tuple, Union

import lmdb
import numpy as np

from ...errors import ConfigError, DataError, StorageError
from ...nets.schema import Datum
from ...storage import local_path
from ..records import BadRecord, BadRecords, Column, Records
from ..tops import Top
from .base import RangeReader, RangeSource, SourceConfig
from .fetched import Fetched, fetch
from .images import ImageSource, image_entry
from .lmdb_file import Contents, LMDBFile

__all__ = [
    "MAX_KEY",
    "LMDBLocation",
    "LMDBReader",
    "LMDBSource",
    "datum_array",
    "find_lmdb",
    "look_at",
    "open_lmdb",
    "parse_datum",
    "read_entries",
    "write_entries",
]

#: An LMDB at a path that is the same on every node, or one that every node fetched.
LMDBLocation = Union[str, Fetched]

#: The longest key, in bytes: LMDB's MDB_MAXKEYSIZE.
MAX_KEY = 511

_CHUNK = 256  # records, of which
_CHUNK_BYTES = 64 << 20  # is the most where they are large
_TRANSACTION = 1000  # entries


def open_lmdb(location: LMDBLocation, planned: Optional[Contents] = None) -> LMDBFile:
    """Open an LMDB for reading; ``planned`` is what it has to hold. Raises DataError."""
    copied = isinstance(location, Fetched)
    database = LMDBFile(location.path(), location.uri) if isinstance(location, Fetched) else LMDBFile(location)
    if planned is not None:
        try:
            difference = planned.difference(database.contents(), copied)
            if difference:
                raise DataError(
                    f"{database.name}: {difference}. Start again, with a new source, when all of it is there"
                )
        except BaseException:
            database.close()
            raise
    return database


def look_at(location: LMDBLocation) -> Contents:
    """What an LMDB holds. Raises DataError."""
    with open_lmdb(location) as database:
        return database.contents()


def read_entries(
    location: LMDBLocation, start: int, stop: int, step: int = 1, planned: Optional[Contents] = None
) -> Iterator[Tuple[int, bytes, bytes]]:
    """(number, key, value) of the entries ``start``, ``start + step``, … below ``stop``. Raises DataError, also
    where the LMDB does not hold what was planned with."""
    with open_lmdb(location, planned) as database:
        yield from database.read(start, stop, step)


def write_entries(folder: str, entries: Iterable[Tuple[bytes, bytes]], name: str = "") -> int:
    """Write an LMDB of (key, value) entries into a folder that is empty or not there yet; how many there are.

    An LMDB is in the order of its keys; it is smallest when they come in that order.

    Parameters
    ----------
    folder : local; where something fails, a part of the database stays there
    entries : keys have 1 to MAX_KEY bytes
    name : what errors call it, by default its folder

    Raises
    ------
    DataError
        If a key comes twice.
    StorageError
        If the database cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    rest = iter(entries)
    count, last = 0, b""
    try:
        # without lock=False, an empty lock file would stay beside the data
        with lmdb.open(folder, map_size=1 << 30, mode=0o644, lock=False, sync=False) as env:
            while True:
                some = list(itertools.islice(rest, _TRANSACTION))
                if not some:
                    env.sync(True)
                    return count
                _put(env, some, last)
                count += len(some)
                last = max(last, *(key for key, _ in some))
    except lmdb.Error as e:
        raise StorageError(f"{name or folder} cannot be written: {e}") from None


def _put(env: lmdb.Environment, entries: List[Tuple[bytes, bytes]], last: bytes) -> None:
    """Put entries into a database whose last key is ``last``; it grows as it must."""
    while True:
        highest = last
        try:
            with env.begin(write=True) as transaction:
                for key, value in entries:
                    # appending fills the pages; elsewhere LMDB leaves half of each free
                    if not transaction.put(key, value, append=key > highest, overwrite=False):
                        raise DataError(
                            f"two rows have the id '{key.decode(errors='replace')}', which is the LMDB's key"
                        )
                    highest = max(highest, key)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])


def find_lmdb(config: SourceConfig, path: str, where: str) -> LMDBLocation:
    """Where the LMDB ``path`` is on every node, fetched there if need be. Raises ConfigError with ``where``."""
    storage = config.storage
    if not storage.exists(path):
        raise ConfigError(f"{where} {path} does not exist")
    names = storage.names(path) if storage.is_folder(path) else None
    if names is not None and "data.mdb" not in names:
        if "CURRENT" in names:
            raise ConfigError(
                f"{where} {path} is a LevelDB, which is not read: convert the images anew with "
                "Caffe's convert_imageset -backend lmdb (or convert_mnist_data, convert_cifar_data)"
            )
        raise ConfigError(f"{where} {path} is a folder without data.mdb, so no LMDB")
    if storage.on_local_disk(path):
        return os.path.abspath(local_path(path))
    if names is None:
        raise ConfigError(f"{where} {path} is a file: name the folder that holds data.mdb")
    return fetch(config, path, where)


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


def datum_array(datum: Any, record: str) -> np.ndarray:
    """The (channels, height, width) array of a Datum that is not encoded, uint8 or float32; raises BadRecord."""
    shape = (datum.channels, datum.height, datum.width)
    try:
        floats = len(datum.float_data)
        values = np.array(datum.float_data, np.float32) if floats else np.frombuffer(datum.data, np.uint8)
    except MemoryError:
        raise BadRecord(record, "record too large", "there is not enough memory for the Datum") from None
    if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
        raise BadRecord(
            record, "corrupt Datum", f"the Datum says {'x'.join(map(str, shape))} and holds {values.size} values"
        )
    return values.reshape(shape)


@dataclass(frozen=True)
class LMDBReader(RangeReader):
    """Reads Datums from an LMDB.

    Attributes
    ----------
    path : where it is, the same on every node; or what every node fetched
    image : the first top
    label : whether the layer has a label top
    planned : what the driver found in it
    """

    path: LMDBLocation
    image: Top
    label: bool
    planned: Optional[Contents] = None

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        ids: List[str] = []
        index: List[int] = []
        images: List[Any] = []
        labels: List[float] = []
        size = 0
        with open_lmdb(self.path, self.planned) as database:
            for number, key, value in database.read(start, stop, step):
                record = key.decode("utf-8", "backslashreplace")
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


class LMDBSource(ImageSource, RangeSource):
    """The LMDB of a ``Data`` layer, or of a MemoryData layer with CoSData's extension fields."""

    _location: LMDBLocation = ""
    _contents: Contents

    @property
    def description(self) -> str:
        uri = self._location if isinstance(self._location, str) else self._location.uri
        return f"LMDB {uri or self.parameters().source}"

    def open(self) -> None:
        self._location = find_lmdb(self.config, self.source_path(), f"{self.where}: source")
        where = f"{self.where}: {self.description}"
        problem: Optional[DataError] = None
        try:
            self._contents = look_at(self._location)
            # the first record that can be used; only it, where all have to be
            stop = self._contents.entries if self.config.skip else 1
            for _, key, value in read_entries(self._location, 0, stop, planned=self._contents):
                found = self._settle_tops(key.decode("utf-8", "backslashreplace"), value)
                if found is None:
                    return
                problem = problem or found
        except DataError as e:
            raise DataError(f"{self.where}: {e.message}") from None
        raise problem or DataError(f"{where} is empty")

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

    def reader(self) -> LMDBReader:
        image = self.tops[0]
        return LMDBReader(self._location, image, len(self.tops) > 1, self._contents)
