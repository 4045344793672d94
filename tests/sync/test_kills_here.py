"""One run whose ranks are killed five times, in every mode: without Spark, the model is that of an undisturbed one."""

import json
import os
import random
import signal
import time

import pytest

from tests.support.local_command import Running, model, run, write_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

LONG, PASSES = "iter_size: 8 max_iter: 300 snapshot: 23", "weight_decay: 0.001 max_iter: 40"
#: Solver, flags, and the iterations after which a rank is killed.
HOW = {
    "all_reduce": (LONG, {}, (40, 90, 140, 190, 240)),
    "average": (LONG, {"sync": "average"}, (40, 90, 140, 190, 240)),
    "averageHistory": (LONG, {"sync": "average", "averageHistory": "true"}, (40, 90, 140, 190, 240)),
    "elastic": (LONG, {"sync": "elastic"}, (40, 90, 140, 190, 240)),
    "fullBatch": (f"{PASSES} snapshot: 3", {"fullBatch": "true"}, (5, 11, 17, 23, 29)),
    "LBFGS": (f'type: "LBFGS" {PASSES}', {}, (5, 11, 17, 23, 29)),
}


def iteration(path):
    """The newest that the metrics file has; -1 where there is none yet, or the ranks start again."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    newest = next((json.loads(line) for line in reversed(lines) if '"note"' not in line), {"event": ""})
    return newest["iteration"] if newest["event"] in ("iteration", "pace", "saved", "rank_losses") else -1


def kill_after(job, path, moment):
    deadline = time.monotonic() + 200
    while iteration(path) < moment or len(job.ranks()) < 2:
        assert time.monotonic() < deadline and job.process.poll() is None, job.lines
        time.sleep(0.02)
    os.kill(random.choice(job.ranks()), signal.SIGKILL)


@pytest.mark.parametrize("how", HOW)
def test_five_kills_of_one_run(tmp_path, small_lmdb, how):
    random.seed(14)
    solver, flags, moments = HOW[how]
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    run("local", "-np", "2", *write_job(tmp_path / "undisturbed", small_lmdb, solver, **flags))
    words = write_job(tmp_path / "killed", small_lmdb, solver, maxRestarts=6, **flags)
    with Running("local", "-np", "2", *words) as job:
        for moment in moments:
            kill_after(job, tmp_path / "killed" / "model.metrics.jsonl", moment)
        assert job.wait(600) == 0, job.lines
    restarts = [line for line in job.lines if "restart " in line]
    assert len(restarts) == len(moments), job.lines
    assert model(tmp_path / "killed") == model(tmp_path / "undisturbed")
