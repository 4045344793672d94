"""Ranks that die twice at the same place: not of their machine, but of what is in their batch."""

from __future__ import annotations

from typing import List, Optional, Set, Tuple

from ..comm.wire import FrameKind
from ..errors import HelperLost, InfrastructureError, TrainingError, from_wire
from ..plans.job import Suspect
from .attempt import Attempt

__all__ = ["Deaths"]


class Deaths:
    """How ranks died in the attempts so far.

    Attributes
    ----------
    suspect : where a rank died in the attempt before; in the next one it names its batch there
    """

    def __init__(self) -> None:
        self.suspect: Optional[Suspect] = None
        self._places: Set[Suspect] = set()
        self._messages: Set[Tuple[int, str]] = set()

    def check(self, attempt: Attempt, error: InfrastructureError) -> None:
        """Take note of an attempt that ended with ``error``; raises TrainingError for the second identical death."""
        places = _places(attempt)
        for place in places:
            if place in self._places:
                raise self._explain(place, attempt, error)
        lost = [(event.rank, from_wire(event.data)) for _, event in attempt.failures if event.kind == FrameKind.FAILED]
        messages = {(rank, e.message) for rank, e in lost if isinstance(e, HelperLost)}
        if messages & self._messages:
            again = TrainingError(f"{error.message}; it did so before, and starting again would not help")
            again.report = error.report
            raise again
        self._messages |= messages
        self._places |= set(places)
        self.suspect = places[0] if places else self.suspect

    def _explain(self, place: Suspect, attempt: Attempt, error: InfrastructureError) -> TrainingError:
        if place.iteration < 0:
            where = f"while it loaded records of {attempt.layers[place.net].description}, after the first {place.batch}"
        else:
            what = f"batch {place.batch + 1} of a validation of test net {place.net - 1}" if place.net else "its batch"
            batch = f" ({attempt.suspect_batch})" if place == self.suspect and attempt.suspect_batch else ""
            where = f"at iteration {place.iteration}, at {what}{batch}"
        who = f"rank {place.rank} of {attempt.ranks} on {attempt.result.hosts.get(place.rank, 'an unknown host')}"
        found = TrainingError(
            f"{who}: its process ended a second time {where}: something in the records ends the process, or it takes "
            f"more memory than there is, and starting again would not help. First of all: {error.message}"
        )
        found.report = error.report
        return found


def _places(attempt: Attempt) -> List[Suspect]:
    """Where ranks died, the first one first."""
    died = [event for _, event in attempt.failures if event.kind == FrameKind.DIED and event.data.get("at")]
    return [Suspect(event.rank, *(int(number) for number in event.data["at"])) for event in died]
