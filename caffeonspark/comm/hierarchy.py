"""All-reduce among ranks of several hosts: the ranks of a host add up among themselves, then the hosts do.

Each host has a leader, which speaks with the other hosts' leaders, and followers. Three ways lead to the same sums, bit
for bit; ``link_model`` says which of them takes least. The large one works in stages, each with a chunk of every
host's segment: while one stage is on the wire, followers add up the next ones and copy out what has come.

What a host's ranks share in memory, followers add up in the leader's memory, each a part, and copy from there; their
connections to the leader carry a byte for each stage. What they do not share travels over these connections, and the
leader adds it up. Between hosts every leader sends each other leader the chunks of that one's segment, and gets its
sums; so there are two steps however many hosts there are, and no host sends more than in a ring.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Hashable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import CommunicationError
from . import bf16
from .layout import CHUNK, MESH, Chunk, HostGroups, add_host_sums, spans, split_into_chunks
from .link import Link
from .link_model import FLAT, SEGMENTS, WHOLE, LinkModel
from .plan_cache import PlanCache
from .transfers import Channel, Lane, Transfer, move

__all__ = ["Hierarchy", "Key", "SharedRange", "array_key"]

Key = Tuple[int, int]

_AHEAD = 8  # stages that are sent to be added before the first of their sums has to be sent
_BLOCK = 256 << 10  # bytes that are added at a time, so that they are in the processor's cache
_TOKEN = b"\x01"


@dataclass(frozen=True)
class SharedRange:
    """What of an array the ranks of a host have in shared memory: values ``low`` to ``high``, and each rank's."""

    low: int
    high: int
    views: Mapping[int, np.ndarray]


@dataclass(frozen=True)
class _Block:
    """Values that a host's ranks share: the leader's, and its followers', in rank order."""

    leader: np.ndarray
    followers: Sequence[np.ndarray]
    own: np.ndarray


@dataclass(frozen=True)
class _Stage:
    """What of a stage ranks of a host share, and what not."""

    blocks: Sequence[_Block]
    rest: Sequence[np.ndarray]

    def message(self) -> List[memoryview]:
        """What is sent or received for it within the host."""
        return [memoryview(bytearray(_TOKEN)), *(piece.data.cast("B") for piece in self.rest)]


