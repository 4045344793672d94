"""A SparkContext that is stopped in the middle of a run ends it; nothing is started again."""

import subprocess
import sys

import pytest

from tests.support import stock
from tests.support.paths import ROOT

PROGRAM = """
import os, sys, threading
from pyspark.sql import SparkSession
from caffeonspark import CaffeOnSpark, Config, DataSource, Observer

spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").config(
    "spark.log.level", "OFF").getOrCreate()
trains = threading.Event()

class Watch(Observer):
    def progress(self, result, rank, timing, new):
        if result.iteration >= 15:
            trains.set()

def run():
    config = Config(spark, conf=sys.argv[1] + "/solver.prototxt", model="file:" + sys.argv[1] + "/m.caffemodel",
                    clusterSize=2)
    try:
        CaffeOnSpark(spark, observers=[Watch()]).train(DataSource(spark).getSource(config, True))
    except BaseException as e:
        print(type(e).__name__, e, flush=True)

thread = threading.Thread(target=run)
thread.start()
assert trains.wait(60)
spark.stop()
thread.join(60)
print("over" if not thread.is_alive() else "still running", flush=True)
os._exit(0)
"""


@pytest.mark.spark
@pytest.mark.long
def test_stopping_spark_stops_the_run(tmp_path, small_lmdb):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 1000000 snapshot: 10'
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said, over = done.stdout.splitlines()[-2:]
    assert over == "over"
    assert said.startswith("Interrupted stopped by ") and "-resume continues from it" in said, done.stderr[-3000:]
    assert "; restart " not in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob(".*"))
