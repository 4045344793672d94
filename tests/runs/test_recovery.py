"""Lost and frozen executors and workers: the run ends by itself with the undisturbed run's model, bit for bit."""

import os
import random
import signal

import numpy as np
import pytest

from tests.support import processes
from tests.support.data_files import write_lmdb
from tests.support.recovery import (
    HARMS,
    INTERVAL,
    ITERATIONS,
    harm_a_run,
    kill_worker,
    load,
    make_folder,
    run_undisturbed,
)


@pytest.fixture(scope="module")
def undisturbed(victim, data_folder, tmp_path_factory):
    return run_undisturbed(victim, data_folder, [tmp_path_factory.mktemp("undisturbed") for _ in range(2)])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.long
def test_disturbed_runs_end_with_the_same_model(victim, data_folder, tmp_path, undisturbed, harm):
    random.seed(harm)
    moment = random.randrange(1, ITERATIONS - INTERVAL)
    finished, lost = harm_a_run(victim, data_folder, tmp_path, harm, moment, undisturbed)
    assert finished["restarts"] in ([0] if harm == "freeze jvm" else [1, 2])
    print(f"{harm} at iteration {moment}: {lost:.1f} s longer, {finished['restarts']} restarts")


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_sixty_random_moments(victim, data_folder, tmp_path, undisturbed):
    """The issue's sixty runs: twenty moments for each kind of harm."""
    random.seed(60)
    interval = undisturbed[1] * INTERVAL / ITERATIONS
    table = []
    for harm in ("kill executor", "kill worker", "freeze executor"):
        for number in range(20):
            folder = tmp_path / f"{harm}-{number}".replace(" ", "-")
            folder.mkdir()
            moment = random.randrange(0, ITERATIONS - 20)
            finished, lost = harm_a_run(victim, data_folder, folder, harm, moment, undisturbed)
            assert finished["restarts"] or moment > ITERATIONS - INTERVAL  # it may have been over by then
            table.append((harm, moment, finished["restarts"], lost))
            print(f"{harm} at {moment}: {finished['restarts']} restarts, {lost:.1f} s longer", flush=True)
    worst = max(row[3] for row in table)
    print(f"worst: {worst:.1f} s, of which at most {interval:.1f} s are the snapshot interval")
    assert worst <= interval + 30


@pytest.mark.long
def test_too_many_failures_end_the_run(victim, data_folder, tmp_path):
    flags = {**make_folder(data_folder, tmp_path), "maxRestarts": 1}
    victim.order(flags)
    kills = restarts = 0
    for event in victim.events():
        restarts += "restart 1 of 1" in event.get("note", "")
        if event.get("iteration", 0) >= 20 and kills == restarts and processes.ranks(victim.process.pid):
            kill_worker(victim.process.pid)
            kills += 1
        if "error" in event:
            assert event["kind"] in ("RankLost", "PeerLost")
            assert "(after 1 restarts)" in event["error"]
        if "over" in event:
            assert not event["model"]
            break
    assert kills == 2


def test_errors_in_the_data_do_not_restart(victim, data_folder, tmp_path, small_images):
    images = small_images[0].copy()
    write_lmdb(tmp_path / "lmdb", [*images[:500], np.zeros((1, 12, 13), np.uint8)], [*small_images[1][:500], 1])
    flags = make_folder(tmp_path, tmp_path)
    victim.order(flags)
    events = victim.wait_for("over")
    assert [event["kind"] for event in events if "error" in event] == ["DataError"]
    assert not [event for event in events if "restart" in event.get("note", "")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_a_snapshot_and_resume_goes_on(victim, data_folder, tmp_path, undisturbed, number):
    flags = make_folder(data_folder, tmp_path)
    victim.order(flags)
    sent = False
    for event in victim.events():
        if not sent and event.get("iteration", 0) >= 130:
            os.kill(victim.process.pid, number)
            sent = True
        if "error" in event:
            stopped = event
        if "over" in event:
            assert not event["model"]
            break
    assert stopped["kind"] == ("InterruptedByKeyboard" if number == signal.SIGINT else "Interrupted")
    assert number.name in stopped["error"]
    assert "-resume continues from it" in stopped["error"]
    victim.order({**flags, "resume": True})
    events = victim.wait_for("over")
    finished = next(event for event in events if "finished" in event)
    assert finished["losses"] < ITERATIONS - 100
    assert {"recorded": True} in events
    for mine, theirs in zip(load(tmp_path), undisturbed[0]):
        np.testing.assert_array_equal(mine, theirs)
