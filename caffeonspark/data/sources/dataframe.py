"""DataFrames for ``CoSData`` layers: any number of tops, each from the column of its name.

The types are CaffeOnSpark's (STRING, INT, FLOAT, INT_ARRAY, FLOAT_ARRAY, RAW_IMAGE, ENCODED_IMAGE,
ENCODED_IMAGE_WITH_DIM), and a column may have any Spark type that means the same: a Python list makes
Longs and Doubles, pyspark.ml makes Vectors, SQL makes Decimals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, List, Mapping, Sequence, Tuple

import numpy as np

from ...errors import ConfigError, DataError, suggest
from ..arrow import Problems, fixed_bytes, keep_good, numbers
from ..records import ENCODED, RAW_BYTES, SAMPLE_ID, BadRecord, BadRecords, Column, Records, id_column, pack_image
from ..tops import ImageTop, NumberTop, Top
from .base import FrameReader, FrameSource
from .frames import as_text, column_of, or_null, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["CoSDataReader", "DataFrameSource"]

_SCALARS = ("STRING", "INT", "FLOAT")
_ARRAYS = ("INT_ARRAY", "FLOAT_ARRAY")
_IMAGES = ("RAW_IMAGE", "ENCODED_IMAGE", "ENCODED_IMAGE_WITH_DIM")


@dataclass(frozen=True)
class CoSTop:
    """A top block of a CoSData layer: the column it reads, its CaffeOnSpark type, and the top it fills."""

    column: str
    kind: str
    top: Top
    raw_shape: Tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class CoSDataReader(FrameReader):
    """Decodes the columns of a CoSData layer's DataFrame."""

    tops: Tuple[CoSTop, ...]

    def decode(self, batch: pa.RecordBatch, bad: BadRecords) -> Records:
        ids = [str(value) for value in batch.column(SAMPLE_ID).to_pylist()]
        problems: Problems = {}
        columns = [self._decode_top(batch, top, ids, problems) for top in self.tops]
        return keep_good(ids, columns, problems, bad)

    def _decode_top(self, batch: pa.RecordBatch, top: CoSTop, ids: List[str], problems: Problems) -> Column:
        values = batch.column(top.column)

        def bad(row: int, cause: str, detail: str) -> None:
            problems.setdefault(row, BadRecord(ids[row], cause, f"column '{top.column}' {detail}"))

        for row in np.flatnonzero(np.asarray(values.is_null())):
            bad(int(row), "null value", "is null")
        if top.kind in _SCALARS:
            found = numbers(values, bad)
            if top.kind == "INT":
                for row in np.flatnonzero(found != np.trunc(found)):
                    bad(int(row), "not an integer", f"is {found[row]:g} where top '{top.top.name}' is INT")
            return found.astype(np.float32).reshape((len(values), *top.top.shape))
        if top.kind in _ARRAYS:
            return _arrays(values, top, bad)
        return _images(values, top, bad)


def _arrays(values: pa.Array, top: CoSTop, bad: Any) -> np.ndarray:
    wanted = math.prod(top.top.shape)
    offsets = np.asarray(values.offsets).astype(np.int64)
    present = ~np.asarray(values.is_null())
    lengths = np.diff(offsets)
    for row in np.flatnonzero(present & (lengths != wanted)):
        shape = "x".join(map(str, top.top.shape)) or "1"
        bad(int(row), "wrong array length", f"has {lengths[row]} values; top '{top.top.name}' takes {wanted} ({shape})")
    mine = values.values.slice(offsets[0], offsets[-1] - offsets[0])
    flat: np.ndarray = mine.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    offsets -= offsets[0]
    if present.all() and (lengths == wanted).all():
        result = flat.reshape(len(values), wanted)
    else:
        result = np.zeros((len(values), wanted), np.float32)
        for row in np.flatnonzero(present & (lengths == wanted)):
            result[row] = flat[offsets[row] : offsets[row + 1]]
    for row in np.flatnonzero(~np.isfinite(result).all(axis=1)):
        bad(int(row), "not finite", "holds a null, NaN or infinite value")
    return result.reshape((len(values), *top.top.shape))


