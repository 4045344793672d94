"""CaffeRegressor: numbers for rows."""

import numpy as np
import pytest
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.linalg import DenseVector

from caffeonspark import CaffeRegressionModel, CaffeRegressor, ConfigError, nets


@pytest.fixture(scope="module")
def frame(spark):
    rng = np.random.default_rng(5)
    points = rng.uniform(-1, 1, (400, 2))
    rows = [(x.tolist(), float(x[0] - 2 * x[1]), [float(x[0]), float(x[1] ** 2)]) for x in points]
    return spark.createDataFrame(rows, "features array<double>, label double, two array<double>").cache()


def test_one_number(frame, tmp_path):
    net = nets.mlp(layers=[2, 16, 1], loss="euclidean", activation="tanh")
    model = CaffeRegressor(net=net, quiet=True, maxIter=150, stepSize=0.02).fit(frame)
    scored = model.transform(frame)
    assert scored.columns[-1] == "prediction" and dict(scored.dtypes)["prediction"] == "double"
    rmse = RegressionEvaluator(metricName="rmse").evaluate(scored)
    assert rmse < 0.1
    assert model.evaluate(frame).rootMeanSquaredError == pytest.approx(rmse)
    row = scored.first()
    assert model.predict(row.features) == row.prediction
    with pytest.raises(ConfigError, match="numbers and no classes"):
        model.predictProbability(row.features)
    model.save(str(tmp_path / "model"))
    assert CaffeRegressionModel.load(str(tmp_path / "model")).transform(frame).first() == row


def test_several_numbers(frame):
    net = nets.mlp(layers=[2, 2], loss="euclidean")
    model = CaffeRegressor(net=net, labelCol="two", quiet=True, maxIter=3).fit(frame)
    assert isinstance(model.transform(frame).first().prediction, DenseVector)


def test_a_net_without_its_loss_is_told(frame):
    with pytest.raises(ConfigError, match="no EuclideanLoss layer: rawBlob names the blob"):
        CaffeRegressor(net=nets.mlp(layers=[2, 2]), quiet=True, maxIter=3).fit(
            frame.withColumn("label", frame.label * 0)
        )
