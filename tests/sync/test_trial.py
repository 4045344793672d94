"""Ranks that try ways in turn agree on one."""

import pytest

from caffeonspark.comm.local import local_group
from caffeonspark.sync.trial import ROUNDS, Trial
from tests.support.exchanging import in_threads

#: Seconds of iterations by way: the first of each does not count, and neither does one that was disturbed.
SECONDS = {"a": [9, 2.0, 9, 2.1], "b": [1, 3.0, 3.1, 1]}


@pytest.mark.parametrize(
    ("by_rank", "chosen"),
    [
        ([SECONDS], "a"),
        ([SECONDS, SECONDS], "a"),
        # the slowest rank decides: 2.1 and 4 against 3 and 3
        ([SECONDS, {"a": [4] * 4, "b": [3] * 4}], "b"),
        ([{"a": [1] * 4, "b": [1] * 4}], "a"),
    ],
)
def test_the_fastest_is_taken(by_rank, chosen):
    group = local_group(len(by_rank))

    def run(rank):
        trial, ways = Trial(["a", "b"], group[rank]), []
        for number in range(2 * (1 + ROUNDS) + 3):
            ways.append(trial.way)
            trial.took(by_rank[rank][trial.way][number // 2] if number < 8 else 7.0)
        return ways

    assert in_threads(len(by_rank), run) == [["a", "b"] * 4 + [chosen] * 3] * len(by_rank)


def test_one_way_is_no_choice():
    trial = Trial([True], None)
    for _ in range(20):
        trial.took(1.0)
        assert trial.way is True