def _images(values: pa.Array, top: CoSTop, bad: Any) -> Column:
    channels, height, width = top.raw_shape
    if top.kind == "RAW_IMAGE" and top.top.fixed is not None:
        pixels = fixed_bytes(values, channels * height * width)
        if pixels is not None:
            return pixels.reshape(len(values), height, width, channels).transpose(0, 3, 1, 2)
    entries: List[Any] = []
    fixed = top.top.fixed
    blank: Any = pack_image(ENCODED, (0, 0, 0), b"") if fixed is None else np.zeros(top.raw_shape, np.uint8)
    for row, value in enumerate(values.to_pylist()):
        entry: Any = blank
        if value is not None:
            if top.kind == "ENCODED_IMAGE":
                entry = pack_image(ENCODED, (0, 0, 0), value)
            elif top.kind == "ENCODED_IMAGE_WITH_DIM":
                if value["image"] is None:
                    bad(row, "null value", "has a null image")
                else:
                    entry = pack_image(ENCODED, (0, value["height"] or 0, value["width"] or 0), value["image"])
            elif len(value) != channels * height * width:
                shape = f"{channels}x{height}x{width}"
                bad(row, "wrong image size", f"has {len(value)} bytes; top '{top.top.name}' takes {shape}")
            else:
                pixels = np.frombuffer(value, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
                entry = pixels if fixed is not None else pack_image(RAW_BYTES, top.raw_shape, pixels.tobytes())
        entries.append(entry)
    if fixed is None:
        return entries
    return np.stack(entries) if entries else np.zeros((0, *top.raw_shape), np.uint8)


class DataFrameSource(FrameSource):
    """The DataFrame of a CoSData layer: read by ``dataframe_format`` from ``source``, or given in Python."""

    layer_types: ClassVar[Mapping[str, str]] = {"CoSData": "cos_data_param"}
    _cos_tops: Tuple[CoSTop, ...] = ()

    @property
    def description(self) -> str:
        return "the given DataFrame" if self.given is not None else f"DataFrame {self.parameters().source}"

    def open(self) -> None:
        self.shuffle = bool(self.parameters().shuffle)
        self._cos_tops = self._read_tops()
        self.tops = tuple(top.top for top in self._cos_tops)
        if self.first() is None:
            raise DataError(f"{self.where}: {self.description} is empty")

    def settle(self) -> bool:
        self._cos_tops = self._read_tops()
        self.tops = tuple(top.top for top in self._cos_tops)
        if self._rows is not None:
            self.columns(self._rows)
        return True

    @property
    def cos_tops(self) -> Tuple[CoSTop, ...]:
        """What fills the tops, once they are settled."""
        return self._cos_tops

    def stated_tops(self) -> Sequence[Tuple[Top, ...]]:
        return [tuple(top.top for top in self._read_tops())]

    def reader(self) -> CoSDataReader:
        return CoSDataReader(self._cos_tops)

    # ---- the tops

    def _read_tops(self) -> Tuple[CoSTop, ...]:
        blocks = self.parameters().top
        if len(blocks) != len(self.layer.top):
            raise ConfigError(
                f"{self.where}: {len(self.layer.top)} tops but {len(blocks)} top blocks in cos_data_param"
            )
        return tuple(self._read_top(name, block) for name, block in zip(self.layer.top, blocks))

    def _read_top(self, name: str, block: Any) -> CoSTop:
        where = f"{self.where}: top block '{block.name}'"
        kind = type(block).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[block.type].name
        if not block.name:
            raise ConfigError(f"{self.where}: a top block has no name, which is the column it reads")
        if block.sample_num_axes > 3:
            raise ConfigError(f"{where}: sample_num_axes is 0 to 3, not {block.sample_num_axes}")
        dims = (int(block.channels), int(block.height), int(block.width))
        if kind in _IMAGES:
            return self._read_image_top(name, block, kind, dims, where)
        if block.HasField("transform_param"):
            raise ConfigError(f"{where}: transform_param goes with image types, not with {kind}")
        axes = int(block.sample_num_axes)
        if kind in _SCALARS and not block.HasField("channels"):
            dims = (1, 1, 1)
        shape = dims[:axes]
        for field, size in zip(("channels", "height", "width"), shape):
            if size < 1:
                raise ConfigError(f"{where}: {field} must be at least 1 with sample_num_axes {axes}")
        if kind in _SCALARS and math.prod(shape) != 1:
            raise ConfigError(f"{where}: {kind} is one number a sample, so channels, height and width are 1")
        if block.transpose and axes != 1:
            raise ConfigError(f"{where}: transpose goes with sample_num_axes 1, not {axes}")
        return CoSTop(block.name, kind, NumberTop(name, shape, time_major=bool(block.transpose)))

    def _read_image_top(self, name: str, block: Any, kind: str, dims: Tuple[int, int, int], where: str) -> CoSTop:
        if min(dims) < 1:
            raise ConfigError(f"{where}: {kind} needs channels, height and width of at least 1")
        if block.transpose:
            raise ConfigError(f"{where}: transpose goes with numbers, not with {kind}")
        transform = self.transform(block.transform_param)
        problem = transform.problem_with(dims)
        if problem is not None:
            raise ConfigError(f"{where}: an image of channels, height and width {problem}")
        shape = transform.output_shape(dims)
        stated = (block.out_channels or shape[0], block.out_height or shape[1], block.out_width or shape[2])
        if stated != shape:
            raise ConfigError(
                f"{where}: out_channels, out_height and out_width say {'x'.join(map(str, stated))}; "
                f"the transformation gives {'x'.join(map(str, shape))}"
            )
        size = (dims[1], dims[2])
        top: Top
        if kind == "RAW_IMAGE" and not transform.crop:
            top = NumberTop(name, shape, dtype="uint8", transform=transform)
        else:
            top = ImageTop(
                name,
                shape,
                transform=transform,
                channels=dims[0],
                resize=size if self.config.resize else None,
                expect=None if self.config.resize else size,
                max_pixels=self.config.max_pixels,
            )
        return CoSTop(block.name, kind, top, dims)

    # ---- the DataFrame

    def load(self) -> DataFrame:
        return self.read(self.parameters().dataframe_format)

    def columns(self, rows: DataFrame) -> List[Any]:
        names = rows.columns
        id_name = id_column(names)
        chosen = [as_text(column_of(rows, id_name, self._has)).alias(SAMPLE_ID)] if id_name else []
        for top in {top.column: top for top in self._cos_tops}.values():  # several tops may be of one column
            chosen.append(self._column(rows, top).alias(top.column))
        return chosen

    def _check_size(self, raw: DataFrame, top: CoSTop) -> None:
        """Raise ConfigError where the column's metadata (a VectorAssembler's) tells that Vectors have another size."""
        about = raw.schema[top.column].metadata.get("ml_attr", {})
        size, wanted = about.get("num_attrs"), math.prod(top.top.shape)
        if size is not None and int(size) != wanted:
            shape = "x".join(map(str, top.top.shape)) or "1"
            raise ConfigError(
                f"{self.where}: column '{top.column}' has Vectors of {size} values; top '{top.top.name}' takes "
                f"{wanted} ({shape})"
            )

    @property
    def _has(self) -> str:
        return f"{self.where}: {self.description}"

    def _column(self, raw: DataFrame, top: CoSTop) -> Any:
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql import functions as F
        from pyspark.sql import types as T

        if top.column not in raw.columns:
            raise ConfigError(
                f"{self.where}: top '{top.top.name}' reads column '{top.column}', which {self.description} "
                f"does not have. {suggest(top.column, raw.columns)}"
            )
        column = column_of(raw, top.column, self._has)
        kind = raw.schema[top.column].dataType
        text = kind.simpleString()
        if top.kind in _SCALARS:
            if isinstance(kind, T.StringType):
                return as_text(column)
            if isinstance(kind, (T.NumericType, T.BooleanType)):
                return column.cast("double")
        elif top.kind in _ARRAYS:
            if text == "vector":
                self._check_size(raw, top)
                return F.when(column.isNotNull(), vector_to_array(column, "float32"))  # which takes no null
            if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, (T.NumericType, T.BooleanType)):
                return column.cast("array<float>")
            if isinstance(kind, (T.NumericType, T.BooleanType)):
                return F.array(column).cast("array<float>")
        elif top.kind == "ENCODED_IMAGE_WITH_DIM":
            if isinstance(kind, T.StructType) and {"height", "width", "image"} <= set(kind.fieldNames()):
                return F.struct(
                    or_null(f"{quoted(top.column)}.height", "int").alias("height"),
                    or_null(f"{quoted(top.column)}.width", "int").alias("width"),
                    column["image"].cast("binary").alias("image"),
                )
        elif isinstance(kind, (T.BinaryType, T.StringType)):
            return column.cast("binary")
        raise ConfigError(
            f"{self.where}: column '{top.column}' is {text}, which cannot fill top '{top.top.name}' of type {top.kind}"
        )
