"""Disks that become full at each step of a run: it ends with the undisturbed model, or one line names the disk."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest

from tests.attacks.test_process_faults import (
    FLAGS,
    INTERVAL,
    ITERATIONS,
    LONGEST,
    TEST_INTERVAL,
    undisturbed,
    when_doing,
)
from tests.support.recovery import check_nothing_is_left, load, make_folder
from tests.support.victim import Victim

pytestmark = [pytest.mark.slow, pytest.mark.spark]


def at(iteration):
    return lambda: lambda event: event.get("iteration", -1) >= iteration


MOMENTS = {
    "before it starts": None,
    "starting": when_doing("are there"),
    "loading": when_doing("loading records"),
    "connecting": when_doing("connecting"),
    "before a validation": at(TEST_INTERVAL + 1),
    "before a snapshot": at(INTERVAL + TEST_INTERVAL + 1),
    "before the model": at(ITERATIONS - 15),
}
DISKS = ("output", "driver", "executors")


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """A file system of 48 MB for each kind of file: what the run makes, and temporary files of driver and executors."""
    base, mounted = tmp_path_factory.mktemp("disks"), {}
    try:
        for name in DISKS:
            (base / name).mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "none", base / name]
            if os.geteuid() or subprocess.run(mount, check=False).returncode:
                pytest.skip("mounting needs root")
            mounted[name] = base / name
        yield mounted
    finally:
        for folder in mounted.values():
            subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def victim(disks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(disks["driver"]))
        found = Victim("local-cluster[2,1,1024]", f"spark.local.dir={disks['executors']}")
    yield found
    found.close()


@pytest.fixture(scope="module")
def expected(victim, data_folder, tmp_path_factory):
    return undisturbed(victim, data_folder, tmp_path_factory.mktemp("expected"))


@contextlib.contextmanager
def filled(folder, full):
    """From the event ``full`` on and until the block ends, a file takes all room of the folder's disk, what others give
    back as well."""
    over, path = threading.Event(), folder / "filler"

    def fill():
        full.wait()
        with open(path, "wb", buffering=0) as f:
            while not over.is_set():
                for size in (1 << 20, 1 << 12, 1):
                    try:
                        while not over.is_set():
                            f.write(bytes(size))
                    except OSError as e:
                        assert e.errno == errno.ENOSPC, e
                over.wait(0.02)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        full.set()
        thread.join()
        path.unlink()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("disk", DISKS)
def test_full(victim, disks, data_folder, expected, disk, moment):
    folder = disks["output"] / f"{disk}-{moment}".replace(" ", "-")
    folder.mkdir()
    flags = make_folder(data_folder, folder, **FLAGS)
    events, full = [], threading.Event()
    watchdog = threading.Timer(LONGEST, victim.process.kill)
    with filled(disks[disk], full):
        if MOMENTS[moment] is None:
            full.set()
        is_moment = MOMENTS[moment]() if MOMENTS[moment] else lambda event: False
        victim.order(flags, validate=True)
        watchdog.start()
        try:
            for event in victim.events():
                events.append(event)
                if is_moment(event):
                    full.set()
                if "over" in event:
                    break
        finally:
            watchdog.cancel()
    check_nothing_is_left(victim.process.pid)
    assert not [name for name in os.listdir(folder) if name.endswith(".part")]
    if not events[-1]["model"]:
        (error,) = [event for event in events if "error" in event]
        print(f"{disk}, {moment}: {error['error']}", error["report"])
        assert error["kind"] == "StorageError" and "\n" not in error["error"], error
        assert str(disks[disk]) in error["error"] or "spark.local.dir" in error["error"], error
        assert not [event for event in events if "restart" in event.get("note", "")], events
        for kept in set(re.findall(r"/\S*caffeonspark-kept-\w+", error["error"])):
            shutil.rmtree(kept)
        # there is room again
        victim.order({**flags, "resume": True}, validate=True)
        events = victim.wait_for("over")
        assert events[-1]["model"], events[-5:]
    for mine, theirs in zip(load(folder), expected):
        np.testing.assert_array_equal(mine, theirs)
    shutil.rmtree(folder)
