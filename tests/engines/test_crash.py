"""The one rule for glog's fatal line."""

import pytest

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.caffe.crash import fatal_message
from caffeonspark.errors import RankLost, TrainingError
from caffeonspark.runs.failures import first_failure
from caffeonspark.runs.rank_server import Event

CHECK = "Check failed: shape[i] >= 0 (-1 vs. 0) [in brackets]"


@pytest.mark.parametrize("date", ["F1126 08:55:44.123456  1234", "F20261126 08:55:44.123456 1234"])
def test_the_words_of_a_failed_check(date):
    log = ["I1126 08:55:44.000000  1234 net.cpp:51] Initializing", f"{date} blob.cpp:34] {CHECK} ", "*** Aborted"]
    assert fatal_message(log) == CHECK
    assert CaffeEngine().explain_crash(log) == f"Caffe ended the process: {CHECK}"


@pytest.mark.parametrize("line", ["", "Finally] done", "Found 1126 records] of them", "E1126 08:55:44 1 a.cpp:1] x"])
def test_other_lines_are_none(line):
    assert fatal_message([line]) == ""
    assert CaffeEngine().explain_crash([line]) == ""


def test_a_rank_that_caffe_ended_is_no_lost_rank():
    """Starting anew would not help against a failed CHECK, as it does against a killed process."""
    fatal = f"F1126 08:55:44.123456  1234 blob.cpp:34] {CHECK}"
    for log, kind, words in (
        (["something", fatal], TrainingError, f"rank 1 of 2 on host-a: Caffe ended the process: {CHECK}"),
        (["something"], RankLost, "rank 1 of 2 on host-a: its process ended without a message"),
    ):
        error = first_failure([(1.0, Event(1, "died", {"log": log}))], 2, {1: "host-a"}, CaffeEngine().explain_crash)
        assert type(error) is kind
        assert error.message.startswith(words)
