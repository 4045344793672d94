"""Ranks that share memory: bit for bit what they compute over TCP, and nothing left of it afterwards."""

import errno
import gc
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from caffeonspark.comm import memory
from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.shared_memory import SharedMemoryCommunicator, share_memory
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.support.exchanging import in_threads, shared_group, tcp_group
from tests.support.guard import everyone

SHAPES = {
    "large and small": [(300, 1000), (5,), (400_000,)],
    "small between": [(5,), (200_000,), (17_001,), (3, 300, 100), (0,), (40_000,)],
    "many chunks of copies": [(10_000,)] * 130 + [(30_000,)],
    "fits one step": [(16_384,)],
}


def mappings():
    """The places of this process's address space where there is shared memory of ranks."""
    gc.collect()
    with open("/proc/self/maps") as maps:
        return [line.split("-")[0] for line in maps if "/memfd:caffeonspark" in line]


def descriptors():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # the one that lists
    return [name for name in found if "caffeonspark" in name]


def arrays_of(rank, shapes, dtype, seed=0):
    """At places that differ from rank to rank."""
    rng = np.random.default_rng([seed, rank])
    wide = [rng.standard_normal(int(np.prod(shape)) + rank).astype(dtype) for shape in shapes]
    return [array[rank:].reshape(shape) for array, shape in zip(wide, shapes)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_the_results_are_those_over_tcp(name, size, dtype):
    tcp, shared = tcp_group(size), shared_group(size)
    expected = [arrays_of(rank, SHAPES[name], dtype) for rank in range(size)]
    copied = [arrays_of(rank, SHAPES[name], dtype) for rank in range(size)]
    moved = [arrays_of(rank, SHAPES[name], dtype) for rank in range(size)]
    addresses = [[array.ctypes.data for array in arrays] for arrays in moved]
    before = [[array.copy() for array in arrays] for arrays in moved]
    shareable = [slice(None), slice(1, None)][size % 2]  # all of the arrays, or all but one
    in_threads(size, lambda rank: shared[rank].share(moved[rank][shareable]))
    assert all(np.array_equal(a, b) for first, second in zip(before, moved) for a, b in zip(first, second))
    assert addresses == [[array.ctypes.data for array in arrays] for arrays in moved]
    for scale in (1 / size, None):
        for group, parts in ((tcp, expected), (shared, copied), (shared, moved)):
            in_threads(size, lambda rank, *of: of[0][rank].all_reduce(of[1][rank], of[2]), group, parts, scale)
        for rank in range(size):
            for want, one, other in zip(expected[rank], copied[rank], moved[rank]):
                np.testing.assert_array_equal(one, want)
                np.testing.assert_array_equal(other, want)
                for array in (want, one, other):
                    array *= 1 + rank / 7  # what backward does: new values at the same place
    for comm in [*tcp, *shared]:
        comm.close()


def test_large_arrays_are_not_copied():
    group = shared_group(2)
    arrays = [[np.full(1 << 20, rank + 1.0, np.float32), np.zeros(3, np.float32)] for rank in range(2)]
    in_threads(2, lambda rank: group[rank].share(arrays[rank]))
    plan = group[0]._plan(arrays[0])
    copied = sum(piece.nbytes for segment in plan.chunks for chunk in segment for piece in chunk)
    assert copied <= 2 * 4096 * 2 + 12
    assert sum(own.nbytes for own, _ in plan.direct) >= (2 << 20) - 8192
    for comm in group:
        comm.close()


def test_nothing_is_left_when_it_ends():
    before, open_before = mappings(), descriptors()
    group = shared_group(3)
    arrays = [[np.full(300_000, rank + 1.0, np.float32)] for rank in range(3)]
    in_threads(3, lambda rank: group[rank].share(arrays[rank]))
    in_threads(3, lambda rank: group[rank].all_reduce(arrays[rank]))
    assert len(mappings()) > len(before)
    group[0].close()
    for comm in group[1:]:
        comm.abort()
    assert all((array == 6).all() for (array,) in arrays)
    group = comm = None
    assert mappings() == before
    assert descriptors() == open_before


def test_ranks_that_share_other_arrays_fail_at_once():
    group = shared_group(2, stall_timeout=5)
    arrays = [np.zeros(100_000, np.float32) for rank in range(2)]
    in_threads(2, lambda rank: group[rank].share([arrays[rank]]))
    elsewhere = [arrays[0], arrays[1].copy()]
    with pytest.raises(CommunicationError, match="out of step"):
        in_threads(2, lambda rank: group[rank].all_reduce([elsewhere[rank]]))
    for comm in group:
        comm.abort()


def wrong_token(offer, folder):
    return offer[:-1] + bytes([offer[-1] ^ 1])


def another_process(offer, folder):
    return memory._OFFER.pack(os.getppid(), *memory._OFFER.unpack(offer)[1:])


def a_file(offer, folder):
    process, _, size, token = memory._OFFER.unpack(offer)
    (folder / "file").write_bytes(token + bytes(size))
    a_file.open = (folder / "file").open("r+b")
    return memory._OFFER.pack(process, a_file.open.fileno(), size, token)


def too_large(offer, folder):
    process, number, size, token = memory._OFFER.unpack(offer)
    return memory._OFFER.pack(process, number, size + 4096, token)


def no_offer(offer, folder):
    return b""


def garbage(offer, folder):
    return b"\x00" * 7


@pytest.mark.parametrize("spoil", [wrong_token, another_process, a_file, too_large, no_offer, garbage])
@pytest.mark.parametrize("what", ["communicator", "arrays"])
def test_memory_that_is_not_a_ranks_is_not_used(monkeypatch, tmp_path, spoil, what):
    """One rank's offer is enough for all of them to go on without."""
    true_offer, spoilt = memory.new_memory, []

    def offer(size, opened):
        fd, data = true_offer(size, opened)
        if not spoilt:
            spoilt.append(True)
            data = spoil(data, tmp_path)
        return fd, data

    group = tcp_group(3) if what == "communicator" else shared_group(3)
    arrays = [np.full(100_000, rank + 1.0, np.float32) for rank in range(3)]
    monkeypatch.setattr(memory, "new_memory", offer)
    if what == "communicator":
        assert in_threads(3, lambda rank: share_memory(group[rank])) == group
    else:
        in_threads(3, lambda rank: group[rank].share([arrays[rank]]))
        assert not any(comm._plan([array]).direct for comm, array in zip(group, arrays))
    assert spoilt
    in_threads(3, lambda rank: group[rank].all_reduce([arrays[rank]]))
    assert all((array == 6).all() for array in arrays)
    for comm in group:
        comm.close()
    if spoil is a_file:
        a_file.open.close()


def test_a_kernel_without_memfds(monkeypatch):
    monkeypatch.setattr(memory, "_libc", object())
    group = tcp_group(2)
    assert in_threads(2, lambda rank: share_memory(group[rank])) == group
    for comm in group:
        comm.close()


def test_a_machine_without_memory(monkeypatch):
    def full(fd, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    group = tcp_group(2)
    assert in_threads(2, lambda rank: share_memory(group[rank])) == group
    for comm in group:
        comm.close()


def test_a_large_group_stays_with_the_ring():
    group = tcp_group(9)
    assert in_threads(9, lambda rank: share_memory(group[rank])) == group
    for comm in group:
        comm.close()


def test_a_peer_that_is_gone_when_memory_is_shared():
    group = tcp_group(2)
    group[1].abort()
    with pytest.raises(PeerLost):
        share_memory(group[0])
    assert group[0]._links[1].sock.fileno() < 0


def peer(pipe, credentials):
    """Rank 1, in a process of its own: reduces until it is ended."""
    listener = Listener("127.0.0.1", (0, 0), None, 1)
    pipe.send(listener.address)
    comm = share_memory(connect(1, pipe.recv(), listener, credentials, connect_timeout=60))
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    while True:
        comm.all_reduce([array])


@pytest.mark.parametrize(
    ("sign", "error", "match"),
    [
        (signal.SIGKILL, PeerLost, "rank 1"),
        (signal.SIGSTOP, StallError, r"rank 0 heard nothing from rank 1 for 2 s"),
    ],
    ids=["killed", "frozen"],
)
def test_a_process_that_ends_or_stops(sign, error, match):
    before, credentials = mappings(), everyone()
    spawn = multiprocessing.get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=peer, args=(theirs, credentials), daemon=True)
    process.start()
    listener = Listener("127.0.0.1", (0, 0), None, 0)
    addresses = [listener.address, pipe.recv()]
    pipe.send(addresses)
    comm = share_memory(connect(0, addresses, listener, credentials, connect_timeout=60, stall_timeout=2))
    assert isinstance(comm, SharedMemoryCommunicator)
    array = np.ones(4 << 20, np.float32)
    comm.share([array])
    for _ in range(3):
        comm.all_reduce([array], scale=0.5)
    os.kill(process.pid, sign)
    begin = time.monotonic()
    with pytest.raises(error, match=match):
        for _ in range(1000):
            comm.all_reduce([array], scale=0.5)
    assert comm.waited > 0
    assert time.monotonic() - begin < 30
    process.kill()
    process.join()
    comm.abort()
    assert array.shape == (4 << 20,)
    del comm
    assert mappings() == before
