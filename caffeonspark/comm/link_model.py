"""How long an all-reduce by hosts takes each way, from latencies and rates that were measured when the ranks met."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from typing import Sequence

from .layout import CHUNK, HostGroups

__all__ = ["FLAT", "SEGMENTS", "WHOLE", "LinkModel", "agreed"]

#: Every rank sends all it has to every other.
FLAT = "flat"
#: Every host's leader sends the host's sum to every other leader.
WHOLE = "whole"
#: Every host's leader adds up a segment, and sends it to the others.
SEGMENTS = "segments"

#: Bytes of which a rank holds a copy for each other rank or host, at most.
_MOST_AT_ONCE = 4 << 20

_NUMBERS = struct.Struct("!dddd")


@dataclass(frozen=True)
class LinkModel:
    """What was measured, in seconds; before, a guess.

    Attributes
    ----------
    between : for a message of some bytes from host to host
    within : the same within a host
    byte : for each byte that a host sends to others
    memory : for each byte that is added in memory
    """

    between: float = 1e-4
    within: float = 3e-5
    byte: float = 1e-9
    memory: float = 1e-10

    def pack(self) -> bytes:
        return _NUMBERS.pack(*astuple(self))

    def seconds(self, way: str, nbytes: int, hosts: HostGroups) -> float:
        """What an all-reduce of so many bytes takes."""
        count, ranks = len(hosts.groups), sum(map(len, hosts.groups))
        most = max(map(len, hosts.groups))
        if way == FLAT:
            sent = max(len(group) * (ranks - len(group)) for group in hosts.groups) * nbytes
            return self.between + sent * self.byte + (ranks - 1) * nbytes * self.memory
        local = 2 * self.within if most > 1 else 0.0
        adding = (most - 1) * self.memory
        if way == WHOLE:
            return self.between + local + nbytes * ((count - 1) * (self.byte + self.memory) + 2 * adding)
        # in chunks: what is added while another chunk travels costs no time
        chunk = min(nbytes / count, CHUNK)
        return 2 * (self.between + chunk * ((count - 1) * self.memory + adding)) + local + self._carried(nbytes, count)

    def _carried(self, nbytes: int, count: int) -> float:
        return 2 * (count - 1) / count * nbytes * self.byte

    def best(self, nbytes: int, hosts: HostGroups, connected: bool) -> str:
        """The way that takes least; FLAT only where every pair of ranks is ``connected``."""
        if nbytes > _MOST_AT_ONCE:
            return SEGMENTS
        ways = [FLAT, WHOLE, SEGMENTS] if connected else [WHOLE, SEGMENTS]
        return min(ways, key=lambda way: self.seconds(way, nbytes, hosts))


def agreed(measured: Sequence[bytes]) -> LinkModel:
    """One model for all ranks, of what each has packed: the slowest link decides, as it does when they wait."""
    return LinkModel(*(max(values) for values in zip(*map(_NUMBERS.unpack, measured))))
