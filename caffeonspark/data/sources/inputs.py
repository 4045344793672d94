"""DataFrames for the ``Input`` layers of a net, as deploy nets have them: a column for each input.

What a column holds says how it fills its input: image files, Spark's images, arrays, Vectors or numbers. A block that
has a type, which was a CoSData layer's, is read as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, List, Mapping, Sequence, Tuple

from ...errors import ConfigError, DataError, suggest
from ...nets.inputs import is_image
from ..arrow import Problems
from ..records import ENCODED, RAW_BYTES, SAMPLE_ID, BadRecord, Column, pack_image
from ..tops import ImageTop, NumberTop, Top
from ..transform import Transform
from .dataframe import CoSDataReader, CoSTop, DataFrameSource
from .forms import FILE, IMAGE, IMAGE_FIELDS, NUMBER, NUMBERS, SIZED_FILE, TEXT, form_of, parts_of
from .frames import column_of, or_null, quoted
from .images import raw_pixels

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

__all__ = ["InputReader", "InputSource"]

_SPARK_IMAGE = "SPARK_IMAGE"  # in addition to CaffeOnSpark's types
_KINDS_OF_IMAGES = {FILE: "ENCODED_IMAGE", IMAGE: _SPARK_IMAGE, SIZED_FILE: "ENCODED_IMAGE_WITH_DIM"}


@dataclass(frozen=True)
class InputReader(CoSDataReader):
    """Decodes the columns of a net's inputs."""

    def _decode_top(self, batch: pa.RecordBatch, top: CoSTop, ids: List[str], problems: Problems) -> Column:
        if top.kind != _SPARK_IMAGE:
            return super()._decode_top(batch, top, ids, problems)
        entries = []
        for row, value in enumerate(batch.column(top.column).to_pylist()):
            entry = pack_image(ENCODED, (0, 0, 0), b"")
            try:
                if value is None or value["data"] is None:
                    raise BadRecord(ids[row], "null value", f"column '{top.column}' is null")
                entry = _spark_image(ids[row], value)
            except BadRecord as e:
                problems.setdefault(row, e)
            entries.append(entry)
        return entries


def _spark_image(record: str, value: Any) -> bytes:
    """The entry of a row of Spark's image format. Raises BadRecord."""
    shape = (value["nChannels"] or 0, value["height"] or 0, value["width"] or 0)
    pixels = raw_pixels(record, value["data"], shape, None)
    return pack_image(RAW_BYTES, shape, pixels.tobytes())


