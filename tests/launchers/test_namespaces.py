"""Ranks of two machines: two network namespaces that have nothing in common but a cable. Needs root, and ``ip``."""

import os
import secrets
import shutil
import subprocess

import numpy as np
import pytest

from caffeonspark.nets.schema import NetParameter
from tests.support import aside, stock
from tests.support.local_command import Running, model, run, write_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root, and ip"),
]

SECRET = {"CAFFEONSPARK_SECRET": secrets.token_hex(16), "OMP_NUM_THREADS": "1"}
SOLVER = "max_iter: 20 snapshot: 10"


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


def train_on(machines, here, there, folder, lmdb, *flags, net=None, said=None, **variables):
    """The model of so many ranks on either machine; ``said`` gets what the command said."""
    folder.mkdir()
    words = [*write_job(folder, lmdb, SOLVER, net), *flags]
    local = ("local", "-np", str(here), "-join", str(there), "-interface", "ranks0", *words)
    with Running(*local, before=machines[0], **SECRET, **variables) as job:
        join = job.wait_for(r"^caffeonspark (join 10\.99\.7\.1:\d+)$").group(1).split()
        with Running(*join, "-np", str(there), before=machines[1], **SECRET, **variables) as other:
            assert job.wait() == 0, "\n".join(job.lines)
            assert other.wait(60) == 0, "\n".join(other.lines)
        job.wait_for(f"{here} process(es)? on this machine .from -np., {there} process(es)? on 10.99.7.2", 1)
        if said is not None:
            said += job.lines
    return model(folder)


def weights(content):
    layers = NetParameter.FromString(content).layer
    return np.concatenate([np.array(blob.data, np.float32) for layer in layers for blob in layer.blobs])


def test_two_machines_with_a_rank_each_train_the_model_of_one(machines, small_lmdb, tmp_path):
    run("local", "-np", "2", *write_job(tmp_path, small_lmdb, SOLVER), OMP_NUM_THREADS="1")
    assert train_on(machines, 1, 1, tmp_path / "together", small_lmdb) == model(tmp_path)


def test_machines_with_several_ranks_train_one_model(machines, small_lmdb, tmp_path):
    """The same each time, and another order of additions than on one machine: equal to rounding."""
    run("local", "-np", "3", *write_job(tmp_path, small_lmdb, SOLVER), OMP_NUM_THREADS="1")
    found = train_on(machines, 1, 2, tmp_path / "together", small_lmdb)
    assert train_on(machines, 1, 2, tmp_path / "again", small_lmdb) == found
    here, there = weights(model(tmp_path)), weights(found)
    np.testing.assert_allclose(there, here, atol=1e-4 * np.abs(here).max())


def test_machines_that_compress_what_they_exchange(machines, small_lmdb, tmp_path):
    """Ranks that came to other weights would end the run; what they come to is near what they do without."""
    exact = weights(train_on(machines, 2, 2, tmp_path / "exact", small_lmdb))
    found = weights(train_on(machines, 2, 2, tmp_path / "rounded", small_lmdb, "-compress", "bf16"))
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_a_machine_alone_has_nothing_to_compress(small_lmdb, tmp_path):
    said = run("local", "-np", "2", *write_job(tmp_path, small_lmdb, SOLVER), "-compress", "bf16").stderr
    assert "-compress compresses nothing here: all ranks are on one host" in said


def test_a_machine_without_a_way_out_names_its_interface(machines, small_lmdb, tmp_path):
    words = write_job(tmp_path, small_lmdb, SOLVER)
    with Running("local", "-np", "1", "-join", "1", *words, before=machines[0], **SECRET) as job:
        assert job.wait() == 1
        (line,) = job.lines
        assert "this machine has no address on a default way out" in line and "with -interface" in line


def train_aside(machines, here, there, folder, lmdb, strategy, *flags, **more):
    """The same with a net of two buckets, and processes that find no memory of the other machine's."""
    machines = [(*before, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc") for before in machines]
    net = stock.lmdb_net(lmdb, 10, layers=aside.LAYERS)
    words = (*flags, "-sync", f"tests.support.aside:{strategy}")
    return train_on(machines, here, there, folder / strategy, lmdb, *words, net=net, **more)


@pytest.mark.parametrize(("here", "there"), [(1, 1), (1, 2)])
def test_helpers_train_the_model_that_ranks_train_without(machines, small_lmdb, tmp_path, here, there):
    models = [
        train_aside(machines, here, there, tmp_path, small_lmdb, strategy)
        for strategy in ("Late", "Pumped", "Helped", "Chosen")
    ]
    assert models[1:] == models[:1] * 3


@pytest.mark.parametrize("flags", [("-compress", "bf16"), ("-encrypt",)], ids=["compressed", "encrypted"])
def test_helpers_that_compress_or_encrypt(machines, small_lmdb, tmp_path, flags):
    found = [train_aside(machines, 1, 2, tmp_path, small_lmdb, one, *flags) for one in ("Pumped", "Helped", "Chosen")]
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("who", ["rank", "helper"])
def test_a_rank_or_its_helper_is_killed_when_a_bucket_travels(machines, small_lmdb, tmp_path, who):
    undisturbed = train_aside(machines, 1, 1, tmp_path, small_lmdb, "Late")
    marker, said = tmp_path / "killed", []
    variables = {aside.KILL: f"{who} {marker}"}
    assert train_aside(machines, 1, 1, tmp_path, small_lmdb, "Helped", said=said, **variables) == undisturbed
    assert marker.exists()
    assert any("; restart 1 of 3 from iteration 10" in line for line in said), said
    if who == "helper":
        assert any("the process that exchanges gradients ended with SIGKILL" in line for line in said), said
