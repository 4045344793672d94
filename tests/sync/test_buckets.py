"""What goes into which bucket."""

import types

import pytest

from caffeonspark.sync.all_reduce import AllReduce
from caffeonspark.sync.averaging import Averaging
from caffeonspark.sync.buckets import LEAST, Bucket, make_buckets

ORDER = [[4, 5], [2, 3], [0, 1]]


@pytest.mark.parametrize(
    ("order", "sizes", "buckets"),
    [
        # a bucket ends with the group that fills it; the first layer's is in the last one
        (ORDER, [9, 1, 10, 1, 90, 10], [Bucket([4, 5], 1), Bucket([0, 1, 2, 3], 3)]),
        (ORDER, [9, 1, 100, 1, 90, 10], [Bucket([4, 5], 1), Bucket([2, 3], 2), Bucket([0, 1], 3)]),
        (ORDER, [900, 1, 10, 1, 9, 1], [Bucket([0, 1, 2, 3, 4, 5], 3)]),
        (ORDER, [0, 0, 99, 0, 1, 0], [Bucket([2, 3, 4, 5], 2), Bucket([0, 1], 3)]),
        ([[0, 1, 2]], [100, 100, 100], [Bucket([0, 1, 2], 1)]),
        ([[1], [0]], [500, 500], [Bucket([1], 1), Bucket([0], 2)]),
        ([], [], [Bucket([], 0)]),
    ],
)
def test_make_buckets(order, sizes, buckets):
    assert make_buckets(order, sizes, 100) == buckets


def test_nets_that_may_have_several_buckets_want_a_helper():
    nets = [types.SimpleNamespace(parameters=count) for count in (LEAST // 4, LEAST // 4 + 1)]
    assert [AllReduce.wants_helper(net) for net in nets] == [False, True]
    assert not any(Averaging.wants_helper(net) for net in nets)
