"""The communicators over TCP and over shared memory against the documented order of additions, on threads and real
sockets."""

import numpy as np
import pytest

from caffeonspark.comm.handshake import Listener
from caffeonspark.comm.local import local_group
from caffeonspark.comm.tcp import connect
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.support.exchanging import in_threads, shared_group, tcp_group
from tests.support.guard import everyone

WAYS = pytest.mark.parametrize("make_group", [tcp_group, shared_group], ids=["tcp", "shared memory"])


def random_arrays(rank, shapes, seed=0):
    rng = np.random.default_rng([seed, rank])
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def documented_mean(parts, mesh):
    """Straight from Communicator.all_reduce's docstring."""
    size = len(parts)
    flat = [np.concatenate([a.reshape(-1) for a in arrays]) for arrays in parts]
    n = len(flat[0])
    total = np.empty(n, np.float32)
    for i in range(n):
        if n * 4 <= 65536 and mesh:
            k = 0
        else:
            k = next(k for k in range(size) if n * k // size <= i < n * (k + 1) // size)
        value = flat[k][i]
        for step in range(1, size):
            value = np.float32(value + flat[(k + step) % size][i])
        total[i] = value * np.float32(1 / size)
    return total


SHAPES = {
    "tiny": [(3,)],
    "one value": [(1,)],
    "small": [(20, 5), (7,), (0,), (11, 3, 2)],
    "ring": [(100, 50), (50,), (1,), (17001,)],
    "many chunks": [(300, 1000), (5,), (400000,)],
}


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", SHAPES)
@WAYS
def test_all_reduce_adds_in_the_documented_order(make_group, size, name, encrypted):
    group = make_group(size, encrypted)
    parts = [random_arrays(rank, SHAPES[name]) for rank in range(size)]
    local = [[array.copy() for array in arrays] for arrays in parts]
    expected = documented_mean(parts, mesh=True) if sum(a.size for a in parts[0]) < 30000 else None

    def reduce(group, arrays):
        return lambda rank: group[rank].all_reduce(arrays[rank], scale=1 / size)

    in_threads(size, reduce(local_group(size), local))
    in_threads(size, reduce(group, parts))
    for comm in group:
        comm.close()
    for rank in range(size):
        for mine, first, reference in zip(parts[rank], parts[0], local[rank]):
            np.testing.assert_array_equal(mine, first)
            np.testing.assert_array_equal(mine, reference)
        if expected is not None:
            np.testing.assert_array_equal(np.concatenate([a.reshape(-1) for a in parts[rank]]), expected)


def test_a_group_too_large_for_a_mesh_uses_the_ring_alone():
    size = 10
    group = tcp_group(size)
    assert all(len(comm._links) == 2 for comm in group)
    parts = [random_arrays(rank, SHAPES["small"]) for rank in range(size)]
    expected = documented_mean([[a.copy() for a in arrays] for arrays in parts], mesh=False)
    in_threads(size, lambda rank: group[rank].all_reduce(parts[rank], scale=1 / size))
    for arrays in parts:
        np.testing.assert_array_equal(np.concatenate([a.reshape(-1) for a in arrays]), expected)
    names = in_threads(size, lambda rank: group[rank].all_gather(b"rank %d" % rank))
    assert names[3] == [b"rank %d" % rank for rank in range(size)]
    for comm in group:
        comm.close()


@WAYS
def test_float64_sums(make_group):
    group = make_group(3)
    values = [np.arange(5, dtype=np.float64) * 10**rank for rank in range(3)]
    in_threads(3, lambda rank: group[rank].all_reduce([values[rank]]))
    for value in values:
        np.testing.assert_array_equal(value, np.arange(5) * 111.0)
    big = [np.full(100_000, 2.0**-30 * (rank + 1)) for rank in range(3)]
    in_threads(3, lambda rank: group[rank].all_reduce([big[rank]]))
    np.testing.assert_array_equal(big[1], np.full(100_000, 2.0**-30 * 6))
    for comm in group:
        comm.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("root", [0, 1])
@WAYS
def test_broadcast_and_gather(make_group, size, root, encrypted):
    root %= size
    group = make_group(size, encrypted)
    parts = [random_arrays(rank, [(700, 900), (3,), (0,)]) for rank in range(size)]
    wanted = [array.copy() for array in parts[root]]
    in_threads(size, lambda rank: group[rank].broadcast(parts[rank], root))
    for arrays in parts:
        for array, want in zip(arrays, wanted):
            np.testing.assert_array_equal(array, want)
    data = [b"x" * (rank * 1000) for rank in range(size)]
    for gathered in in_threads(size, lambda rank: group[rank].all_gather(data[rank])):
        assert gathered == data
    in_threads(size, lambda rank: group[rank].barrier())
    for comm in group:
        comm.close()


@WAYS
def test_ranks_out_of_step_fail_at_once(make_group):
    group = make_group(2, stall_timeout=5)
    with pytest.raises(CommunicationError):
        in_threads(2, lambda rank: group[rank].all_reduce([np.zeros(10 + rank, np.float32)]))
    for comm in group:
        comm.abort()


@WAYS
def test_a_closed_peer_is_noticed_at_once(make_group):
    group = make_group(3, stall_timeout=30)

    def work(rank):
        if rank == 1:
            group[rank].abort()
            return None
        with pytest.raises(PeerLost):
            group[rank].all_reduce([np.zeros(500_000, np.float32)])
        group[rank].abort()
        return True

    assert in_threads(3, work) == [True, None, True]


@WAYS
def test_a_silent_peer_is_given_up(make_group):
    group = make_group(2, stall_timeout=0.5)
    with pytest.raises(StallError, match=r"rank 0 heard nothing from rank 1 for 0\.5 s"):
        group[0].all_reduce([np.zeros(5, np.float32)])
    for comm in group:
        comm.abort()


def test_wrong_secret_is_refused():
    right, wrong = everyone(), everyone()
    listeners = [Listener("127.0.0.1", (0, 0), c, rank) for rank, c in enumerate((right, wrong))]
    addresses = [listener.address for listener in listeners]
    with pytest.raises(PeerLost):
        in_threads(2, lambda rank: connect(rank, addresses, listeners[rank], (right, wrong)[rank], connect_timeout=1.5))
