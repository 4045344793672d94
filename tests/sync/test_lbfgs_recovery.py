"""A rank or an executor is lost in the middle of a pass: the model is that of an undisturbed run, to the bit."""

import random

import numpy as np
import pytest

from tests.support.recovery import HARMS, check_nothing_is_left, load, make_folder

END = 40
NET = f'net: "net.prototxt" max_iter: {END} random_seed: 3 weight_decay: 0.001 snapshot_prefix: "run" '
HOW = {
    "LBFGS": {"solver": NET + 'type: "LBFGS"'},
    "fullBatch": {
        "solver": NET + 'type: "Adam" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" snapshot: 7',
        "fullBatch": True,
    },
}


def run(victim, data, folder, flags, harm=None, moment=0):
    """The weights a run comes to, its end, its notes, and whether it had kept a snapshot when it was harmed."""
    folder.mkdir()
    victim.order(make_folder(data, folder, **flags))
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
@pytest.mark.parametrize("how", HOW)
def test_five_kills(victim, data_folder, tmp_path, how):
    random.seed(14)
    expected, finished, *_ = run(victim, data_folder, tmp_path / "undisturbed", HOW[how])
    assert (finished["finished"], finished["restarts"]) == (END, 0)
    for number in range(5):
        harm, moment = ("kill executor", "kill worker")[number % 2], random.randrange(10, END - 15)
        found, finished, notes, kept = run(victim, data_folder, tmp_path / str(number), HOW[how], harm, moment)
        print(f"{harm} at {moment}: {[note for note in notes if 'from iteration' in note]}", flush=True)
        assert finished["restarts"] == 1
        assert finished["losses"] == END
        if kept:  # a quick machine comes so far in less than the second between two snapshots
            assert not any("from iteration 0" in note for note in notes)
        for mine, theirs in zip(found, expected):
            np.testing.assert_array_equal(mine, theirs)
