"""What is given to ``predict``, made the records that executors make of rows: by the same decoding and the same checks.

An image is an image file (its path or bytes), a PIL image, a row of Spark's image format, or a uint8 array. Numbers are
a Vector, an array or a list. What an array is follows from its dtype and its shape; what may be two things is refused.
"""

from __future__ import annotations

import io
import math
import os
import sys
from dataclasses import dataclass, replace
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..data.records import ENCODED, RAW_BYTES, RAW_FLOATS, BadRecord, pack_image
from ..data.sources.base import Source
from ..data.sources.dataframe import DataFrameSource
from ..data.sources.forms import parts_of
from ..data.sources.images import ImageSource, raw_pixels
from ..data.sources.inputs import InputSource
from ..data.tops import ImageTop, NumberTop, Top
from ..data.transform import Transform
from ..errors import ConfigError, DataError, suggest
from ..storage import expand, local_path, scheme

__all__ = ["IMAGE_ENDINGS", "LocalInput", "Sample", "local_inputs", "samples_of"]

#: By which a str is taken for the path of an image.
IMAGE_ENDINGS = (
    *(".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm"),
    *(".sgi", ".tga", ".tif", ".tiff", ".webp"),
)
_NUMBERS = (bool, int, float, np.number, np.bool_)


@dataclass(frozen=True)
class LocalInput:
    """An input of a net, and what fills it.

    Attributes
    ----------
    blob : its name
    column : of a DataFrame that fills it in ``transform``
    image : how images fill it; None where it takes none
    numbers : how numbers fill it; None where it takes images only
    raw : (channels, height, width) of the pixels that its column holds as they are, or None
    """

    blob: str
    column: str
    image: Optional[ImageTop]
    numbers: Optional[NumberTop]
    raw: Optional[Tuple[int, int, int]] = None

    @property
    def takes(self) -> str:
        """In words."""
        words = []
        if self.image is not None:
            words.append(f"images of {_channels(self.image)} channel{'s' if _channels(self.image) > 1 else ''}")
        if self.numbers is not None:
            shape, count = self.numbers.shape, math.prod(self.numbers.shape)
            dims = f" ({_dims(shape)})" if len(shape) > 1 else ""
            words.append(f"{count} number{'s' if count > 1 else ''}{dims}")
        return " or ".join(words)


@dataclass(frozen=True)
class Sample:
    """One sample: for each input the top that it fills, and what goes into the top's column.

    Attributes
    ----------
    name : what errors call it
    tops : of the inputs, in their order
    entries : ``pack_image`` bytes for an ImageTop, a float32 array of the top's shape for a NumberTop
    """

    name: str
    tops: Tuple[Top, ...]
    entries: Tuple[Any, ...]


# ---- what a net takes


def local_inputs(source: Source, tops: Sequence[Top]) -> List[LocalInput]:
    """The inputs of a net, in the order of the data layer's tops.

    Parameters
    ----------
    source : of the data layer; it need not be open
    tops : the layer's, as ``plans/scoring.py`` settles them for values of this process
    """
    if isinstance(source, InputSource):
        blocks = source.parameters().top
        found = [
            _of_block(source, top, block) if block.HasField("type") else _of_input(source, number, top)
            for number, (top, block) in enumerate(zip(tops, blocks))
        ]
    elif isinstance(source, DataFrameSource):
        found = [_of_block(source, top, block) for top, block in zip(tops, source.parameters().top)]
    elif isinstance(source, ImageSource):
        assert isinstance(tops[0], ImageTop)
        label = [LocalInput(top.name, "label", None, top) for top in tops[1:] if isinstance(top, NumberTop)]
        found = [LocalInput(tops[0].name, "data", tops[0], None, source.declared()), *label]
    else:
        found = [LocalInput(top.name, top.name, None, top) for top in tops if isinstance(top, NumberTop)]
    return [_limited(one, top) for one, top in zip(found, tops)]


def _of_input(source: InputSource, number: int, top: Top) -> LocalInput:
    column = source.parameters().top[number].name
    image: Optional[Top] = source.filled_by("ENCODED_IMAGE", number).top if len(top.shape) == 3 else None
    numbers: Optional[Top] = None
    try:
        numbers = source.filled_by("FLOAT_ARRAY", number).top
    except ConfigError:  # the transformation takes larger images only
        if image is None:
            raise
    assert numbers is None or isinstance(numbers, NumberTop)
    return LocalInput(top.name, column, image if isinstance(image, ImageTop) else None, numbers)


