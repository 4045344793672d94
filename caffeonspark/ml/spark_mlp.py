"""The weights of Spark's MultilayerPerceptronClassifier, as Caffe has them."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np
from pyspark.ml.classification import MultilayerPerceptronClassificationModel, MultilayerPerceptronClassifier
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

from ..causes import explained
from ..errors import ConfigError
from ..formats.caffemodel import LayerWeights
from ..nets.models import mlp
from ..nets.schema import NetParameter

__all__ = ["spark_mlp"]


def spark_mlp(given: Any) -> Tuple[Any, List[LayerWeights], str]:
    """What Spark's MLP is, or begins its training with.

    Parameters
    ----------
    given : MultilayerPerceptronClassifier, for what its fit begins with, or a MultilayerPerceptronClassificationModel

    Returns
    -------
    NetParameter, list of LayerWeights, str
        That of ``nets.mlp(layers, activation="sigmoid")`` up to its scores, and a Softmax ``prob`` of them; its
        weights; the column of features.

    Raises
    ------
    ConfigError
        If it is none of these, or its layers are not set.
    """
    if isinstance(given, MultilayerPerceptronClassifier):
        given = _at_first(given)
    if not isinstance(given, MultilayerPerceptronClassificationModel):
        raise ConfigError(
            "fromSparkMLP: give a MultilayerPerceptronClassifier or its model, of pyspark.ml.classification, not "
            f"{type(given).__name__}"
        )
    sizes = [int(size) for size in given.getLayers()]
    return _net(sizes), _layers(sizes, given.weights.toArray()), given.getFeaturesCol()


def _at_first(estimator: MultilayerPerceptronClassifier) -> Any:
    """A model of the weights that a fit begins with: Spark makes them of seed and layers, and looks at no row."""
    if not estimator.isDefined(estimator.layers):
        raise ConfigError("fromSparkMLP: the MultilayerPerceptronClassifier has no layers yet: set them")
    columns = [estimator.getFeaturesCol(), estimator.getLabelCol()]
    with explained():
        session = SparkSession.builder.getOrCreate()
        row = (Vectors.dense(np.zeros(estimator.getLayers()[0])), 0.0)
        rows = session.createDataFrame([row], columns)
        return estimator.copy({estimator.maxIter: 0, estimator.solver: "l-bfgs"}).fit(rows)


def _net(sizes: Sequence[int]) -> Any:
    whole = mlp(sizes, activation="sigmoid")
    net = NetParameter(name=whole.name)
    net.layer.extend(layer for layer in whole.layer if layer.name not in ("accuracy", "loss"))
    net.layer.add(name="prob", type="Softmax", bottom=[net.layer[-1].top[0]], top=["prob"])
    return net


def _layers(sizes: Sequence[int], weights: np.ndarray) -> List[LayerWeights]:
    """Of each layer Spark has the matrix, outputs x inputs, column by column, then the bias; one layer behind the
    other."""
    found, at = [], 0
    for number, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), start=1):
        matrix = weights[at : at + inputs * outputs].reshape((outputs, inputs), order="F")
        at += matrix.size
        blobs = [np.ascontiguousarray(one, np.float32) for one in (matrix, weights[at : at + outputs])]
        at += outputs
        found.append(LayerWeights(f"ip{number}", "InnerProduct", list(blobs)))
    return found
