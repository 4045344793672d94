"""CaffeAutoencoder: pre-trained layer by layer, and its encoders in an MLP."""

import numpy as np
import pytest
from pyspark.sql import functions as F

from caffeonspark import (
    CaffeAutoencoder,
    CaffeAutoencoderModel,
    CaffeClassifier,
    CaffeEstimator,
    ConfigError,
    nets,
)

SIZES = [64, 32, 16]


def autoencoder(**params):
    net = params.pop("net", None) or nets.stacked_autoencoder(SIZES)
    return CaffeAutoencoder(**{"net": net, "quiet": True, "maxIter": 150, "stepSize": 0.01, "seed": 3, **params})


@pytest.fixture(scope="module")
def pretrained(digits):
    return autoencoder(clusterSize=2).fit(digits)


def error(model, frame):
    """The mean squared error of the reconstruction."""
    rows = model.copy().setFeatures(["reconstruction"]).transform(frame).select("features", "reconstruction").collect()
    return float(np.mean([(row.features.toArray() - np.array(row.reconstruction)) ** 2 for row in rows]))


@pytest.mark.long
def test_each_pair_learns(pretrained, digits):
    assert len(pretrained.summaries) == len(SIZES) - 1
    for summary in pretrained.summaries:
        losses = summary.objectiveHistory
        assert len(losses) == 150
        assert np.mean(losses[-10:]) < 0.8 * losses[0]
    assert pretrained.summary is pretrained.summaries[-1]
    variance = np.stack([row.features.toArray() for row in digits.select("features").collect()]).var(axis=0).mean()
    assert error(pretrained, digits) < variance  # of making every row the mean of all


@pytest.mark.long
def test_the_second_pair_learns_what_the_first_makes(pretrained, digits):
    """A fit of that pair alone, on the codes of the first, gives the same weights."""
    weights = pretrained.weights()
    ip1, bias = weights["ip1"]
    code = F.udf(
        lambda row: (1 / (1 + np.exp(-(ip1.astype(np.float64) @ row.toArray() + bias)))).astype(float).tolist(),
        "array<double>",
    )
    net = nets.stacked_autoencoder([32, 16])
    params = {"quiet": True, "maxIter": 150, "stepSize": 0.01, "seed": 3, "shuffle": True, "clusterSize": 2, "net": net}
    alone = CaffeEstimator(featuresCol="code", **params).fit(digits.withColumn("code", code("features"))).weights()
    for mine, theirs in (("ip2", "ip1"), ("decode2", "decode1")):
        for one, other in zip(weights[mine], alone[theirs]):
            np.testing.assert_allclose(one, other, atol=2e-2 * np.abs(other).max())


@pytest.mark.long
def test_its_encoders_are_an_mlps_first_layers(pretrained, digits):
    weights = pretrained.weights()
    net = pretrained.mlp(10)
    assert list(net.layer) == list(nets.mlp([*SIZES, 10], activation="sigmoid").layer)
    params = {"initialModel": pretrained, "quiet": True, "clusterSize": 2}
    for given in (net, nets.mlp([*SIZES, 10], activation="sigmoid")):
        start = CaffeClassifier(net=given, maxIter=1, stepSize=0.0, **params).fit(digits).weights()
        for name in ("ip1", "ip2"):
            for one, other in zip(weights[name], start[name]):
                assert one.tobytes() == other.tobytes()
    tuned = CaffeClassifier(net=net, epochs=10, stepSize=0.01, **params).fit(digits)
    assert tuned.evaluate(digits).accuracy > 0.9
    frozen = CaffeClassifier(net=net, maxIter=3, freeze=["ip1", "ip2"], **params).fit(digits).weights()
    assert frozen["ip2"][0].tobytes() == weights["ip2"][0].tobytes()


@pytest.mark.long
def test_the_whole_is_trained_from_it(pretrained, digits):
    before = error(pretrained, digits)
    whole = CaffeEstimator(
        net=nets.stacked_autoencoder(SIZES), initialModel=pretrained, quiet=True, maxIter=100, stepSize=0.01
    ).fit(digits)
    assert error(whole, digits) < before


def test_a_model_gives_the_code_and_is_saved(pretrained, digits, tmp_path):
    scored = pretrained.transform(digits)
    row = scored.first()
    assert scored.columns == [*digits.columns, "ip2"]
    data = row.features.toArray()
    for name in ("ip1", "ip2"):
        matrix, bias = pretrained.weights()[name]
        data = 1 / (1 + np.exp(-(matrix @ data + bias)))
    np.testing.assert_allclose(row.ip2, data, atol=1e-6)
    pretrained.save(str(tmp_path / "model"))
    loaded = CaffeAutoencoderModel.load(str(tmp_path / "model"))
    assert loaded.transform(digits).first() == row
    assert list(loaded.mlp(10).layer) == list(pretrained.mlp(10).layer)
    assert loaded.summary.objectiveHistory == pretrained.summary.objectiveHistory


def test_columns_weights_and_rows_to_validate_with(digits):
    frame = digits.select(
        F.col("features").alias("the `x`.y"), F.lit(1.0).alias("IP1"), (F.col("number") % 5 == 0).alias("held out")
    )
    fitted = autoencoder(
        featuresCol="the `x`.y", weightCol="IP1", validationIndicatorCol="held out", maxIter=4, outputCols=["code"]
    ).fit(frame)
    assert all(len(summary.validation) for summary in fitted.summaries)
    assert fitted.transform(frame).columns == [*frame.columns, "code"]
    assert len(fitted.transform(frame).first().code) == 16


def test_an_estimator_is_saved(spark, tmp_path):
    given = autoencoder(maxIter=7)
    given.save(str(tmp_path / "estimator"))
    loaded = CaffeAutoencoder.load(str(tmp_path / "estimator"))
    assert loaded.getMaxIter() == 7
    assert "decode1" in loaded.getNet() or "decode1" in str(loaded.given()["net"])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"net": nets.mlp([64, 32, 10])}, "takes one blob and makes it again, and this net takes data, label"),
        ({"featuresCol": "pixels"}, "no column 'pixels'"),
    ],
)
def test_what_is_refused_before_anything_is_trained(digits, params, said):
    with pytest.raises(ConfigError, match=said):
        autoencoder(**params).fit(digits)


def test_no_net(digits):
    with pytest.raises(ConfigError, match=r"no net is given: set net to nets.stacked_autoencoder\(layers"):
        CaffeAutoencoder(maxIter=3).fit(digits)


def test_features_of_another_size_are_told(digits):
    with pytest.raises(Exception, match="64") as raised:
        autoencoder(net=nets.stacked_autoencoder([60, 8]), maxIter=2).fit(digits)
    assert "\n" not in str(raised.value)
