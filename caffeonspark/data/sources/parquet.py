"""Rows in parquet files, read by each rank from its range: what ``CoSData`` and image layers read without Spark.

Rows are numbered as Spark numbers them: files by name, rows as they stand in each. The columns become what the layers'
readers get from Spark, so from there on nothing differs.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...errors import ConfigError, DataError, suggest
from ...nets.net import Net
from ...storage import special_file
from ..records import SAMPLE_ID, BadRecords, Records, id_column
from ..tops import Top
from .base import FrameReader, FrameSource, RangeReader, RangeSource, SourceConfig
from .dataframe import CoSTop, DataFrameSource
from .images import ImageDataFrame

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ImagesInParquet", "ParquetReader", "RowsInParquet", "StoredTable"]

_CHUNK = 256  # rows


@dataclass(frozen=True)
class StoredRows:
    """A parquet file.

    Attributes
    ----------
    path : where it is, the same on every machine
    size : in bytes
    groups : rows of each of its row groups
    """

    path: str
    size: int
    groups: Tuple[int, ...]


@dataclass(frozen=True)
class StoredColumn:
    """A column that a reader gets, and what it is made of.

    Attributes
    ----------
    name : as the reader has it
    source : the column in the file; "" for a constant
    field : the one of its fields that is meant, where it is a struct; "" for all of it
    form : which of ``_FORMS`` it takes
    default : what stands for a missing column and for null
    """

    name: str
    source: str
    form: str
    field: str = ""
    default: Any = None

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The column. Raises ConfigError for a type that cannot be what the reader gets."""
        import pyarrow as pa

        if not self.source:
            return pa.array([self.default] * rows.num_rows, _plain_type(self.form))
        values = rows.column(self.source)
        if self.field:
            values = _field(values, self.field)
        made = _FORMS[self.form](values)
        if made is None:
            name = f"{self.source}.{self.field}" if self.field else self.source
            raise ConfigError(f"column '{name}' is {values.type}, which cannot be {_MEANT[self.form]}")
        return made if self.default is None else made.fill_null(self.default)


