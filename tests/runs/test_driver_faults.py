"""An interrupted rank, a daemon that forks nothing, and a driver whose JVM is killed: each is named, and soon."""

import contextlib
import os
import signal
import time

import pytest

from tests.support import processes
from tests.support.recovery import SOLVER, make_folder
from tests.support.victim import Victim

pytestmark = [pytest.mark.spark, pytest.mark.slow]

ITERATIONS = 120
SHORT = SOLVER.replace("max_iter: 600", f"max_iter: {ITERATIONS}")
LONG = SOLVER.replace("max_iter: 600", "max_iter: 1000000")


@pytest.fixture(scope="module")
def own():
    """A driver whose executors ask their daemon for each process."""
    driver = Victim("local-cluster[2,1,1024]", "spark.python.worker.reuse=false")
    yield driver
    driver.process.kill()
    driver.process.wait()


def until_over(driver, harm=lambda event: None):
    """The events of a run, each given to ``harm``; and the seconds since the harm was done."""
    events, when = [], None
    for event in driver.events():
        events.append(event)
        if when is None and harm(event):
            when = time.monotonic()
        if "over" in event:
            break
    return events, time.monotonic() - (when or 0)


def notes(events):
    return [event["note"] for event in events if "note" in event]


@pytest.mark.timeout(300)
def test_a_rank_that_gets_sigint_is_lost_and_the_run_goes_on(own, data_folder, tmp_path):
    own.order(make_folder(data_folder, tmp_path, SHORT))

    def interrupt(event):
        if event.get("iteration", 0) < 5:
            return False
        os.kill(processes.ranks(own.process.pid)[0], signal.SIGINT)
        return True

    events, _ = until_over(own, interrupt)
    finished = [event for event in events if "finished" in event]
    assert finished, events[-3:]
    assert finished[0]["restarts"] == 1
    assert any("its process was interrupted by SIGINT" in note for note in notes(events)), notes(events)


@pytest.mark.timeout(300)
def test_a_frozen_daemon_is_named_and_its_executor_replaced(own, data_folder, tmp_path):
    if not processes.daemons(own.process.pid):  # Spark starts them with the first task
        own.order(make_folder(data_folder, tmp_path, SHORT))
        until_over(own)
    daemon = processes.daemons(own.process.pid)[0]
    os.kill(daemon, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        own.order(make_folder(data_folder, tmp_path, SHORT))
        seen = []
        for event in own.events():
            seen.append(event)
            if "pyspark.daemon" in event.get("note", "") or "over" in event:
                break
        seconds = time.monotonic() - begin
        assert "executor" in seen[-1].get("note", ""), seen[-3:]
        assert "does not start its rank: its pyspark.daemon gave the task no Python process" in seen[-1]["note"]
        print(f"found after {seconds:.0f} s")
        assert seconds < 90
        events, _ = until_over(own)
        assert {"finished": ITERATIONS, "restarts": 1, "stopped": "", "losses": ITERATIONS} in events, events[-3:]
    finally:
        with contextlib.suppress(ProcessLookupError):  # it went with its executor
            os.kill(daemon, signal.SIGKILL)


@pytest.mark.timeout(300)
def test_a_driver_whose_jvm_is_killed_ends_with_one_line(own, data_folder, tmp_path):
    own.order(make_folder(data_folder, tmp_path, LONG))
    (jvm,) = [pid for pid, parent in processes.tree(own.process.pid).items() if parent == own.process.pid]

    def kill(event):
        if event.get("iteration", 0) < 5:
            return False
        os.kill(jvm, signal.SIGKILL)
        return True

    events, seconds = until_over(own, kill)
    (error,) = [event for event in events if "error" in event]
    print(f"{seconds:.1f} s: {error['error']}")
    assert error["kind"] == "InfrastructureError"
    assert error["error"].startswith("Spark's JVM on the driver does not answer: it was killed, or ran out of memory")
    assert "-resume" in error["error"]
    assert seconds < 30
    time.sleep(2)
    assert "Traceback" not in "".join(own.errors)
    assert not events[-1]["model"]