class InputSource(DataFrameSource):
    """The DataFrame of a net's inputs: that of ``-data``, or one that is given in Python."""

    layer_types: ClassVar[Mapping[str, str]] = {"Input": "cos_data_param"}

    @property
    def where(self) -> str:
        return str(self.net.path)

    def load(self) -> DataFrame:
        if not self.parameters().source:
            raise ConfigError(
                f"{self.where}: nothing is named that fills the net's inputs ({', '.join(self.layer.top)}): give -data "
                "PATH and -dataFormat NAME, or a DataFrame in Python"
            )
        return super().load()

    def open(self) -> None:
        if self._rows is None:
            self._rows = self.load()
        self.settle()
        first = self.first()
        if first is None:
            raise DataError(f"{self.where}: {self.description} is empty")
        if not self.config.skip:
            self._check_sizes(first)

    def settle(self) -> bool:
        self.shuffle = bool(self.parameters().shuffle)
        inputs = zip(self.layer.top, self._shapes(), self.parameters().top)
        self._cos_tops = tuple(self._input(*one) for one in inputs)
        self.tops = tuple(top.top for top in self._cos_tops)
        if self._rows is not None:
            self.columns(self._rows)
        return True

    def stated_tops(self) -> Sequence[Tuple[Top, ...]]:
        blocks = zip(self.layer.top, self._shapes(), self.parameters().top)
        return [
            tuple(
                self._read_top(blob, block).top if block.HasField("type") else NumberTop(blob, shape)
                for blob, shape, block in blocks
            )
        ]

    def reader(self) -> InputReader:
        return InputReader(self._cos_tops)

    def _shapes(self) -> List[Tuple[int, ...]]:
        """Of a sample of each input."""
        return [tuple(map(int, shape.dim))[1:] for shape in self.layer.input_param.shape]

    def _check_sizes(self, row: Any) -> None:
        """Raise DataError where the arrays and images of the first row are of another size than the inputs."""
        for top in self._cos_tops:
            value, wanted = row[top.column], math.prod(top.top.shape)
            if value is None:
                continue
            if top.kind == "FLOAT_ARRAY" and len(value) != wanted:
                raise DataError(
                    f"{self.where}: {self.description}: column '{top.column}' has {len(value)} values in its first "
                    f"row; input '{top.top.name}' takes {wanted} ({_dims(top.top.shape)})"
                )
            if top.kind in ("ENCODED_IMAGE", _SPARK_IMAGE):
                self._check_image(top, str(row[SAMPLE_ID]), value)

    def _check_image(self, top: CoSTop, record: str, value: Any) -> None:
        if top.kind == _SPARK_IMAGE and value["data"] is None:
            return
        assert isinstance(top.top, ImageTop)
        try:
            entry = _spark_image(record, value) if top.kind == _SPARK_IMAGE else pack_image(ENCODED, (0, 0, 0), value)
            top.top.pixels(entry, record)
        except BadRecord as e:
            raise DataError(
                f"{self.where}: {self.description}: column '{top.column}': {e.message}; input '{top.top.name}' takes "
                f"{_dims(top.top.shape)}"
            ) from None

    # ---- the inputs

    def _input(self, blob: str, shape: Tuple[int, ...], block: Any) -> CoSTop:
        if block.HasField("type"):
            return self._read_top(blob, block)
        return self._filled(self._kind(blob, shape, block.name), blob, shape, block)

    def filled_by(self, kind: str, number: int) -> CoSTop:
        """The input of this number as a column of one of CaffeOnSpark's types fills it. Raises ConfigError."""
        return self._filled(kind, self.layer.top[number], self._shapes()[number], self.parameters().top[number])

    def _filled(self, kind: str, blob: str, shape: Tuple[int, ...], block: Any) -> CoSTop:
        transform = self.transform(block.transform_param) if block.HasField("transform_param") else None
        if transform is not None:
            self._check_transform(blob, shape, transform, kind == "FLOAT_ARRAY")
        top: Top
        if kind in ("FLOAT", "FLOAT_ARRAY"):
            top = NumberTop(blob, shape, transform=transform)
        else:
            channels, height, width = shape
            known = channels in (1, 3)
            top = ImageTop(
                blob,
                shape,
                transform=transform or Transform(),
                channels=channels if known else 0,
                upright=known,
                resize=(block.height or height, block.width or width) if self.config.resize else None,
                max_pixels=self.config.max_pixels,
            )
        return CoSTop(block.name, kind, top)

    def _check_transform(self, blob: str, shape: Tuple[int, ...], transform: Transform, whole: bool) -> None:
        """Raise ConfigError where no image could be transformed to what the input takes."""
        problem = None
        if transform.crop and (transform.crop, transform.crop) != shape[1:]:
            problem = f"crop_size {transform.crop} does not give its height and width"
        elif transform.mean is not None and transform.mean.shape[0] not in (1, shape[0]):
            problem = f"the mean has {transform.mean.shape[0]} channels"
        elif whole:  # arrays are as large as the input
            found = transform.problem_with((shape[0], shape[1], shape[2]))
            problem = f"an array of that size {found}" if found is not None else None
        if problem is not None:
            raise ConfigError(
                f"-transform, or transform_param: {self.where}: input '{blob}' is {_dims(shape)}, and {problem}"
            )

    def _kind(self, blob: str, shape: Tuple[int, ...], name: str) -> str:
        """How a column fills an input: one of CaffeOnSpark's types, or Spark's own image."""
        if self._rows is None:  # images may be files or arrays: ImageTop takes both
            return "ENCODED_IMAGE" if is_image((1, *shape)) else "FLOAT_ARRAY"
        parts = parts_of(name)
        for part in parts:
            kind = self._type_of(blob, part)
            if form_of(kind) not in (NUMBER, NUMBERS):
                raise ConfigError(
                    f"{self.where}: input '{blob}' reads several columns, and '{part}' is {kind.simpleString()}: each "
                    "has numbers, an array of numbers or a Vector"
                )
        if parts:
            return "FLOAT_ARRAY"
        kind = self._type_of(blob, name)
        form = form_of(kind)
        if form in _KINDS_OF_IMAGES:
            if len(shape) != 3:
                raise ConfigError(
                    f"{self.where}: column '{name}' holds images ({kind.simpleString()}), and input '{blob}' takes "
                    f"{_dims(shape)} numbers, no channels, height and width: give it an array of numbers, or a Vector"
                )
            return _KINDS_OF_IMAGES[form]
        if form in (NUMBER, TEXT) and math.prod(shape) == 1:
            return "FLOAT"
        if form == NUMBERS:
            return "FLOAT_ARRAY"
        takes = "an image (binary, or Spark's image format), an array of numbers or a Vector"
        raise ConfigError(
            f"{self.where}: column '{name}' is {kind.simpleString()}, which cannot fill input '{blob}' of "
            f"{_dims(shape)}: it takes {takes if len(shape) == 3 else 'an array of numbers or a Vector'}"
        )

    def _type_of(self, blob: str, name: str) -> DataType:
        """The type of a column. Raises ConfigError unless there is exactly one of the name."""
        assert self._rows is not None
        names = self._rows.columns
        if name not in names:
            raise ConfigError(
                f"{self.where}: input '{blob}' reads column '{name}', which {self.description} does not have. "
                f"{suggest(name, names)} -columns {blob}=COLUMN, or a model's featuresCol, names another"
            )
        column_of(self._rows, name, self._has)  # unless there are two
        return self._rows.schema[name].dataType

    def _column(self, raw: DataFrame, top: CoSTop) -> Any:
        from pyspark.sql import functions as F

        parts = parts_of(top.column)
        if parts:
            return F.concat(*(super(InputSource, self)._column(raw, replace(top, column=part)) for part in parts))
        if top.kind != _SPARK_IMAGE:
            return super()._column(raw, top)
        column = column_of(raw, top.column, self._has)
        sizes = [or_null(f"{quoted(top.column)}.{name}", "int").alias(name) for name in IMAGE_FIELDS[:3]]
        return F.when(column.isNotNull(), F.struct(*sizes, column["data"].cast("binary").alias("data")))


def _dims(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
