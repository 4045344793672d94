"""What encryption costs: the all-reduce of two ranks on this machine, in clear and encrypted, in turn."""

from __future__ import annotations

import multiprocessing
import statistics
import struct
import time
from typing import Dict, List, Sequence, Tuple

import numpy as np

from caffeonspark.comm.credentials import Credentials
from caffeonspark.comm.encryption import KeyPair
from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.tcp import TCPCommunicator, connect

from .common import ratios

RANKS, ROUNDS = 2, 15
# LeNet's parameters, and as many blobs of 4 MB as make 64 MB
LENET = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
SIZES: Dict[str, Tuple[List[Tuple[int, ...]], int]] = {
    "LeNet, 1.7 MB": (LENET, 100),
    "64 MB": ([(1 << 20,)] * 16, 4),
}
MODES = {"plain": False, "encrypted": True}


def group(rank: int, encrypted: bool, pairs: Sequence[KeyPair], ports: Sequence[int]) -> TCPCommunicator:
    """This rank's communicator."""
    known = {peer: pair.public for peer, pair in enumerate(pairs)}
    credentials = Credentials(bytes(32), b"benchmark nonce!", pairs[rank] if encrypted else None, known)
    listener = Listener("127.0.0.1", (ports[rank], ports[rank]), None, rank)
    return connect(rank, [("127.0.0.1", port) for port in ports], listener, credentials)


def seconds(comm: TCPCommunicator, arrays: Sequence[np.ndarray], repeats: int) -> float:
    """Of one all-reduce, as the slower rank sees it."""
    comm.barrier()
    begin = time.perf_counter()
    for _ in range(repeats):
        comm.all_reduce(arrays, scale=1 / RANKS)
    mine = (time.perf_counter() - begin) / repeats
    return max(struct.unpack("d", data)[0] for data in comm.all_gather(struct.pack("d", mine)))


def work(rank: int, pairs: Sequence[KeyPair], ports: Dict[str, List[int]], results: multiprocessing.Queue) -> None:
    """One rank: every size and mode in turn, round after round."""
    comms = {mode: group(rank, encrypted, pairs, ports[mode]) for mode, encrypted in MODES.items()}
    found: Dict[str, Dict[str, List[float]]] = {}
    for name, (shapes, repeats) in SIZES.items():
        arrays = [np.full(shape, rank + 1.0, np.float32) for shape in shapes]
        found[name] = {mode: [] for mode in MODES}
        for number in range(ROUNDS + 1):
            for mode, comm in comms.items():
                taken = seconds(comm, arrays, repeats)
                if number:  # the first round warms up
                    found[name][mode].append(taken)
    for comm in comms.values():
        comm.close()
    if rank == 0:
        results.put(found)


def free_ports(count: int) -> List[int]:
    listeners = [Listener("127.0.0.1", (0, 0), None, 0) for _ in range(count)]
    ports = [listener.address[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def main() -> None:
    context = multiprocessing.get_context("fork")
    pairs = [KeyPair() for _ in range(RANKS)]
    ports = {mode: free_ports(RANKS) for mode in MODES}
    results: multiprocessing.Queue = context.Queue()
    processes = [context.Process(target=work, args=(rank, pairs, ports, results)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    found = results.get(timeout=600)
    for process in processes:
        process.join()
    print(f"\nAll-reduce of {RANKS} ranks on one machine: milliseconds, GB/s of gradients (median of {ROUNDS} rounds)")
    print(f"  {'':14} {'plain':>18} {'encrypted':>18}   encrypted / plain")
    for name, (shapes, _) in SIZES.items():
        size = sum(int(np.prod(shape)) for shape in shapes) * 4
        row = [f"  {name:14}"]
        for mode in MODES:
            taken = statistics.median(found[name][mode])
            row.append(f"{taken * 1000:9.3f} {size / taken / 1e9:6.2f} ".rjust(18))
        print(" ".join(row), f"  {ratios(found[name], 'encrypted', 'plain')}")


if __name__ == "__main__":
    main()
