"""The tops of data layers: what a reader's column looks like and how it becomes a blob."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import DataError
from .decode import MAX_PIXELS, CannotDecode, decode_image, resize
from .limits import Limit, not_finite
from .records import ENCODED, RAW_BYTES, BadRecord, BadRecords, Column, Records, unpack_image
from .transform import Transform

__all__ = ["ImageTop", "NumberTop", "Top", "settle_sizes", "without_bad_values"]


@dataclass(frozen=True)
class Top:
    """One top of a data layer.

    Attributes
    ----------
    name : the blob's name
    shape : of one sample in the blob
    time_major : whether the batch is the blob's second axis (``transpose: true``), for recurrent nets
    limits : what its values may be, where layers index their memory by them or samples are weighed by them
    """

    name: str
    shape: Tuple[int, ...]
    time_major: bool = False
    limits: Tuple[Limit, ...] = field(default=(), compare=False)

    def blob_shape(self, batch: int) -> Tuple[int, ...]:
        """The blob's whole shape for ``batch`` samples."""
        if self.time_major:
            return (self.shape[0], batch, *self.shape[1:])
        return (batch, *self.shape)

    def samples(self, blob: np.ndarray) -> np.ndarray:
        """A view of the blob with the batch as its first axis."""
        return blob.swapaxes(0, 1) if self.time_major else blob

    @property
    def is_random(self) -> bool:
        """Whether ``fill`` depends on the random numbers it is given."""
        return False

    def fill(self, column: Column, out: np.ndarray, draws: np.ndarray) -> None:
        """Write samples into ``out``, (n, *shape) float32, from the column of a chunk of n records.

        ``draws`` is (n, 3) random numbers in [0, 1). Raises BadRecord with the row of a record that cannot be used.
        """
        raise NotImplementedError

    @property
    def fixed(self) -> Optional[Tuple[np.dtype, Tuple[int, ...]]]:
        """dtype and shape of a record in the reader's column; None where a record is a ``pack_image`` entry."""
        raise NotImplementedError


@dataclass(frozen=True)
class NumberTop(Top):
    """A top whose records are arrays of one size: numbers, or raw images that are neither cropped nor resized."""

    dtype: str = "float32"
    transform: Optional[Transform] = None

    @property
    def fixed(self) -> Optional[Tuple[np.dtype, Tuple[int, ...]]]:
        return np.dtype(self.dtype), self.shape

    @property
    def is_random(self) -> bool:
        return self.transform is not None and self.transform.is_random

    def fill(self, column: Column, out: np.ndarray, draws: np.ndarray) -> None:
        assert isinstance(column, np.ndarray)
        if self.transform is None:
            out[...] = column
        elif self.transform.is_random:
            for image, target, draw in zip(column, out, draws):
                self.transform.apply(image, target, draw)
        else:
            self.transform.apply_whole(column, out)

    def problems(self, ids: Sequence[str], column: np.ndarray) -> Iterator[Tuple[int, BadRecord]]:
        """(row, what is wrong) of the records whose values are not finite, or outside the top's limits.

        A record may come more than once.
        """
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found
            column = np.asarray(column, self.dtype)
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            for row in np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(axis=1)):
                problem = not_finite(ids[row], self.name, column[row])
                assert problem is not None
                yield int(row), problem
        if not self.limits:
            return
        arriving = column
        if self.transform is not None:
            arriving = np.empty(column.shape, np.float32)
            self.transform.apply_whole(column, arriving)
        for takes in self.limits:
            for row, number, value in takes.wrong_rows(arriving, moved=self.is_random):
                yield row, takes.explain(ids[row], self.name, number, value, arriving[row].size)


def _check_columns(tops: Sequence[Top], records: Records, source: str) -> None:
    """Raise DataError where columns are not as many, as long and as wide as ``tops`` say: numbers are stored one after
    another, and would be read as those of other records."""
    count = len(records.ids)
    if len(records.columns) != len(tops) or len(records.index) != count:
        raise DataError(
            f"{source}: the reader gave {len(records.columns)} columns and {len(records.index)} positions of {count} "
            f"records, where there are {len(tops)} tops and as many positions as records"
        )
    for top, column in zip(tops, records.columns):
        if top.fixed is None:
            shape: Tuple[int, ...] = (len(column),)
            wanted: Tuple[int, ...] = (count,)
        else:
            shape, wanted = np.shape(column), (count, *top.fixed[1])
        if shape[:1] != wanted[:1] or math.prod(shape) != math.prod(wanted):
            raise DataError(
                f"{source}: the reader gave {'x'.join(map(str, shape))} values of {count} records for top "
                f"'{top.name}', which takes {'x'.join(map(str, wanted))}: the data is another than when the run began, "
                "or the reader is wrong"
            )


def without_bad_values(tops: Sequence[Top], records: Records, bad: BadRecords) -> Records:
    """The records whose values layers can take, as far as that shows before images are decoded; the others are
    reported. Raises DataError where a reader gave others than the tops are of."""
    _check_columns(tops, records, bad.source)
    problems: Dict[int, BadRecord] = {}
    for top, column in zip(tops, records.columns):
        if isinstance(top, NumberTop) and isinstance(column, np.ndarray) and len(column):
            for row, problem in top.problems(records.ids, column):
                problems.setdefault(row, problem)
    for row in sorted(problems):
        bad.report(problems[row])
    if not problems:
        return records
    return records.keep(np.array([row for row in range(len(records)) if row not in problems], np.int64))


