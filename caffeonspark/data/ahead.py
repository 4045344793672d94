"""A process that decodes the images of the next batch while this one computes, which keeps the GIL.

It is a new process, not a fork, so it may be started whenever it is needed, also after an engine was loaded. Entries
and pixels go through memory that both processes have; only numbers go through the pipes, which never fill. What cannot
be decoded comes back as it was: whoever needs the pixels decodes it again, and finds what is wrong with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import math
import mmap
import os
import signal
import struct
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..process import end_with_parent, write_all
from .records import ENCODED, Column, Records
from .tops import ImageTop, Top
from .transform import Transform

__all__ = ["Decoder", "decoded_ahead", "serve"]

_ORDER = struct.Struct("<qqq")  # number of the slot, where the entries end in it, bytes of what tells about them
_ANSWER = struct.Struct("<qq")  # the same of the pixels that are in the slot then
_SLOTS = 2  # batches on their way: one is computed with, one is decoded
_MOST = 64 << 20  # bytes of pixels in a slot; what is more stays encoded
_START = "import sys; sys.path[:] = {path!r}; from caffeonspark.data.ahead import serve; serve({parent}, {files!r})"
_ALIGNED = 64  # bytes
_MFD_CLOEXEC = 1

_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)

#: The same records of each data layer.
Chunk = List[Records]
#: Where an image's pixels are in a slot, their shape and dtype.
_Place = Tuple[int, Tuple[int, ...], str]
#: (number of the layer, of its column) of each column that was ordered.
Places = List[Tuple[int, int]]


def decoded_ahead(
    chunks: Iterator[Chunk], tops: Sequence[Sequence[Top]], decoder: Optional[Decoder]
) -> Iterator[Chunk]:
    """The same chunks, whose images ``decoder`` decodes while the chunk before is worked on.

    Parameters
    ----------
    chunks : the next one is asked for before one is given
    tops : of each layer; those whose blobs have the size of their images are left alone
    decoder : None, or one that is in use, decodes nothing, and no chunk is asked for before its time
    """
    if decoder is None or decoder.in_use:
        yield from chunks
        return
    decoder.in_use = True
    try:
        yield from _decoded(chunks, tops, decoder)
    finally:
        decoder.in_use = False
        decoder.forget()


def _decoded(chunks: Iterator[Chunk], tops: Sequence[Sequence[Top]], decoder: Decoder) -> Iterator[Chunk]:
    waiting: Optional[Tuple[Chunk, Places]] = None
    for chunk in chunks:
        places = [
            (layer, column)
            for layer, mine in enumerate(tops)
            for column, top in enumerate(mine)
            if type(top) is ImageTop and not top.any_size and _is_encoded(chunk[layer].columns[column])
        ]
        decoder.order([(_image_top(tops[layer][column]), chunk[layer].columns[column]) for layer, column in places])
        if waiting is not None:
            yield _with_pixels(*waiting, decoder.take())
        waiting = chunk, places
    if waiting is not None:
        yield _with_pixels(*waiting, decoder.take())


def _is_encoded(column: Column) -> bool:
    return isinstance(column, list) and any(_is_file(entry) for entry in column)


def _is_file(entry: Any) -> bool:
    """Whether an entry is an image file's."""
    return isinstance(entry, bytes) and entry[:1] == ENCODED


def _with_pixels(chunk: Chunk, places: Places, found: Sequence[Column]) -> Chunk:
    """The chunk with what was found in the places of what was ordered."""
    columns = [list(records.columns) for records in chunk]
    for (layer, column), decoded in zip(places, found):
        columns[layer][column] = decoded
    return [Records(records.ids, mine, records.index) for records, mine in zip(chunk, columns)]


#: A top and its column.
Work = List[Tuple[ImageTop, Column]]


