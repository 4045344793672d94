"""Which records make up which batch, and the batches themselves.

Everything is a function of the number of the batch: the epoch, the order of its records, the draws of the
random crop and mirror. A resumed run only has to be told how many batches were used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..errors import DataError
from .records import BadRecord, Column
from .store import RecordStore
from .tops import settle_sizes

__all__ = ["BatchRandom", "Batches", "Blocks", "Feed"]


@dataclass(frozen=True)
class BatchRandom:
    """Random numbers that depend only on what they are for.

    Attributes
    ----------
    seed : the run's seed
    rank : of the reader
    layer : number of the data layer in its net
    """

    seed: int
    rank: int
    layer: int

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        counter = [number, purpose, self.layer, self.rank]
        return np.random.Generator(np.random.Philox(key=self.seed, counter=counter))

    def transforms(self, batch: int, count: int) -> np.ndarray:
        """(count, 3) numbers in [0, 1) for the transformation of a batch."""
        numbers: np.ndarray = self._generator(0, batch).random((count, 3))
        return numbers

    def permutation(self, epoch: int, count: int) -> np.ndarray:
        """The order of ``count`` records in an epoch."""
        return self._generator(1, epoch).permutation(count)


class Feed(Protocol):
    """What fills the blobs of a data layer's tops, batch after batch.

    Attributes
    ----------
    used : how many batches have been used; a resumed run starts from there
    """

    used: int

    def records(self, batch: int) -> np.ndarray:
        """The numbers of a batch's records in their store."""

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """The shapes of those blobs whose sizes the records give, for the next batch. Raises DataError."""

    def load(self, blobs: Sequence[np.ndarray]) -> None:
        """Fill the blobs with the next batch. Raises DataError."""

    def close(self) -> None:
        """End what works for the batches; their records stay open."""


class _Noted(List[bytes]):
    """Entries that tell of each, by its place, when it is taken."""

    def __init__(self, entries: List[bytes], note: Callable[[int], None]) -> None:
        super().__init__(entries)
        self._note = note

    def __iter__(self) -> Iterator[bytes]:
        for row, entry in enumerate(super().__iter__()):
            self._note(row)
            yield entry


class Batches:
    """The endless sequence of a rank's batches for one data layer.

    Parameters
    ----------
    store : RecordStore
    batch_size : int
    draws : BatchRandom
    shuffle : whether each epoch has an order of its own
    name : of the source, for errors
    """

    def __init__(self, store: RecordStore, batch_size: int, draws: BatchRandom, shuffle: bool, name: str) -> None:
        self.store = store
        self.batch_size = batch_size
        self._draws = draws
        self._shuffle = shuffle
        self.name = name
        self._random = any(top.is_random for top in store.tops)
        self._no_draws = np.zeros((batch_size, 3))
        self._epoch = -1
        self._permutation = np.zeros(0, np.int64)
        self._settled: Optional[List[Column]] = None  # the next batch's columns
        #: How many batches have been used.
        self.used = 0

    def records(self, batch: int) -> np.ndarray:
        """The records of a batch: the rank's records over and over, epoch after epoch."""
        count = len(self.store)
        positions = np.arange(batch * self.batch_size, (batch + 1) * self.batch_size, dtype=np.int64)
        if not self._shuffle:
            return positions % count
        chosen = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(positions // count):
            if epoch != self._epoch:
                self._permutation = self._draws.permutation(int(epoch), count)
                self._epoch = int(epoch)
            mine = positions // count == epoch
            chosen[mine] = self._permutation[positions[mine] % count]
        return chosen

    def fill(self, batch: int, blobs: Sequence[np.ndarray], note: Callable[[int], None] = lambda record: None) -> None:
        """Fill the blobs of the layer's tops with a batch; ``note`` is told of each record whose image is decoded.
        Raises DataError."""
        records = self.records(batch)
        draws = self._draws.transforms(batch, len(records)) if self._random else self._no_draws
        columns, self._settled = self._settled or self.store.read(records), None
        try:
            for top, column, blob in zip(self.store.tops, columns, blobs):
                if isinstance(column, list):
                    column = _Noted(column, lambda row: note(int(records[row])))
                top.fill(column, top.samples(blob), draws)
        except BadRecord as e:
            raise self._explain(e, records) from None

    def _explain(self, error: BadRecord, records: np.ndarray) -> DataError:
        assert error.row is not None
        return DataError(f"{self.name}: {error.named(self.store.id_of(records[error.row])).message}")

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """The shapes of those blobs whose sizes the records give, for the next batch. Raises DataError."""
        records = self.records(self.used)
        try:
            shapes, self._settled = settle_sizes(self.store.tops, self.store.read(records))
        except BadRecord as e:
            raise self._explain(e, records) from None
        return shapes

    def load(self, blobs: Sequence[np.ndarray]) -> None:
        """Fill the blobs with the next batch. Raises DataError."""
        self.fill(self.used, blobs)
        self.used += 1

    def close(self) -> None:
        """Nothing works for the batches but the caller; the store stays open."""


class Blocks(Batches):
    """A rank's records block by block, each of them once in a pass: the last block of a pass may be smaller.

    Parameters are those of ``Batches``; the order is that of the store.
    """

    def __init__(self, store: RecordStore, batch_size: int, draws: BatchRandom, name: str) -> None:
        super().__init__(store, batch_size, draws, shuffle=False, name=name)

    @property
    def sizes(self) -> List[int]:
        """How many records each block of a pass has; none where there are no records."""
        count, size = len(self.store), self.batch_size
        return [min(size, count - start) for start in range(0, count, size)]

    def records(self, batch: int) -> np.ndarray:
        """The records of a block; blocks are counted through all passes."""
        start = batch % len(self.sizes) * self.batch_size
        return np.arange(start, min(start + self.batch_size, len(self.store)))

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """The shapes of all blobs, for the next block. Raises DataError."""
        count = len(self.records(self.used))
        found = super().shapes()
        return {top.name: found.get(top.name) or top.blob_shape(count) for top in self.store.tops}
