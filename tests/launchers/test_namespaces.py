"""Ranks of two machines: two network namespaces that have nothing in common but a cable. Needs root, and ``ip``."""

import os
import secrets
import shutil
import subprocess

import pytest

from tests.support.local_command import Running, model, run, write_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root, and ip"),
]

SECRET = {"CAFFEONSPARK_SECRET": secrets.token_hex(16)}
SOLVER = "iter_size: 8 max_iter: 200 snapshot: 50"


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no network namespaces here: {done.stderr.strip()}")


@pytest.fixture
def machines():
    """What stands before a command that is to run on one of two machines."""
    names = [f"caffeonspark-{secrets.token_hex(3)}" for _ in range(2)]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "ranks0", "netns", names[0], "type", "veth", "peer", "name", "ranks0", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.99.7.{number}/24", "dev", "ranks0")
            ip("-n", name, "link", "set", "ranks0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [("ip", "netns", "exec", name) for name in names]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_two_machines_train_one_model(machines, small_lmdb, tmp_path):
    here, together = tmp_path / "here", tmp_path / "together"
    here.mkdir()
    together.mkdir()
    run("local", "-np", "3", *write_job(here, small_lmdb, SOLVER))
    words = write_job(together, small_lmdb, SOLVER)
    local = ("local", "-np", "1", "-join", "2", "-interface", "ranks0", *words)
    with Running(*local, before=machines[0], **SECRET) as job:
        join = job.wait_for(r"^caffeonspark (join 10\.99\.7\.1:\d+)$").group(1).split()
        with Running(*join, "-np", "2", before=machines[1], **SECRET) as other:
            assert job.wait() == 0, job.lines
            assert other.wait(60) == 0, other.lines
        job.wait_for("1 process on this machine .from -np., 2 processes on 10.99.7.2", 1)
    assert model(together) == model(here)


def test_a_machine_without_a_way_out_names_its_interface(machines, small_lmdb, tmp_path):
    words = write_job(tmp_path, small_lmdb, SOLVER)
    with Running("local", "-np", "1", "-join", "1", *words, before=machines[0], **SECRET) as job:
        assert job.wait() == 1
        (line,) = job.lines
        assert "this machine has no address on a default way out" in line and "with -interface" in line
