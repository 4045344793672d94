"""Searches for hyper-parameters beside pyspark.ml's MultilayerPerceptronClassifier, with the same layers."""

import time

import pytest
from pyspark.ml.classification import MultilayerPerceptronClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

from caffeonspark import CaffeClassifier, nets

pytestmark = pytest.mark.slow


def search(estimator, grid, frame, parallelism):
    """(mean accuracy of each point of the grid over three folds, seconds)."""
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    began = time.perf_counter()
    found = CrossValidator(
        estimator=estimator, estimatorParamMaps=grid, evaluator=evaluator, numFolds=3, seed=7, parallelism=parallelism
    ).fit(frame)
    return found.avgMetrics, time.perf_counter() - began


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("named", [False, True], ids=["without model", "with model"])
@pytest.mark.parametrize("data, inputs, classes", [("digits", 64, 10), ("cancer", 30, 2)])
def test_scores_are_those_of_one_after_another_and_not_worse_than_mlp(request, tmp_path, data, inputs, classes, named):
    frame = request.getfixturevalue(data)
    place = {"model": f"file:{tmp_path}/searched.caffemodel"} if named else {}
    classifier = CaffeClassifier(quiet=True, epochs=20, batchSize=32, **place)
    layers = [[inputs, 16, classes], [inputs, 48, classes]]
    grid = (
        ParamGridBuilder()
        .addGrid(classifier.stepSize, [0.002, 0.01])
        .addGrid(classifier.net, [nets.mlp(layers=one) for one in layers])
        .build()
    )
    one, seconds = search(classifier, grid, frame, 1)
    two, seconds_of_two = search(classifier, grid, frame, 2)
    assert one == two
    mlp = MultilayerPerceptronClassifier(seed=1, maxIter=100)
    theirs, seconds_of_mlp = search(mlp, ParamGridBuilder().addGrid(mlp.layers, layers).build(), frame, 2)
    print(
        f"\n{data}: best accuracy {max(one):.4f} in {seconds:.0f} s, two at once {seconds_of_two:.0f} s; "
        f"MultilayerPerceptronClassifier {max(theirs):.4f}, two at once {seconds_of_mlp:.0f} s"
    )
    assert max(one) >= max(theirs)
