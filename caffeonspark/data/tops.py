"""The tops of data layers: what a reader's column looks like and how it becomes a blob."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Tuple

import numpy as np

from .decode import CannotDecode, decode_image, resize
from .records import ENCODED, RAW_BYTES, BadRecord, Column, unpack_image
from .transform import Transform

__all__ = ["ImageTop", "NumberTop", "Top"]


@dataclass(frozen=True)
class Top:
    """One top of a data layer.

    Attributes
    ----------
    name : the blob's name
    shape : of one sample in the blob
    time_major : whether the batch is the blob's second axis (``transpose: true``), for recurrent nets
    """

    name: str
    shape: Tuple[int, ...]
    time_major: bool = False

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


@dataclass(frozen=True)
class ImageTop(Top):
    """A top whose records are images of any size, encoded or raw.

    Attributes
    ----------
    channels : 1, 3, 4 or 0 (as the file has)
    upright : whether the EXIF orientation of JPEGs is followed
    resize : (height, width) to resize to before the transformation, or None
    expect : (height, width) an image must have, or None
    """

    transform: Transform = field(default_factory=Transform)
    channels: int = 0
    upright: bool = True
    resize: Optional[Tuple[int, int]] = None
    expect: Optional[Tuple[int, int]] = None

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
        kind, shape, data = unpack_image(entry)
        if kind == ENCODED:
            try:
                image = decode_image(data, self.channels, self.upright)
            except CannotDecode as e:
                raise BadRecord(record, "undecodable image", f"the image cannot be decoded: {e}", row) from None
            if shape[1] and shape[2] and image.shape[1:] != shape[1:]:
                raise BadRecord(
                    record,
                    "wrong image size",
                    f"the image is {image.shape[1]}x{image.shape[2]} where the record says {shape[1]}x{shape[2]}",
                    row,
                )
        else:
            dtype = np.dtype(np.uint8 if kind == RAW_BYTES else np.float32)
            image = np.frombuffer(data, dtype).reshape(shape)
        if self.resize is not None:
            image = resize(image, self.resize)
        if self.expect is not None and image.shape[1:] != self.expect:
            raise BadRecord(
                record,
                "wrong image size",
                f"the image is {image.shape[1]}x{image.shape[2]}, not {self.expect[0]}x{self.expect[1]}; "
                "-resize would resize it",
                row,
            )
        size = (image.shape[0], image.shape[1], image.shape[2])
        problem = self.transform.problem_with(size)
        if problem is None and self.transform.output_shape(size) != self.shape:
            problem = (
                f"is {'x'.join(map(str, image.shape))} and does not fill the blob's {'x'.join(map(str, self.shape))}"
            )
        if problem is not None:
            raise BadRecord(record, "wrong image size", f"the image {problem}", row)
        return image

    def fill(self, column: Column, out: np.ndarray, draws: np.ndarray) -> None:
        for row, entry in enumerate(column):
            self.transform.apply(self.pixels(entry, row=row), out[row], draws[row])
