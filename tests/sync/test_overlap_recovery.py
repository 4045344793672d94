"""A rank that is killed while a bucket of gradients travels."""

import pytest

from tests.support import local_command as command
from tests.support.early import KILL


@pytest.mark.long
def test_a_run_that_lost_a_rank_in_mid_bucket_is_the_one_that_lost_none(tmp_path, small_lmdb):
    models = []
    for name, strategy, killed in (("late", "Late", False), ("early", "Early", False), ("killed", "Early", True)):
        folder = tmp_path / name
        folder.mkdir()
        words = command.write_job(folder, small_lmdb, sync=f"tests.support.early:{strategy}")
        marker = {KILL: str(folder / "killed")} if killed else {}
        done = command.run("local", "-np", "2", *words, **marker)
        assert (folder / "killed").exists() == killed
        assert ("; restart 1 of 3 from iteration 20" in done.stderr + done.stdout) == killed, done.stderr
        models.append((folder / "model.caffemodel").read_bytes())
    assert models[0] == models[1] == models[2]
