"""Disks that are full while a job runs: named with their folder and setting, and nothing is tried again."""

import os
import subprocess

import numpy as np
import pytest

from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.victim import Victim


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.spark
@pytest.mark.long
def test_sparks_local_folder_is_full(tmp_path, small_disk):
    rng = np.random.default_rng(1)
    write_lmdb(tmp_path / "lmdb", rng.integers(0, 256, (4000, 1, 100, 100)).astype(np.uint8), np.zeros(4000, int))
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(tmp_path / "lmdb", 10))
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 50')
    victim = Victim("local-cluster[1,1,1024]", f"spark.local.dir={small_disk}")
    try:
        flags = {"conf": f"{tmp_path}/solver.prototxt", "model": f"file:{tmp_path}/m.caffemodel", "clusterSize": 1}
        victim.order(flags)
        events = victim.wait_for("over")
    finally:
        victim.close()
    (error,) = [event for event in events if "error" in event]
    assert error["kind"] == "StorageError", error
    assert f"{small_disk}" in error["error"] and "spark.local.dir" in error["error"]
    assert not [event for event in events if "restart" in event.get("note", "")]
