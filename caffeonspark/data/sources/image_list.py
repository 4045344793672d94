"""Caffe's ``ImageData`` layer: a text file of image paths and labels, and a root folder.

The list is read on the driver; each rank opens the images of its range where it runs, so they have to be at the
same path on every node. Images are read whole and decoded later.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from dataclasses import dataclass
from typing import ClassVar, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...errors import ConfigError, DataError
from ...nets.text import lines_of
from ..decode import MAX_PIXELS
from ..records import BadRecord, BadRecords, Column, Records
from ..tops import ImageTop, Top
from .base import RangeReader, RangeSource
from .images import ImageSource, image_entry

__all__ = ["ImageListReader", "ImageListSource"]

_CHUNK = 64  # images
_LABEL = re.compile(r"[-+]?[0-9]+")  # int() takes 1_0, and digits of any script
_LABELS = re.compile(r"(?:\s+[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)+$")  # numbers at the end of a line
_SEVERAL = "several labels, and fractions, need CoSData over a DataFrame, or HDF5Data"
_BYTES = 8  # of a pixel at most: four channels of 16 bits
_HEADERS = 16 << 20  # and the other parts of a file: a colour profile, a preview


@dataclass(frozen=True)
class ImageListReader(RangeReader):
    """Reads image files.

    Attributes
    ----------
    root : put before every path
    paths, labels : the list
    image : the first top
    label : whether there is a label top
    """

    root: str
    paths: Tuple[str, ...]
    labels: np.ndarray
    image: Top
    label: bool

    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        for first in range(start, stop, step * _CHUNK):
            numbers = []
            entries = []
            for number in range(first, min(stop, first + step * _CHUNK), step):
                try:
                    entries.append(image_entry(self.image, self.paths[number], None, self._content(number)))
                    numbers.append(number)
                except BadRecord as e:
                    bad.report(e)
            columns: List[Column] = [entries]
            if self.label:
                columns.append(self.labels[numbers])
            yield Records([self.paths[number] for number in numbers], columns, np.array(numbers, np.int64))

    def _content(self, number: int) -> bytes:
        name = self.paths[number]
        return _content(
            self.root + name, name, self.image.max_pixels if isinstance(self.image, ImageTop) else MAX_PIXELS
        )


def _content(path: str, record: str, max_pixels: int) -> bytes:
    """An image file's bytes, unless no image of so many pixels is so large. Raises BadRecord."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # reading a pipe might never end
            raise BadRecord(record, "unreadable file", "the image cannot be read: it is no file")
        if about.st_size > _BYTES * max_pixels + _HEADERS:
            found = f"the image's file has {about.st_size} bytes, too many for -maxPixels {max_pixels}"
            raise BadRecord(record, "image too large", found)
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise BadRecord(record, "unreadable file", f"the image cannot be read: {e.strerror}") from None


class ImageListSource(ImageSource, RangeSource):
    """The images an ``ImageData`` layer lists."""

    layer_types: ClassVar[Mapping[str, str]] = {"ImageData": "image_data_param"}
    _paths: Tuple[str, ...] = ()
    _labels = np.zeros(0, np.float32)
    _root = ""

    @property
    def description(self) -> str:
        return f"image list {self.parameters().source}"

    def resize_to(self, first: Tuple[int, int]) -> Optional[Tuple[int, int]]:
        param = self.parameters()
        if bool(param.new_height) != bool(param.new_width):
            raise ConfigError(f"{self.where}: new_height and new_width go together")
        return (int(param.new_height), int(param.new_width)) if param.new_height else super().resize_to(first)

    def open(self) -> None:
        param = self.parameters()
        self.shuffle = bool(param.shuffle)
        content = self.config.files.read(param.source, f"{self.where}: source", beside=self.net.path)
        paths, labels = self._parse(lines_of(content))
        skip = self._skip(content, len(paths))
        self._paths, self._labels = paths[skip:] + paths[:skip], np.roll(labels, -skip)
        self._root = self._find_root()
        problem: Optional[DataError] = None
        for name in self._paths if self.config.skip else self._paths[:1]:  # the first image that can be used
            try:
                data = _content(self._root + name, name, self.config.max_pixels)
                self.tops = self.make_tops(name, None, data)
                return
            except BadRecord as e:
                self._check_labels(name)
                problem = problem or DataError(f"{self.where}: {self.description}: {self._root}{name}: {e.detail}")
            except DataError as e:
                problem = problem or e
        assert problem is not None
        raise problem

    def _skip(self, content: bytes, count: int) -> int:
        """How many images are passed over at first, and come last: below ``rand_skip``, as chance has it, but the same
        whenever the list is the same, so that a resumed run begins where it began."""
        return zlib.crc32(content) % min(int(self.parameters().rand_skip) or 1, count)

    def _parse(self, lines: Sequence[str]) -> Tuple[Tuple[str, ...], np.ndarray]:
        paths, labels = [], []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            path, space, label = line.strip().rpartition(" ")  # as Caffe: file names may have spaces
            if space and _LABEL.fullmatch(label):
                labels.append(int(label))
            else:
                raise ConfigError(
                    f"{self.where}: source {self.parameters().source}:{number}: a line is a path, a space and a "
                    f"whole number, not '{line.strip()[:60]}'"
                    + (f"; {_SEVERAL}" if _LABELS.search(line.rstrip()) else "")
                )
            paths.append(path.rstrip())
        if not paths:
            raise DataError(f"{self.where}: {self.description} is empty")
        return tuple(paths), np.array(labels, np.float32)

    def _check_labels(self, name: str) -> None:
        """Raise ConfigError where an image that is not there would be, had its line but one label."""
        several = _LABELS.search(name)
        if several and os.path.isfile(self._root + name[: several.start()]):
            raise ConfigError(f"{self.where}: {self.description}: a line has several labels; {_SEVERAL}")

    def _find_root(self) -> str:
        """The root folder, ending as given: Caffe puts it before the path as it is. Where there is none, and the paths
        are relative, it is the working directory, as in Caffe, or else the net's folder: executors have others."""
        given = self.parameters().root_folder
        if not given:
            if any(map(os.path.isabs, self._paths)):
                return ""
            folders = [os.getcwd(), os.path.dirname(os.path.abspath(self.net.path))]
            there = (folder for folder in folders if os.path.isfile(os.path.join(folder, self._paths[0])))
            return os.path.join(next(there, folders[0]), "")
        found = self.config.files.find(given.rstrip("/") or "/", beside=self.net.path)
        if found is None:
            root = self._find_prefix(given)
            if not root:
                raise ConfigError(f"{self.where}: root_folder {given} does not exist")
            return root
        root = self.path_on_nodes(found, "root_folder")
        return root + "/" if given.endswith("/") and root != "/" else root

    def _find_prefix(self, given: str) -> str:
        """The root where it is a folder and the beginning of names in it, so that the first image is there; else ""."""
        folder, start = os.path.split(given)
        found = self.config.files.find(folder or ".", beside=self.net.path)
        root = os.path.join(self.path_on_nodes(found, "root_folder"), start) if found is not None and start else ""
        return root if root and os.path.isfile(root + self._paths[0]) else ""

    def count(self) -> int:
        return len(self._paths)

    def reader(self) -> ImageListReader:
        return ImageListReader(self._root, self._paths, self._labels, self.tops[0], len(self.tops) > 1)
