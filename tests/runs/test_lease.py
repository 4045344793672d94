"""The lease on a place: one live run at a time; what is over gives way."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from caffeonspark.errors import ConfigError, StorageError
from caffeonspark.runs import lease as lease_module
from caffeonspark.runs.lease import STALE_SECONDS, Lease, leases_of
from caffeonspark.storage import Storage
from tests.support.paths import ROOT

HOLD = """
import sys
from caffeonspark.runs import lease
from caffeonspark.runs.lease import Lease
from caffeonspark.storage import Storage
lease._RENEW_SECONDS = 0.5
with Lease(Storage(), sys.argv[1], "app-other", 1, "-model"):
    print("held", flush=True)
    sys.stdin.read()
"""


def lease(folder, application="app", attempt=1):
    return Lease(Storage(), f"file:{folder}/m.caffemodel", application, attempt, "-model")


def hold_elsewhere(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"file:{folder}/m.caffemodel"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def left_behind(folder, age, **about):
    """A lease as a run on another machine leaves it."""
    path = folder / ".m.caffemodel.lease"
    holder = {"application": "gone", "attempt": 1, "host": "far", "pid": 7, "since": "then", "token": "t", **about}
    path.write_text(json.dumps(holder))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def left_behind_by_snapshots(folder):
    path = left_behind(folder, STALE_SECONDS + 5)
    os.rename(path, folder / ".m_iter.lease")


def test_what_a_killed_run_was_writing_goes_with_its_lease(tmp_path):
    """With the lease of its place, and no other: what begins alike another live run may be writing."""
    left_behind(tmp_path, STALE_SECONDS + 5)
    left_behind_by_snapshots(tmp_path)
    left_behind(tmp_path, STALE_SECONDS + 5)
    of_model = [
        ".m.caffemodel.0123abcd.part",
        ".m.metrics.jsonl.0123abcd.part",
        ".m.curve.html.0123abcd.part",
    ]
    of_snapshots = [".m_iter_30.solverstate.json.0123abcd.part", ".m_iter_30.rank1.caffemodel.h5.0123abcd.part"]
    others = [
        ".m.v2.caffemodel.0123abcd.part",
        ".m.caffemodel.h5.0123abcd.part",
        ".mm.caffemodel.0123abcd.part",
        ".mm_iter_30.solverstate.0123abcd.part",
        "m.metrics.jsonl",
        ".m.notes.part",
    ]
    for name in of_model + of_snapshots + others:
        (tmp_path / name).write_text("")
    leases = [".m.caffemodel.lease", ".m_iter.lease"]
    of_place, of_prefix = leases_of(Storage(), f"file:{tmp_path}/m.caffemodel", f"file:{tmp_path}/m_iter", "app", 1)
    with of_place:
        assert sorted(os.listdir(tmp_path)) == sorted([*of_snapshots, *others, *leases])
        with of_prefix:
            assert sorted(os.listdir(tmp_path)) == sorted([*others, *leases])


def test_two_live_runs_do_not_share_a_place(tmp_path):
    with lease(tmp_path), pytest.raises(ConfigError) as e, lease(tmp_path, "app-2"):
        pass
    pattern = (
        rf"file:{tmp_path}/m.caffemodel is in use by another run \(application app, process {os.getpid()}, host \S+, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\): wait for its end or stop it, or give this one a "
        "-model of its own"
    )
    assert re.fullmatch(pattern, e.value.message)
    with lease(tmp_path, "app-2"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_live_run_of_another_process_keeps_its_place_however_old_its_lease_looks(tmp_path):
    process = hold_elsewhere(tmp_path)
    try:
        then = time.time() - 10 * STALE_SECONDS  # its machine slept, or a clock jumped
        os.utime(tmp_path / ".m.caffemodel.lease", (then, then))
        with pytest.raises(ConfigError, match=r"in use by another run \(application app-other"), lease(tmp_path):
            pass
    finally:
        process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (tmp_path / ".m.caffemodel.lease").exists()
    with lease(
        tmp_path
    ):  # a killed run's place is free at once on its own machine, though nobody has asked for its end
        pass
    process.wait()
    left = [path.name for path in tmp_path.iterdir()]
    assert all(name.endswith(".part") for name in left), left  # it may have been killed while it wrote


@pytest.mark.parametrize("process", [None, ["another boot", "pid:[1]", "7", "1"]])
def test_a_lease_of_another_machine_goes_stale_by_itself(tmp_path, process):
    left_behind(tmp_path, STALE_SECONDS - 20, process=process)
    with pytest.raises(ConfigError, match=r"host far, since then\).*if it was killed, the place is free in (19|20) s"):
        lease(tmp_path).__enter__()
    left_behind(tmp_path, STALE_SECONDS + 1, process=process)
    with lease(tmp_path):
        assert json.loads((tmp_path / ".m.caffemodel.lease").read_text())["application"] == "app"
    assert not list(tmp_path.iterdir())


def test_a_process_that_lives_and_renews_no_more_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.4)
    process = hold_elsewhere(tmp_path)
    try:
        os.kill(process.pid, signal.SIGSTOP)
        left = time.time() - STALE_SECONDS - 1
        os.utime(tmp_path / ".m.caffemodel.lease", (left, left))
        with lease(tmp_path):
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(1)
            assert json.loads((tmp_path / ".m.caffemodel.lease").read_text())["application"] == "app"
    finally:
        process.kill()
        process.wait()


def test_what_a_run_of_this_process_could_not_remove_keeps_nobody_out(tmp_path, monkeypatch):
    first = lease(tmp_path).__enter__()
    with monkeypatch.context() as broken:

        def fail(*args):
            raise StorageError("away")

        broken.setattr(Storage, "remove", fail)
        first.__exit__()
    assert (tmp_path / ".m.caffemodel.lease").exists()
    with lease(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_next_attempt_of_an_application_takes_over(tmp_path):
    left_behind(tmp_path, 1, application="app")
    with pytest.raises(ConfigError, match="in use"):
        lease(tmp_path, attempt=1).__enter__()
    with lease(tmp_path, attempt=2):
        assert json.loads((tmp_path / ".m.caffemodel.lease").read_text())["attempt"] == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"attempt": "x", "process": [1, 2]}'])
def test_what_is_no_lease_is_somebody_starting(tmp_path, content):
    path = tmp_path / ".m.caffemodel.lease"
    path.write_text(content)
    with pytest.raises(ConfigError, match="in use by another run"):
        lease(tmp_path).__enter__()
    then = time.time() - 2 * STALE_SECONDS
    os.utime(path, (then, then))
    with lease(tmp_path):
        pass


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lease_is_renewed_and_one_that_was_removed_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.05)
    path = tmp_path / ".m.caffemodel.lease"
    with lease(tmp_path) as held:
        os.utime(path, (1, 1))
        wait_until(lambda: path.stat().st_mtime > 1)
        path.unlink()
        wait_until(path.exists)
        held.check()
    assert not list(tmp_path.iterdir())


def test_who_lost_its_place_writes_nothing_more_there(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.05)
    with lease(tmp_path) as held:
        path = left_behind(tmp_path, 0)
        wait_until(lambda: held._lost)
        with pytest.raises(ConfigError, match=r"was taken by another run \(application gone on far\)"):
            held.check()
    assert json.loads(path.read_text())["application"] == "gone"


def test_storage_that_does_not_answer_for_a_while_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.05)
    with lease(tmp_path) as held:
        with monkeypatch.context() as broken:

            def fail(*args):
                fail.calls += 1
                raise StorageError("away")

            fail.calls = 0
            broken.setattr(Storage, "write", fail)
            wait_until(lambda: fail.calls > 2)
        os.utime(tmp_path / ".m.caffemodel.lease", (1, 1))
        wait_until(lambda: (tmp_path / ".m.caffemodel.lease").stat().st_mtime > 1)
        held.check()
