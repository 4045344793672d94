"""Images with a label: what LMDBs, SequenceFiles, lists of files and DataFrames of images have in common.

An image record is an id, a label, and either an image file's bytes or raw pixels with their size. How it becomes
a top follows CaffeOnSpark's ImageDataSource for MemoryData layers, whose ``channels``, ``height`` and ``width`` are
the blob's, and Caffe's DataLayer for stock layers, whose blob has the size of the first record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...causes import explained
from ...errors import ConfigError, DataError, suggest
from ..arrow import Problems, fixed_bytes, keep_good, numbers
from ..decode import CannotDecode, decode_image
from ..records import (
    ENCODED,
    RAW_BYTES,
    RAW_FLOATS,
    SAMPLE_ID,
    BadRecord,
    BadRecords,
    Column,
    Records,
    id_column,
    pack_image,
)
from ..tops import ImageTop, NumberTop, Top
from ..transform import Transform
from .base import FrameReader, FrameSource, Source
from .frames import as_text, check_unambiguous, or_null

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["ImageDataFrame", "ImageRowsReader", "ImageSource", "image_entry"]

Shape = Tuple[int, int, int]

_LOOKED_AT = 64  # rows, for one that can be used


def image_entry(top: Top, record: str, image: Optional[np.ndarray], data: bytes, size: Tuple[int, int] = (0, 0)) -> Any:
    """What goes into the column of ``top`` for one image.

    Parameters
    ----------
    top : Top
    record : its id
    image : raw pixels, (channels, height, width) uint8 or float32; None for an image file
    data : the image file's bytes
    size : the (height, width) the record says the file has; zeros where it does not say

    Raises BadRecord.
    """
    fixed = top.fixed
    if fixed is None:
        if image is None:
            return pack_image(ENCODED, (0, *size), data)
        kind = RAW_BYTES if image.dtype == np.uint8 else RAW_FLOATS
        return pack_image(kind, (image.shape[0], image.shape[1], image.shape[2]), image.tobytes())
    dtype, shape = fixed
    if image is None:  # encoded among raw ones

        def check_size(height: int, width: int) -> None:
            if (height, width) != shape[1:]:
                raise BadRecord(
                    record,
                    "wrong image size",
                    f"the image is {height}x{width} where the layer has {shape[1]}x{shape[2]}; -resize would resize it",
                )

        try:
            image = decode_image(data, shape[0] if shape[0] in (1, 3) else 0, check_size=check_size)
        except CannotDecode as e:
            raise BadRecord(record, "undecodable image", f"the image cannot be decoded: {e}") from None
    if image.shape != shape or image.dtype != dtype:
        found, wanted = (
            f"{'x'.join(map(str, one))} {kind}" for one, kind in ((image.shape, image.dtype), (shape, dtype))
        )
        resized = image.dtype == dtype and image.shape[0] == shape[0]  # would be all that it takes
        hint = "; -resize would resize it" if resized else ": all records have to be alike"
        raise BadRecord(record, "wrong image size", f"the image is {found} where the layer has {wanted}{hint}")
    return image


class ImageSource(Source):
    """A source of images with labels: the layer's tops from its first record."""

    layer_types: ClassVar[Mapping[str, str]] = {
        **Source.layer_types,
        "Data": "data_param",
        "ImageData": "image_data_param",
    }

    def declared(self) -> Optional[Shape]:
        """The blob's (channels, height, width) that a MemoryData layer declares."""
        if self.layer.type != "MemoryData":
            return None
        param = self.layer.memory_data_param
        shape = (int(param.channels), int(param.height), int(param.width))
        if min(shape) < 1:
            raise ConfigError(f"{self.where}: memory_data_param needs channels, height and width of at least 1")
        return shape

    def colours(self) -> int:
        """The channels images are decoded to: 1, 3, or 0 for what the first one has."""
        declared = self.declared()
        if declared is not None:
            return declared[0] if declared[0] in (1, 3) else 0
        param = self.layer.transform_param
        if self.layer.type == "ImageData":
            return 3 if self.layer.image_data_param.is_color else 1
        return 3 if param.force_color else 1 if param.force_gray else 0

    def resize_to(self, first: Tuple[int, int]) -> Optional[Tuple[int, int]]:
        """The (height, width) images are resized to before the transformation, or None: with ``-resize`` that of a
        MemoryData layer's blob, for other layers that of the first record, ``first``."""
        if not self.config.resize:
            return None
        declared = self.declared()
        return first if declared is None else declared[1:]

    def stated_tops(self) -> Sequence[Tuple[Top, ...]]:
        self.expect_tops(1, 2)
        transform = self.transform(self.layer.transform_param)
        shapes = self._stated_shapes(transform)
        labels = tuple(NumberTop(name, ()) for name in self.layer.top[1:])
        return [(NumberTop(self.layer.top[0], shape, transform=transform), *labels) for shape in shapes]

    def settle(self) -> bool:
        self.expect_tops(1, 2)
        transform = self.transform(self.layer.transform_param)
        shapes, whole = self._stated_shapes(transform), self._whole(transform)
        resize = self.resize_to(whole[1:] if whole is not None else (0, 0))
        if len(shapes) != 1 or (resize is not None and min(resize) < 1):
            return False
        self.tops = self._tops(shapes[0], transform, self.colours() or shapes[0][0], bool(self.colours()), resize)
        return True

    def _whole(self, transform: Transform) -> Optional[Shape]:
        """(channels, height, width) of images before they are cropped, as far as it is stated."""
        declared, param = self.declared(), self.layer.memory_data_param
        noted = (int(param.channels), int(param.height), int(param.width))  # by ``plans/scoring.py`` in other layers
        if declared is not None or min(noted) > 0:
            return declared or noted
        if transform.mean is not None and transform.mean.shape[1:] != (1, 1):
            return (transform.mean.shape[0], transform.mean.shape[1], transform.mean.shape[2])
        return None

    def _stated_shapes(self, transform: Transform) -> List[Shape]:
        declared, whole = self.declared(), self._whole(transform)
        if declared is not None:
            return [declared]
        if whole is not None:
            return [transform.output_shape(whole)]
        size = (transform.crop, transform.crop) if transform.crop else self.resize_to((0, 0))
        if size is None or not min(size):
            return []
        channels = [self.colours()] if self.colours() else [3, 1]
        return [(number, *size) for number in channels if transform.problem_with((number, *size)) is None]

    def make_tops(self, record: str, image: Optional[np.ndarray], data: bytes) -> Tuple[Top, ...]:
        """The tops, given the first record: raw pixels, or an image file's bytes with ``image`` None."""
        self.expect_tops(1, 2)
        transform = self.transform(self.layer.transform_param)
        channels = self.colours()
        upright = bool(channels)
        encoded = image is None
        if image is None:
            if self.layer.transform_param.force_color and self.layer.transform_param.force_gray:
                raise ConfigError(f"{self.where}: transform_param: set force_color or force_gray, not both")
            try:
                image = decode_image(data, channels, upright, self.config.max_pixels)
            except CannotDecode as e:
                raise DataError(f"{self.description}: record '{record}': the image cannot be decoded: {e}") from None
            channels = channels or image.shape[0]
        size: Shape = (image.shape[0], image.shape[1], image.shape[2])
        resize = self.resize_to(size[1:])
        if resize is not None:
            size = (size[0], *resize)
        shape = self._blob_shape(record, size, transform)
        if encoded or transform.crop or resize is not None:
            return self._tops(shape, transform, channels, upright, resize)
        return self._tops(shape, transform, dtype=str(image.dtype))

    def _tops(
        self,
        shape: Shape,
        transform: Transform,
        channels: int = 0,
        upright: bool = True,
        resize: Optional[Tuple[int, int]] = None,
        dtype: str = "",
    ) -> Tuple[Top, ...]:
        """The tops, where blobs have this shape; with ``dtype``, images are raw, of this type and size."""
        top: Top
        if dtype:
            top = NumberTop(self.layer.top[0], shape, dtype=dtype, transform=transform)
        else:
            top = ImageTop(
                self.layer.top[0],
                shape,
                transform=transform,
                channels=channels,
                upright=upright,
                resize=resize,
                max_pixels=self.config.max_pixels,
            )
        return (top,) if len(self.layer.top) == 1 else (top, NumberTop(self.layer.top[1], ()))

    def may_have_any_size(self) -> bool:
        """As in stock Caffe: batches of one image that is neither cropped nor resized."""
        image = self.tops[0]
        if self.batch_size > 1 or self.layer.type not in ("Data", "ImageData") or max(image.shape[1:]) < 2:
            return False
        resized = isinstance(image, ImageTop) and image.resize is not None
        return not resized and isinstance(image, (ImageTop, NumberTop)) and not _transform_of(image).crop

    def take_any_size(self) -> None:
        image = self.tops[0]
        top = ImageTop(
            image.name,
            image.shape,
            transform=_transform_of(image),
            channels=image.channels if isinstance(image, ImageTop) else image.shape[0],
            upright=bool(self.colours()),
            max_pixels=self.config.max_pixels,
            any_size=True,
        )
        self.tops = (top, *self.tops[1:])

    def _blob_shape(self, record: str, size: Shape, transform: Transform) -> Shape:
        declared = self.declared()
        problem = transform.problem_with(size)
        shape = transform.output_shape(size)
        if problem is None and declared is not None and shape != declared:
            problem = f"gives {'x'.join(map(str, shape))} where the layer has {'x'.join(map(str, declared))}"
            if not self.config.resize:
                problem += "; -resize would resize it"
        if problem is not None:
            raise ConfigError(f"{self.where}: the image of record '{record}' {problem}")
        return shape