class Decoder:
    """The process, from this side. What is ordered is taken in the same order; two orders at a time.

    It is started by the first order that has something to decode, and ends with this process. Where it cannot be
    started or has ended, columns come back as they were.

    Attributes
    ----------
    in_use : whether chunks are decoded by it; others wait for nobody, and are given as they are
    ended : whether it decodes nothing any more
    """

    def __init__(self) -> None:
        self.in_use = self.ended = False
        self._ordered: List[Work] = []
        self._number = 0  # of the order that is taken next
        self._tops: List[ImageTop] = []  # as it knows them
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._opened = contextlib.ExitStack()

    def _start(self) -> None:
        self._slots = [self._closed_later(_memory()) for _ in range(_SLOTS)]
        with contextlib.ExitStack() as theirs:
            orders, self._orders = os.pipe()
            theirs.callback(os.close, orders)
            self._closed_later(self._orders)
            self._answers, answers = os.pipe()
            theirs.callback(os.close, answers)
            self._closed_later(self._answers)
            files = [orders, answers, *self._slots]
            code = _START.format(path=sys.path, parent=os.getpid(), files=files)
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=files
            )

    def _closed_later(self, fd: int) -> int:
        self._opened.callback(os.close, fd)
        return fd

    def forget(self) -> None:
        """Give up what was ordered and is not taken."""
        while self._ordered:
            self.take()

    def order(self, work: Work) -> None:
        """Have columns decoded."""
        number = (self._number + len(self._ordered)) % _SLOTS
        self._ordered.append(work)
        if self.ended or not work:
            return
        tops = [top for top, _ in work]
        same = len(tops) == len(self._tops) and all(a is b for a, b in zip(tops, self._tops))
        entries = [[entry if _is_file(entry) else b"" for entry in column] for _, column in work]
        about = {
            "tops": None if same else [_described(top) for top in tops],
            "sizes": [[len(entry) for entry in column] for column in entries],
        }
        self._tops = tops
        try:
            if self._process is None:
                self._start()
            end = _write(self._slots[number], b"".join(entry for column in entries for entry in column), 0)
            size = _write_json(self._slots[number], about, end)
            write_all(self._orders, _ORDER.pack(number, end, size))
        except OSError as e:
            self._end(str(e))

    def take(self) -> List[Column]:
        """The columns of the oldest order: for each entry its pixels, (channels, height, width), or the entry itself
        where it cannot be decoded or there was no room. Pixels are good until the order after the next."""
        number, work = self._number, self._ordered.pop(0)
        self._number += 1
        columns = [column for _, column in work]
        answer = self._answer() if work and not self.ended else None
        if answer is None:
            return columns
        end, size = answer
        slot = self._slots[number % _SLOTS]
        found = json.loads(_read(slot, size, end))
        pixels = mmap.mmap(slot, end) if end else b""
        decoded: List[Column] = []
        for column, places in zip(columns, found):
            entries: List[Any] = [
                entry if place is None else _view(pixels, *place) for entry, place in zip(column, places)
            ]
            decoded.append(entries)
        return decoded

    def _answer(self) -> Optional[Tuple[int, int]]:
        """Where the pixels end in a slot and how long what tells about them is; None where the process has ended."""
        data = b""
        while len(data) < _ANSWER.size:
            piece = os.read(self._answers, _ANSWER.size - len(data))
            if not piece:
                self._end("its process ended")
                return None
            data += piece
        end, size = _ANSWER.unpack(data)
        return end, size

    def _end(self, why: str) -> None:
        _log.info("caffeonspark: images are not decoded ahead any more: %s", why)
        self.close()

    def close(self) -> None:
        """End the process."""
        self.ended = True
        self._opened.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _memory() -> int:
    """A file in memory. Raises OSError."""
    if not hasattr(_libc, "memfd_create"):
        raise OSError("the C library has no memfd_create")
    fd = int(_libc.memfd_create(b"caffeonspark-pixels", _MFD_CLOEXEC))  # conda's Python has no os.memfd_create
    if fd < 0:
        raise OSError(ctypes.get_errno(), "memfd_create")
    return fd