def _of_block(source: DataFrameSource, top: Top, block: Any) -> LocalInput:
    """Of a CoSData layer, whose blocks say what their columns hold."""
    kind = type(block).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[block.type].name
    raw = (int(block.channels), int(block.height), int(block.width)) if kind == "RAW_IMAGE" else None
    if isinstance(top, ImageTop):
        return LocalInput(top.name, block.name, top, None, raw)
    assert isinstance(top, NumberTop)
    if raw is None:
        return LocalInput(top.name, block.name, None, top)
    image = ImageTop(
        top.name,
        top.shape,
        transform=top.transform or Transform(),
        channels=raw[0] if raw[0] in (1, 3, 4) else 0,
        resize=raw[1:] if source.config.resize else None,
        max_pixels=source.config.max_pixels,
    )
    return LocalInput(top.name, block.name, image, None, raw)


def _limited(one: LocalInput, top: Top) -> LocalInput:
    if not top.limits:
        return one
    image = None if one.image is None else replace(one.image, limits=top.limits)
    return replace(one, image=image, numbers=None if one.numbers is None else replace(one.numbers, limits=top.limits))


# ---- what is given


def samples_of(given: Any, inputs: Sequence[LocalInput]) -> Tuple[List[Sample], bool]:
    """The samples in what was given, and whether it was one sample by itself.

    Raises
    ------
    DataError
        For what no input takes, a file that cannot be read, and an array that may be two things.
    """
    kind = f"{type(given).__module__}.{type(given).__name__}"
    if kind.startswith(("pandas.", "pyspark.sql.", "pyspark.pandas.")) and kind.endswith(("DataFrame", "Series")):
        raise DataError(f"predict takes a value or a list of them, and this is a {kind}: transform takes DataFrames")
    if isinstance(given, (list, tuple)) and not hasattr(given, "asDict"):
        if given and all(isinstance(one, _NUMBERS) for one in given) and not (_single(inputs) and len(given) > 1):
            return [_sample(given, inputs, "the list")], True
        return [_sample(one, inputs, f"item {number} of the list") for number, one in enumerate(given)], False
    if isinstance(given, np.ndarray) and len(inputs) == 1 and _is_many(given, inputs[0]):
        return [_sample(one, inputs, f"row {number} of the array") for number, one in enumerate(given)], False
    return [_sample(given, inputs, _name_of(given))], True


def _is_many(array: np.ndarray, one: LocalInput) -> bool:
    """Whether an array is samples one after the other, and not one of them."""
    return array.ndim > 0 and not _fits(array, one) and (not len(array) or _fits(array[0], one))


def _single(inputs: Sequence[LocalInput]) -> bool:
    """Whether a sample is one number, so that a list of numbers is a list of samples."""
    return len(inputs) == 1 and inputs[0].numbers is not None and math.prod(inputs[0].numbers.shape) == 1


def _name_of(given: Any) -> str:
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given) if isinstance(os.fspath(given), str) else repr(given)
    return "the value that is given"


def _sample(given: Any, inputs: Sequence[LocalInput], name: str) -> Sample:
    if isinstance(given, (str, os.PathLike)):
        name = _name_of(given)
    values = [given] if len(inputs) == 1 and not _has_columns(given) else _by_column(given, inputs, name)
    filled = [_filled(value, one, name) for value, one in zip(values, inputs)]
    return Sample(name, tuple(top for top, _ in filled), tuple(entry for _, entry in filled))


def _has_columns(given: Any) -> bool:
    """Whether it is a row, and no struct that is an image by itself."""
    return _fields(given) is not None and not _is_image_struct(_fields(given) or {})


def _fields(given: Any) -> Optional[Mapping[str, Any]]:
    """Of a mapping or a Row of Spark's."""
    if isinstance(given, Mapping):
        return given
    return given.asDict() if hasattr(given, "asDict") else None


def _is_image_struct(fields: Mapping[str, Any]) -> bool:
    return {"height", "width"} <= set(fields) and bool({"image", "data"} & set(fields))