@dataclass(frozen=True)
class StoredTable:
    """Rows in files, with the columns that a reader gets.

    Attributes
    ----------
    files : in order
    columns : of these columns, and of the ids
    identity : the column of the ids and its field; "" for the rows' numbers, and for all of the column
    """

    files: Tuple[StoredRows, ...]
    columns: Tuple[StoredColumn, ...]
    identity: Tuple[str, str]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(sum(stored.groups) for stored in self.files)

    def read(self, start: int, stop: int, step: int) -> Iterator[Tuple[pa.RecordBatch, np.ndarray]]:
        """The rows ``start``, ``start + step``, … below ``stop`` as the reader gets them, and their numbers.

        Raises ConfigError for columns that cannot be what it gets, and DataError for damaged files.
        """
        for batch, index in self._batches(start, stop, step):
            yield self._converted(batch, index), index

    def _converted(self, rows: pa.RecordBatch, index: np.ndarray) -> pa.RecordBatch:
        import pyarrow as pa

        name, field = self.identity
        ids: Sequence[Optional[str]] = [str(number) for number in index]
        if name:
            ids = _texts(_field(rows.column(name), field) if field else rows.column(name))
        columns = [column.of(rows) for column in self.columns]
        return pa.RecordBatch.from_arrays(
            [pa.array(ids, pa.string()), *columns], names=[SAMPLE_ID, *(column.name for column in self.columns)]
        )

    def _batches(self, start: int, stop: int, step: int) -> Iterator[Tuple[pa.RecordBatch, np.ndarray]]:
        """The same as they are stored."""
        import pyarrow as pa

        names = sorted({column.source for column in self.columns if column.source} | {self.identity[0]} - {""})
        first = 0  # the number of the next row group's first row
        for stored in self.files:
            end = first + sum(stored.groups)
            if end > start and first < stop:
                for at, batch in _read_groups(stored, names, first, start, stop):
                    chosen = np.arange(
                        start + max(0, -(-(at - start) // step)) * step, min(at + len(batch), stop), step
                    )
                    if len(chosen):
                        whole = len(chosen) == len(batch)
                        yield batch if whole else batch.take(pa.array(chosen - at)), chosen
            first = end


def _read_groups(
    stored: StoredRows, names: List[str], first: int, start: int, stop: int
) -> Iterator[Tuple[int, pa.RecordBatch]]:
    """Batches of the row groups of a file that have rows from ``start`` to ``stop``: the number of a batch's first row,
    and it. Raises DataError where the file is not what it was."""
    file = _open(stored.path)
    if _stored(stored.path, file) != stored:
        raise DataError(f"{stored.path}: something has written to it since the run began: start again")
    for group, count in enumerate(stored.groups):
        if first < stop and first + count > start:
            at = first
            try:
                for batch in file.iter_batches(batch_size=_CHUNK, row_groups=[group], columns=names):
                    yield at, batch
                    at += len(batch)
            except OSError as e:
                raise DataError(f"{stored.path}: it cannot be read: {_line(e)}") from None
        first += count


def _open(path: str) -> Any:
    import pyarrow.parquet as pq

    kind = special_file(path)  # a pipe would be waited for
    if kind:
        raise DataError(f"{path}: this is no parquet file: it is {kind}")
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as e:  # ArrowInvalid is a ValueError
        raise DataError(f"{path}: this is no whole parquet file: {_line(e)}") from None


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _stored(path: str, file: Any) -> StoredRows:
    about = file.metadata
    groups = tuple(int(about.row_group(number).num_rows) for number in range(about.num_row_groups))
    return StoredRows(path, os.path.getsize(path), groups)


@dataclass(frozen=True)
class ParquetReader(RangeReader):
    """Reads rows.

    Attributes
    ----------
    table : them
    rows : what makes records of them
    """

    table: StoredTable
    rows: FrameReader

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        for batch, index in self.table.read(start, stop, step):
            records = self.rows.decode(batch, bad).positioned(index)
            if len(records):
                yield records


class _ParquetSource(RangeSource):
    """A layer's rows in parquet files.

    Parameters
    ----------
    config, net, layer : as for Source
    rows : what reads them with Spark, and knows what the layer wants of them
    """

    def __init__(self, config: SourceConfig, net: Net, layer: Any, rows: FrameSource) -> None:
        super().__init__(config, net, layer)
        self._rows = rows
        self._table = StoredTable((), (), ("", ""))

    @property
    def description(self) -> str:
        return self._rows.description

    def open(self) -> None:
        kind = self.parameters().dataframe_format
        if kind != "parquet":
            raise ConfigError(
                f"{self.where}: dataframe_format {kind} is read by Spark: write the rows as parquet "
                f"(spark.read.format('{kind}').load(…).write.parquet(…)), or train with Spark"
            )
        files, schema = self._files()
        try:
            table = StoredTable(files, *self._columns(schema))
            head = [row for batch, _ in table.read(0, self._wanted(), 1) for row in batch.to_pylist()]
        except ConfigError as e:
            where = f"{self.where}: "
            raise ConfigError(e.message if e.message.startswith(where) else where + e.message) from None
        if not head:
            raise DataError(f"{self.where}: {self.description} is empty")
        self._settle_from(head)
        self.tops, self.shuffle = self._rows.tops, self._rows.shuffle
        self._table = table

    def _files(self) -> Tuple[Tuple[StoredRows, ...], pa.Schema]:
        """The files in their order, and their columns. Raises ConfigError or DataError."""
        path = self.path_on_nodes(self.source_path(), "source")
        if not os.path.exists(path):
            raise ConfigError(f"{self.where}: source {self.parameters().source} does not exist")
        paths = [path]
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if not name.startswith(("_", ".")))
            paths = [os.path.join(path, name) for name in names]
        folder = next((one for one in paths if os.path.isdir(one)), None)
        if folder is not None:
            raise ConfigError(
                f"{self.where}: source {self.parameters().source} has the folder {os.path.basename(folder)} in it, as "
                "partitionBy makes them, which takes Spark: write the rows without it, or train with Spark"
            )
        if not paths:
            raise DataError(f"{self.where}: {self.description} is empty")
        opened = [_open(one) for one in paths]
        schema = opened[0].schema_arrow
        for one, file in zip(paths, opened):
            if not file.schema_arrow.equals(schema):
                raise DataError(
                    f"{self.where}: {one} has other columns than {os.path.basename(paths[0])}: write the rows again, "
                    "or train with Spark"
                )
        return tuple(_stored(one, file) for one, file in zip(paths, opened)), schema

    @abstractmethod
    def _wanted(self) -> int:
        """How many rows are looked at."""

    @abstractmethod
    def _columns(self, schema: pa.Schema) -> Tuple[Tuple[StoredColumn, ...], Tuple[str, str]]:
        """What the reader gets of these columns, and which has the ids. Raises ConfigError."""

    @abstractmethod
    def _settle_from(self, head: Sequence[Mapping[str, Any]]) -> None:
        """Settle the tops by the first rows. Raises ConfigError or DataError."""

    def count(self) -> int:
        return self._table.count

    def reader(self) -> ParquetReader:
        return ParquetReader(self._table, self._rows.reader())

    def may_have_any_size(self) -> bool:
        return self._rows.may_have_any_size()

    def take_any_size(self) -> None:
        self._rows.take_any_size()
        self.tops = self._rows.tops

    def stated_tops(self) -> Sequence[Tuple[Top, ...]]:
        return self._rows.stated_tops()


class RowsInParquet(_ParquetSource):
    """What a ``CoSData`` layer names."""

    def __init__(self, config: SourceConfig, net: Net, layer: Any) -> None:
        self._frame = DataFrameSource(config, net, layer)
        super().__init__(config, net, layer, self._frame)

    def open(self) -> None:
        self._frame.settle()
        self._frame.shuffle = bool(self.parameters().shuffle)
        super().open()

    def _wanted(self) -> int:
        return 1

    def _columns(self, schema: pa.Schema) -> Tuple[Tuple[StoredColumn, ...], Tuple[str, str]]:
        names = list(schema.names)
        found: Dict[str, StoredColumn] = {}
        for top in self._frame.cos_tops:
            if top.column not in names:
                raise ConfigError(
                    f"{self.where}: top '{top.top.name}' reads column '{top.column}', which {self.description} does "
                    f"not have. {suggest(top.column, names)}"
                )
            _check_once(names, top.column, f"{self.where}: {self.description}")
            found[top.column] = StoredColumn(top.column, top.column, _form_of(top))
        return tuple(found.values()), (id_column(names) or "", "")

    def _settle_from(self, head: Sequence[Mapping[str, Any]]) -> None:
        """The layer says all there is to know."""


class ImagesInParquet(_ParquetSource):
    """What an image layer of CaffeOnSpark's names by ``source_class``: ImageDataFrame."""

    def __init__(self, config: SourceConfig, net: Net, layer: Any) -> None:
        self._frame = ImageDataFrame(config, net, layer)
        super().__init__(config, net, layer, self._frame)

    def open(self) -> None:
        if self.parameters().dataframe_column_select:
            raise ConfigError(
                f"{self.where}: dataframe_column_select is SQL of Spark's: write the rows with these columns, or train "
                "with Spark"
            )
        super().open()

    def _wanted(self) -> int:
        return self._frame.looked_at

    def _columns(self, schema: pa.Schema) -> Tuple[Tuple[StoredColumn, ...], Tuple[str, str]]:
        names = list(schema.names)
        where = f"{self.where}: {self.description}"
        image = "image" in names and "data" not in names  # Spark's image format
        files = "content" in names and "data" not in names  # Spark's binaryFile format
        if not (image or files or "data" in names):
            raise ConfigError(f"{where} has no column 'data'. {suggest('data', names)}")
        data = "image" if image else "content" if files else "data"
        columns = [StoredColumn("data", data, "binary", field="data" if image else "")]
        for name in ("channels", "height", "width"):
            inside = "nChannels" if name == "channels" else name
            there = image or name in names
            source = "" if not there else "image" if image else name
            columns.append(StoredColumn(name, source, "size", field=inside if image else ""))
        encoded = files or (not image and self._frame.encoded_by_default())
        if "encoded" in names:
            columns.append(StoredColumn("encoded", "encoded", "flag", default=False))
        else:
            columns.append(StoredColumn("encoded", "", "flag", default=encoded))
        if len(self.layer.top) > 1:
            if "label" not in names:
                raise ConfigError(
                    f"{where} has no column 'label' for top '{self.layer.top[1]}'. {suggest('label', names)}"
                )
            columns.append(StoredColumn("label", "label", "number"))
        for column in columns:
            if column.source:
                _check_once(names, column.source, where)
        return tuple(columns), ("image", "origin") if image else (id_column(names) or ("path" if files else ""), "")

    def _settle_from(self, head: Sequence[Mapping[str, Any]]) -> None:
        self._frame.look_at(head)


def _check_once(names: Sequence[str], name: str, where: str) -> None:
    if names.count(name) > 1:
        raise ConfigError(f"{where} has {names.count(name)} columns called '{name}': rename or drop all but one")


# ---- columns as Spark gives them to the readers


def _form_of(top: CoSTop) -> str:
    if top.kind in ("STRING", "INT", "FLOAT"):
        return "number"
    if top.kind in ("INT_ARRAY", "FLOAT_ARRAY"):
        return "numbers"
    return "sized image" if top.kind == "ENCODED_IMAGE_WITH_DIM" else "binary"


def _field(values: pa.Array, name: str) -> pa.Array:
    """A field of a column of structs, null where the struct is. Raises ConfigError where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(values.type) or values.type.get_field_index(name) < 0:
        raise ConfigError(f"a column is {values.type}, which has no field '{name}'")
    return pc.struct_field(values, [values.type.get_field_index(name)])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(values: pa.Array) -> List[Optional[str]]:
    """Values as text; what is no UTF-8 as hexadecimal digits after ``0x``."""
    import pyarrow as pa

    if _is_text(values.type):
        values = values.cast(pa.large_binary())
    found: List[Optional[str]] = []
    for value in values.to_pylist():
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                value = "0x" + value.hex().upper()
        found.append(None if value is None else str(value))
    return found


def _number(values: pa.Array) -> Optional[pa.Array]:
    import pyarrow as pa

    if _is_text(values.type):
        return pa.array(_texts(values), pa.string())
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.float64(), safe=False) if _is_number(values.type) else None


def _numbers(values: pa.Array) -> Optional[pa.Array]:
    import pyarrow as pa

    types, kind = pa.types, values.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        if not _is_number(inner):
            return None
        rows = [None if row is None else np.array(row, np.float64) for row in _lists(values)]
        return _float_lists(rows)
    if types.is_struct(kind) and {"type", "size", "indices", "values"} <= {field.name for field in kind}:
        return _float_lists([_vector(value) for value in values.to_pylist()])
    if _is_number(kind):
        return _float_lists([None if value is None else np.array([value], np.float64) for value in values.to_pylist()])
    return None


def _lists(values: pa.Array) -> Iterator[Optional[List[Any]]]:
    """The lists of a column; NaN for their nulls."""
    for row in values.to_pylist():
        yield None if row is None else [np.nan if value is None else value for value in row]


def _vector(value: Optional[Mapping[str, Any]]) -> Optional[np.ndarray]:
    """A Vector of pyspark.ml's, as it is stored."""
    if value is None:
        return None
    if value["type"] == 1:
        return np.array(value["values"], np.float64)
    dense = np.zeros(value["size"], np.float64)
    dense[value["indices"]] = value["values"]
    return dense


def _float_lists(rows: Sequence[Optional[np.ndarray]]) -> pa.Array:
    import pyarrow as pa

    with np.errstate(over="ignore"):
        return pa.array([None if row is None else row.astype(np.float32) for row in rows], pa.list_(pa.float32()))


def _binary(values: pa.Array) -> Optional[pa.Array]:
    import pyarrow as pa

    types, kind = pa.types, values.type
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return values.cast(pa.binary()) if binary or _is_text(kind) else None


def _size(values: pa.Array) -> Optional[pa.Array]:
    """Whole numbers, null for what is none, as Spark's try_cast has it."""
    import pyarrow as pa

    def size(value: Any) -> Optional[int]:
        try:
            found = int(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return found if abs(found) < 1 << 31 else None

    return pa.array([size(value) for value in values.to_pylist()], pa.int32())


def _flag(values: pa.Array) -> Optional[pa.Array]:
    import pyarrow as pa

    if pa.types.is_boolean(values.type):
        return values
    return values.cast(pa.float64()).cast(pa.bool_()) if _is_number(values.type) else None


def _sized_image(values: pa.Array) -> Optional[pa.Array]:
    import pyarrow as pa

    if not pa.types.is_struct(values.type):
        return None
    sizes = [_size(_field(values, name)) for name in ("height", "width")]
    image = _binary(_field(values, "image"))
    if image is None:
        return None
    return pa.StructArray.from_arrays([*sizes, image], names=["height", "width", "image"])


_FORMS: Dict[str, Callable[[pa.Array], Optional[pa.Array]]] = {
    "number": _number,
    "numbers": _numbers,
    "binary": _binary,
    "size": _size,
    "flag": _flag,
    "sized image": _sized_image,
}
_MEANT = {
    "number": "a number",
    "numbers": "an array of numbers",
    "binary": "an image",
    "size": "the size of an image",
    "flag": "true or false",
    "sized image": "an image with its size",
}


def _plain_type(form: str) -> Any:
    import pyarrow as pa

    return pa.bool_() if form == "flag" else pa.int32()
