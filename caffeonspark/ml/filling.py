"""Which column of a DataFrame fills which blob of a net, and the shapes that its rows give to the blobs."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from pyspark.sql import DataFrame

from ..causes import explained
from ..data.arrow import number_in
from ..data.decode import CannotDecode, decode_image
from ..data.sources.forms import FILE, IMAGE, NUMBER, NUMBERS, SIZED_FILE, TEXT, fits, form_of, joined, parts_of
from ..data.sources.frames import column_of
from ..errors import ConfigError, DataError
from ..nets.columns import DataBlob, Filled, NetData, Shape
from ..nets.net import Net
from ..nets.sample_weight import SAMPLE_WEIGHT
from ..nets.schema import NetParameter

__all__ = ["Columns", "Filling", "Look"]

_LOOKED_AT = 64  # rows, for one whose image can be decoded
_OF_IMAGES = ("Convolution", "Deconvolution", "LRN", "Pooling")


@dataclass(frozen=True)
class Filling:
    """A data blob and the column that fills it.

    Attributes
    ----------
    blob : DataBlob
    column : its name, or that of several columns (``data/sources/forms.joined``)
    form : of the column's values, by its type (``data/sources/forms.py``); "" for what fills nothing
    typed : whether the block of the net's own CoSData layer reads it as it is
    """

    blob: DataBlob
    column: str
    form: str
    typed: bool

    @property
    def looks(self) -> bool:
        """Whether a row has to be looked at: for the blob's shape, or for what a label's text says."""
        if self.blob.is_label and self.form == TEXT:
            return True
        return self.blob.shape is None and self.form not in (NUMBER, TEXT, "")

    def settled(self, net: Net, look: Look) -> Filled:
        """What fills the blob, its shape settled. Raises ConfigError and DataError."""
        block = type(self.blob.block)()
        block.CopyFrom(self.blob.block)
        block.name = self.column
        if self.blob.is_label and self.form == TEXT:
            look.check_label(self.column)
        if self.typed:
            assert self.blob.shape is not None
            return Filled(self.blob.name, self.blob.shape, block)
        plain = type(block)(name=self.column)
        shape = self.blob.shape if self.blob.shape is not None else self._shape(net, look)
        if block.HasField("transform_param") and len(shape) == 3:
            plain.transform_param.CopyFrom(block.transform_param)
            if self.form in (FILE, IMAGE, SIZED_FILE):
                size = (block.height, block.width)
                if not all(size) and self.blob.shape is None and block.transform_param.crop_size:
                    size = look.image(self.column, self.form, self.blob.colours)[1:]
                if all(size):  # to which -resize resizes images before they are cropped
                    plain.height, plain.width = size
        return Filled(self.blob.name, shape, plain)

    def _shape(self, net: Net, look: Look) -> Shape:
        """That of the DataFrame's rows."""
        if self.form in (NUMBER, TEXT, ""):  # "": the source says what is wrong
            return () if self.blob.is_label else (1,)
        block = self.blob.block
        if self.form != NUMBERS:
            channels, height, width = look.image(self.column, self.form, self.blob.colours)
            crop = int(block.transform_param.crop_size)
            return (channels, crop or height, crop or width)
        count = look.count(self.column)
        if self.blob.is_label:
            return (count,)
        layer = next(
            (one for one in net.message.layer if self.blob.name in one.bottom and one.type in _OF_IMAGES), None
        )
        if layer is not None:
            return _square(net, self.column, count, layer)
        return (count, 1, 1) if block.HasField("transform_param") else (count,)


def _square(net: Net, column: str, count: int, layer: Any) -> Shape:
    """The shape of a square image of so many numbers: no number is that of both a grey and a coloured one."""
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side > 1 and channels * side * side == count:
            return (channels, side, side)
    raise ConfigError(
        f"{net.path}: layer '{layer.name}' ({layer.type}) takes images, and the {count} numbers in a row of column "
        f"'{column}' are no square one: state the shape of '{layer.bottom[0]}' in an Input layer: batch, channels, "
        "height, width"
    )