class Hierarchy:
    """One rank's part in all-reduces by hosts.

    Parameters
    ----------
    rank : int
    hosts : which ranks run where
    links : by peer rank
    channel : how messages begin on them
    lasting : as of PlanCache

    Attributes
    ----------
    model : what decides for a way; the same on every rank
    shared : by array (address and bytes), what the ranks of this host share; the same arrays on each of them
    residuals : by a list of compressed arrays, what rounding has left of them, at a leader; made where there is none
    """

    def __init__(
        self, rank: int, hosts: HostGroups, links: Mapping[int, Link], channel: Channel, lasting: Set[Key]
    ) -> None:
        self.rank = rank
        self.hosts = hosts
        self.model = LinkModel()
        self.shared: Dict[Key, SharedRange] = {}
        self._links = links
        self._channel = channel
        self._connected = sum(map(len, hosts.groups)) <= MESH  # not by this rank's links: all have to choose alike
        self.residuals: Dict[Tuple[Key, ...], np.ndarray] = {}
        self._rooms: Dict[int, np.ndarray] = {}
        self._plans: PlanCache[_Segments] = PlanCache(lasting)

    @property
    def leads(self) -> bool:
        return self.rank in self.hosts.leaders

    def way(self, arrays: Sequence[np.ndarray], compressed: bool) -> str:
        """Which way arrays go. What is rounded always goes the same way, because it is part of the result."""
        if compressed:
            return SEGMENTS
        return self.model.best(sum(array.nbytes for array in arrays), self.hosts, self._connected)

    def reduce(
        self, arrays: Sequence[np.ndarray], scale: Optional[float], way: str, compressed: bool = False
    ) -> Iterator[None]:
        """Add up; stops where a rank has to be waited for."""
        if way == FLAT:
            return self._flat(arrays, scale)
        if way == WHOLE:
            return self._whole(arrays, scale)
        return self._segments(arrays, scale, compressed)

    def use(self, shared: Dict[Key, SharedRange]) -> None:
        """From now on these arrays are shared."""
        self.shared = shared
        self._plans.clear()

    def forget(self) -> None:
        """Let go of all arrays."""
        self.shared, self.residuals = {}, {}
        self._plans.clear()

    # ---- the three ways

    def _flat(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Iterator[None]:
        """Everything to everybody: one step."""
        own = _joined(arrays)
        parts = {peer: np.empty_like(own) for peer in self._links}
        parts[self.rank] = own
        lanes = []
        for peer, link in self._links.items():
            lane = Lane(peer)
            lane.out.append(Transfer(partial(_views, own)))
            lane.into.append(Transfer(partial(_views, parts[peer])))
            lanes.append((lane, link))
        yield from move(lanes, self._channel, set())
        sums = [_added([parts[rank] for rank in group]) for group in self.hosts.groups]
        _split(_scaled(add_host_sums(sums), scale), arrays)

    def _whole(self, arrays: Sequence[np.ndarray], scale: Optional[float]) -> Iterator[None]:
        """Everything to the leader, the host's sum to all leaders, the result to the followers: three steps."""
        host = self.hosts.host_of(self.rank)
        group, own = self.hosts.groups[host], _joined(arrays)
        if self.rank != group[0]:
            lane = Lane(group[0])
            lane.out.append(Transfer(partial(_views, own)))
            result = np.empty_like(own)
            lane.into.append(Transfer(partial(_views, result)))
            yield from move([(lane, self._links[group[0]])], self._channel, set())
            _split(result, arrays)
            return
        parts = [own, *(np.empty_like(own) for _ in group[1:])]
        yield from move(self._lanes(group[1:], into=parts[1:]), self._channel, set())
        sums = [np.empty_like(own) for _ in self.hosts.groups]
        sums[host] = _added(parts)
        others = [number for number in range(len(sums)) if number != host]
        leaders = [self.hosts.leaders[number] for number in others]
        to_leaders = self._lanes(leaders, out=sums[host], into=[sums[number] for number in others])
        yield from move(to_leaders, self._channel, set())
        total = _scaled(add_host_sums(sums), scale)
        yield from move(self._lanes(group[1:], out=total), self._channel, set())
        _split(total, arrays)

    def _lanes(
        self, peers: Sequence[int], out: Optional[np.ndarray] = None, into: Sequence[np.ndarray] = ()
    ) -> List[Tuple[Lane, Link]]:
        lanes = []
        for number, peer in enumerate(peers):
            lane = Lane(peer)
            if out is not None:
                lane.out.append(Transfer(partial(_views, out)))
            if into:
                lane.into.append(Transfer(partial(_views, into[number])))
            lanes.append((lane, self._links[peer]))
        return lanes

    def _segments(self, arrays: Sequence[np.ndarray], scale: Optional[float], compressed: bool) -> Iterator[None]:
        keys = tuple(array_key(array) for array in arrays)
        key = keys, scale, compressed
        plan = self._plans.get(
            key, arrays, lambda: self._planned(arrays, scale, self._residual(keys, arrays) if compressed else None)
        )
        plan.events.clear()
        yield from move([(lane, self._links[lane.peer]) for lane in plan.lanes], self._channel, plan.events)
        if key not in self._plans:
            plan.lanes.clear()  # which know the plan, and keep its arrays

    def _planned(
        self, arrays: Sequence[np.ndarray], scale: Optional[float], residual: Optional[np.ndarray]
    ) -> _Segments:
        flat = [array.reshape(-1) for array in arrays]
        host = self.hosts.host_of(self.rank)
        group = self.hosts.groups[host]
        chunks = split_into_chunks(flat, len(self.hosts.groups))
        within = _Within(self.rank, group, flat, self._stages(flat, group, chunks), self.shared)
        if self.rank != group[0]:
            return _Follower(within)
        return _Leader(within, self.hosts, host, chunks, scale, residual, self._room)

    def _room(self, leader: int) -> np.ndarray:
        """Bytes for two chunks on their way to and from another leader, of whichever all-reduce runs."""
        if leader not in self._rooms:
            self._rooms[leader] = np.empty(2 * CHUNK, np.uint8)
        return self._rooms[leader]

    def _stages(
        self, flat: Sequence[np.ndarray], group: Sequence[int], chunks: Sequence[Sequence[Chunk]]
    ) -> List[_Stage]:
        """What a host's ranks reduce among themselves in each stage; nothing where there is one of them."""
        stages = []
        sizes = [array.size for array in flat]
        at = [int(sum(sizes)) * k // len(chunks) for k in range(len(chunks))]
        for number in range(len(chunks[0])):
            blocks: List[_Block] = []
            rest: List[np.ndarray] = []
            for k, row in enumerate(chunks):
                count = sum(piece.size for piece in row[number].arrays)
                if len(group) > 1:
                    for which, low, high in spans(sizes, at[k], at[k] + count):
                        self._divide(flat[which], low, high, group, blocks, rest)
                at[k] += count
            stages.append(_Stage(blocks, rest))
        return stages

    def _divide(
        self, array: np.ndarray, low: int, high: int, group: Sequence[int], blocks: List[_Block], rest: List[np.ndarray]
    ) -> None:
        """Values of an array: what of them is shared, and what is not."""
        shared = self.shared.get(array_key(array), SharedRange(0, 0, {}))
        left, right = max(low, min(shared.low, high)), max(low, min(shared.high, high))
        rest += [piece for piece in (array[low:left], array[right:high]) if piece.size]
        if left < right:
            inside = slice(left - shared.low, right - shared.low)
            views = [shared.views[rank][inside] for rank in group]
            blocks.append(_Block(views[0], views[1:], array[left:right]))

    def _residual(self, keys: Tuple[Key, ...], arrays: Sequence[np.ndarray]) -> np.ndarray:
        if keys not in self.residuals:
            self.residuals[keys] = np.zeros(sum(array.size for array in arrays) if self.leads else 0, np.float32)
        return self.residuals[keys]


@dataclass(frozen=True)
class _Within:
    """A host's ranks, and what they reduce among themselves.

    Attributes
    ----------
    pattern : says which arrays are shared; has to be the same on all ranks of the host
    """

    rank: int
    group: Sequence[int]
    flat: Sequence[np.ndarray]
    stages: Sequence[_Stage]
    shared_arrays: Mapping[Key, SharedRange]

    @property
    def shared(self) -> bool:
        return any(stage.blocks for stage in self.stages)

    @property
    def pattern(self) -> bytes:
        found = [self.shared_arrays.get(array_key(array)) for array in self.flat]
        ranges = [(one.low, one.high) if one else None for one in found]
        return zlib.crc32(repr(ranges).encode()).to_bytes(4, "big")


class _Segments:
    """The transfers of one rank; used again for each all-reduce of the same arrays.

    Attributes
    ----------
    events : what has happened in this one
    lanes : what goes to and comes from which peer
    copied : bytes that go from a rank of this host to another because they do not share them
    """

    def __init__(self, within: _Within) -> None:
        self.copied = sum(piece.nbytes for stage in within.stages for piece in stage.rest)
        self.events: Set[Hashable] = set()
        self.lanes: List[Lane] = []


class _Follower(_Segments):
    """A rank that is not its host's leader."""

    def __init__(self, within: _Within) -> None:
        super().__init__(within)
        self._number = within.group.index(within.rank) - 1
        self._count = len(within.group) - 1
        lane = Lane(within.group[0])
        pattern = memoryview(within.pattern)
        lane.out.append(Transfer(lambda: [pattern]))
        if within.shared:
            go = memoryview(bytearray(1))
            lane.into.append(Transfer(lambda: [go], then=partial(self.events.add, "go")))
        last: Tuple[Hashable, ...] = ()
        for number, stage in enumerate(within.stages):
            lane.out.append(Transfer(partial(self._add, stage), ("go",) if stage.blocks else ()))
            lane.into.append(Transfer(stage.message, then=partial(self._copy, stage, ("copied", number))))
            last = (("copied", number),)
        if within.shared:  # only then may the leader write to its memory again
            done = memoryview(bytearray(_TOKEN))
            lane.out.append(Transfer(lambda: [done], last))
        self.lanes.append(lane)

    def _add(self, stage: _Stage) -> List[memoryview]:
        """Add up this rank's part of what is shared, in the leader's memory."""
        for block in stage.blocks:
            count = block.leader.size
            low, high = count * self._number // self._count, count * (self._number + 1) // self._count
            step = _BLOCK // block.leader.itemsize
            for at in range(low, high, step):
                part = slice(at, min(at + step, high))
                for follower in block.followers:
                    np.add(block.leader[part], follower[part], out=block.leader[part])
        return stage.message()

    def _copy(self, stage: _Stage, event: Hashable) -> None:
        for block in stage.blocks:
            block.own[...] = block.leader
        self.events.add(event)


class _Leader(_Segments):
    """A rank that speaks for its host.

    Parameters
    ----------
    within : what its host's ranks reduce
    hosts : which ranks run where
    host : the number of this one
    chunks : of each host's segment, as many for each
    scale : as in all_reduce
    residual : what rounding has left so far, where what travels is rounded; else None
    room : gives the bytes for what goes to and comes from another leader: 2 * CHUNK
    """

    def __init__(
        self,
        within: _Within,
        hosts: HostGroups,
        host: int,
        chunks: Sequence[Sequence[Chunk]],
        scale: Optional[float],
        residual: Optional[np.ndarray],
        room: Callable[[int], np.ndarray],
    ) -> None:
        super().__init__(within)
        self._bytes_for = room
        self._within = within
        self._hosts = hosts
        self._host = host
        self._chunks = chunks
        self._scale = scale
        self._residual = residual
        self._stages = len(chunks[0])
        self._starts = _starts(chunks)
        self._dtype = within.flat[0].dtype
        self._summed: Tuple[Hashable, ...] = ()
        self._plan_followers()
        self._plan_leaders()

    def _local(self, stage: int) -> Tuple[Hashable, ...]:
        """What has to have happened before the host's sum of a stage is there."""
        return (("added", stage, len(self._within.group) - 2),) if len(self._within.group) > 1 else ()

    # ---- within the host

    def _plan_followers(self) -> None:
        followers, within = self._within.group[1:], self._within
        arrived = tuple(("arrived", peer) for peer in followers)
        for number, peer in enumerate(followers):
            lane = Lane(peer)
            pattern, token = bytearray(4), memoryview(bytearray(_TOKEN))
            lane.into.append(Transfer(partial(_view_of, pattern), then=partial(self._check_pattern, peer, pattern)))
            if within.shared:
                lane.out.append(Transfer(partial(_list_of, token), arrived))
            largest = max(sum(piece.size for piece in stage.rest) for stage in within.stages)
            scratch = np.empty(largest, self._dtype)
            for at, stage in enumerate(within.stages):
                before: Tuple[Hashable, ...] = (("added", at, number - 1),) if number else ()
                room = scratch[: sum(piece.size for piece in stage.rest)]
                lane.into.append(
                    Transfer(
                        partial(_token_and, room), before, partial(self._add_rest, stage, room, ("added", at, number))
                    )
                )
                lane.out.append(Transfer(stage.message, (("final", at), ("got", at, len(self._chunks) - 1))))
            if within.shared:
                lane.into.append(Transfer(partial(_list_of, memoryview(bytearray(1)))))
            self.lanes.append(lane)

    def _check_pattern(self, peer: int, pattern: bytearray) -> None:
        if bytes(pattern) != self._within.pattern:
            raise CommunicationError(
                f"rank {self._within.rank} and rank {peer} are out of step: they share other arrays"
            )
        self.events.add(("arrived", peer))

    def _add_rest(self, stage: _Stage, room: np.ndarray, event: Hashable) -> None:
        at = 0
        for piece in stage.rest:
            np.add(piece, room[at : at + piece.size], out=piece)
            at += piece.size
        self.events.add(event)

    # ---- between hosts

    def _plan_leaders(self) -> None:
        count = len(self._hosts.groups)
        for distance in range(1, count):  # in the order in which they are added
            other = (self._host + distance) % count
            lane = Lane(self._hosts.leaders[other])
            room = self._bytes_for(lane.peer)
            out, scratch = room[:CHUNK].view(np.uint16), room[CHUNK:].view(self._dtype)
            for stage in range(self._stages + _AHEAD):
                if stage < self._stages:
                    lane.out.append(Transfer(partial(self._contribution, other, stage, out), self._local(stage)))
                    lane.into.append(self._addition(stage, distance, scratch))
                if stage >= _AHEAD:
                    lane.out.append(Transfer(partial(self._result, stage - _AHEAD, out), (("final", stage - _AHEAD),)))
                    lane.into.append(self._arrival(stage - _AHEAD, other, scratch))
            self.lanes.append(lane)

    def _addition(self, stage: int, distance: int, scratch: np.ndarray) -> Transfer:
        """What another host has of a chunk of this one's segment."""
        chunk = self._chunks[self._host][stage]
        needs = self._local(stage) if distance == 1 else (("added by", stage, distance - 1),)
        room = self._room(chunk, scratch)
        return Transfer(partial(_views, room), needs, partial(self._add, stage, distance, room))

    def _arrival(self, stage: int, other: int, scratch: np.ndarray) -> Transfer:
        """The sums of a chunk of another host's segment. They cannot come before that host has all of this one's."""
        chunk = self._chunks[other][stage]
        if self._residual is None:
            return Transfer(lambda: chunk.views, then=partial(self._got, stage))
        room = self._room(chunk, scratch)
        return Transfer(partial(_views, room), then=partial(self._decode, stage, chunk, room))

    def _room(self, chunk: Chunk, scratch: np.ndarray) -> np.ndarray:
        count = sum(piece.size for piece in chunk.arrays)
        return scratch[:count] if self._residual is None else scratch.view(np.uint16)[:count]

    def _contribution(self, other: int, stage: int, out: np.ndarray) -> Sequence[memoryview]:
        chunk = self._chunks[other][stage]
        if self._residual is None:
            return chunk.views
        left = self._left(other, stage)
        bf16.round_with_feedback(chunk.arrays, left, out[: left.size])
        return _views(out[: left.size])

    def _result(self, stage: int, out: np.ndarray) -> Sequence[memoryview]:
        chunk = self._chunks[self._host][stage]
        if self._residual is None:
            return chunk.views
        at = 0
        for piece in chunk.arrays:
            bf16.truncate(piece, out[at : at + piece.size])
            at += piece.size
        return _views(out[:at])

    def _left(self, segment: int, stage: int) -> np.ndarray:
        """What rounding has left of a chunk."""
        assert self._residual is not None
        start = self._starts[segment][stage]
        return self._residual[start : start + sum(piece.size for piece in self._chunks[segment][stage].arrays)]

    def _add(self, stage: int, distance: int, room: np.ndarray) -> None:
        """Add another host's sum to a chunk of this one's segment; the last one finishes it."""
        pieces, last = self._chunks[self._host][stage].arrays, distance == len(self._hosts.groups) - 1
        if self._residual is not None:
            decoded = np.empty(room.size, np.float32)
            bf16.decode(room, decoded)
            room = decoded
        left = self._left(self._host, stage) if self._residual is not None else None
        at = 0
        for piece in pieces:
            part = slice(at, at + piece.size)
            if left is not None and distance == 1:
                np.add(piece, left[part], out=piece)
            np.add(piece, room[part], out=piece)
            if last:
                self._finish(piece, None if left is None else left[part])
            at += piece.size
        self.events.add(("final", stage) if last else ("added by", stage, distance))

    def _finish(self, piece: np.ndarray, left: Optional[np.ndarray]) -> None:
        scale = piece.dtype.type(1 if self._scale is None else self._scale)
        if self._scale is not None:
            np.multiply(piece, scale, out=piece)
        if left is not None:  # the owner of a segment goes on with what the others get
            left[...] = 0
            encoded = np.empty(piece.size, np.uint16)
            bf16.round_with_feedback([piece], left, encoded)
            bf16.decode(encoded, piece)
            np.divide(left, scale, out=left)

    def _decode(self, stage: int, chunk: Chunk, room: np.ndarray) -> None:
        at = 0
        for piece in chunk.arrays:
            bf16.decode(room[at : at + piece.size], piece)
            at += piece.size
        self._got(stage)

    def _got(self, stage: int) -> None:
        number = sum(("got", stage, k) in self.events for k in range(1, len(self._chunks)))
        self.events.add(("got", stage, number + 1))


def array_key(array: np.ndarray) -> Key:
    """Where an array is, and its bytes."""
    return array.ctypes.data, array.nbytes


def _views(array: np.ndarray) -> List[memoryview]:
    return [array.data.cast("B")] if array.size else []


def _view_of(data: bytearray) -> List[memoryview]:
    return [memoryview(data)]


def _list_of(view: memoryview) -> List[memoryview]:
    return [view]


def _token_and(room: np.ndarray) -> List[memoryview]:
    return [memoryview(bytearray(1)), *_views(room)]


def _starts(chunks: Sequence[Sequence[Chunk]]) -> List[List[int]]:
    """Where each chunk of each segment begins in the concatenation."""
    at = 0
    starts: List[List[int]] = []
    for row in chunks:
        starts.append([])
        for chunk in row:
            starts[-1].append(at)
            at += sum(piece.size for piece in chunk.arrays)
    return starts


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(-1) for array in arrays])


def _added(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of flat arrays, one after another."""
    if len(parts) == 1:
        return parts[0]
    total: np.ndarray = parts[0] + parts[1]
    for part in parts[2:]:
        np.add(total, part, out=total)
    return total


def _scaled(total: np.ndarray, scale: Optional[float]) -> np.ndarray:
    if scale is not None:
        np.multiply(total, total.dtype.type(scale), out=total)
    return total


def _split(total: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
    at = 0
    for array in arrays:
        array[...] = total[at : at + array.size].reshape(array.shape)
        at += array.size
