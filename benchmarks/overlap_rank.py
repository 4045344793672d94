"""One rank of ``overlap``: a program that trains by a solver made of sleeps.

    overlap_rank.py RANK PORT ADDRESS…

It listens, says so in a line, and connects when it is told to by a line. Then it answers {"net": [[bytes, seconds],
…], "way": how gradients travel, one of WAYS, "busy": whether the solver takes a processor, "iterations": n} with
{"seconds": of each iteration}, JSON a line.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any, Callable, Dict, List

import numpy as np

from caffeonspark.comm.credentials import Credentials
from caffeonspark.comm.handshake import Listener, PeerConnection
from caffeonspark.comm.helped import with_helper
from caffeonspark.comm.helper import Helper
from caffeonspark.comm.tcp import connect
from caffeonspark.engines.base import Trainer
from caffeonspark.settings import Settings
from caffeonspark.sync.all_reduce import AllReduce

_libc = ctypes.PyDLL(None)  # which keeps the GIL, as pycaffe does


LATE, PUMPED, HELPED = WAYS = ("late", "pumped", "helped")

_PIECE = 1 << 20


def sleep(seconds: float) -> None:
    """What a layer's pass is here: nothing else of this process runs, and no processor is taken."""
    _libc.usleep(int(seconds * 1e6))


class Work:
    """The same with a processor taken: so many seconds of it, however long they take."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_PIECE)
        begin = time.process_time()
        self._do(2000)
        self._second = 2000 / (time.process_time() - begin)

    def __call__(self, seconds: float) -> None:
        self._do(round(seconds * self._second))

    def _do(self, pieces: int) -> None:
        for _ in range(pieces):
            _libc.memset(self._room, 1, _PIECE)


class Sleeping(Trainer):
    """Layers with one parameter each, whose backward passes take so long; forward passes take no time."""

    iteration, rate, inputs, statistics = 0, 0.1, {}, []  # type: ignore[assignment]

    def __init__(self, layers: List[Any], compute: Callable[[float], None]) -> None:
        self._compute = compute
        self._seconds = [seconds for _, seconds in layers]
        self._gradients = [np.zeros(size // 4, np.float32) for size, _ in layers]
        self._layer_done: Callable[[int], None] = lambda final: None

    @property
    def gradients(self) -> List[np.ndarray]:
        return self._gradients

    weights = gradients

    @property
    def final_order(self) -> List[List[int]]:
        return [[number] for number in reversed(range(len(self._gradients)))]

    def watch_backward(self, layer_done: Callable[[int], None]) -> None:
        self._layer_done = layer_done

    def step(self, load: Callable[[], None], gradients_ready: Callable[[float], None]) -> None:
        for number, seconds in enumerate(reversed(self._seconds), 1):
            self._compute(seconds)
            self._layer_done(number)
        gradients_ready(0.0)

    def _nothing(self, *args: Any) -> Any:
        raise NotImplementedError

    test_net = reseed = load_weights = save_weights = restore = snapshot = close = _nothing


class Told(AllReduce):
    """The library's strategy, that is told how to exchange."""

    late = False

    def _layer_done(self, final: int) -> None:
        if not self.late:
            super()._layer_done(final)


def measure(comm: Any, trainers: Dict[str, Sleeping], request: Any, work: Work) -> List[float]:
    """Seconds of each iteration; ``trainers`` keeps those of the nets so far, as the communicator may do with their
    gradients."""
    name = json.dumps([request["net"], request["busy"]])
    if name not in trainers:
        trainers[name] = Sleeping(request["net"], work if request["busy"] else sleep)
    Told.aside = (request["way"] == HELPED,)
    strategy = Told(trainers[name], comm, Settings(), lambda: False)
    if not comm.helps:
        raise RuntimeError("there is no helper")
    strategy.late = request["way"] == LATE
    found = []
    for _ in range(1 + request["iterations"]):
        comm.barrier()
        begin = time.perf_counter()
        strategy.iterate(lambda: None)
        found.append(time.perf_counter() - begin)
    return found[1:]


def main() -> None:
    rank, port, hosts = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    helper = Helper.start()
    spares: Dict[int, PeerConnection] = {}
    listener = Listener(hosts[rank], (port, port), None, rank)
    print("listening", flush=True)
    sys.stdin.readline()
    credentials = Credentials(bytes(32), b"benchmark nonce!")  # with checksums, as by default
    addresses = [(host, port) for host in hosts]
    work = Work()
    with with_helper(connect(rank, addresses, listener, credentials, spares=spares), helper, spares) as comm:
        trainers: Dict[str, Sleeping] = {}
        for line in sys.stdin:
            print(json.dumps({"seconds": measure(comm, trainers, json.loads(line), work)}), flush=True)


if __name__ == "__main__":
    main()
