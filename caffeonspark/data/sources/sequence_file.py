"""Hadoop SequenceFiles of images: ``source_class: com.yahoo.ml.caffe.SeqImageDataSource``.

CaffeOnSpark keeps (id, label) or (id, label, channels, height, width, encoded) as a Java-serialised Pair or
Scala tuple in a BytesWritable key; those are read with javaobj, which makes plain data of them and runs nothing.
Our own tools write the same six fields as JSON in a Text key. The value is the image's bytes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Tuple, Union

from ...causes import cause_of, explained
from ...errors import ConfigError, DataError
from ...storage import join
from ..records import BadRecord
from .images import ImageDataFrame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["SequenceFileSource", "parse_key", "write_key"]

#: id, label, channels, height, width, encoded
Key = Tuple[str, str, int, int, int, bool]

_ROW = "id string, label string, channels int, height int, width int, encoded boolean, data binary, problem string"
_JAVA = b"\xac\xed"  # the magic number of Java's serialisation


def write_key(key: Key) -> str:
    """The text of a key."""
    return json.dumps(list(key))


def parse_key(key: Union[str, bytes, bytearray]) -> Key:
    """The fields of a key in any of its forms. Raises BadRecord; ConfigError where a Java key cannot be read here."""
    content = key if isinstance(key, str) else bytes(key)
    read = _java_reader() if isinstance(content, bytes) and content.startswith(_JAVA) else json.loads
    try:
        fields = read(content)
        if len(fields) == 2:
            return str(fields[0]), str(fields[1]), 0, 0, 0, True
        name, label, channels, height, width, encoded = fields
        return str(name), str(label), int(channels), int(height), int(width), bool(encoded)
    except Exception as e:  # javaobj raises many types for damaged streams
        raise BadRecord(repr(content[:20]), "unreadable key", f"the key is none of the known forms ({e})") from None


def _java_reader() -> Callable[[Any], Any]:
    """What makes a Java key's fields of its bytes. Raises ConfigError."""
    try:
        import javaobj.v2 as javaobj
    except ImportError as e:
        raise ConfigError(
            f"SequenceFiles with keys that Java serialised need the package javaobj-py3 on every executor ({e}): "
            "pip install 'caffeonspark[sequence]'"
        ) from None
    return lambda data: _java_fields(javaobj.loads(data))


def _java_fields(found: Any) -> Any:
    name = found.classdesc.name
    if name == "com.yahoo.ml.dl.caffe.Pair":
        return [found.first, found.second]
    match = re.match(r"scala\.Tuple([26])(\$|$)", name)
    if match:
        return [_plain(getattr(found, f"_{number}")) for number in range(1, int(match.group(1)) + 1)]
    raise ValueError(f"a Java object of class {name}")


def _plain(value: Any) -> Any:
    """A boxed java.lang.Integer or Boolean as Python's own."""
    return getattr(value, "value", value)


def _parse(pairs: Iterator[Tuple[Any, Any]]) -> Iterator[Tuple[Any, ...]]:
    for key, value in pairs:
        try:
            yield (*parse_key(key), value, None)
        except BadRecord as e:
            yield (e.record, None, 0, 0, 0, True, None, e.detail)


class SequenceFileSource(ImageDataFrame):
    """Images in SequenceFiles, block-compressed ones included."""

    @property
    def description(self) -> str:
        return f"SequenceFile {self.parameters().source}"

    def load(self) -> DataFrame:
        path = self.stored_path()
        spark = self.config.spark()
        files = ",".join(self._files(path))
        try:
            pairs = spark.sparkContext.sequenceFile(files)
        except Exception as e:
            raise DataError(f"{self.where}: {path} is no SequenceFile: {cause_of(e).message}") from None
        rows: DataFrame = spark.createDataFrame(pairs.mapPartitions(_parse), _ROW)
        return rows

    def _files(self, path: str) -> List[str]:
        """The files in a folder by name: Hadoop's local file system lists them in no order."""
        storage = self.config.storage
        if not storage.is_folder(path):
            return [path]
        names = [name for name in storage.names(path) if not name.startswith(("_", "."))]
        if not names:
            raise DataError(f"{self.where}: {self.description} is empty")
        return [join(path, name) for name in names]

    def columns(self, rows: DataFrame) -> List[Any]:
        return [*super().columns(rows), rows["problem"]]

    def open(self) -> None:
        with explained(f"{self.where}: {self.description}"):
            problem = self.frame().select("problem").first()
        if problem is not None and problem[0] is not None and not self.config.skip:
            raise DataError(f"{self.where}: {self.description}: the first record: {problem[0]}")
        super().open()