def _by_column(given: Any, inputs: Sequence[LocalInput], name: str) -> List[Any]:
    """What a row has for each input: by the column's name, or the input's."""
    fields = _fields(given)
    if fields is None:
        columns = ", ".join(f"'{one.column}'" for one in inputs)
        raise DataError(f"{name}: the net has {len(inputs)} inputs: give a dict with a value for each: {columns}")
    values = []
    for one in inputs:
        parts = parts_of(one.column)
        if parts and one.blob not in fields:
            values.append(np.concatenate([_as_array(_value(fields, [part], name), name).reshape(-1) for part in parts]))
        else:
            values.append(_value(fields, [one.column, one.blob], name))
    return values


def _value(fields: Mapping[str, Any], names: Sequence[str], name: str) -> Any:
    """What a row has under the first of these names that it has."""
    for one in names:
        if one in fields:
            return fields[one]
    raise DataError(f"{name} has no '{names[0]}', which the net reads. {suggest(names[0], map(str, fields))}")


# ---- one value for one input


def _filled(value: Any, one: LocalInput, name: str) -> Tuple[Top, Any]:
    """The top that a value fills, and its entry in the top's column."""
    if value is None:
        raise DataError(f"{name}: '{one.column}' is null")
    if isinstance(value, (str, os.PathLike)):
        return _encoded(_read(value, name), one, name)
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if one.raw is not None and len(data) == math.prod(one.raw):
            return _pixels(raw_pixels(name, data, one.raw, None), one, name)
        return _encoded(data, one, name)
    if _is_pil(value):
        return _picture(value, one, name)
    fields = _fields(value)
    if fields is not None and _is_image_struct(fields):
        return _struct(fields, one, name)
    array = _as_array(value, name)
    meaning = _meaning(array, one)
    if meaning == "ambiguous":
        raise DataError(
            f"{name}: a uint8 array of {_dims(array.shape)} may be height x width x channels or channels x height x "
            "width: give a PIL image, or float32 as channels x height x width"
        )
    if meaning == "pixels":
        return _pixels(_channels_first(array, one), one, name)
    if meaning == "numbers" and one.numbers is not None:
        return one.numbers, np.ascontiguousarray(array, np.float32).reshape(one.numbers.shape)
    if meaning == "numbers":
        assert one.image is not None
        return one.image, pack_image(RAW_FLOATS, _three(array.shape), array.astype("<f4").tobytes())
    raise DataError(f"{name}: {_refused(array, one)}")


def _read(path: Any, name: str) -> bytes:
    """The content of an image file of this machine."""
    if isinstance(path, str) and scheme(path) not in ("", "file"):
        raise DataError(
            f"{name}: predict reads files of this machine: fetch it first, or let transform read it with Spark"
        )
    if isinstance(path, str) and not path.lower().endswith(IMAGE_ENDINGS):
        shown = path if len(path) <= 60 else path[:57] + "…"
        raise DataError(
            f"'{shown}' does not end as images do (.png, .jpg, …): text is taken for an image's path; for a file of "
            "another name give a pathlib.Path"
        )
    local = local_path(expand(path)) if isinstance(path, str) else path
    try:
        with open(local, "rb") as f:
            return f.read()
    except IsADirectoryError:
        raise DataError(f"{name} is a folder: name the images in it") from None
    except OSError as e:
        raise DataError(f"{name}: {e.strerror}") from None


def _image_top(one: LocalInput, name: str) -> ImageTop:
    if one.image is None:
        raise DataError(f"{name} is an image, and input '{one.blob}' takes {one.takes}")
    return one.image


def _encoded(data: bytes, one: LocalInput, name: str) -> Tuple[Top, Any]:
    return _image_top(one, name), pack_image(ENCODED, (0, 0, 0), data)


def _pixels(image: np.ndarray, one: LocalInput, name: str) -> Tuple[Top, Any]:
    """Of (channels, height, width) uint8, colour in BGR order."""
    return _image_top(one, name), pack_image(RAW_BYTES, _three(image.shape), np.ascontiguousarray(image).tobytes())


def _struct(fields: Mapping[str, Any], one: LocalInput, name: str) -> Tuple[Top, Any]:
    """Of a row of Spark's image format, or a struct of height, width and image (a file's bytes)."""
    content = fields.get("data", fields.get("image"))
    if content is None:
        raise DataError(f"{name}: the image is null")
    size = (int(fields["height"] or 0), int(fields["width"] or 0))
    if "data" not in fields or fields.get("encoded"):
        return _image_top(one, name), pack_image(ENCODED, (0, *size), bytes(content))
    channels = int(fields.get("nChannels") or fields.get("channels") or 1)
    try:
        return _pixels(raw_pixels(name, bytes(content), (channels, *size), None), one, name)
    except BadRecord as e:
        raise DataError(f"{name}: {e.detail}") from None


