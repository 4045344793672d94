"""Spark's MLP as a Caffe model: the weights it begins with, and those it was trained to."""

import numpy as np
import pytest
from pyspark.ml.classification import MultilayerPerceptronClassifier
from pyspark.ml.linalg import Vectors

from caffeonspark import CaffeClassifier, CaffeModel, ConfigError, nets

SIZES = [64, 20, 10]


def theirs(**params):
    return MultilayerPerceptronClassifier(layers=SIZES, seed=11, **params)


def test_what_it_begins_with(digits):
    start = CaffeModel.fromSparkMLP(theirs(maxIter=40, solver="gd"))
    weights = start.weights()
    assert {name: [blob.shape for blob in blobs] for name, blobs in weights.items()} == {
        "ip1": [(20, 64), (20,)],
        "ip2": [(10, 20), (10,)],
    }
    for name, inputs in (("ip1", 64), ("ip2", 20)):
        most = 2.4 / np.sqrt(inputs)  # weights and biases are uniform, up to that
        assert 0.9 * most < max(np.abs(blob).max() for blob in weights[name]) <= most
    model = theirs(maxIter=0).fit(digits)  # Spark's own first model, on rows that matter
    flat = np.concatenate([blob.reshape(-1, order="F") for name in ("ip1", "ip2") for blob in weights[name]])
    np.testing.assert_array_equal(flat, model.weights.toArray().astype(np.float32))
    other = CaffeModel.fromSparkMLP(MultilayerPerceptronClassifier(layers=SIZES, seed=12)).weights()
    assert not np.array_equal(other["ip1"][0], weights["ip1"][0])


def test_weights_that_were_given(spark):
    given = np.arange(64 * 20 + 20 + 20 * 10 + 10) / 1000
    weights = CaffeModel.fromSparkMLP(theirs(initialWeights=Vectors.dense(given))).weights()
    assert weights["ip1"][0][1, 0] == np.float32(0.001)
    assert weights["ip1"][0][0, 1] == np.float32(0.02)
    assert weights["ip2"][1][-1] == np.float32(given[-1])


def test_what_it_was_trained_to_gives_its_probabilities(digits):
    model = theirs(maxIter=20).fit(digits)
    rows = CaffeModel.fromSparkMLP(model).transform(model.transform(digits)).select("probability", "prob").collect()
    found, wanted = (np.array([row[name] for row in rows]) for name in ("prob", "probability"))
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.long
def test_both_begin_with_the_same_objective(digits):
    mlp = theirs(maxIter=5, blockSize=2000)  # one block for each partition
    whole = digits.coalesce(1)
    objectives = list(mlp.fit(whole).summary().objectiveHistory)
    ours = CaffeClassifier(
        net=nets.mlp(SIZES, activation="sigmoid"),
        initialModel=CaffeModel.fromSparkMLP(mlp),
        solverType="LBFGS",
        maxIter=5,
        clusterSize=2,
        quiet=True,
    ).fit(whole)
    assert ours.summary.objectiveHistory[0] == pytest.approx(objectives[0], rel=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: "mlp", "give a MultilayerPerceptronClassifier or its model, .*, not str$"),
        (MultilayerPerceptronClassifier, "has no layers yet: set them$"),
    ],
)
def test_what_is_none(spark, given, said):
    with pytest.raises(ConfigError, match=said):
        CaffeModel.fromSparkMLP(given())
