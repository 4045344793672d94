"""What is told of connections that were refused."""

from caffeonspark.report.result import TrainingResult
from caffeonspark.runs.refusals import Refusals


def test_refusals_are_counted_and_told_now_and_then():
    result, lines = TrainingResult(model=""), []
    refusals = Refusals(result, lines.append)
    for total in (0, 1, 2, 9, 10, 11, 50, 99, 100, 137):
        refusals.count("the driver", {"10.0.0.7": total})
    refusals.count("rank 1", {"10.0.0.8": 2, "10.0.0.7": 1}, last=True)
    for _ in range(2):
        refusals.count("the driver", {"10.0.0.7": 137}, last=True)
    assert result.refused == 140
    heads = [line.partition(": whoever it was did not know this attempt's secret")[0] for line in lines]
    assert heads == [
        "warning: 1 connection was refused by the driver, from 10.0.0.7",
        "warning: 10 connections were refused by the driver, from 10.0.0.7",
        "warning: 100 connections were refused by the driver, from 10.0.0.7",
        "warning: 3 connections were refused by rank 1, from 10.0.0.7, 10.0.0.8",
        "warning: 137 connections were refused by the driver, from 10.0.0.7",
    ]
    Refusals(result, lines.append).count("the driver", {"10.0.0.7": 1})  # the next attempt's
    assert result.refused == 141
