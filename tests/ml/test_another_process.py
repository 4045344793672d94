"""A saved pipeline works where nothing of what made it is left."""

import subprocess
import sys

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.feature import StringIndexer

from caffeonspark import CaffeClassifier, nets
from tests.support.paths import ROOT

PROGRAM = """
import sys
import numpy as np
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
model = PipelineModel.load(sys.argv[1] + "/model")
rows = model.transform(spark.read.parquet(sys.argv[1] + "/rows")).orderBy("number").collect()
np.save(sys.argv[2], np.array([row.probability.toArray() for row in rows]))
assert model.stages[1].labels == model.stages[0].labels
spark.stop()
"""


@pytest.mark.long
def test_a_saved_pipeline_moves(spark, digits, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(str(nets.mlp(layers=[64, 16, 10])))
    solver = tmp_path / "solver.prototxt"
    solver.write_text('net: "net.prototxt" base_lr: 0.01 type: "Adam" lr_policy: "fixed" max_iter: 30 random_seed: 1')
    few = digits.filter("number < 200").coalesce(1)
    few.write.parquet(str(tmp_path / "made" / "rows"))
    rows = spark.read.parquet(str(tmp_path / "made" / "rows"))
    stages = [
        StringIndexer(inputCol="label", outputCol="index"),
        CaffeClassifier(conf=str(solver), featuresCol="features", labelCol="index", quiet=True),
    ]
    model = Pipeline(stages=stages).fit(rows)
    model.save(str(tmp_path / "made" / "model"))
    expected = [row.probability.toArray() for row in model.transform(rows).orderBy("number").collect()]
    net.unlink()
    solver.unlink()
    (tmp_path / "made").rename(tmp_path / "moved")
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "moved"), str(tmp_path / "found.npy")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)