def _is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # whoever has such an image has loaded it
    return pil is not None and isinstance(value, pil.Image)


def _picture(image: Any, one: LocalInput, name: str) -> Tuple[Top, Any]:
    """Of a PIL image: what its PNG would be."""
    top = _image_top(one, name)
    if top.upright and image.getexif().get(0x0112, 1) != 1:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and top.channels in (0, 3):
        return _pixels(np.asarray(image)[:, :, ::-1].transpose(2, 0, 1), one, name)
    if image.mode == "L" and top.channels in (0, 1) and "transparency" not in image.info:
        return _pixels(np.asarray(image)[np.newaxis], one, name)
    out = io.BytesIO()
    try:
        as_png = image if image.mode in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA") else image.convert("RGB")
        as_png.save(out, "PNG", compress_level=1)
    except (OSError, ValueError) as e:
        raise DataError(f"{name}: the image cannot be used ({e})") from None
    return _encoded(out.getvalue(), one, name)


# ---- arrays


def _as_array(value: Any, name: str) -> np.ndarray:
    if hasattr(value, "toArray"):  # a Vector, dense or sparse
        value = value.toArray()
    nested = isinstance(value, (list, tuple)) and not all(isinstance(one, _NUMBERS) for one in value)
    try:
        array = np.asarray(value, np.float64 if nested else None)
    except (TypeError, ValueError):  # text in it, or rows of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: predict takes no {type(value).__name__} of this kind: give a Vector, an array or a list of "
            "numbers, a PIL image, or an image's path or bytes"
        )
    return array


def _meaning(array: np.ndarray, one: LocalInput) -> str:
    """What an array is for an input: "pixels", "numbers" or "ambiguous"; "" for none of them."""
    shape = array.shape
    if one.image is not None and array.dtype == np.uint8 and len(shape) in (2, 3):
        channels = _channels(one.image)
        if len(shape) == 2:
            return "pixels" if channels == 1 else ""
        last, first = shape[2] == channels, shape[0] == channels
        return "ambiguous" if first and last else "pixels" if first or last else ""
    if one.numbers is None:  # an image's numbers, of any size that the transformation takes
        assert one.image is not None
        return "numbers" if len(shape) == 3 and shape[0] == _channels(one.image) and 0 not in shape else ""
    wanted = one.numbers.shape
    grey = (wanted[1:], (*wanted[1:], 1)) if len(wanted) == 3 and wanted[0] == 1 else ()
    one_number = shape == () and math.prod(wanted) == 1
    return "numbers" if shape == wanted or shape == (math.prod(wanted),) or shape in grey or one_number else ""


def _fits(array: np.ndarray, one: LocalInput) -> bool:
    """Whether an array is one sample for an input, of the size that it takes."""
    meaning = _meaning(array, one)
    if meaning != "pixels":
        return bool(meaning)
    assert one.image is not None
    any_size = one.image.transform.crop or one.image.resize is not None
    return bool(any_size) or _channels_first(array, one).shape == one.image.shape


def _channels_first(array: np.ndarray, one: LocalInput) -> np.ndarray:
    """(channels, height, width) of an array of pixels."""
    if array.ndim == 2:
        return array[np.newaxis]
    assert one.image is not None
    return array.transpose(2, 0, 1) if array.shape[2] == _channels(one.image) else array


def _refused(array: np.ndarray, one: LocalInput) -> str:
    found = f"an array of {_dims(array.shape)} {array.dtype}" if array.ndim else "one number"
    hint = ""
    if one.image is not None:
        channels = _channels(one.image)
        turned = array.ndim == 3 and array.shape[2] == channels != array.shape[0]
        if array.dtype != np.uint8 and turned:
            hint = ": pixels as height x width x channels are uint8, other numbers channels x height x width"
        elif array.dtype == np.uint8:
            colour = " in BGR order" if channels == 3 else ""
            hint = f": uint8 arrays are height x width x {channels}{colour}, many of them one more axis before"
    return f"{found} does not fill input '{one.blob}', which takes {one.takes}{hint}"


def _channels(image: ImageTop) -> int:
    return image.channels or image.shape[0]


def _three(shape: Tuple[int, ...]) -> Tuple[int, int, int]:
    return shape[0], shape[1], shape[2]


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
