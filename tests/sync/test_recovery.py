"""Ranks that meet now and then are lost, or told to stop, between two averagings: the model is that of a whole run."""

import json
import os
import random
import signal

import numpy as np
import pytest

from tests.support.recovery import ITERATIONS, SOLVER, harm_a_run, load, make_folder, run_undisturbed

# snapshots at 97, 194, …: no multiples of the 10 iterations between averagings
OFTEN = SOLVER.replace("snapshot: 100", "snapshot: 97")
assert "snapshot: 97" in OFTEN
HOW = {
    "average": {"sync": "average"},
    "averageHistory": {"sync": "average", "averageHistory": True},
    "elastic": {"sync": "elastic"},
}
#: What the ranks add to a snapshot that is taken where they meet.
PARTS = {
    "average": [[], [".solverstate"]],
    "averageHistory": [],
    "elastic": [[".caffemodel"], [".caffemodel", ".solverstate"]],
}


@pytest.fixture(
    scope="module",
    params=[
        "average",
        pytest.param("averageHistory", marks=pytest.mark.slow),
        pytest.param("elastic", marks=pytest.mark.slow),
    ],
)
def how(request):
    return request.param


@pytest.fixture(scope="module")
def flags(how):
    return {"solver": OFTEN, **HOW[how]}


@pytest.fixture(scope="module")
def undisturbed(victim, data_folder, tmp_path_factory, flags):
    return run_undisturbed(victim, data_folder, [tmp_path_factory.mktemp("undisturbed") for _ in range(2)], **flags)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_five_kills(victim, data_folder, tmp_path, undisturbed, flags):
    random.seed(10)
    for number in range(5):
        harm = ("kill executor", "kill worker")[number % 2]
        moment = random.randrange(100, ITERATIONS - 100)
        folder = tmp_path / str(number)
        folder.mkdir()
        finished, lost = harm_a_run(victim, data_folder, folder, harm, moment, undisturbed, **flags)
        assert finished["restarts"]
        print(f"{harm} at {moment}: {finished['restarts']} restarts, {lost:.1f} s longer", flush=True)


def test_a_signal_is_heard_at_the_next_averaging_and_resume_goes_on(
    victim, data_folder, tmp_path, undisturbed, how, flags
):
    flags = make_folder(data_folder, tmp_path, **flags)
    victim.order(flags)
    sent, notes = False, []
    for event in victim.events():
        notes.append(event.get("note"))
        if not sent and event.get("iteration", 0) >= 130:
            os.kill(victim.process.pid, signal.SIGTERM)
            sent = True
        if "over" in event:
            assert not event["model"]
            break
    assert "stopping after the next averaging; a second signal stops at once" in notes
    states = sorted(int(path.name.split("_")[2].split(".")[0]) for path in tmp_path.glob("run_iter_*.solverstate.json"))
    assert states[-1] % 10 == 0
    about = json.loads((tmp_path / f"run_iter_{states[-1]}.solverstate.json").read_text())
    assert about["parts"] == PARTS[how]
    victim.order({**flags, "resume": True})
    events = victim.wait_for("over")
    assert next(event for event in events if "finished" in event)["losses"] == ITERATIONS - states[-1]
    assert {"recorded": True} in events
    for mine, theirs in zip(load(tmp_path), undisturbed[0]):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.long
def test_a_lost_executor(victim, data_folder, tmp_path, undisturbed, flags):
    finished, _ = harm_a_run(victim, data_folder, tmp_path, "kill executor", 250, undisturbed, **flags)
    assert finished["restarts"]
