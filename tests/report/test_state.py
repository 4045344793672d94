"""Curves in bounded memory, and what the page shows of a run."""

import json
import math
import random
import time

import pytest

from caffeonspark.report.curve import draw_png
from caffeonspark.report.result import RankTiming, TrainingResult
from caffeonspark.report.state import RunState, Series, smooth
from tests.support.run_records import end, iteration, rank_losses, restart, saved, start, state_of, validation


@pytest.mark.parametrize("count", [1, 799, 800, 801, 12_345])
def test_series_are_bounded_and_right(count):
    random.seed(count)
    losses = [random.random() for _ in range(count)]
    series = Series()
    for number, loss in enumerate(losses):
        series.add(number, loss, number, None if number < 3 else 50.0)
    assert len(series) <= 800
    assert len(series) == -(-count // series.width)
    columns = series.columns()
    for place, first in enumerate(columns["iteration"]):
        part = losses[first : first + series.width]
        assert first == place * series.width
        assert columns["loss"][place] == pytest.approx(sum(part) / len(part), rel=1e-4)
        assert columns["low"][place] == pytest.approx(min(part), rel=1e-4)
        assert columns["high"][place] == pytest.approx(max(part), rel=1e-4)
    assert columns["lr"][-1] == float(f"{count - 1:.5g}")
    assert {speed for speed in columns["speed"] if speed is not None} <= {50.0}


def test_what_lbfgs_tells_is_there_where_it_tells():
    plain = state_of(start(), iteration(0)).page()["train"]
    assert (plain["passes"], plain["norm"]) == ([None], [None])
    told = [
        {**iteration(number), "passes": 1 + number % 2, "gradient_norm": 1 / (1 + number)} for number in range(1600)
    ]
    train = state_of(start(max_iter=1600), *told).page()["train"]
    assert len(train["passes"]) == 800
    assert train["passes"] == [1.5] * 800
    assert train["norm"][:2] == [0.5, 0.25]  # of the last iteration in each
    assert train["norm"][-1] == pytest.approx(1 / 1600, rel=1e-4)


def test_smoothing_keeps_straight_lines_straight():
    line = [2.0 - 0.01 * n for n in range(200)]
    found = smooth(line)
    assert found[:195] == pytest.approx(line[:195])
    assert found[-1] == pytest.approx(sum(line[-6:]) / 6)
    assert smooth([3.0]) == [3.0]
    assert smooth([]) == []


def test_long_runs_stay_small():
    state = state_of(start(max_iter=1_000_000))
    record = iteration(0)
    begin = time.perf_counter()
    for number in range(300_000):
        record["iteration"] = number
        state.record(record)
        if number % 100 == 0:
            state.record(validation(number, 0.123456789))
        if number % 1000 == 0:
            state.record(saved(number))
            state.record({"event": "note", "seconds": 1.0, "text": "x" * 50})
    assert len(json.dumps(state.page())) < 200_000
    assert (time.perf_counter() - begin) / 300_000 < 50e-6
    assert state.page()["tests"][0]["points"][-1] == [299_900, 0.12346]


@pytest.mark.parametrize("count", [50, 5000])
def test_curves_after_a_restart_are_those_of_a_run_that_never_failed(count):
    random.seed(1)
    losses = [random.random() for _ in range(count)]
    half = count // 2 + 3

    def run(first, last):
        return [iteration(number, losses[number]) for number in range(first, last)]

    smooth_run = state_of(start(), *run(0, half), saved(half), *run(half, count))
    rough = state_of(start(), *run(0, half), saved(half))
    for record in (*run(half, count - 5), validation(half + 1), restart(half), *run(half, count)):
        rough.record(record)
    expected, found = smooth_run.page(), rough.page()
    assert found["train"] == expected["train"]
    assert not found["tests"]
    assert found["marks"][-1] == {
        "kind": "restart",
        "iteration": half,
        "from": count - 5,
        "why": "rank 1 is lost",
    }
    never_saved = state_of(start(), *run(0, half), restart(0), *run(0, 10))
    assert never_saved.page()["train"]["iteration"] == list(range(10))


def test_earlier_runs_are_part_of_the_curve():
    earlier = [start(), *(iteration(n) for n in range(10)), validation(0), saved(10), end(10)]
    state = RunState(lambda: iter(earlier))
    state.record(start(10, resumed="file:/run_iter_10.solverstate"))
    assert state.phase == "starting"
    state.record(iteration(10))
    page = state.page()
    assert page["train"]["iteration"] == list(range(11))
    assert page["tests"][0]["points"] == [[0, 0.5]]
    assert [mark["kind"] for mark in page["marks"]] == ["snapshot", "resumed"]
    assert page["phase"] == "training"


def test_the_rank_that_waits_least_is_the_slowest():
    result = TrainingResult("m", 100, 20, {0: "a", 1: "b"})
    state = state_of(start(), {"event": "hosts", "seconds": 1.0, "hosts": ["a", "b"], "rows": 100})
    rows = state.page()["ranks"]
    assert [(row["host"], row["iteration"], row["slowest"]) for row in rows] == [("a", None, False), ("b", None, False)]
    state.progress(result, 0, RankTiming(50, 10.0, 4.0, 0.5), [])
    assert not any(row["slowest"] for row in state.page()["ranks"])
    state.progress(result, 1, RankTiming(50, 10.0, 1.0, 0.5), [])
    rows = state.page()["ranks"]
    assert [row["slowest"] for row in rows] == [False, True]
    assert [row["waiting_share"] for row in rows] == [0.4, 0.1]
    assert [row["alone"] for row in rows] == [round(50 * 10 / 6, 1), round(50 * 10 / 9, 1)]


def test_what_each_rank_computes_with():
    machine = {"processor": "a Zen", "cores": 4.0, "blas": "OpenBLAS 0.3.13", "kernel": "Zen", "threads": 2}
    hosts = {"event": "hosts", "seconds": 1.0, "hosts": ["a", "b"], "rows": 100}
    assert [row["machine"] for row in state_of(start(), hosts).page()["ranks"]] == [None, None]  # of earlier versions
    state = state_of(start(), {**hosts, "machines": [machine, None]})
    assert [row["machine"] for row in state.page()["ranks"]] == [machine, None]


def test_the_losses_of_ranks_whose_models_differ():
    records = [saved(20), *(rank_losses(n, 1 / n, None if n == 29 else 2 / n) for n in (9, 19, 29, 39))]
    page = state_of(start(), *records).page()
    assert [curve["name"] for curve in page["apart"]] == ["rank 0", "rank 1"]
    assert page["apart"][0]["points"] == [[n, float(f"{1 / n:.5g}")] for n in (9, 19, 29, 39)]
    assert page["apart"][1]["points"][2] == [29, None]
    assert [row["loss"] for row in page["ranks"]] == [0.025641, 0.051282]
    page = state_of(start(), *records, restart(20)).page()
    assert [[at for at, _ in curve["points"]] for curve in page["apart"]] == [[9, 19], [9, 19]]
    assert "loss" not in page["ranks"][0]
    plain = state_of(start(), iteration(0)).page()
    assert plain["apart"] == [] and "loss" not in plain["ranks"][0]


def test_many_ranks_have_two_curves():
    state = state_of(start(ranks=500, max_iter=10**6))
    for number in range(3000):
        state.record(rank_losses(number, *(None if rank == 3 else rank + 1 for rank in range(500))))
    page = state.page()
    assert [curve["name"] for curve in page["apart"]] == ["lowest of the ranks", "highest of the ranks"]
    assert [curve["points"][-1] for curve in page["apart"]] == [[2999, 1], [2999, 500]]
    assert [len(curve["points"]) for curve in page["apart"]] <= [800, 800]
    assert [row["loss"] for row in page["ranks"][:5]] == [1, 2, 3, None, 5]
    assert len(json.dumps(page)) < 200_000


def test_a_run_that_goes_on_with_other_ranks_draws_its_own():
    state = state_of(start(), rank_losses(9, 1, 2), start(20, ranks=3), rank_losses(29, 4, 5, 6))
    assert [(one["name"], one["points"]) for one in state.page()["apart"]] == [
        ("rank 0", [[29, 4]]),
        ("rank 1", [[29, 5]]),
        ("rank 2", [[29, 6]]),
    ]


def test_values_that_json_cannot_hold():
    state = state_of(start(), iteration(0), validation(0, loss=[None], accuracy=[0.1]), iteration(1))
    assert state.page()["tests"][0]["points"] == [[0, None]]
    page = state_of(start(), validation(0, prob=[0.1] * 1000), iteration(0)).page()
    assert page["tests"] == []  # too wide to draw
    assert draw_png(state.page()).startswith(b"\x89PNG")


def test_math_of_time_left_is_shown_only_while_training():
    state = state_of(start(), iteration(0))
    result = TrainingResult("m", 1000, 20)
    state.progress(result, 0, RankTiming(10, 1.0, 0.0, 0.0), [(9, 1.0, 0.1)])
    left = state.page()["left"]
    assert left is None or math.isfinite(left)
    state.record(end(10))
    assert state.page()["left"] is None


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_clock_that_jumps_changes_no_duration(monkeypatch, jump):
    now = time.time()
    state = state_of(start(max_iter=100, time=now, seconds=0.0))
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert 0 <= state.page()["seconds"] < 60
