"""One rank of one side of ``all_reduce``: a program, started in the environment of its side.

    all_reduce_rank.py SIDE RANKS CONTROL [RANK ADDRESS]

ADDRESS is where it listens for other ranks of ours. It connects to CONTROL (a socket's path), says its rank and what
others need to reach it, and is told this of all. Then it answers {"bytes": n, "repeats": k} with {"seconds": of an
all-reduce, as it saw it}, JSON a line. Between requests it sleeps, so that sides that wait do not take the processor
from the one that is measured.
"""

from __future__ import annotations

import importlib
import json
import mmap
import socket
import sys
import time
from typing import Any, Dict

import numpy as np


class OursOverTCP:
    """The library's communicator, over connections."""

    def __init__(self, rank: int, ranks: int, address: str = "127.0.0.1") -> None:
        from caffeonspark.comm.handshake import Listener

        self.rank, self.ranks = rank, ranks
        self.arrays: Dict[int, np.ndarray] = {}  # one of each size: the communicator keeps what is shared
        self.listener = Listener(address, (0, 0), None, rank)

    def introduce(self) -> Any:
        return self.listener.address

    def meet(self, told: Dict[str, Any]) -> None:
        from caffeonspark.comm.credentials import Credentials
        from caffeonspark.comm.tcp import connect

        credentials = Credentials(bytes(32), b"benchmark nonce!")  # with checksums, as by default
        addresses = [(host, port) for host, port in told["introductions"]]
        self.comm = connect(self.rank, addresses, self.listener, credentials)

    def array(self, size: int) -> np.ndarray:
        if size not in self.arrays:
            self.arrays[size] = np.empty(size // 4, np.float32)
            self.comm.share([self.arrays[size]])
        self.arrays[size][...] = self.rank + 1
        return self.arrays[size]

    def reduce(self, array: np.ndarray) -> None:
        self.comm.all_reduce([array])

    def barrier(self) -> None:
        self.comm.barrier()


class Ours(OursOverTCP):
    """The same in memory that the ranks share, as they do on one machine."""

    def meet(self, told: Dict[str, Any]) -> None:
        from caffeonspark.comm.shared_memory import share_memory

        super().meet(told)
        self.comm = share_memory(self.comm)


class Gloo:
    """PyTorch's process group over gloo."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks

    def introduce(self) -> Any:
        return None

    def meet(self, told: Dict[str, Any]) -> None:
        self.torch, self.group = importlib.import_module("torch"), importlib.import_module("torch.distributed")
        self.group.init_process_group(
            "gloo", init_method=f"file://{told['folder']}/gloo", rank=self.rank, world_size=self.ranks
        )

    def array(self, size: int) -> np.ndarray:
        return np.full(size // 4, self.rank + 1, np.float32)

    def reduce(self, array: np.ndarray) -> None:
        self.group.all_reduce(self.torch.from_numpy(array))

    def barrier(self) -> None:
        self.group.barrier()


class Mpich:
    """MPICH through mpi4py; mpiexec starts its ranks."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.mpi = importlib.import_module("mpi4py.MPI")
        self.rank, self.ranks = self.mpi.COMM_WORLD.Get_rank(), self.mpi.COMM_WORLD.Get_size()

    def introduce(self) -> Any:
        return None

    def meet(self, told: Dict[str, Any]) -> None:
        self.barrier()

    def array(self, size: int) -> np.ndarray:
        return np.full(size // 4, self.rank + 1, np.float32)

    def reduce(self, array: np.ndarray) -> None:
        self.mpi.COMM_WORLD.Allreduce(self.mpi.IN_PLACE, array)

    def barrier(self) -> None:
        self.mpi.COMM_WORLD.Barrier()


class Memory:
    """The least that ranks of one machine have to do: each adds up its part of all ranks' arrays where they lie, and
    copies the other parts. It does not wait for the others, so what it has at the end is no sum."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks

    def introduce(self) -> Any:
        return None

    def meet(self, told: Dict[str, Any]) -> None:
        self.path = told["memory"]

    def array(self, size: int) -> np.ndarray:
        with open(self.path, "r+b") as f:
            shared = mmap.mmap(f.fileno(), self.ranks * size)
        self.all = np.frombuffer(shared, np.float32).reshape(self.ranks, -1)
        self.all[self.rank] = self.rank + 1
        return self.all[self.rank]

    def reduce(self, array: np.ndarray) -> None:
        ends = [array.size * part // self.ranks for part in range(self.ranks + 1)]
        mine = slice(ends[self.rank], ends[self.rank + 1])
        for other in range(self.ranks):
            if other != self.rank:
                np.add(array[mine], self.all[other][mine], out=array[mine])
        for other in range(self.ranks):
            if other != self.rank:
                part = slice(ends[other], ends[other + 1])
                np.copyto(array[part], self.all[other][part])

    def barrier(self) -> None:
        return


SIDES = {
    "ours": Ours,
    "ours over TCP": OursOverTCP,
    "gloo": Gloo,
    "mpich": Mpich,
    "mpich over TCP": Mpich,
    "memory": Memory,
}


def measure(side: Any, size: int, repeats: int, checked: bool) -> float:
    """Seconds of an all-reduce; the first one is not measured, and its sums are looked at."""
    array = side.array(size)
    side.barrier()
    side.reduce(array)
    wanted = side.ranks * (side.ranks + 1) / 2
    if checked and not (array == wanted).all():
        raise ValueError(f"{type(side).__name__}: an all-reduce of {size} bytes is no sum")
    array[...] = 0
    side.barrier()
    begin = time.perf_counter()
    for _ in range(repeats):
        side.reduce(array)
    return (time.perf_counter() - begin) / repeats


def main() -> None:
    name, ranks, control = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    rank, address = (int(sys.argv[4]), sys.argv[5:6]) if len(sys.argv) > 4 else (0, [])
    side = SIDES[name](rank, ranks, *(address if issubclass(SIDES[name], OursOverTCP) else ()))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(control)
        with sock.makefile("rw") as stream:

            def say(**what: Any) -> None:
                stream.write(json.dumps(what) + "\n")
                stream.flush()

            say(rank=side.rank, introduction=side.introduce())
            side.meet(json.loads(stream.readline()))
            say(met=True)
            for line in stream:
                request = json.loads(line)
                say(seconds=measure(side, request["bytes"], request["repeats"], checked=name != "memory"))


if __name__ == "__main__":
    main()