@dataclass(frozen=True)
class ImageTop(Top):
    """A top whose records are images of any size, encoded or raw.

    Attributes
    ----------
    channels : 1, 3, 4 or 0 (as the file has)
    upright : whether the EXIF orientation of JPEGs is followed
    resize : (height, width) to resize to before the transformation, or None
    expect : (height, width) an image must have, or None
    max_pixels : the most pixels an image may have
    any_size : whether the blob gets the size of each image, in batches of one
    """

    transform: Transform = field(default_factory=Transform)
    channels: int = 0
    upright: bool = True
    resize: Optional[Tuple[int, int]] = None
    expect: Optional[Tuple[int, int]] = None
    max_pixels: int = MAX_PIXELS
    any_size: bool = False

    @property
    def fixed(self) -> Optional[Tuple[np.dtype, Tuple[int, ...]]]:
        return None

    @property
    def is_random(self) -> bool:
        return self.transform.is_random

    def pixels(self, entry: bytes, record: str = "", row: Optional[int] = None) -> np.ndarray:
        """One record's image, decoded, checked and resized: (channels, height, width).

        Raises BadRecord with the ``record`` (its id) and ``row`` that are given.
        """
        try:
            return self._pixels(entry, record, row)
        except MemoryError:
            raise BadRecord(
                record, "image too large", "there is not enough memory for the image; -maxPixels refuses such", row
            ) from None

    def _pixels(self, entry: bytes, record: str, row: Optional[int]) -> np.ndarray:
        kind, shape, data = unpack_image(entry)

        def check_size(height: int, width: int) -> None:
            """What the file's header says, before memory is taken for it."""
            if shape[1] and shape[2] and (height, width) != shape[1:]:
                found = f"the image is {height}x{width} where the record says {shape[1]}x{shape[2]}"
                raise BadRecord(record, "wrong image size", found, row)
            self._check_size(height, width, record, row)

        if kind == ENCODED:
            try:
                image = decode_image(data, self.channels, self.upright, self.max_pixels, check_size)
            except CannotDecode as e:
                raise BadRecord(record, "undecodable image", f"the image cannot be decoded: {e}", row) from None
        else:
            dtype = np.dtype(np.uint8 if kind == RAW_BYTES else np.float32)
            image = np.frombuffer(data, dtype).reshape(shape)
            infinite = None if kind == RAW_BYTES else not_finite(record, self.name, image, row)
            if infinite is not None:
                raise infinite
            self._check_size(shape[1], shape[2], record, row)
        if self.resize is not None:
            image = resize(image, self.resize)
        size = (image.shape[0], image.shape[1], image.shape[2])
        problem = self.transform.problem_with(size)
        settled = 1 if self.any_size else 3
        if problem is None and self.transform.output_shape(size)[:settled] != self.shape[:settled]:
            problem = (
                f"is {'x'.join(map(str, image.shape))} and does not fill the blob's {'x'.join(map(str, self.shape))}"
            )
        if problem is not None:
            raise BadRecord(record, "wrong image size", f"the image {problem}", row)
        return image

    def _check_size(self, height: int, width: int, record: str, row: Optional[int]) -> None:
        """Raise BadRecord where an image of this size could not be used, whatever is in it."""
        if self.expect is not None and self.resize is None and (height, width) != self.expect:
            found = f"the image is {height}x{width}, not {self.expect[0]}x{self.expect[1]}; -resize would resize it"
            raise BadRecord(record, "wrong image size", found, row)
        if self.any_size:
            return
        if self.resize is None and not self.transform.crop and (height, width) != self.shape[1:]:
            blob = "x".join(map(str, self.shape))
            found = f"the image is {height}x{width} and does not fill the blob's {blob}; -resize would resize it"
            raise BadRecord(record, "wrong image size", found, row)

    def fill(self, column: Column, out: np.ndarray, draws: np.ndarray) -> None:
        for row, entry in enumerate(column):
            image = entry if isinstance(entry, np.ndarray) else self.pixels(entry, row=row)
            self.transform.apply(image, out[row], draws[row])
            if self.limits:
                self._check_limits(out[row], "", row)

    def check(self, entry: bytes) -> None:
        """Raise BadRecord unless the record can be used, whatever the random numbers."""
        image = self.pixels(entry)
        if self.limits:
            whole = replace(self.transform, mirror=False, crop=0 if self.transform.train else self.transform.crop)
            out = np.empty(whole.output_shape((image.shape[0], image.shape[1], image.shape[2])), np.float32)
            whole.apply(image, out, (0, 0, 0))
            self._check_limits(out, "", None, moved=self.is_random)

    def _check_limits(self, image: np.ndarray, record: str, row: Optional[int], moved: bool = False) -> None:
        for takes in self.limits:
            for _, number, value in takes.wrong_rows(image[np.newaxis], moved):
                raise takes.explain(record, self.name, number, value, image.size, row)


def settle_sizes(tops: Sequence[Top], columns: Sequence[Column]) -> Tuple[Dict[str, Tuple[int, ...]], List[Column]]:
    """The shapes of the blobs whose images have any size, for a batch of one record, and its columns with these images
    decoded. Raises BadRecord."""
    shapes: Dict[str, Tuple[int, ...]] = {}
    settled = list(columns)
    for number, (top, column) in enumerate(zip(tops, columns)):
        if isinstance(top, ImageTop) and top.any_size:
            image = top.pixels(column[0], row=0)
            shapes[top.name] = (1, *top.transform.output_shape((image.shape[0], image.shape[1], image.shape[2])))
            settled[number] = image[np.newaxis]
    return shapes, settled
