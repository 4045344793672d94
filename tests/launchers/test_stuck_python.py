"""Executors whose Python does not start a rank are named in tens of seconds, and those that load are left alone."""

import threading
import time
import types

import pytest

from caffeonspark.errors import StallError
from caffeonspark.launchers import stuck_python
from caffeonspark.launchers.base import RunningRanks
from caffeonspark.launchers.stuck_python import StuckPython
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.report.base import Observer
from caffeonspark.report.result import TrainingResult
from caffeonspark.runs.attempt import Attempt
from caffeonspark.settings import Settings


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in (("_LOOK_SECONDS", 0.05), ("_NO_FORK", 0.3), ("_NO_WORD", 0.6)):
        monkeypatch.setattr(stuck_python, name, seconds)


def watch(states, started, seconds=1.0):
    """What is found, when, while executors are in these states; rank k's task has the id 10 + k."""
    tasks = {rank: (executor, 10 + rank) for rank, executor in enumerate(states)}
    python = StuckPython(lambda: tasks, lambda executor, task: states[executor](task))
    begin = time.monotonic()
    found = {}
    while time.monotonic() - begin < seconds and not found:
        found = python.look([0, 1], started)
        time.sleep(0.02)
    return found, time.monotonic() - begin


def test_a_daemon_that_forks_nothing(quick):
    states = {"a": lambda task: "", "b": lambda task: "a process"}
    for started in (True, False):
        found, seconds = watch(states, started)
        assert list(found) == ["b"]
        assert "its pyspark.daemon gave the task no Python process" in found["b"]
        assert seconds < 0.9


def test_a_process_that_says_nothing(quick):
    states = {"a": lambda task: "", "b": lambda task: "its process"}
    found, _ = watch(states, started=True)
    assert "the Python process of the task said nothing" in found["b"]
    assert watch(states, started=False) == ({}, pytest.approx(1.0, abs=0.5))  # it may make the rows


def test_executors_that_are_at_it(quick):
    begin = time.monotonic()

    def changes(task):  # a fork, and another one: never the same for long
        return "a process" if int((time.monotonic() - begin) / 0.15) % 2 else "its process"

    def gone(task):
        raise ConnectionResetError

    assert watch({"a": changes, "b": lambda task: ""}, started=True)[0] == {}
    assert watch({"a": gone}, started=True)[0] == {}


def test_only_ranks_that_are_waited_for_are_looked_at(quick):
    asked = []
    python = StuckPython(lambda: {0: ("a", 1), 1: ("b", 2)}, lambda executor, task: asked.append(task) or "")
    for _ in range(10):
        python.look([1], True)
        time.sleep(0.02)
    assert set(asked) == {2}


class Stuck(RunningRanks):
    """Ranks of which one does not come."""

    running = True

    def __init__(self):
        self.asked = []

    def executors(self):
        return {0: "x", 1: "y"}

    def stuck(self, waited_for, started):
        self.asked.append((list(waited_for), started))
        return {"y": "it is frozen"} if len(self.asked) > 2 else {}

    def end(self, patience):
        return ["x", "y"]


@pytest.mark.parametrize("started", [True, False])
def test_an_attempt_ends_with_the_executor_to_replace(started, tmp_path):
    config = types.SimpleNamespace(ranks=2, settings=Settings(), solver=SolverParameter(), context=None)
    launched = Stuck()
    launcher = types.SimpleNamespace(
        bind_host="127.0.0.1",
        driver_host="127.0.0.1",
        fresh=False,
        encrypted=False,
        waiting="waiting for the ranks",
        start=lambda job, secret: launched,
    )
    attempt = Attempt(
        config, [], launcher, TrainingResult(model=""), Observer(), str(tmp_path), None, threading.Event()
    )
    if started:
        attempt.heard[0] = attempt.first_heard = time.monotonic()
        attempt.ended[0] = "bye"
    with pytest.raises(StallError, match="executor y does not start its rank: it is frozen"):
        attempt.run(lambda address, invitation: None)
    assert launched.asked[0] == ([1] if started else [0, 1], started)
    assert "y" in attempt.unresponsive
    assert ("x" in attempt.unresponsive) == started  # else x was at work on the rows
