"""Runs that are disturbed, and have to end as if they were not."""

import os
import random
import signal
import time

import numpy as np

from tests.support import processes, stock

ITERATIONS, INTERVAL = 600, 100
SOLVER = (
    'net: "net.prototxt" type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
    f'max_iter: {ITERATIONS} snapshot: {INTERVAL} snapshot_prefix: "run" '
    "iter_size: 8 "  # slow enough to be harmed at a chosen moment
)


def make_folder(data, folder, solver=SOLVER, **flags):
    """A job over ``data``'s LMDB in ``folder``; its flags."""
    (folder / "net.prototxt").write_text(stock.lmdb_net(data / "lmdb", 32))
    (folder / "solver.prototxt").write_text(solver)
    return {
        "conf": str(folder / "solver.prototxt"),
        "model": f"file:{folder}/model.caffemodel",
        "clusterSize": 2,
        "shuffle": True,
        "stallTimeout": 5,
        **flags,
    }


def run_undisturbed(victim, data, folders, **flags):
    """The weights of a run nobody disturbed, and its seconds: of the second, since Spark's first job is slow."""
    for folder in folders:
        victim.order(make_folder(data, folder, **flags))
        start = time.monotonic()
        events = victim.wait_for("over")
        assert {"finished": ITERATIONS, "restarts": 0, "stopped": "", "losses": ITERATIONS} in events, events
    return load(folder), time.monotonic() - start


def load(folder):
    """The weights of a run's model."""
    return stock.load_weights(folder / "model.caffemodel", stock.input_net(32))


def kill_executor(driver):
    os.kill(random.choice(processes.executors(driver)), signal.SIGKILL)


def signal_a_rank(driver, number):
    """To one of the ranks, if there is one: on a fast machine, a run may be over soon after its last report."""
    ranks = processes.ranks(driver)
    if ranks:
        os.kill(random.choice(ranks), number)


def kill_worker(driver):
    signal_a_rank(driver, signal.SIGKILL)


def freeze_worker(driver):
    signal_a_rank(driver, signal.SIGSTOP)


def freeze_executor(driver):
    """The JVM and everything under it."""
    executor = random.choice(processes.executors(driver))
    for pid in [executor, *processes.tree(executor)]:
        os.kill(pid, signal.SIGSTOP)


def freeze_jvm(driver):
    os.kill(random.choice(processes.executors(driver)), signal.SIGSTOP)


HARMS = {
    "kill executor": kill_executor,
    "kill worker": kill_worker,
    "freeze worker": freeze_worker,
    "freeze executor": freeze_executor,
    "freeze jvm": freeze_jvm,
}


def harm_a_run(victim, data, folder, harm, moment, undisturbed, **flags):
    """Disturb a run at iteration ``moment``; its events and the seconds it took longer."""
    expected, seconds = undisturbed
    driver = victim.process.pid
    victim.order(make_folder(data, folder, **flags))
    start = time.monotonic()
    events, harmed = [], False
    for event in victim.events():
        events.append(event)
        if not harmed and event.get("iteration", -1) >= moment:
            HARMS[harm](driver)
            harmed = True
        if "over" in event:
            break
    assert harmed
    lost = time.monotonic() - start - seconds
    finished = [event for event in events if "finished" in event]
    assert finished, events[-5:]
    assert finished[0]["losses"] == ITERATIONS
    assert {"recorded": True} in events
    for mine, theirs in zip(load(folder), expected):
        np.testing.assert_array_equal(mine, theirs)
    parts = [path.name for path in folder.iterdir() if path.name.endswith(".part")]
    assert not parts
    check_nothing_is_left(driver)
    return finished[0], lost


def check_nothing_is_left(driver):
    """Soon after a run, no sidecar and no helper of it is there any more, and no temporary file."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        below = processes.tree(driver)
        workers = set(processes.workers(driver))
        helpers = [pid for pid in below if below[pid] in workers]
        if not helpers:
            break
        time.sleep(0.2)
    else:
        raise AssertionError([processes.command(pid) for pid in helpers])
