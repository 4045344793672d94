"""What users do to their data and sessions, and what they are told: the true cause, in one line, at once."""

import os
import re

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from caffeonspark import CaffeEstimator, CaffeOnSpark, DataSource
from caffeonspark.errors import CaffeOnSparkError, ConfigError, DataError
from tests.support.prototxts import PHASES
from tests.support.training import config_of

LAYERS = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }
"""


def config_for(spark, folder, column="data", **flags):
    net = (
        f'layer {{ name: "data" type: "CoSData" top: "data" top: "label" {PHASES} source_class: "DataFrameSource" '
        f'cos_data_param {{ batch_size: 4 top {{ name: "{column}" type: FLOAT_ARRAY channels: 2 sample_num_axes: 1 }} '
        f'top {{ name: "label" type: INT sample_num_axes: 0 }} }} }}' + LAYERS
    )
    solver = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 4'
    return config_of(spark, folder, net, solver, **flags)


def train(spark, folder, frame, **settings):
    config = config_for(spark, folder, **settings)
    cos = CaffeOnSpark(spark)
    cos.train(DataSource(spark).getSource(config, True, frame))
    return cos.result


@pytest.fixture(scope="module")
def frame(spark):
    """Forty rows that can be trained on."""
    return spark.range(0, 40, 1, 2).selectExpr("id", "array(float(id), float(1)) AS data", "id % 2 AS label")


def raises(x):
    if x == 30:
        raise LookupError("no such\nthing")
    return x


def with_vectors(frame):
    rows = [(str(n), None if n == 30 else Vectors.dense([n, 1.0]), n % 2) for n in range(40)]
    return frame.sparkSession.createDataFrame(rows, ["id", "data", "label"])


BAD = {
    "a function that raises": (
        lambda frame: frame.withColumn("label", F.udf(raises, "long")("id")),
        DataError,
        r"the function 'raises' \(test_false_causes.py, line \d+\) raised LookupError: no such",
    ),
    "SQL that fails": (
        lambda frame: frame.withColumn("label", F.expr("if(id = 30, raise_error('no thirty'), label)")),
        DataError,
        r"RuntimeException: no thirty",
    ),
    "a null vector": (with_vectors, DataError, r"record '30': column 'data' is null"),
    "columns of one name": (
        lambda frame: frame.withColumn("key", F.col("id")).crossJoin(frame.sparkSession.range(1).toDF("Id")),
        ConfigError,
        r"layer 'data': the given DataFrame has 2 columns called 'id' \(id, Id\): rename or drop",
    ),
    "pandas": (
        lambda frame: pd.DataFrame({"data": [[1.0, 2.0]], "label": [1]}),
        ConfigError,
        r"a Spark DataFrame, and is a pandas\..*: spark.createDataFrame\(frame\) makes one",
    ),
    "a stream": (
        lambda frame: frame.sparkSession.readStream.format("rate").load(),
        ConfigError,
        r"the DataFrame is a stream",
    ),
    "a wrong type": (
        lambda frame: frame.withColumn("data", F.lit("x")),
        ConfigError,
        r"column 'data' is string, which cannot fill top 'data'",
    ),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.long
def test_the_true_cause_is_told_once(spark, tmp_path, frame, what):
    spoil, kind, pattern = BAD[what]
    bad = spoil(frame)
    with pytest.raises(CaffeOnSparkError) as raised:
        train(spark, tmp_path, bad)
    message = raised.value.message
    print(message)
    assert type(raised.value) is kind, message
    assert re.search(pattern, message), message
    assert not re.search(r"\n|Traceback|Py4J|Job aborted|after \d restarts|lost", message)
    assert not raised.value.retryable
    if kind is ConfigError:
        with pytest.raises(ConfigError, match=pattern):
            CaffeEstimator(conf=str(tmp_path / "solver.prototxt"), clusterSize=2, features=["prob"]).fit(bad)


def test_ansi_arithmetic_and_a_file_that_is_gone(spark, tmp_path, frame):
    spark.conf.set("spark.sql.ansi.enabled", "true")
    try:
        with pytest.raises(DataError, match=r"\[DIVIDE_BY_ZERO\] Division by zero"):
            train(spark, tmp_path, frame.withColumn("label", F.expr("int(1 / (id - 30))")))
    finally:
        spark.conf.unset("spark.sql.ansi.enabled")
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in "ab":
        table = pa.table({"data": [[0.0, 1.0]] * 20, "label": [0] * 20})
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    rows = spark.read.parquet(str(folder))
    os.unlink(folder / "b.parquet")
    with pytest.raises(DataError, match=r"a file of the data is gone: File file:.*/rows/b.parquet does not exist"):
        train(spark, tmp_path, rows)


def test_names_and_ids_of_any_kind(spark, tmp_path, frame):
    """Backticks and dots in a name, ids that are bytes, and columns of one name that nobody reads."""
    name = "a`b.c"
    other = spark.range(2).selectExpr("id AS twice", "1 AS number")
    rows = (
        frame.withColumnRenamed("data", name)
        .withColumn("id", F.expr("unhex(concat('ff', lpad(hex(id), 4, '0')))"))
        .crossJoin(other.filter("twice = 0"))
        .crossJoin(other.filter("twice = 1"))
    )
    assert rows.columns.count("twice") == 2
    assert train(spark, tmp_path, rows, column=name).iteration == 4
    config = config_for(spark, tmp_path, column=name, features="prob")
    cos = CaffeOnSpark(spark)
    found = cos.features(DataSource(spark).getSource(config, False, rows)).collect()
    assert sorted(row.SampleID for row in found) == [f"0xFF{n:04X}" for n in range(40)]
    model = CaffeEstimator(conf=config.conf, clusterSize=1, features=["prob"]).fit(rows)
    done = model.transform(rows)
    assert done.columns == [*rows.columns, "prob"]
    assert all(len(row["prob"]) == 2 for row in done.select("prob").collect())


def test_inference_that_fails(spark, tmp_path, frame):
    train(spark, tmp_path, frame)
    bad = frame.withColumn("data", F.expr("if(id = 30, raise_error('no thirty'), data)"))
    config = config_for(spark, tmp_path)
    with pytest.raises(DataError, match="RuntimeException: no thirty"):
        CaffeOnSpark(spark).test(DataSource(spark).getSource(config, False, bad))
