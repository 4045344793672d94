"""What communicators keep of the collectives that they were asked for."""

import weakref

import numpy as np
import pytest

from caffeonspark.comm.plan_cache import PlanCache
from caffeonspark.comm.shared_memory import share_memory
from tests.support.exchanging import in_threads, shared_group, tcp_group, tcp_group_on


def hosts_group(size):
    tcp = tcp_group_on(["127.0.0.1", "127.0.0.2", "127.0.0.1"])
    return in_threads(size, lambda rank: share_memory(tcp[rank]))


GROUPS = pytest.mark.parametrize(
    "make_group", [tcp_group, shared_group, hosts_group], ids=["ring", "shared memory", "hosts"]
)


def plans_of(comm):
    if comm._hierarchy is not None:
        return comm._hierarchy._plans
    return getattr(comm, "_plans", comm._layouts)


@GROUPS
def test_arrays_that_nobody_has_any_more_are_not_kept(make_group):
    """As -sync elastic exchanges new ones each time the ranks meet."""
    group, seen = make_group(3), []

    def run(rank):
        for _ in range(5):
            array = np.full(1_200_000, rank + 1, np.float32)
            group[rank].all_reduce([array])
            assert (array == 6).all()
            seen.append(weakref.ref(array))

    in_threads(3, run)
    assert len(seen) == 15 and not any(array() is not None for array in seen)
    for comm in group:
        comm.close()


@GROUPS
def test_of_more_buckets_than_a_few_every_plan_is_kept(make_group):
    group = make_group(3)
    arrays = [[np.full(20_000, rank + 1, np.float32) for _ in range(40)] for rank in range(3)]
    in_threads(3, lambda rank: group[rank].share(arrays[rank]))
    for comm in group:
        if comm._hierarchy is not None:
            comm._hierarchy.way = lambda arrays, compressed: "segments"

    def run(rank):
        for _ in range(2):
            for array in arrays[rank]:
                array[...] = rank + 1
                group[rank].all_reduce([array])

    in_threads(3, run)
    assert all((array == 6).all() for mine in arrays for array in mine)
    assert {len(plans_of(comm)) for comm in group} == {40}
    for comm in group:
        comm.close()
        assert not len(plans_of(comm))


def test_plans_of_arrays_that_last():
    first, second = np.zeros(3), np.zeros(3)
    lasting = {(first.ctypes.data, first.nbytes)}
    plans, made = PlanCache(lasting), []

    def make():
        made.append(1)
        return len(made)

    assert [plans.get("a", [first], make) for _ in range(2)] == [1, 1]
    assert [plans.get("b", [first, second], make) for _ in range(2)] == [2, 3]
    for number in range(300):
        plans.get(number, [first], make)
    assert len(plans) < 300  # whoever asks for ever others
