"""Where a rank is in its work, in memory that its sidecar sees too: the rank's death is told with it.

Noting a place costs a microsecond or two; a frame to the sidecar would wake it up in every iteration.
"""

from __future__ import annotations

import mmap
import struct
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

__all__ = ["Place", "Whereabouts"]

#: (iteration, net, batch): the net is 0 in training and n in the n-th test net, the batch counts in a validation.
#: Before the iterations, (-1, layer, records): of a data layer so many records are loaded.
Place = Tuple[int, int, int]

_PLACE = struct.Struct("<qqq")
_NOWHERE = (-1, -1, -1)


class Whereabouts:
    """The batch that a rank works on, if it does."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PLACE.size)
        self._watched: Optional[Place] = None
        self._tell: Callable[[Optional[Sequence[np.ndarray]]], None] = lambda records: None
        self.leave()

    def enter(
        self, iteration: int, net: int = 0, batch: int = 0, records: Optional[Sequence[np.ndarray]] = None
    ) -> None:
        """Work on a batch begins; ``records`` are its records' numbers in each layer's store, where the caller knows
        them."""
        _PLACE.pack_into(self._memory, 0, iteration, net, batch)
        if self._watched == (iteration, net, batch):
            self._tell(records)

    def enter_loading(self, layer: int, records: int) -> None:
        """Loading records of a layer goes on after so many."""
        _PLACE.pack_into(self._memory, 0, -1, layer, records)

    def leave(self) -> None:
        """Work on a batch is over."""
        _PLACE.pack_into(self._memory, 0, *_NOWHERE)

    def watch(self, place: Place, tell: Callable[[Optional[Sequence[np.ndarray]]], None]) -> None:
        """Call ``tell`` with the records whenever the rank comes to ``place``."""
        self._watched, self._tell = place, tell

    def read(self) -> Optional[List[int]]:
        """The place, or None outside of batches."""
        place = _PLACE.unpack_from(self._memory)
        return None if place == _NOWHERE else list(place)
