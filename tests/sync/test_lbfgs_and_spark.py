"""L-BFGS here and in Spark's MultilayerPerceptronClassifier, from the same weights, on the same executors."""

import gzip
import time

import numpy as np
import pytest

from caffeonspark import CaffeModel
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.paths import MNIST
from tests.support.training import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROWS, SIZES, ITERATIONS = 10_240, (784, 256, 10), 30
LAYERS = """
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" inner_product_param { num_output: 256 } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 10 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }\n'
PROBABILITIES = 'layer { name: "prob" type: "Softmax" bottom: "ip2" top: "prob" }\n'


@pytest.fixture(scope="module")
def digits(mnist):
    with gzip.open(MNIST / "train-images-idx3-ubyte.gz") as f:
        images = np.frombuffer(f.read(16 + ROWS * 784)[16:], np.uint8).reshape(-1, 1, 28, 28)
    with gzip.open(MNIST / "train-labels-idx1-ubyte.gz") as f:
        labels = np.frombuffer(f.read(8 + ROWS)[8:], np.uint8).astype(np.int64)
    return images, labels


@pytest.fixture(scope="module")
def start(spark):
    """Weights as Spark begins with them, in float32."""
    from pyspark.ml.classification import MultilayerPerceptronClassifier

    weights = CaffeModel.fromSparkMLP(MultilayerPerceptronClassifier(layers=list(SIZES), seed=4)).weights()
    return [*weights["ip1"], *weights["ip2"]]


def flat(weights):
    """As Spark has them: of each layer the matrix column by column, then the bias."""
    return np.concatenate([array.reshape(-1, order="F") for array in weights]).astype(np.float64)


def theirs(spark, digits, start):
    """Objectives, probabilities at first, accuracy at the end, seconds for an iteration."""
    from pyspark.ml.classification import MultilayerPerceptronClassifier
    from pyspark.ml.linalg import Vectors

    images, labels = digits
    data = images.reshape(ROWS, -1).astype(np.float64) * stock.SCALE
    rows = [(Vectors.dense(row), float(label)) for row, label in zip(data, labels)]
    # 5,120 rows in each partition: whole blocks, all of which weigh the same in Spark
    frame = spark.sparkContext.parallelize(rows, 2).toDF(["features", "label"]).cache()
    frame.count()
    classifier = MultilayerPerceptronClassifier(
        layers=list(SIZES),
        maxIter=0,
        tol=1e-6,
        blockSize=128,
        solver="l-bfgs",
        initialWeights=Vectors.dense(flat(start)),
    )
    rows = classifier.fit(frame).transform(frame).select("features", "probability").limit(100).collect()
    first = [(row.features.toArray(), row.probability.toArray()) for row in rows]
    begin = time.monotonic()
    model = classifier.setMaxIter(ITERATIONS).fit(frame)
    seconds = (time.monotonic() - begin) / ITERATIONS
    objectives = list(model.summary().objectiveHistory)
    found = model.transform(frame).selectExpr("avg(cast(prediction = label AS double)) AS accuracy").collect()
    frame.unpersist()
    return objectives, first, found[0].accuracy, seconds


def test_as_good_as_sparks_mlp(spark, tmp_path, digits, start):
    images, labels = digits
    objectives, first, accuracy, seconds = theirs(spark, digits, start)
    layers = [LayerWeights("ip1", "InnerProduct", start[:2]), LayerWeights("ip2", "InnerProduct", start[2:])]
    write_caffemodel(str(tmp_path / "start.caffemodel"), layers)
    write_lmdb(tmp_path / "lmdb", images, labels)
    net = stock.lmdb_net(tmp_path / "lmdb", 256, layers=LAYERS + LOSS)
    result, _ = train(
        spark,
        tmp_path,
        f'type: "LBFGS" max_iter: {ITERATIONS + 1} snapshot: {ITERATIONS} snapshot_prefix: "run"',
        net,
        2,
        weights=f"file:{tmp_path}/start.caffemodel",
    )
    losses = [loss for _, loss, _ in result.history]
    test_net = stock.input_net(256, images.shape[1:], LAYERS + PROBABILITIES)
    rows = np.stack([row for row, _ in first]) / stock.SCALE
    found = stock.forward_all(
        test_net, tmp_path / "start.caffemodel", rows.reshape(-1, 1, 28, 28), np.zeros(len(rows)), 256, ["prob"]
    )
    assert losses[0] == pytest.approx(objectives[0], rel=1e-5)
    assert np.abs(found["prob"] - np.stack([probability for _, probability in first])).max() < 1e-5
    assert losses[ITERATIONS] <= 1.02 * objectives[ITERATIONS]
    model = tmp_path / f"run_iter_{ITERATIONS}.caffemodel"
    scores = stock.forward_all(test_net, model, images, labels, 256, ["prob"])["prob"]
    mine = float((scores.argmax(axis=1) == labels).mean())
    passes = sum(result.passes.values())
    training = result.timings[0][-1].training
    print(
        f"objective {losses[ITERATIONS]:.5f} and {objectives[ITERATIONS]:.5f} after {ITERATIONS} iterations, accuracy "
        f"{mine:.4f} and {accuracy:.4f}; {passes} passes of {training / passes:.3f} s, "
        f"Spark {seconds:.3f} s an iteration"
    )
    assert mine >= accuracy
