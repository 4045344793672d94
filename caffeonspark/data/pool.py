"""Helper processes of a rank that decode images ahead of the solver, which keeps the GIL.

A batch is a function of its number, so a helper is told a number, makes the whole batch in a slot of shared
memory, and says when it is done. With 2 n slots for n helpers the next batches are ready or under way while the
solver works on one; memory is bounded by the slots.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import struct
from typing import Any, Callable, Dict, Generator, Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from ..errors import CaffeOnSparkError, InfrastructureError, from_wire, to_wire
from ..process import fork, reap, write_all
from .batches import Batches
from .records import BadRecord, BadRecords
from .store import RecordStore
from .tops import ImageTop

__all__ = ["PooledBatches", "drop_bad_images", "needs_decoding"]

_ORDER = struct.Struct("<qq")  # two numbers, whose meaning is the helper's
_AHEAD = 2  # orders a helper has at a time, so that it need not wait for the next
_CHECKED = 16  # images a helper looks at between two answers


def needs_decoding(store: RecordStore) -> bool:
    """Whether the store keeps images that are decoded for every batch."""
    return any(isinstance(top, ImageTop) for top in store.tops)


# ---- batches ahead of the solver


class PooledBatches:
    """A ``Feed`` of batches that helper processes make.

    Parameters
    ----------
    batches : what to make; its store stays open here
    helpers : how many processes
    """

    def __init__(self, batches: Batches, helpers: int) -> None:
        shapes = [top.blob_shape(batches.batch_size) for top in batches.store.tops]
        slots = [_shared_arrays(shapes) for _ in range(helpers * _AHEAD)]

        def make(batch: int, slot: int) -> None:
            batches.fill(batch, slots[slot])

        #: How many batches have been used.
        self.used = batches.used
        self._ordered = self.used  # the first batch that was not ordered yet
        self._slots = slots
        self._helpers = _start_helpers(helpers, make, batches.store.filenos())

    def load(self, blobs: Sequence[np.ndarray]) -> None:
        """Fill the blobs with the next batch. Raises DataError."""
        count = len(self._slots)
        self._ordered = max(self._ordered, self.used)
        while self._ordered < self.used + count:
            self._helper(self._ordered).order(self._ordered, self._ordered % count)
            self._ordered += 1
        self._helper(self.used).wait()
        for blob, made in zip(blobs, self._slots[self.used % count]):
            blob[...] = made
        self.used += 1

    def _helper(self, batch: int) -> _Helper:
        return self._helpers[batch % len(self._helpers)]

    def close(self) -> None:
        """End the helpers; the store stays open."""
        _close_all(self._helpers)


def _shared_arrays(shapes: Sequence[Tuple[int, ...]]) -> List[np.ndarray]:
    """float32 arrays in memory that this process and those it forks share."""
    sizes = [4 * math.prod(shape) for shape in shapes]
    memory = mmap.mmap(-1, max(1, sum(sizes)))
    views, start = [], 0
    for shape, size in zip(shapes, sizes):
        views.append(np.frombuffer(memory, np.float32, size // 4, start).reshape(shape))
        start += size
    return views


# ---- looking at every image before training


def drop_bad_images(
    store: RecordStore, bad: BadRecords, helpers: int, heartbeat: Callable[[], None] = lambda: None
) -> None:
    """Decode every image of a store once, and forget the records whose images cannot be used.

    Only where they are to be skipped: then the sequence of batches is settled before training starts. ``heartbeat`` is
    called now and then.
    """

    def check(start: int, stop: int) -> List[Tuple[int, str, str]]:
        return list(_bad_images(store, range(start, stop)))

    chunks = [(start, min(len(store), start + _CHECKED)) for start in range(0, len(store), _CHECKED)]
    found: List[int] = []
    with contextlib.closing(_in_order(helpers, check, chunks, store.filenos())) as answers:
        for problems in answers:
            heartbeat()
            for record, cause, detail in problems:
                found.append(record)
                bad.report(BadRecord(store.id_of(record), cause, detail))
    if found:
        store.keep(np.delete(np.arange(len(store)), found))


def _bad_images(store: RecordStore, records: Iterable[int]) -> Iterator[Tuple[int, str, str]]:
    """(record, cause, detail) of the records whose images cannot be used."""
    for record in records:
        for top, column in zip(store.tops, store.read(np.array([record]))):
            if isinstance(top, ImageTop):
                try:
                    top.pixels(column[0])
                except BadRecord as e:
                    yield record, e.cause, e.detail
                    break


def _in_order(
    helpers: int, work: Callable[[int, int], Any], orders: Sequence[Tuple[int, int]], files: Sequence[int]
) -> Generator[Any, None, None]:
    """What ``work`` returns for each order, in their order: made by helpers, or here where there are none."""
    if not helpers:
        yield from (work(*order) for order in orders)
        return
    pool = _start_helpers(helpers, work, files)
    try:
        for number in range(len(orders) + helpers * _AHEAD):
            if number >= helpers * _AHEAD:
                yield pool[number % helpers].wait()
            if number < len(orders):
                pool[number % helpers].order(*orders[number])
    finally:
        _close_all(pool)


# ---- helpers


class _Helper:
    """One process, from the rank's side: orders go one way, answers come the other, in the same order.

    Parameters
    ----------
    work : answers an order's two numbers with what JSON can say; what it raises, ``wait`` raises
    files : descriptors it reads from
    """

    def __init__(self, work: Callable[[int, int], Any], files: Sequence[int]) -> None:
        orders_read, self._orders = os.pipe()
        self._answers, answers_write = os.pipe()
        try:
            keep = [orders_read, answers_write, *files]
            self._child = fork(lambda: _serve(work, orders_read, answers_write), keep)
        finally:
            os.close(orders_read)
            os.close(answers_write)
        self._buffer = b""

    def order(self, first: int, second: int) -> None:
        try:
            os.write(self._orders, _ORDER.pack(first, second))
        except BrokenPipeError:
            raise _helper_is_gone() from None

    def wait(self) -> Any:
        """The answer to the oldest order."""
        while b"\n" not in self._buffer:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise _helper_is_gone()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise from_wire(answer["error"])
        return answer["found"]

    def close(self) -> None:
        os.close(self._orders)
        os.close(self._answers)
        reap(self._child, kill=True)


def _helper_is_gone() -> InfrastructureError:
    return InfrastructureError("a decoder process ended by itself (killed, or out of memory?)")


def _start_helpers(count: int, work: Callable[[int, int], Any], files: Sequence[int]) -> List[_Helper]:
    helpers: List[_Helper] = []
    try:
        for _ in range(count):
            helpers.append(_Helper(work, files))
    except BaseException:
        _close_all(helpers)
        raise
    return helpers


def _close_all(helpers: Iterable[_Helper]) -> None:
    for helper in helpers:
        helper.close()


def _serve(work: Callable[[int, int], Any], orders: int, answers: int) -> None:
    """A helper's loop; ends when the rank closes its end or is gone."""
    data = b""
    while True:
        piece = os.read(orders, 1 << 12)
        if not piece:
            return
        data += piece
        while len(data) >= _ORDER.size:
            first, second = _ORDER.unpack_from(data)
            data = data[_ORDER.size :]
            answer: Dict[str, Any]
            try:
                answer = {"found": work(first, second)}
            except CaffeOnSparkError as e:
                answer = {"error": to_wire(e)}
            write_all(answers, json.dumps(answer).encode() + b"\n")
