"""Data that the tests of the Spark ML classes share: scikit-learn's digits and breast cancer, as Vectors."""

import pytest
from pyspark.ml.linalg import Vectors
from sklearn import datasets


def frame_of(spark, bunch, scale, parts):
    rows = [(Vectors.dense(x / scale), float(y), n) for n, (x, y) in enumerate(zip(bunch.data, bunch.target))]
    frame = spark.createDataFrame(rows, ["features", "label", "number"]).repartition(parts, "number")
    return frame.cache()


@pytest.fixture(scope="session")
def digits(spark):
    """1,797 handwritten digits: 64 numbers from 0 to 1, ten classes."""
    return frame_of(spark, datasets.load_digits(), 16.0, 4)


@pytest.fixture(scope="session")
def cancer(spark):
    """569 tumours: 30 standardised numbers, two classes."""
    bunch = datasets.load_breast_cancer()
    bunch.data = (bunch.data - bunch.data.mean(axis=0)) / bunch.data.std(axis=0)
    return frame_of(spark, bunch, 1.0, 4)