class Columns:
    """The columns of a DataFrame by what estimators call them. Raises ConfigError for those that are not there."""

    def __init__(self, dataset: DataFrame, features: Sequence[str], label: str, weight: str) -> None:
        self._dataset = dataset
        self._features, self._label, self._weight = list(features), label, weight
        for name in self._features:
            self._check("featuresCol", name)
        if weight:
            self._check("weightCol", weight)
            if self._form(weight) != NUMBER:
                kind = dataset.schema[weight].dataType.simpleString()
                raise ConfigError(f"weightCol: column '{weight}' is {kind}: weights are numbers")

    def _check(self, param: str, name: str) -> None:
        column_of(self._dataset, name, f"{param}: the DataFrame")

    def of(self, data: NetData) -> List[Filling]:
        """What fills each blob of a net."""
        weights = {SAMPLE_WEIGHT: self._weight} if self._weight else {}
        chosen = {**self._of_features(data), **self._of_labels(data), **weights}
        return [self._filling(blob, chosen[blob.name]) for blob in data.blobs]

    def weighed(self, data: NetData, blobs: Sequence[Filled]) -> List[Filled]:
        """These blobs, and that of the sample weights."""
        if SAMPLE_WEIGHT in data.rest.blob_names():
            raise ConfigError(
                f"{data.rest.path}: weightCol: the net makes a blob '{SAMPLE_WEIGHT}' itself: give it another name"
            )
        if any(blob.name == SAMPLE_WEIGHT for blob in blobs):
            return list(blobs)
        block = NetParameter().layer.add().cos_data_param.top.add(name=self._weight)
        return [*blobs, Filled(SAMPLE_WEIGHT, (), block)]

    def _form(self, name: str) -> str:
        return form_of(self._dataset.schema[name].dataType)

    def _filling(self, blob: DataBlob, column: str) -> Filling:
        if parts_of(column):
            return Filling(blob, column, NUMBERS, False)
        kind = self._dataset.schema[column].dataType
        typed = blob.block.HasField("type") and fits(blob.block, kind)
        return Filling(blob, column, form_of(kind), typed)

    def _of_features(self, data: NetData) -> Dict[str, str]:
        blobs = [blob for blob in data.blobs if not blob.is_label and not (self._weight and blob.name == SAMPLE_WEIGHT)]
        chosen: Dict[str, str] = {}
        left = []
        for column in self._features:
            meant = [blob for blob in blobs if column in (blob.name, blob.block.name) and blob.name not in chosen]
            if meant:
                chosen[meant[0].name] = column
            else:
                left.append(column)
        open_ = [blob for blob in blobs if blob.name not in chosen]
        if len(open_) == 1 and len(left) > 1 and all(self._form(name) in (NUMBER, NUMBERS) for name in left):
            chosen[open_[0].name] = joined(left)
            left = []
        for blob in open_:
            if left:
                chosen[blob.name] = left.pop(0)
        for blob in blobs:
            own = None if blob.name in chosen else self._own("featuresCol", blob)
            if own:
                chosen[blob.name] = own
        missing = [blob for blob in blobs if blob.name not in chosen]
        names = ", ".join(f"'{blob.name}'" for blob in blobs)
        if missing:
            columns = ", ".join(f"'{name}'" for name in self._features) or "no column"
            raise ConfigError(
                f"{data.rest.path}: no column fills '{missing[0].name}': the net takes {names}, and featuresCol names "
                f"{columns}: a column of its name would fill it. {missing[0].hint}".rstrip()
            )
        if left:
            raise ConfigError(
                f"{data.rest.path}: featuresCol names {len(self._features)} columns, and the net takes {len(blobs)} "
                f"({names}): give it one for each; several fill one where each is of numbers"
            )
        return chosen

    def _of_labels(self, data: NetData) -> Dict[str, str]:
        blobs = [blob for blob in data.blobs if blob.is_label]
        chosen = {}
        if len(blobs) > 1 or not self._label:
            for blob in blobs:
                own = self._own("labelCol", blob)
                if own:
                    chosen[blob.name] = own
        left = [blob for blob in blobs if blob.name not in chosen]
        if len(left) > 1 or (left and not self._label):
            names = ", ".join(f"'{blob.name}'" for blob in left)
            raise ConfigError(
                f"{data.rest.path}: losses compare with {names}, and "
                + (
                    f"labelCol names the one column '{self._label}': give the DataFrame columns of these names"
                    if self._label
                    else "no labelCol is set"
                )
            )
        if left:
            self._check("labelCol", self._label)
            chosen[left[0].name] = self._label
        return chosen

    def _own(self, param: str, blob: DataBlob) -> Optional[str]:
        """The column that a blob takes by itself."""
        names = self._dataset.columns
        found = next((name for name in (blob.block.name, blob.name) if name and name in names), None)
        if found is not None:
            self._check(param, found)
        return found


