"""Two executors whose environments name different kernels of OpenBLAS: ``kernels_job.py FOLDER LMDB``."""

import hashlib
import json
import os
import pathlib
import sys

from pyspark.sql import SparkSession

from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.engines import blas
from caffeonspark.report.base import Observer
from tests.support import stock

# local-cluster gives each executor a working folder of its number
WORKER = """#!/bin/sh
case "$(pwd -P)" in */1) OPENBLAS_CORETYPE=Haswell ;; *) OPENBLAS_CORETYPE=Prescott ;; esac
export OPENBLAS_CORETYPE
exec {python} "$@"
"""


class Notes(Observer):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def kernel_of_worker(_):
    """A user's own function that loads Caffe, whose kernel is then for good."""
    import time

    from caffeonspark.engines import blas
    from caffeonspark.engines.caffe import CaffeEngine

    CaffeEngine().versions()
    time.sleep(3)  # while this one is at work, the other partition goes to the other executor
    yield blas.in_use().kernel


def main(folder, lmdb):
    worker = folder / "python"
    worker.write_text(WORKER.format(python=sys.executable))
    worker.chmod(0o755)
    os.environ["PYSPARK_PYTHON"] = str(worker)
    spark = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.executorEnv.OPENBLAS_NUM_THREADS", "1")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    (folder / "net.prototxt").write_text(stock.lmdb_net(lmdb, 10))
    found = {"best": blas.facts()["kernels"][0]}

    def train(name, settings, **flags):
        place = folder / name
        place.mkdir()
        (place / "solver.prototxt").write_text(
            f'net: "{folder}/net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 {settings}'
        )
        config = Config(
            spark,
            conf=str(place / "solver.prototxt"),
            model=f"file:{place}/m.caffemodel",
            clusterSize=2,
            quiet=True,
            **flags,
        )
        notes, data = Notes(), DataSource(spark)
        cos = CaffeOnSpark(spark, observers=[notes])
        source, test = data.getSource(config, True), data.getSource(config, False)
        result = (
            cos.trainWithValidation(source, test) and cos.result if "test_interval" in settings else cos.train(source)
        )
        model = (place / "m.caffemodel").read_bytes()
        found[name] = {
            "kernels": [result.machines[rank].kernel for rank in (0, 1)],
            "threads": [result.machines[rank].threads for rank in (0, 1)],
            "restarts": result.restarts,
            "accuracy": [test.outputs["accuracy"][0] for test in result.tests],
            "notes": notes.lines,
            "model": hashlib.sha256(model).hexdigest(),
            "means": {name: value[0] for name, value in cos.test(test).items()},
            "snapshots": sorted(path.name for path in place.glob("*.solverstate")),
        }

    context = spark.sparkContext
    found["workers"] = sorted(context.parallelize(range(2), 2).mapPartitions(kernel_of_worker).collect())
    train("auto", "max_iter: 20")
    train("again", "max_iter: 20")
    train("named", "max_iter: 20", blasKernel=found["best"].lower())
    train(
        "mixed",
        "max_iter: 250 snapshot: 60 test_iter: 6 test_interval: 70 snapshot_after_train: true",
        blasKernel="environment",
    )
    train("average", "max_iter: 25 snapshot: 15", blasKernel="environment", sync="average")
    for name in ("SkylakeX", "Haswel"):
        try:
            train(f"refused {name}", "max_iter: 20", blasKernel=name)
        except Exception as e:
            found[f"refused {name}"] = f"{type(e).__name__}: {e}"
    spark.stop()
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
