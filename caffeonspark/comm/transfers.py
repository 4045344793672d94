"""Messages over several connections at once, each sent or received as soon as what it needs is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Callable, Hashable, Iterator, List, Sequence, Set, Tuple

from .link import Link

__all__ = ["Channel", "Lane", "Transfer", "move"]

Views = Sequence[memoryview]


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Transfer:
    """A message.

    Attributes
    ----------
    views : what is sent, or where it is received; asked for when the message begins
    needs : events that have to have happened before
    then : called when it has left, or is here
    """

    views: Callable[[], Views]
    needs: Tuple[Hashable, ...] = ()
    then: Callable[[], None] = _nothing


class Channel:
    """How messages begin on a communicator's connections.

    Parameters
    ----------
    send, receive : begin a message on a link
    """

    def __init__(self, send: Callable[[Link, Views], None], receive: Callable[[Link, Views], None]) -> None:
        self.send = send
        self.receive = receive


class Lane:
    """What is to be sent to one peer and received from it, each in order."""

    def __init__(self, peer: int) -> None:
        self.peer = peer
        self.out: List[Transfer] = []
        self.into: List[Transfer] = []


class _Direction:
    """One direction of a lane on its way."""

    def __init__(
        self,
        transfers: Sequence[Transfer],
        link: Link,
        begin: Callable[[Link, Views], None],
        advance: Callable[[], int],
        busy: Callable[[], bool],
    ) -> None:
        self._transfers = transfers
        self._link = link
        self._begin = begin
        self._advance = advance
        self._busy = busy
        self._at = 0
        self._begun = False

    @property
    def left(self) -> bool:
        return self._at < len(self._transfers)

    def step(self, events: Set[Hashable]) -> bool:
        """Move what can be moved of the next message; whether anything did."""
        if not self.left:
            return False
        transfer = self._transfers[self._at]
        moved = 0
        if not self._begun:
            if not events.issuperset(transfer.needs):
                return False
            views = [view for view in transfer.views() if len(view)]
            if views:  # of what is empty nothing travels, at either end
                self._begin(self._link, views)
            self._begun = True
            moved = 1
        if self._busy():
            moved += self._advance()
        if not self._busy():
            self._begun = False
            self._at += 1
            transfer.then()
            moved += 1
        return moved > 0


def move(lanes: Sequence[Tuple[Lane, Link]], channel: Channel, events: Set[Hashable]) -> Iterator[None]:
    """Move everything in the lanes; stops where nothing can move, to be continued when a link is ready.

    Parameters
    ----------
    lanes : with the links they are for
    events : what has happened, to which ``then`` of the transfers adds
    """
    ways: List[_Direction] = []
    for lane, link in lanes:
        ways.append(_Direction(lane.out, link, channel.send, link.push, partial(getattr, link, "sending")))
        ways.append(_Direction(lane.into, link, channel.receive, link.pull, partial(getattr, link, "receiving")))
    while ways:
        moved = False
        for way in ways:
            moved = way.step(events) or moved
        ways = [way for way in ways if way.left]
        if ways and not moved:
            yield
