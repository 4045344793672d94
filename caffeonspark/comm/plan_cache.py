"""What was planned for collectives, for those that are done again and again."""

from __future__ import annotations

from typing import Callable, Dict, Generic, Hashable, Sequence, Set, Tuple, TypeVar

import numpy as np

__all__ = ["PlanCache"]

Plan = TypeVar("Plan")

_MOST = 256  # plans; a net's buckets are fewer


class PlanCache(Generic[Plan]):
    """Plans of collectives, which keep the memory of the arrays that they are for.

    So only those are kept whose arrays ``Communicator.share`` named: who reduces new arrays each time would have them
    all kept otherwise.

    Parameters
    ----------
    lasting : address and bytes of each array that was named; its owner adds to it
    """

    def __init__(self, lasting: Set[Tuple[int, int]]) -> None:
        self._lasting = lasting
        self._plans: Dict[Hashable, Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._plans

    def get(self, key: Hashable, arrays: Sequence[np.ndarray], make: Callable[[], Plan]) -> Plan:
        """The plan for ``arrays``; ``key`` tells it from other plans, by their addresses too."""
        if key in self._plans:
            return self._plans[key]
        plan = make()
        if all((array.ctypes.data, array.nbytes) in self._lasting for array in arrays):
            if len(self._plans) >= _MOST:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def clear(self) -> None:
        self._plans.clear()
