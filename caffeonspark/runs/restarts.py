"""How often a run restarts: failures count until a new snapshot exists."""

from __future__ import annotations

__all__ = ["Restarts"]


class Restarts:
    """Counts restarts since the newest snapshot.

    Parameters
    ----------
    most : how many there may be without a new snapshot

    Attributes
    ----------
    count : how many there were since the newest snapshot
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._newest = -1

    def another(self, newest: int) -> bool:
        """Whether there may be another one, which is counted.

        Parameters
        ----------
        newest : the iteration of the newest snapshot of the run; -1 where there is none
        """
        if newest > self._newest:
            self._newest, self.count = newest, 0
        if self.count >= self.most:
            return False
        self.count += 1
        return True
