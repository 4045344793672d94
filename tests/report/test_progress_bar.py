"""The bar on a real terminal, under spark-submit as users start it, and Ctrl-C, SIGTERM and SIGHUP there."""

import json
import os
import pathlib
import re
import signal

import pytest

from tests.support import processes, stock
from tests.support.paths import ROOT
from tests.support.screen import Screen

pytestmark = [pytest.mark.spark, pytest.mark.long]


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    ("number", "to"),
    [
        (signal.SIGINT, "both"),  # Ctrl-C: all of the terminal's foreground, but for the executors of this master
        (signal.SIGTERM, "JVM"),  # kill, timeout, Kubernetes
        pytest.param(signal.SIGTERM, "both", marks=pytest.mark.slow),  # systemd, Slurm
        pytest.param(signal.SIGHUP, "both", marks=pytest.mark.slow),  # a terminal that is closed
    ],
)
def test_the_bar_under_spark_submit_and_signals(tmp_path, small_lmdb, number, to):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 1000000 snapshot_prefix: "run" '
        "test_interval: 200 test_iter: 2 random_seed: 3"
    )
    command = ["spark-submit", "--master", "local-cluster[2,1,1024]", "--conf", "spark.ui.enabled=false"]
    command += [str(ROOT / "scripts" / "caffeonspark_main.py"), "-train", "-conf", str(tmp_path / "solver.prototxt")]
    command += ["-model", f"file:{tmp_path}/m.caffemodel", "-clusterSize", "2", "-web"]
    screen = Screen(command)
    try:
        screen.wait_for(r"\| \d+/1000000, loss [\d.e-]+, lr 0\.01, \d+ samples/s, \d+(:\d\d)+ left", 240)
        screen.wait_for(r"iteration 200: test on 100 rows: accuracy", 120)
        java = screen.process.pid
        (driver,) = (pid for pid, parent in processes.tree(java).items() if is_driver(pid, parent, java))
        for pid in (java, driver) if to == "both" else (java,):
            os.kill(pid, number)
        assert screen.wait(60) == 1
    finally:
        if screen.process.poll() is None:
            os.killpg(screen.process.pid, signal.SIGKILL)
    assert "stopping after this iteration; a second signal stops at once" in screen.text
    last = screen.text.rstrip().splitlines()[-1]
    assert re.fullmatch(rf"caffeonspark: stopped by {number.name} at iteration (\d+): snapshot \S+ is saved.*", last)
    assert "Traceback" not in screen.text
    assert "at org.apache" not in screen.text
    stopped = int(re.search(r"at iteration (\d+)", last).group(1))
    assert (tmp_path / f"run_iter_{stopped}.solverstate").exists()
    lines = (tmp_path / "m.metrics.jsonl").read_text().splitlines()
    (end,) = (record for record in map(json.loads, lines) if record["event"] == "end")
    assert end["outcome"] == "stopped"
    assert end["iteration"] == stopped
    frames = [frame for frame in re.split(r"[\r\n]", screen.text) if "%|" in frame]
    assert len(frames) > 5
    assert max(len(frame.rstrip()) for frame in frames) < 100
    assert not processes.tree(java)


def is_driver(pid, parent, java):
    return parent == java and "caffeonspark_main.py" in processes.command(pid) and pathlib.Path(f"/proc/{pid}").exists()