def _transform_of(top: Top) -> Transform:
    found = top.transform if isinstance(top, (ImageTop, NumberTop)) else None
    return found or Transform()


# ---- DataFrames of images


@dataclass(frozen=True)
class ImageRowsReader(FrameReader):
    """Decodes rows of (SampleID, label, channels, height, width, encoded, data).

    Attributes
    ----------
    image : the first top
    label : whether there is a label top
    """

    image: Top
    label: bool

    def decode(self, batch: pa.RecordBatch, bad: BadRecords) -> Records:
        ids = [str(value) for value in batch.column(SAMPLE_ID).to_pylist()]
        problems: Problems = {}
        images = self._all_alike(batch)
        columns: List[Column] = [self._one_by_one(batch, ids, problems) if images is None else images]
        if self.label:
            columns.append(self._labels(batch.column("label"), ids, problems))
        return keep_good(ids, columns, problems, bad)

    def _all_alike(self, batch: pa.RecordBatch) -> Optional[np.ndarray]:
        """The images where all are raw and of the top's size: (n, channels, height, width) uint8; else None."""
        fixed = self.image.fixed
        if (
            fixed is None
            or fixed[0] != np.uint8
            or "problem" in batch.schema.names
            or batch.column("encoded").true_count
        ):
            return None
        channels, height, width = fixed[1]
        for name, size in (("channels", channels), ("height", height), ("width", width)):
            stated = batch.column(name)
            if stated.null_count < len(stated) and (stated.null_count or (np.asarray(stated) != size).any()):
                return None
        pixels = fixed_bytes(batch.column("data"), channels * height * width)
        return None if pixels is None else pixels.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)

    def _one_by_one(self, batch: pa.RecordBatch, ids: List[str], problems: Problems) -> Column:
        entries: List[Any] = []
        names = ("channels", "height", "width", "encoded", "data")
        found = batch.column("problem").to_pylist() if "problem" in batch.schema.names else [None] * len(ids)
        for row, values in enumerate(zip(*(batch.column(name).to_pylist() for name in names))):
            try:
                if found[row] is not None:
                    raise BadRecord(ids[row], "unreadable key", found[row])
                entries.append(self._entry(ids[row], *values))
            except BadRecord as e:
                problems[row] = e
                entries.append(b"" if self.image.fixed is None else np.zeros(self.image.shape, self.image.fixed[0]))
        return entries if self.image.fixed is None else _stack(entries, self.image)

    def _labels(self, values: pa.Array, ids: List[str], problems: Problems) -> np.ndarray:
        def bad(row: int, cause: str, detail: str) -> None:
            problems.setdefault(row, BadRecord(ids[row], cause, f"column 'label' {detail}"))

        for row in np.flatnonzero(np.asarray(values.is_null())):
            bad(int(row), "null value", "is null")
        return numbers(values, bad).astype(np.float32)

    def _entry(
        self,
        record: str,
        channels: Optional[int],
        height: Optional[int],
        width: Optional[int],
        encoded: bool,
        data: Any,
    ) -> Any:
        if data is None:
            raise BadRecord(record, "null value", "column 'data' is null")
        size = (height or 0, width or 0)
        if encoded:
            return image_entry(self.image, record, None, data, size)
        image = raw_pixels(record, data, (channels or self.image.shape[0], *size), self.image)
        return image_entry(self.image, record, image, b"")


