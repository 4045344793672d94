"""LMDBs of Caffe Datums: stock ``Data`` layers, and MemoryData with ``source_class: com.yahoo.ml.caffe.LMDB``.

The database is opened read-only and without its lock file, so read-only media, foreign owners and other
readers do not matter. One that lies on HDFS, S3 or the like is fetched to every node. Record i is the i-th in key
order, as Caffe's cursor gives it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Iterator, List, Tuple, Union

import lmdb
import numpy as np

from ..errors import ConfigError, DataError
from ..proto.schema import Datum
from ..storage import local_path
from .fetched import Fetched, fetch
from .images import ImageSource, image_entry
from .records import BadRecord, BadRecords, Column, Records
from .source import RangeReader, RangeSource, register
from .tops import Top

__all__ = ["LMDBReader", "LMDBSource", "open_lmdb", "parse_datum"]

_CHUNK = 256  # records


def open_lmdb(path: str) -> lmdb.Environment:
    """Open the LMDB at ``path`` (its folder or its file) for reading, without touching anything beside it."""
    return lmdb.open(
        path, subdir=os.path.isdir(path), readonly=True, lock=False, readahead=False, max_dbs=0, create=False
    )


def parse_datum(value: bytes, record: str) -> Any:
    """The Datum in ``value``; raises BadRecord."""
    datum = Datum()
    try:
        datum.ParseFromString(value)
    except Exception:  # protobuf's DecodeError, whose class differs between its runtimes
        raise BadRecord(record, "corrupt Datum", "the value is not a Datum") from None
    return datum


def datum_array(datum: Any, record: str) -> np.ndarray:
    """The (channels, height, width) array of a Datum that is not encoded, uint8 or float32; raises BadRecord."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.float_data):
        values = np.array(datum.float_data, np.float32)
    else:
        values = np.frombuffer(datum.data, np.uint8)
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
    """

    path: Union[str, Fetched]
    image: Top
    label: bool

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        ids: List[str] = []
        index: List[int] = []
        images: List[Any] = []
        labels: List[float] = []
        for number, key, value in self._entries(start, stop, step):
            record = key.decode("utf-8", "backslashreplace")
            try:
                datum = parse_datum(value, record)
                array = None if datum.encoded else datum_array(datum, record)
                images.append(image_entry(self.image, record, array, datum.data))
            except BadRecord as e:
                bad.report(e)
                continue
            ids.append(record)
            index.append(number)
            labels.append(float(datum.label))
            if len(ids) == _CHUNK:
                yield self._chunk(ids, index, images, labels)
                ids, index, images, labels = [], [], [], []
        if ids:
            yield self._chunk(ids, index, images, labels)

    def _entries(self, start: int, stop: int, step: int) -> Iterator[Tuple[int, bytes, bytes]]:
        path = self.path if isinstance(self.path, str) else self.path.path()
        try:
            with open_lmdb(path) as env, env.begin(buffers=False) as transaction:
                cursor = transaction.cursor()
                if stop <= start or not cursor.first():
                    return
                number = 0
                while True:
                    if number >= start and (number - start) % step == 0:
                        yield number, cursor.key(), cursor.value()
                    number += 1
                    if number >= stop or not cursor.next():
                        return
        except lmdb.Error as e:
            raise DataError(f"LMDB {path}: {e}") from None

    def _chunk(self, ids: List[str], index: List[int], images: List[Any], labels: List[float]) -> Records:
        image: Column = images if self.image.fixed is None else np.stack(images)
        columns: List[Column] = [image]
        if self.label:
            columns.append(np.array(labels, np.float32))
        return Records(ids, columns, np.array(index, np.int64))


@register("LMDB", "com.yahoo.ml.caffe.LMDB", "layer:Data")
class LMDBSource(ImageSource, RangeSource):
    """The LMDB of a ``Data`` layer, or of a MemoryData layer with CoSData's extension fields."""

    _place: Union[str, Fetched] = ""
    _path = ""
    _count = 0

    @property
    def description(self) -> str:
        uri = self._place if isinstance(self._place, str) else self._place.uri
        return f"LMDB {uri or self.parameters().source}"

    def open(self) -> None:
        self._place = self._find()
        self._path = self._place if isinstance(self._place, str) else self._place.path()
        record, datum = self._first()
        try:
            image = None if datum.encoded else datum_array(datum, record)
        except BadRecord as e:
            raise DataError(f"{self.where}: {self.description}: {e.message}") from None
        self.tops = self.make_tops(record, image, datum.data)

    def _find(self) -> Union[str, Fetched]:
        """Where the LMDB is on every node, if need be fetched."""
        path = self.source_path()
        storage = self.config.storage
        if not storage.exists(path):
            raise ConfigError(f"{self.where}: source {self.parameters().source} does not exist")
        names = storage.names(path) if storage.is_folder(path) else None
        if names is not None and "data.mdb" not in names:
            if "CURRENT" in names:
                raise ConfigError(
                    f"{self.where}: source {path} is a LevelDB, which is not read: convert the images anew with "
                    "Caffe's convert_imageset -backend lmdb (or convert_mnist_data, convert_cifar_data)"
                )
            raise ConfigError(f"{self.where}: source {path} is a folder without data.mdb, so no LMDB")
        if storage.on_local_disk(path):
            return os.path.abspath(local_path(path))
        if names is None:
            raise ConfigError(f"{self.where}: source {path} is a file: name the folder that holds data.mdb")
        return fetch(self.config, path, self.where)

    def _first(self) -> Tuple[str, Any]:
        try:
            with open_lmdb(self._path) as env, env.begin() as transaction:
                self._count = int(env.stat()["entries"])
                cursor = transaction.cursor()
                if not cursor.first():
                    raise DataError(f"{self.where}: LMDB {self._path} is empty")
                record = cursor.key().decode("utf-8", "backslashreplace")
                value = cursor.value()
        except lmdb.Error as e:
            raise DataError(f"{self.where}: LMDB {self._path} cannot be opened: {e}") from None
        try:
            return record, parse_datum(value, record)
        except BadRecord as e:
            raise DataError(f"{self.where}: LMDB {self._path}: {e.message}") from None

    def count(self) -> int:
        return self._count

    def reader(self) -> LMDBReader:
        image = self.tops[0]
        return LMDBReader(self._place, image, len(self.tops) > 1)
