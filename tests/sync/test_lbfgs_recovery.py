"""A rank or an executor is lost in the middle of a pass: L-BFGS continues from the iteration before, to the bit."""

import numpy as np
import pytest

from tests.support.recovery import HARMS, check_nothing_is_left, load, make_folder

END = 40
SOLVER = f'net: "net.prototxt" type: "LBFGS" max_iter: {END} random_seed: 3 weight_decay: 0.001 snapshot_prefix: "run"'


def run(victim, data, folder, harm=None, moment=0):
    """The weights a run comes to, its end, its notes, and whether it had kept a snapshot when it was harmed."""
    folder.mkdir()
    victim.order(make_folder(data, folder, solver=SOLVER))
    harmed, kept, events = harm is None, False, []
    for event in victim.events():
        events.append(event)
        if not harmed and event.get("iteration", -1) >= moment:
            kept = any(folder.glob("run_iter_*.solverstate.json"))
            HARMS[harm](victim.process.pid)
            harmed = True
        if "over" in event:
            break
    assert harmed
    (finished,) = [event for event in events if "finished" in event]
    check_nothing_is_left(victim.process.pid)
    return load(folder), finished, [event["note"] for event in events if "note" in event], kept


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_kills_in_the_middle_of_a_pass(victim, data_folder, tmp_path):
    expected, finished, *_ = run(victim, data_folder, tmp_path / "undisturbed")
    assert (finished["finished"], finished["restarts"]) == (END, 0)
    for number, harm in enumerate(("kill executor", "kill worker")):
        found, finished, notes, kept = run(victim, data_folder, tmp_path / str(number), harm, 12 + number)
        assert finished["restarts"] == 1
        assert finished["losses"] == END
        if kept:  # a quick machine comes so far in less than the second between two snapshots
            assert not any("from iteration 0" in note for note in notes)
        for mine, theirs in zip(found, expected):
            np.testing.assert_array_equal(mine, theirs)
