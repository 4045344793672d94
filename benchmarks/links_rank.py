"""One rank of ``links``: a program, started on the rank's machine.

    links_rank.py RANK RANKS ADDRESS CONTROL SIZE…

It connects to CONTROL (a socket's path), says where it listens, and is told this of all. Then it answers
{"side": name, "bytes": one of the sizes} with {"seconds": …}, JSON a line.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any, Dict, List, Sequence

import numpy as np

from caffeonspark.comm.credentials import Credentials
from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.layout import layout_checksum
from caffeonspark.comm.shared_memory import share_memory
from caffeonspark.comm.tcp import TCPCommunicator, connect
from caffeonspark.comm.transfers import Channel, Lane, Transfer, move

#: A blob's bytes at most: gradients come in several.
_BLOB = 64 << 20


class Rank:
    """A rank with the communicators of all sides over the same arrays."""

    def __init__(self, rank: int, ranks: int, address: str, sizes: Sequence[int]) -> None:
        self._rank, self._ranks = rank, ranks
        self._listeners = [Listener(address, (0, 0), None, rank) for _ in range(2)]
        self._sizes = sizes

    def introduce(self) -> Any:
        return [listener.address for listener in self._listeners]

    def meet(self, told: Sequence[Any]) -> None:
        credentials = Credentials(bytes(32), b"benchmark nonce!")  # with checksums, as by default
        comms = []
        for number, listener in enumerate(self._listeners):
            addresses = [(str(one[number][0]), int(one[number][1])) for one in told]
            comms.append(connect(self._rank, addresses, listener, credentials))
        self._hosts = comms[0]._hosts
        self.ours = share_memory(comms[0])
        ring = comms[1]
        self.ring = TCPCommunicator(ring.rank, ring.size, ring._links, ring._order, ring.stall_timeout)
        self._arrays = {size: self._blobs(size) for size in self._sizes}
        for arrays in self._arrays.values():
            self.ours.share(arrays)
            self.ring.share(arrays)

    def _blobs(self, size: int) -> List[np.ndarray]:
        return [np.ones(min(_BLOB, size - at) // 4, np.float32) for at in range(0, size, _BLOB)]

    def seconds(self, side: str, size: int) -> float:
        """Of one all-reduce; one that is not measured comes first, and its sums are looked at."""
        arrays = self._arrays[size]
        if side == "link":
            return self._wire(size)
        comm = self.ring if side == "one ring" else self.ours
        compressed = len(arrays) if side == "ours, bf16" else 0
        for array in arrays:
            array[...] = self._rank + 1
        comm.all_reduce(arrays, None, compressed)
        if any((array != self._ranks * (self._ranks + 1) / 2).any() for array in arrays):
            raise ValueError(f"{side}: an all-reduce of {size} bytes is no sum")
        comm.barrier()
        begin = time.perf_counter()
        comm.all_reduce(arrays, 1 / self._ranks, compressed)
        return time.perf_counter() - begin

    def _wire(self, size: int) -> float:
        """What the links alone take: each host's first rank sends what an all-reduce has it send, and gets as much."""
        assert self._hosts is not None
        comm, leaders = self.ring, self._hosts.leaders
        comm.barrier()
        begin = time.perf_counter()
        comm._begin(layout_checksum([], "link"))
        if self._rank in leaders:
            part = 2 * size // len(leaders)
            data, lanes = np.zeros(part, np.uint8), []
            for peer in leaders:
                if peer != self._rank:
                    lane, room = Lane(peer), np.empty(part, np.uint8)
                    lane.out.append(Transfer(lambda: [data.data]))
                    lane.into.append(Transfer(lambda room=room: [room.data]))
                    lanes.append((lane, comm._links[peer]))
            begin = time.perf_counter()
            comm._start(move(lanes, Channel(comm._send, comm._receive), set())).wait()
        taken = time.perf_counter() - begin
        comm.barrier()
        return taken if self._rank in leaders else 0.0


def main() -> None:
    rank, ranks, address, control = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    me = Rank(rank, ranks, address, [int(size) for size in sys.argv[5:]])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(control)
        with sock.makefile("rw") as stream:

            def say(what: Dict[str, Any]) -> None:
                stream.write(json.dumps(what) + "\n")
                stream.flush()

            say({"rank": rank, "introduction": me.introduce()})
            me.meet(json.loads(stream.readline()))
            say({"met": True})
            for line in stream:
                request = json.loads(line)
                say({"seconds": me.seconds(request["side"], request["bytes"])})
    me.ours.close()
    me.ring.close()


if __name__ == "__main__":
    main()
