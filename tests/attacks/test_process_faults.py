"""Sixty times a process of a run is killed or frozen: it ends with the undisturbed model, or with one true line."""

import contextlib
import io
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from caffeonspark import errors
from tests.support import processes
from tests.support.data_files import write_lmdb
from tests.support.recovery import check_nothing_is_left, load, make_folder
from tests.support.victim import Victim

pytestmark = pytest.mark.slow

ITERATIONS, INTERVAL, TEST_INTERVAL = 160, 40, 20
SOLVER = (
    'net: "net.prototxt" type: "SGD" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
    f'max_iter: {ITERATIONS} snapshot: {INTERVAL} snapshot_prefix: "run" iter_size: 8 '
    f"test_interval: {TEST_INTERVAL} test_iter: 4 "
)
FLAGS = {"solver": SOLVER, "decoders": 1}
LONGEST = 150  # seconds that a run may take

TARGETS = {
    "executor": processes.executors,
    "daemon": processes.daemons,
    "worker": processes.ranks,
    "sidecar": processes.sidecars,
    "decoder": processes.decoders,
}
ACTIONS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


def at_iteration(first, last, interval=1):
    """A moment: soon after an iteration that is a multiple of ``interval``."""

    def choose():
        chosen = random.randrange(first, last) // interval * interval
        return lambda event: event.get("iteration", -1) >= chosen

    return choose


def when_doing(text):
    return lambda: lambda event: text in event.get("doing", "")


MOMENTS = {
    "starting": when_doing("are there"),
    "loading": when_doing("loading records"),
    "connecting": when_doing("connecting"),
    "validating": at_iteration(TEST_INTERVAL, ITERATIONS - 20, TEST_INTERVAL),
    "saving": at_iteration(INTERVAL, ITERATIONS - 20, INTERVAL),
    "training": at_iteration(1, ITERATIONS - 20),
}


def png(image):
    out = io.BytesIO()
    Image.fromarray(image[0]).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory, small_images):
    folder = tmp_path_factory.mktemp("faults")
    write_lmdb(folder / "lmdb", *small_images, encoded=png)
    return folder


@pytest.fixture
def drivers():
    """Makes drivers, and a new one where the last one is no more what it was."""
    found = []

    def driver():
        if not found:
            found.append(Victim("local-cluster[2,1,1024]"))
        return found[0]

    driver.forget = lambda: found.pop().process.kill()
    yield driver
    for one in found:
        one.close()


@pytest.mark.spark
@pytest.mark.timeout(6000)
def test_sixty_faults(drivers, data, tmp_path):
    seed = int(os.environ.get("CAFFEONSPARK_ATTACK_SEED", "60"))
    random.seed(seed)
    expected = undisturbed(drivers(), data, tmp_path)
    cases = [(target, action, both) for target in TARGETS for action in ACTIONS for both in (False, True)] * 3
    moments = list(MOMENTS) * (len(cases) // len(MOMENTS))
    random.shuffle(moments)
    faults = [*zip(cases, moments)][slice(*map(int, os.environ.get("CAFFEONSPARK_ATTACK_SLICE", "0:60").split(":")))]
    wrong = []
    for number, ((target, action, both), moment) in enumerate(faults):
        name = f"{action} {'both ' if both else ''}{target}{'s' if both else ''}, {moment}"
        folder = tmp_path / str(number)
        folder.mkdir()
        start = time.monotonic()
        try:
            how = attack(drivers(), data, folder, target, action, both, MOMENTS[moment](), expected)
        except Exception as e:
            how = f"WRONG: {type(e).__name__}: {str(e)[-1500:]}"
            wrong.append(f"{name}: {how}")
            drivers.forget()
        print(f"{number + 1:2} {name}: {how}; {time.monotonic() - start:.1f} s", flush=True)
        if (target, action) == ("daemon", "kill"):
            drivers.forget()  # its workers work on without it, where the tree of processes does not show them
    assert not wrong, "\n".join(wrong)


def undisturbed(victim, data, tmp_path):
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    victim.order(make_folder(data, folder, **FLAGS), validate=True)
    assert any("finished" in event for event in victim.wait_for("over"))
    return load(folder)


def attack(victim, data, folder, target, action, both, is_moment, expected):
    """Disturb a run; how it ended. Raises AssertionError where that is neither the right model nor an error's line."""
    driver = victim.process.pid
    victim.order(make_folder(data, folder, **FLAGS), validate=True)
    watchdog = threading.Timer(LONGEST, victim.process.kill)
    watchdog.start()
    events, harmed = [], []
    try:
        for event in victim.events():
            events.append(event)
            if not harmed and is_moment(event):
                time.sleep(random.uniform(0, 0.3))
                harmed = harm(driver, target, ACTIONS[action], both)
            if "over" in event:
                break
    except AssertionError:
        raise AssertionError(f"no end within {LONGEST} s; the last events: {events[-4:]}") from None
    finally:
        watchdog.cancel()
        for pid in harmed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert harmed, f"nothing was harmed; the last events: {events[-4:]}"
    check_nothing_is_left(driver)
    if events[-1]["model"]:
        finished = next(event for event in events if "finished" in event)
        assert finished["losses"] == ITERATIONS
        for mine, theirs in zip(load(folder), expected):
            np.testing.assert_array_equal(mine, theirs)
        return f"the same model, {finished['restarts']} restarts, {len(harmed)} processes"
    (error,) = [event for event in events if "error" in event]
    assert issubclass(getattr(errors, error["kind"], object), errors.InfrastructureError), error
    assert "\n" not in error["error"], error
    return f"{error['kind']}: {error['error']}"


def harm(driver, target, number, both):
    """Send a signal to one or all processes of a kind; those that got it. They may be about to start."""
    found, deadline = [], time.monotonic() + 3
    while not found and time.monotonic() < deadline:
        found = TARGETS[target](driver)
    chosen = found if both else random.sample(found, min(1, len(found)))
    harmed = []
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            harmed.append(pid)
    return harmed
