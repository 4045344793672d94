"""``predict`` beside ``transform``: the same bits, before and after saving, for every kind of model."""

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.linalg import Vectors

from caffeonspark import (
    CaffeClassificationModel,
    CaffeClassifier,
    CaffeModel,
    CaffeRegressionModel,
    CaffeRegressor,
    ConfigError,
    nets,
)
from tests.ml.test_local import png
from tests.support.deployed import write_deployed


def test_the_bits_of_transform(spark, tmp_path):
    """A DataFrame of image files in one partition, and their bytes; also a model that was saved with compression."""
    net, weights = write_deployed(tmp_path, "lenet_lmdb", 4)
    images = np.random.default_rng(1).integers(0, 256, (10, 1, 28, 28)).astype(np.uint8)
    files = [png(image) for image in images]
    model = CaffeModel.fromCaffe(net, weights, transform="scale: 0.00390625", columns={"data": "file"})
    frame = spark.createDataFrame([(bytearray(file),) for file in files], "file binary").coalesce(1)
    rows = model.transform(frame).collect()
    expected = np.float32([row.prob for row in rows])
    np.testing.assert_array_equal(model.predict(files), expected)
    np.testing.assert_array_equal(model.predict(rows), expected)
    np.testing.assert_array_equal(model.predict([files[0]])[0], model.predict(files[0]))
    np.testing.assert_allclose(model.predict(files[0]), expected[0], rtol=1e-5)  # BLAS rounds by the batch

    settings = spark.sparkContext._jsc.hadoopConfiguration()
    settings.set("mapreduce.output.fileoutputformat.compress", "true")
    settings.set("mapreduce.output.fileoutputformat.compress.codec", "org.apache.hadoop.io.compress.GzipCodec")
    try:
        model.save(str(tmp_path / "saved"))
    finally:
        settings.unset("mapreduce.output.fileoutputformat.compress")
        settings.unset("mapreduce.output.fileoutputformat.compress.codec")
    assert list((tmp_path / "saved" / "metadata").glob("*.gz"))
    loaded = CaffeModel.loadLocal(tmp_path / "saved")
    assert loaded.uid == model.uid
    np.testing.assert_array_equal(loaded.predict(files), expected)
    with pytest.raises(ConfigError, match=r"is a saved CaffeModel, not a CaffeClassificationModel: use CaffeM"):
        CaffeClassificationModel.loadLocal(tmp_path / "saved")

    features = loaded.toFeatureExtractor("ip1")
    train = features.transform(frame)
    assert dict(train.dtypes)["ip1"] == "vector"
    np.testing.assert_array_equal(np.float32([row.ip1.toArray() for row in train.collect()]), features.predict(files))
    pairs = [(bytearray(file), float(n % 2)) for n, file in enumerate(files)]
    labelled = spark.createDataFrame(pairs, "file binary, label double")
    stages = [features, LogisticRegression(featuresCol="ip1", maxIter=2)]
    assert Pipeline(stages=stages).fit(labelled).transform(labelled).count() == 10
    with pytest.raises(ConfigError, match=r"has no blob 'ip9'\. Did you mean 'ip[12]'\?"):
        loaded.toFeatureExtractor("ip9")


def test_classifiers_and_regressors(spark, tmp_path):
    rng = np.random.default_rng(5)
    points = rng.standard_normal((60, 3))
    rows = [(Vectors.dense(point), float(point.sum() > 0), float(point.sum())) for point in points]
    frame = spark.createDataFrame(rows, ["features", "label", "sum"]).coalesce(1)
    flags = {"maxIter": 30, "quiet": True, "clusterSize": 1}
    several = CaffeClassifier(net=nets.mlp(layers=[3, 2]), **flags).fit(frame)
    single = CaffeClassifier(net=nets.mlp(layers=[3, 1], loss="sigmoid"), **flags).fit(frame)
    for model in (several, single):
        expected = model.transform(frame).collect()
        model.write().overwrite().save(str(tmp_path / "saved"))
        for one in (model, CaffeClassificationModel.loadLocal(tmp_path / "saved")):
            vectors = [row.features for row in expected]
            np.testing.assert_array_equal(one.predict(vectors), [row.prediction for row in expected])
            np.testing.assert_array_equal(
                one.predictProbability(vectors), [row.probability.toArray() for row in expected]
            )
            assert one.predict(vectors[0]) == expected[0].prediction
            assert isinstance(one.predict(expected[0]), float)
            assert one.predictProbability(vectors[0]).toArray() == pytest.approx(expected[0].probability.toArray())
    number = CaffeRegressor(net=nets.mlp(layers=[3, 1], loss="euclidean"), labelCol="sum", **flags).fit(frame)
    expected = number.transform(frame).collect()
    number.save(str(tmp_path / "regression"))
    for one in (number, CaffeRegressionModel.loadLocal(tmp_path / "regression")):
        np.testing.assert_array_equal(one.predict(expected), [row.prediction for row in expected])
    assert isinstance(number.predict(points[0]), float)
    with pytest.raises(ConfigError, match="predictProbability: a regression model predicts numbers and no classes"):
        number.predictProbability(points[0])