def _write(fd: int, data: Any, at: int) -> int:
    """Write all of it; where it ends."""
    left = memoryview(data).cast("B")
    while left:
        done = os.pwrite(fd, left, at)
        at, left = at + done, left[done:]
    return at


def _write_json(fd: int, value: Any, at: int) -> int:
    """Write it; how many bytes it takes."""
    content = json.dumps(value, default=int).encode()  # sources of one's own have shapes of numpy's numbers
    return _write(fd, content, at) - at


def _read(fd: int, size: int, at: int) -> bytes:
    pieces = []
    while size:
        piece = os.pread(fd, size, at)
        if not piece:
            raise EOFError(f"{size} bytes are missing")
        pieces.append(piece)
        at, size = at + len(piece), size - len(piece)
    return b"".join(pieces)


def _view(memory: Any, at: int, shape: Tuple[int, ...], dtype: str) -> np.ndarray:
    return np.frombuffer(memory, dtype, math.prod(shape), at).reshape(shape)


# ---- tops, as far as they decode


def _image_top(top: Top) -> ImageTop:
    assert isinstance(top, ImageTop)
    return top


def _described(top: ImageTop) -> Dict[str, Any]:
    """What decoding asks of a top, for JSON."""
    known = {name: getattr(top, name) for name in ("shape", "channels", "upright", "resize", "expect", "max_pixels")}
    mean = top.transform.mean
    return {**known, "crop": top.transform.crop, "mean": None if mean is None else mean.shape}


def _top(
    shape: List[int], resize: Optional[List[int]], expect: Optional[List[int]], crop: int, mean: Any, **others: Any
) -> ImageTop:
    """What decodes as the top that was described; of its mean image only the size is looked at."""
    transform = Transform(crop=crop, mean=None if mean is None else np.broadcast_to(np.float32(0), mean))
    return ImageTop("", tuple(shape), transform=transform, resize=_pair(resize), expect=_pair(expect), **others)


def _pair(size: Optional[Sequence[int]]) -> Optional[Tuple[int, int]]:
    return None if size is None else (size[0], size[1])


# ---- in the process


def serve(parent: int, files: Sequence[int]) -> None:
    """The process: decode what is ordered until the parent is gone."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    orders, answers, *slots = files
    tops: List[ImageTop] = []
    while True:
        order = os.read(orders, _ORDER.size)  # less than a pipe writes at once
        if not order:
            return
        number, end, size = _ORDER.unpack(order)
        about, entries = json.loads(_read(slots[number], size, end)), memoryview(_read(slots[number], end, 0))
        tops = tops if about["tops"] is None else [_top(**described) for described in about["tops"]]
        columns = []
        for sizes in about["sizes"]:
            stops = np.cumsum(sizes)
            columns.append([bytes(entries[stop - one : stop]) for one, stop in zip(sizes, stops)])
            entries = entries[sum(sizes) :]
        write_all(answers, _ANSWER.pack(*_decode(tops, columns, slots[number])))


def _decode(tops: Sequence[ImageTop], columns: Sequence[Sequence[bytes]], slot: int) -> Tuple[int, int]:
    """Write pixels into a slot, and behind them where each entry's are; (where they end, the size of that)."""
    end = 0
    found: List[List[Optional[_Place]]] = []
    for top, column in zip(tops, columns):
        places: List[Optional[_Place]] = []
        for entry in column:
            pixels = _pixels(top, entry) if end < _MOST else None
            if pixels is None or end + pixels.nbytes > _MOST:
                places.append(None)
                continue
            places.append((end, pixels.shape, pixels.dtype.str))
            end = -(-_write(slot, pixels, end) // _ALIGNED) * _ALIGNED
        found.append(places)
    return end, _write_json(slot, found, end)


def _pixels(top: ImageTop, entry: bytes) -> Optional[np.ndarray]:
    """An entry's image; None where it has to stay what it is, whatever the reason."""
    if not entry:
        return None
    try:
        return np.ascontiguousarray(top.pixels(entry))
    except Exception:  # whoever decodes it again raises it again
        return None