def raw_pixels(record: str, data: bytes, shape: Shape, top: Optional[Top]) -> np.ndarray:
    """Raw pixels as CaffeOnSpark keeps them in rows, height x width x channels, turned to Caffe's order.

    A record that does not say its size has the top's. Raises BadRecord.
    """
    channels, height, width = shape
    if min(height, width) < 1 and top is not None and top.fixed is not None:
        channels, height, width = top.fixed[1][0], top.fixed[1][1], top.fixed[1][2]
    if min(channels, height, width) < 1:
        raise BadRecord(record, "unknown image size", "the raw image has no height and width")
    if len(data) != channels * height * width:
        raise BadRecord(
            record,
            "wrong image size",
            f"the raw image has {len(data)} bytes, which are not {channels}x{height}x{width}",
        )
    return np.frombuffer(data, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _stack(entries: List[Any], top: Top) -> np.ndarray:
    assert top.fixed is not None
    return np.stack(entries) if entries else np.zeros((0, *top.shape), top.fixed[0])


_READ = ("image", "content", "data", "id", SAMPLE_ID, "path", "channels", "height", "width", "encoded", "label")


class ImageDataFrame(ImageSource, FrameSource):
    """A DataFrame of images: read by ``dataframe_format`` from ``source``, or given in Python.

    Columns: ``data`` (binary), ``label`` (a number, or text that means one), and optionally ``id``, ``channels``,
    ``height``, ``width`` and ``encoded``. Spark's ``image`` and ``binaryFile`` formats are understood as they are, but
    for their label, which ``dataframe_column_select`` or a ``label=…`` folder has to give.
    """

    @property
    def description(self) -> str:
        return "the given DataFrame" if self.given is not None else f"DataFrame {self.parameters().source}"

    @property
    def looked_at(self) -> int:
        """How many rows are looked at for one that can be used."""
        return _LOOKED_AT if self.config.skip else 1

    def open(self) -> None:
        self.look_at(self.head(self.looked_at))

    def look_at(self, rows: Sequence[Any]) -> None:
        """Settle ``tops`` by the first of these rows that can be used. Raises DataError where none can."""
        problem = DataError(f"{self.where}: {self.description} is empty")
        for number, row in enumerate(rows):  # the first that can be used
            try:
                self.tops = self._tops_of(row)
                return
            except DataError as e:
                problem = e if number == 0 else problem
        raise problem

    def settle(self) -> bool:
        if not super().settle():
            return False
        if self._rows is not None:
            self.columns(self._rows)
            image = self.tops[0]
            assert isinstance(image, ImageTop)
            if self._all_raw(self._rows.columns) and not image.transform.crop and image.resize is None:
                shape = (image.shape[0], image.shape[1], image.shape[2])
                self.tops = self._tops(shape, image.transform, dtype="uint8")
        return True

    def _all_raw(self, names: Sequence[str]) -> bool:
        """Whether no row of a DataFrame with these columns can be an image file."""
        files = "content" in names and "data" not in names
        image = "image" in names and "data" not in names
        return "encoded" not in names and (image or not (files or self.encoded_by_default()))

    def _tops_of(self, first: Any) -> Tuple[Top, ...]:
        """The tops as this row has them. Raises DataError."""
        record = str(first[SAMPLE_ID])
        data, image = first["data"], None
        if data is None:
            raise DataError(f"{self.where}: {self.description}: record '{record}': column 'data' is null")
        if not first["encoded"]:
            declared = self.declared()
            shape = (first["channels"] or (declared[0] if declared else 1), first["height"] or 0, first["width"] or 0)
            if not (shape[1] and shape[2]) and declared is not None:
                shape = declared
            try:
                image = raw_pixels(record, bytes(data), shape, None)
            except BadRecord as e:
                raise DataError(f"{self.where}: {self.description}: {e.message}") from None
        return self.make_tops(record, image, bytes(data))

    def load(self) -> DataFrame:
        loaded = self.read(self.parameters().dataframe_format)
        selects = list(self.parameters().dataframe_column_select)
        if selects:
            with explained(f"{self.where}: dataframe_column_select"):
                loaded = loaded.selectExpr(*selects)
        return loaded

    def columns(self, rows: DataFrame) -> List[Any]:
        from pyspark.sql import functions as F

        names = rows.columns
        image = "image" in names and "data" not in names  # Spark's image format
        files = "content" in names and "data" not in names  # Spark's binaryFile format
        check_unambiguous(rows, [name for name in _READ if name in names], f"{self.where}: {self.description}")
        data = F.col("image.data") if image else F.col("content") if files else F.col("data")
        if not (image or files or "data" in names):
            raise ConfigError(f"{self.where}: {self.description} has no column 'data'. {suggest('data', names)}")
        kind = rows.select(data).schema[0].dataType.typeName()
        if kind not in ("binary", "string"):
            raise ConfigError(f"{self.where}: {self.description}: column 'data' is {kind}: images are binary")
        sample = "image.origin" if image else id_column(names) or ("path" if files else None)
        chosen = [as_text(F.col(sample)).alias(SAMPLE_ID)] if sample else []
        chosen.append(data.cast("binary").alias("data"))
        for name in ("channels", "height", "width"):
            inside = "nChannels" if name == "channels" else name
            column = f"image.{inside}" if image else name if name in names else "NULL"
            chosen.append(or_null(column, "int").alias(name))
        by_default = F.lit(files or (not image and self.encoded_by_default()))
        encoded = or_null("encoded", "boolean") if "encoded" in names else by_default
        chosen.append(F.coalesce(encoded, F.lit(False)).alias("encoded"))
        if len(self.layer.top) > 1:
            if "label" not in names:
                raise ConfigError(
                    f"{self.where}: {self.description} has no column 'label' for top '{self.layer.top[1]}'. "
                    f"{suggest('label', names)}"
                )
            is_text = rows.schema["label"].dataType.typeName() == "string"
            label = F.col("label")
            chosen.append((as_text(label) if is_text else label.cast("double")).alias("label"))
        return chosen

    def encoded_by_default(self) -> bool:
        """Whether rows that do not say what they are hold image files."""
        return bool(self.layer.memory_data_param.image_encoded)

    def reader(self) -> ImageRowsReader:
        return ImageRowsReader(self.tops[0], len(self.tops) > 1)
