"""CaffeEstimator and CaffeModel in Spark ML pipelines."""

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors

from caffeonspark import CaffeEstimator, CaffeModel, ConfigError
from tests.support import stock
from tests.support.prototxts import COS_LAYER, ESTIMATOR_SOLVER, rows_of


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "net.prototxt").write_text(COS_LAYER.format(batch=16, source="", scale=stock.SCALE) + stock.LAYERS)
    (tmp_path / "solver.prototxt").write_text(ESTIMATOR_SOLVER)
    return str(tmp_path / "solver.prototxt")


@pytest.fixture
def frame(spark, small_images):
    return spark.createDataFrame(rows_of(*small_images), "id string, data binary, label int").repartition(3)


def test_fit_transform_save_load(spark, tmp_path, conf, frame, small_images):
    images, labels = small_images
    model = CaffeEstimator(conf=conf, clusterSize=2, quiet=True).fit(frame)
    assert model.summary.iteration == 60
    assert model.getOrDefault("features") == ["ip2"]

    unlabelled = frame.withColumn("vector", frame.label * 0).drop("label")
    predicted = model.transform(unlabelled)
    assert predicted.columns == ["id", "data", "vector", "ip2"]
    rows = {row.id: np.array(row.ip2) for row in predicted.collect()}
    assert len(rows) == len(images)
    right = [rows[f"id{i}"].argmax() == labels[i] for i in range(len(labels))]
    assert np.mean(right) > 0.9

    model.save(str(tmp_path / "saved"))
    loaded = CaffeModel.load(str(tmp_path / "saved"))
    again = {row.id: np.array(row.ip2) for row in loaded.transform(unlabelled).collect()}
    for name, value in rows.items():  # a shuffle's rows arrive in any order, and BLAS rounds by the place in the batch
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-5)
    wider = loaded.setFeatures(["ip1", "ip2"]).transform(unlabelled)
    assert wider.columns == ["id", "data", "vector", "ip1", "ip2"]
    assert len(wider.first().ip1) == 150

    with pytest.raises(ConfigError, match=r"has no blob 'ip9'\. Did you mean 'ip[12]'\?"):
        loaded.setFeatures(["ip9"]).transform(unlabelled)
    with pytest.raises(ConfigError, match="reads column 'data'"):
        loaded.setFeatures(["ip2"]).transform(unlabelled.drop("data"))


VECTOR_NET = """
layer { name: "data" type: "CoSData" top: "data" top: "label"
  source_class: "com.yahoo.ml.caffe.DataFrameSource"
  cos_data_param { batch_size: 10
    top { name: "features" type: FLOAT_ARRAY channels: 3 sample_num_axes: 1 }
    top { name: "label" type: FLOAT sample_num_axes: 0 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TRAIN } }
"""


def test_in_a_pipeline_with_vectors(spark, tmp_path):
    (tmp_path / "net.prototxt").write_text(VECTOR_NET)
    (tmp_path / "solver.prototxt").write_text(ESTIMATOR_SOLVER.replace("0.05", "0.5"))
    rng = np.random.default_rng(1)
    points = rng.standard_normal((300, 3))
    rows = [(float(a), float(b), float(c), int(a + b > c), Vectors.dense([a])) for a, b, c in points]
    frame = spark.createDataFrame(rows, ["a", "b", "c", "label", "other"])
    stages = [
        VectorAssembler(inputCols=["a", "b", "c"], outputCol="features"),
        CaffeEstimator(conf=str(tmp_path / "solver.prototxt"), clusterSize=2, quiet=True, features=["prob"]),
    ]
    fitted = Pipeline(stages=stages).fit(frame)
    fitted.write().overwrite().save(str(tmp_path / "pipeline"))
    found = PipelineModel.load(str(tmp_path / "pipeline")).transform(frame).collect()
    assert np.mean([np.argmax(row.prob) == row.label for row in found]) > 0.9
    assert found[0].other == rows[0][4]
    Pipeline(stages=stages).save(str(tmp_path / "unfitted"))
    again = Pipeline.load(str(tmp_path / "unfitted")).getStages()[1]
    assert again.getOrDefault("clusterSize") == 2
