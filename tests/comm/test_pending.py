"""All-reduces that were begun, and go on while their callers do something else."""

import time
from itertools import chain

import numpy as np
import pytest

from caffeonspark.comm.local import local_group
from caffeonspark.errors import CommunicationError, PeerLost, StallError
from tests.support.exchanging import in_threads, shared_group, tcp_group

WAYS = pytest.mark.parametrize("make_group", [local_group, tcp_group, shared_group], ids=["local", "tcp", "shared"])
SHAPES = [[(300, 1000), (5,)], [(7,)], [(17001,), (0,), (900,)], [(0,)]]


def buckets(rank):
    """Lists of arrays, for one exchange each."""
    rng = np.random.default_rng(rank)
    return [[rng.standard_normal(shape).astype(np.float32) for shape in shapes] for shapes in SHAPES]


def copies(lists):
    return [[array.copy() for array in arrays] for arrays in lists]


@WAYS
@pytest.mark.parametrize("size", [1, 2, 3])
def test_those_that_were_begun_are_those_that_run_at_once(make_group, size):
    group, given = make_group(size), [buckets(rank) for rank in range(size)]
    wanted = [copies(lists) for lists in given]

    def at_once(rank):
        for arrays in wanted[rank]:
            group[rank].all_reduce(arrays, scale=1 / size)

    def begun(rank):
        pending = []
        for arrays in given[rank]:
            pending.append(group[rank].begin_all_reduce(arrays, scale=1 / size))
            time.sleep(0.01 * rank)  # ranks make progress when they like
            for one in pending[: rank + 1]:
                one.progress()
        for one in pending:
            one.wait()
            one.wait()  # again: nothing happens
            assert one.progress()
        return group[rank].all_gather(b"%d" % rank)

    in_threads(size, at_once)
    assert in_threads(size, begun) == [[b"%d" % rank for rank in range(size)]] * size
    for rank in range(size):
        for mine, want in zip(chain(*given[rank]), chain(*wanted[rank])):
            np.testing.assert_array_equal(mine, want)
    for comm in group:
        comm.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("make_group", [tcp_group, shared_group], ids=["tcp", "shared"])
def test_progress_alone_ends_it(make_group, encrypted):
    group = make_group(2, encrypted)
    arrays = [np.full(300_000, rank + 1, np.float32) for rank in range(2)]

    def run(rank):
        before = group[rank].waited
        pending = group[rank].begin_all_reduce([arrays[rank]])
        deadline = time.monotonic() + 20
        while not pending.progress() and time.monotonic() < deadline:
            time.sleep(0.001)
        return pending.progress(), group[rank].waited - before

    assert in_threads(2, run) == [(True, 0.0)] * 2
    np.testing.assert_array_equal(np.concatenate(arrays), np.full(600_000, 3, np.float32))
    for comm in group:
        comm.close()


def test_other_collectives_come_after_what_is_pending():
    group = tcp_group(3)
    arrays = [np.full(200_000, rank + 1, np.float32) for rank in range(3)]

    def run(rank):
        pending = group[rank].begin_all_reduce([arrays[rank]])
        gathered = group[rank].all_gather(b"%d" % rank)
        assert pending.progress()
        return gathered

    assert in_threads(3, run) == [[b"0", b"1", b"2"]] * 3
    for array in arrays:
        np.testing.assert_array_equal(array, np.full(200_000, 6, np.float32))
    for comm in group:
        comm.close()


def test_one_that_is_waited_for_first_ends_those_before_it():
    group = tcp_group(2)
    arrays = [[np.full(n, rank + 1, np.float32) for n in (100_000, 10)] for rank in range(2)]

    def run(rank):
        first, second = (group[rank].begin_all_reduce([array]) for array in arrays[rank])
        second.wait()
        assert first.progress()

    in_threads(2, run)
    for array in chain(*arrays):
        np.testing.assert_array_equal(array, np.full(array.size, 3, np.float32))
    for comm in group:
        comm.close()


def test_a_peer_that_leaves_while_it_is_pending():
    group = tcp_group(2)
    arrays = [np.zeros(1 << 20, np.float32) for _ in range(2)]
    first = group[0].begin_all_reduce([arrays[0]])
    second = group[0].begin_all_reduce([arrays[0]])
    group[1].begin_all_reduce([arrays[1]])
    group[1].abort()
    with pytest.raises(PeerLost, match="rank 1"):
        first.wait()
    for broken in (first, second):
        with pytest.raises(CommunicationError, match=r"gave its collectives up when one failed: .*rank 1"):
            broken.wait()
    with pytest.raises(CommunicationError, match="gave its collectives up"):
        group[0].barrier()
    group[0].abort()


def test_a_peer_that_is_silent_while_it_is_pending():
    group = tcp_group(2, stall_timeout=0.5)
    pending = group[0].begin_all_reduce([np.zeros(1 << 20, np.float32)])
    time.sleep(0.6)
    assert not pending.progress()  # as long as nobody waits, nobody is given up
    with pytest.raises(StallError, match="heard nothing from rank 1"):
        pending.wait()
    for comm in group:
        comm.abort()


def test_ranks_that_begin_others():
    group = tcp_group(2)
    with pytest.raises(CommunicationError, match="out of step"):
        in_threads(2, lambda rank: group[rank].begin_all_reduce([np.zeros(70_000 + rank, np.float32)]).wait())
    for comm in group:
        comm.abort()