class Look:
    """A look at the DataFrame's first row without nulls, where a blob's shape needs one."""

    def __init__(self, dataset: DataFrame, fillings: Sequence[Filling]) -> None:
        self._dataset = dataset
        looked_at = [name for one in fillings if one.looks for name in parts_of(one.column) or (one.column,)]
        self._columns = list(dict.fromkeys(looked_at))
        self._rows: Dict[int, List[Any]] = {}
        self._images: Dict[Tuple[str, int], Tuple[int, int, int]] = {}

    def count(self, column: str) -> int:
        """How many numbers a row has in a column, or in several."""
        values = [self._values(name, 1)[0] for name in parts_of(column) or (column,)]
        count = sum(map(_count, values))
        if not count:
            raise DataError(f"column '{column}' holds no number in its first row, which the others' size is taken from")
        return count

    def check_label(self, column: str) -> None:
        """Raise ConfigError where a label is a text that is no number."""
        text = self._values(column, 1)[0]
        if text is None:  # a bad row, as others may be
            return
        try:
            number_in(text)
        except ValueError:
            raise ConfigError(
                f"labelCol: column '{column}' is text ('{text:.40}'), and labels are numbers: StringIndexer makes them"
            ) from None

    def image(self, column: str, form: str, colours: int) -> Tuple[int, int, int]:
        """Channels, height and width of the first image that can be decoded. Raises DataError where none can."""
        key = (column, colours)
        if key not in self._images:
            self._images[key] = self._image(column, form, colours)
        return self._images[key]

    def _image(self, column: str, form: str, colours: int) -> Tuple[int, int, int]:
        problem: Optional[CannotDecode] = None
        for most in (1, _LOOKED_AT):
            for value in self._values(column, most):
                try:
                    return _size_of(value, form, colours)
                except CannotDecode as e:
                    problem = problem or e
        raise DataError(f"column '{column}' has no image that can be decoded in its first rows: {problem}")

    def _values(self, column: str, most: int) -> List[Any]:
        number = self._columns.index(column)
        return [row[number] for row in self._first(most)]

    def _first(self, most: int) -> List[Any]:
        if most not in self._rows:
            with explained("the DataFrame cannot be read"):
                named = [column_of(self._dataset, name, "the DataFrame") for name in self._columns]
                whole = functools.reduce(operator.and_, (column.isNotNull() for column in named))
                chosen = [column.alias(f"c{number}") for number, column in enumerate(named)]
                self._rows[most] = self._dataset.where(whole).select(*chosen).head(most)
            if not self._rows[most]:
                raise self._nothing()
        return self._rows[most]

    def _nothing(self) -> DataError:
        with explained("the DataFrame cannot be read"):
            empty = self._dataset.first() is None
        if empty:
            return DataError("there is no row to train on: the DataFrame is empty")
        names = ", ".join(f"'{name}'" for name in self._columns)
        return DataError(f"each row of the DataFrame has a null in {names}: there is none to take shapes from")


def _count(value: Any) -> int:
    """How many numbers a Vector, an array or a number is."""
    if hasattr(value, "toArray"):
        return int(value.size)
    return len(value) if isinstance(value, list) else 1


def _size_of(value: Any, form: str, colours: int) -> Tuple[int, int, int]:
    """Channels, height and width of an image in a row. Raises CannotDecode."""
    if form == IMAGE:  # whose pixels stay as they are
        channels, height, width = (int(value[name] or 0) for name in ("nChannels", "height", "width"))
        if min(channels, height, width) < 1:
            raise CannotDecode(f"its height is {height}, its width {width}")
    else:
        content = value["image"] if form == SIZED_FILE else value
        channels, height, width = decode_image(bytes(content or b""), colours, bool(colours)).shape
    return channels, height, width
