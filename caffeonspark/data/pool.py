"""Helper processes of a rank that decode images ahead of the solver, which keeps the GIL.

A batch is a function of its number, so a helper is told a number, makes the whole batch in a slot of shared
memory, and says when it is done. With 2 n slots for n helpers the next batches are ready or under way while the
solver works on one; memory is bounded by the slots. A helper notes the record it is at in memory that its rank sees
too, which tells of what it died.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import signal
import struct
from typing import Any, Callable, Dict, Generator, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import CaffeOnSparkError, DataError, HelperLost, InfrastructureError, from_wire, to_wire
from ..process import fork, reap, write_all
from .batches import Batches
from .records import BadRecord, BadRecords
from .store import RecordStore
from .tops import ImageTop

__all__ = ["PooledBatches", "drop_bad_images", "needs_decoding"]

_ORDER = struct.Struct("<qq")  # two numbers, whose meaning is the helper's
_RECORD = struct.Struct("<q")
_AHEAD = 2  # orders a helper has at a time, so that it need not wait for the next
_CHECKED = 16  # images a helper looks at between two answers

#: Tells which record is being worked on.
Note = Callable[[int], None]
Work = Callable[[int, int, Note], Any]


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

        def make(batch: int, slot: int, note: Note) -> None:
            batches.fill(batch, slots[slot], note)

        #: How many batches have been used.
        self.used = batches.used
        self._batches = batches
        self._ordered = self.used  # the first batch that was not ordered yet
        self._slots = slots
        self._helpers = _start_helpers(helpers, make, batches.store.filenos())

    def records(self, batch: int) -> np.ndarray:
        return self._batches.records(batch)

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """None: records whose sizes differ are not decoded ahead."""
        return {}

    def load(self, blobs: Sequence[np.ndarray]) -> None:
        """Fill the blobs with the next batch. Raises DataError."""
        count = len(self._slots)
        self._ordered = max(self._ordered, self.used)
        while self._ordered < self.used + count:
            self._helper(self._ordered).order(self._ordered, self._ordered % count)
            self._ordered += 1
        try:
            self._helper(self.used).wait()
        except HelperDied as e:
            raise self._explain(e) from None
        for blob, made in zip(blobs, self._slots[self.used % count]):
            blob[...] = made
        self.used += 1

    def _helper(self, batch: int) -> _Helper:
        return self._helpers[batch % len(self._helpers)]

    def _explain(self, death: HelperDied) -> CaffeOnSparkError:
        """A native crash is the record's fault; a process that was killed may do better another time."""
        record = "" if death.record < 0 else f" at record '{self._batches.store.id_of(death.record)}'"
        if death.crashed and record:
            return DataError(f"{self._batches.name}: a decoder process ended{record} with {death.how}")
        kind = HelperLost if record else InfrastructureError
        return kind(
            f"{self._batches.name}: a decoder process ended{record} with {death.how} (killed, or out of memory?)"
        )

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

    def check(start: int, stop: int, note: Note) -> Problems:
        return list(_bad_images(store, range(start, stop), note))

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


#: (record, cause, detail) of records whose images cannot be used.
Problems = List[Tuple[int, str, str]]


def _bad_images(store: RecordStore, records: Iterable[int], note: Note) -> Iterator[Tuple[int, str, str]]:
    for record in records:
        note(record)
        for top, column in zip(store.tops, store.read(np.array([record]))):
            if isinstance(top, ImageTop):
                try:
                    top.check(column[0])
                except BadRecord as e:
                    yield record, e.cause, e.detail
                    break


def _in_order(
    helpers: int, check: Callable[[int, int, Note], Problems], chunks: Sequence[Tuple[int, int]], files: Sequence[int]
) -> Generator[Problems, None, None]:
    """What ``check`` finds in each chunk, in their order: by helpers, or here where there are none."""
    if not helpers:
        yield from (check(*chunk, lambda record: None) for chunk in chunks)
        return
    ahead = helpers * _AHEAD
    pool = _start_helpers(helpers, check, files)
    try:
        for number in range(len(chunks) + ahead):
            helper = number % helpers
            if number >= ahead:
                done = number - ahead
                try:
                    problems = pool[helper].wait()
                except HelperDied:
                    problems = _one_by_one(check, range(*chunks[done]), files)
                    pool[helper].close()
                    pool[helper] = _Helper(check, files)
                    for later in range(done + helpers, min(number, len(chunks)), helpers):
                        pool[helper].order(*chunks[later])
                yield problems
            if number < len(chunks):
                pool[helper].order(*chunks[number])
    finally:
        _close_all(pool)


def _one_by_one(check: Callable[[int, int, Note], Problems], records: Iterable[int], files: Sequence[int]) -> Problems:
    """What is wrong with records of which one may have ended a helper: each is looked at by itself."""
    found: Problems = []
    helper = _Helper(check, files)
    try:
        for record in records:
            helper.order(record, record + 1)
            try:
                found += helper.wait()
            except HelperDied as e:
                found.append((record, "crash of the decoder", f"decoding the image ends the process with {e.how}"))
                helper.close()
                helper = _Helper(check, files)
    finally:
        helper.close()
    return found


# ---- helpers


class HelperDied(Exception):
    """A helper ended by itself.

    Attributes
    ----------
    record : the one it was at, -1 where there was none
    how : it ended, for people
    crashed : whether by a signal that native code gets by its own fault
    """

    def __init__(self, status: int, record: int) -> None:
        super().__init__(status, record)
        self.record = record
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.crashed: bool = number in _CRASHES
        self.how: str = signal.Signals(number).name if number else f"status {os.WEXITSTATUS(status)}"


_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


class _Helper:
    """One process, from the rank's side: orders go one way, answers come the other, in the same order.

    Parameters
    ----------
    work : answers an order's two numbers with what JSON can say, and notes the record it is at; what it raises,
        ``wait`` raises
    files : descriptors it reads from
    """

    def __init__(self, work: Work, files: Sequence[int]) -> None:
        self._at = mmap.mmap(-1, _RECORD.size)
        self._note(-1)
        orders_read, self._orders = os.pipe()
        self._answers, answers_write = os.pipe()
        try:
            keep = [orders_read, answers_write, *files]
            self._child = fork(lambda: _serve(self._work(work), orders_read, answers_write), keep)
        finally:
            os.close(orders_read)
            os.close(answers_write)
        self._buffer = b""
        self._status: Optional[int] = None  # of the process, once it is known to have ended

    def _note(self, record: int) -> None:
        _RECORD.pack_into(self._at, 0, record)

    def _work(self, work: Work) -> Callable[[int, int], Any]:
        """``work``, as the process does it."""

        def run(first: int, second: int) -> Any:
            found = work(first, second, self._note)
            self._note(-1)
            return found

        return run

    def order(self, first: int, second: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # ``wait`` tells
            os.write(self._orders, _ORDER.pack(first, second))

    def wait(self) -> Any:
        """The answer to the oldest order. Raises HelperDied when there will be none."""
        while b"\n" not in self._buffer:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise self._death()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise from_wire(answer["error"])
        return answer["found"]

    def _death(self) -> HelperDied:
        if self._status is None:
            self._status = os.waitpid(self._child, 0)[1]
        return HelperDied(self._status, _RECORD.unpack_from(self._at)[0])

    def close(self) -> None:
        os.close(self._orders)
        os.close(self._answers)
        if self._status is None:
            reap(self._child, kill=True)
        self._at.close()


def _start_helpers(count: int, work: Work, files: Sequence[int]) -> List[_Helper]:
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
