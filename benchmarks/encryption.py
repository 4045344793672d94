"""What checksums and encryption cost: the all-reduce of two ranks on this machine, in clear without checksums and with
them, and encrypted, in turn."""

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

from .common import rounds
from .results import Result, ratio

RANKS, ROUNDS = 2, rounds(15)
# LeNet's parameters, and as many blobs of 4 MB as make 64 MB
LENET = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
# the large ones of CaffeNet's parameters; the others take less than 10 MB together
CAFFENET = [(4096, 9216), (4096,), (4096, 4096), (4096,), (1000, 4096), (1000,)]
SIZES: Dict[str, Tuple[List[Tuple[int, ...]], int]] = {
    "LeNet, 1.7 MB": (LENET, 100),
    "64 MB": ([(1 << 20,)] * 16, 4),
    "CaffeNet, 244 MB": (CAFFENET, 1),
}
#: (encrypted, checksum)
MODES = {"plain": (False, False), "checksums": (False, True), "encrypted": (True, False)}


def group(rank: int, mode: str, pairs: Sequence[KeyPair], ports: Sequence[int]) -> TCPCommunicator:
    """This rank's communicator."""
    known = {peer: pair.public for peer, pair in enumerate(pairs)}
    encrypted, checksum = MODES[mode]
    credentials = Credentials(bytes(32), b"benchmark nonce!", pairs[rank] if encrypted else None, known, checksum)
    listener = Listener("127.0.0.1", (ports[rank], ports[rank]), None, rank)
    return connect(rank, [("127.0.0.1", port) for port in ports], listener, credentials)


def seconds(comm: TCPCommunicator, arrays: Sequence[np.ndarray], repeats: int) -> Tuple[float, float]:
    """Of one all-reduce: as the slower rank sees it, and the processor's on this rank."""
    comm.barrier()
    begin, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        comm.all_reduce(arrays, scale=1 / RANKS)
    mine, processor = (time.perf_counter() - begin) / repeats, (time.process_time() - processor) / repeats
    return max(struct.unpack("d", data)[0] for data in comm.all_gather(struct.pack("d", mine))), processor


def work(rank: int, pairs: Sequence[KeyPair], ports: Dict[str, List[int]], results: multiprocessing.Queue) -> None:
    """One rank: every size and mode in turn, round after round."""
    comms = {mode: group(rank, mode, pairs, ports[mode]) for mode in MODES}
    found: Dict[str, Dict[str, List[Tuple[float, float]]]] = {}
    for name, (shapes, repeats) in SIZES.items():
        arrays = [np.full(shape, rank + 1.0, np.float32) for shape in shapes]
        for comm in comms.values():
            comm.share(arrays)
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


def run() -> List[Result]:
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
    rows, compared = [], []
    for name, (shapes, _) in SIZES.items():
        size = sum(int(np.prod(shape)) for shape in shapes) * 4
        wall = {mode: [taken for taken, _ in found[name][mode]] for mode in MODES}
        processor = {mode: statistics.median(taken for _, taken in found[name][mode]) * 1000 for mode in MODES}
        row = []
        for mode in MODES:
            taken = statistics.median(wall[mode])
            row += [taken * 1000, size / taken / 1e9]
        rows.append((name, (*row, processor["checksums"] - processor["plain"])))
        compared += [ratio(wall, mode, "plain", f"{name}: {mode} / plain") for mode in ("checksums", "encrypted")]
    columns = [f"{mode}, {unit}" for mode in MODES for unit in ("ms", "GB/s of gradients")]
    return [
        Result(
            "encryption",
            "Checksums and encryption",
            f"all-reduce of {RANKS} ranks on one machine over TCP, medians of {ROUNDS} rounds",
            (*columns, "checksums add, ms of a processor"),
            tuple(rows),
            tuple(compared),
        )
    ]
