"""Helper processes of a rank that decode images ahead of the solver, which keeps the GIL.

A batch is a function of its number, so a helper is told a number, makes the whole batch in a slot of shared
memory, and says when it is done. With 2 n slots for n helpers the next batches are ready or under way while the
solver works on one; memory is bounded by the slots.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import struct
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ..errors import CaffeOnSparkError, InfrastructureError, from_wire, to_wire
from ..process import fork, reap
from .batches import Batches
from .records import BadRecord, BadRecords
from .store import RecordStore
from .tops import ImageTop

__all__ = ["PooledBatches", "drop_bad_images", "needs_decoding"]

_ORDER = struct.Struct("<qq")  # number of the batch, slot
_SLOTS_A_HELPER = 2


def needs_decoding(store: RecordStore) -> bool:
    """Whether the store keeps images that are decoded for every batch."""
    return any(isinstance(top, ImageTop) for top in store.tops)


class PooledBatches(Batches):
    """``Batches`` made by helper processes.

    Parameters
    ----------
    batches : what to make; its store stays open here
    helpers : how many processes
    """

    def __init__(self, batches: Batches, helpers: int) -> None:
        self.__dict__.update(batches.__dict__)
        self._shapes = [top.blob_shape(self.batch_size) for top in self.store.tops]
        self._slots = [self._make_slot() for _ in range(helpers * _SLOTS_A_HELPER)]
        self._asked = -1  # the last batch that was ordered
        self._helpers: List[_Helper] = []
        try:
            for _ in range(helpers):
                others = [fd for helper in self._helpers for fd in helper.ends]
                self._helpers.append(_Helper(self._work, self.store.filenos(), others))
        except BaseException:
            self.close()
            raise

    def _make_slot(self) -> List[np.ndarray]:
        sizes = [4 * math.prod(shape) for shape in self._shapes]
        memory = mmap.mmap(-1, max(1, sum(sizes)))
        views, at = [], 0
        for shape, size in zip(self._shapes, sizes):
            views.append(np.frombuffer(memory, np.float32, size // 4, at).reshape(shape))
            at += size
        return views

    # ---- in the rank

    def load(self, blobs: Sequence[np.ndarray]) -> None:
        count = len(self._slots)
        if self._asked < self.used:
            self._asked = self.used - 1
        while self._asked < self.used + count - 1:
            self._asked += 1
            self._helper(self._asked).order(self._asked, self._asked % count)
        self._helper(self.used).wait()
        for blob, made in zip(blobs, self._slots[self.used % count]):
            blob[...] = made
        self.used += 1

    def _helper(self, batch: int) -> _Helper:
        return self._helpers[batch % len(self._helpers)]

    def close(self) -> None:
        for helper in self._helpers:
            helper.close()

    # ---- in a helper

    def _work(self, batch: int, slot: int) -> None:
        self.fill(batch, self._slots[slot])


class _Helper:
    """One process, from the rank's side: orders go one way, answers come the other, in the same order."""

    def __init__(self, work: Callable[[int, int], None], files: List[int], others: Sequence[int]) -> None:
        orders_read, self._orders = os.pipe()
        self._answers, answers_write = os.pipe()
        try:
            keep = [orders_read, answers_write, *files]
            self._child = fork(lambda: _serve(work, orders_read, answers_write), keep)
        finally:
            os.close(orders_read)
            os.close(answers_write)
        self.ends = (self._orders, self._answers)
        self._buffer = b""

    def order(self, batch: int, slot: int) -> None:
        try:
            os.write(self._orders, _ORDER.pack(batch, slot))
        except BrokenPipeError:
            raise InfrastructureError("a decoder process ended by itself (killed, or out of memory?)") from None

    def wait(self) -> None:
        """Until the oldest order is done; raises what the helper raised."""
        while b"\n" not in self._buffer:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise InfrastructureError("a decoder process ended by itself (killed, or out of memory?)")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        if line:
            raise from_wire(json.loads(line))

    def close(self) -> None:
        for end in self.ends:
            os.close(end)
        reap(self._child, kill=True)


def _serve(work: Callable[[int, int], None], orders: int, answers: int) -> None:
    """A helper's loop; ends when the rank closes its end or is gone."""
    data = b""
    while True:
        piece = os.read(orders, 1 << 12)
        if not piece:
            return
        data += piece
        while len(data) >= _ORDER.size:
            batch, slot = _ORDER.unpack_from(data)
            data = data[_ORDER.size :]
            try:
                work(batch, slot)
                answer = b""
            except CaffeOnSparkError as e:
                answer = json.dumps(to_wire(e)).encode()
            os.write(answers, answer + b"\n")


# ---- looking at every image before training


def drop_bad_images(
    store: RecordStore, bad: BadRecords, helpers: int, heartbeat: Callable[[], None] = lambda: None
) -> None:
    """Decode every image of a store once, and forget the records whose images cannot be used.

    Only where they are to be skipped: then the sequence of batches is settled before training starts. ``heartbeat`` is
    called now and then.
    """
    found: Dict[int, BadRecord] = {}
    for record, problem in _check_in_parallel(store, helpers, heartbeat) if helpers else _check(store, 0, 1, heartbeat):
        found[record] = problem
    for record in sorted(found):
        problem = found[record]
        bad.report(BadRecord(store.id_of(record), problem.cause, problem.detail))
    if found:
        store.keep(np.array([record for record in range(len(store)) if record not in found], np.int64))


def _check(store: RecordStore, first: int, step: int, heartbeat: Callable[[], None]) -> Iterator[Tuple[int, BadRecord]]:
    """The records first, first + step, … whose images cannot be used."""
    for record in range(first, len(store), step):
        heartbeat()
        for top, column in zip(store.tops, store.read(np.array([record]))):
            if isinstance(top, ImageTop):
                try:
                    top.pixels(column[0], "")
                except BadRecord as e:
                    yield record, e
                    break


def _check_in_parallel(
    store: RecordStore, helpers: int, heartbeat: Callable[[], None]
) -> Iterator[Tuple[int, BadRecord]]:
    children: Dict[int, int] = {}  # by the descriptor their findings come from
    for number in range(helpers):
        reading, writing = os.pipe()

        def work(number: int = number, writing: int = writing) -> None:
            with os.fdopen(writing, "w") as out:
                end = "null"
                try:
                    for record, error in _check(store, number, helpers, lambda: None):
                        out.write(json.dumps([record, error.cause, error.detail]) + "\n")
                except CaffeOnSparkError as e:  # of this process, not of a record
                    end = json.dumps(to_wire(e))
                out.write(f"end {end}\n")

        children[reading] = fork(work, [writing, *store.filenos()])
        os.close(writing)
    texts = dict.fromkeys(children, b"")
    left = set(children)
    try:
        while left:
            for reading in select.select(sorted(left), [], [], 1.0)[0]:
                piece = os.read(reading, 1 << 16)
                texts[reading] += piece
                if not piece:
                    left.remove(reading)
            heartbeat()
    finally:
        for reading, child in children.items():
            os.close(reading)
            reap(child, kill=True)
    for text in texts.values():
        lines = text.decode().splitlines()
        if not lines or not lines[-1].startswith("end "):
            raise InfrastructureError("a decoder process ended by itself (killed, or out of memory?)")
        failure = json.loads(lines[-1][len("end ") :])
        if failure is not None:
            raise from_wire(failure)
        for line in lines[:-1]:
            record, cause, detail = json.loads(line)
            yield int(record), BadRecord("", str(cause), str(detail))
