"""Metrics of predictions equal those of Spark and scikit-learn."""

import math

import numpy as np
import pytest
from pyspark.ml.evaluation import MulticlassClassificationEvaluator, RegressionEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from caffeonspark.errors import ConfigError, DataError
from caffeonspark.ml.evaluation import evaluate_classification, evaluate_regression

metrics = pytest.importorskip("sklearn.metrics")

CLASSES = 4


@pytest.fixture(scope="module")
def rows():
    """300 rows: label (one of the first three classes), prediction, probability of four classes, weight."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES - 1, 300)
    scores = rng.standard_normal((300, CLASSES)) + 2 * np.eye(CLASSES)[labels]
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    chances[0] = np.eye(CLASSES)[(labels[0] + 1) % CLASSES]  # no chance at all
    return labels, chances.argmax(axis=1), chances, rng.integers(1, 5, 300) / 2


@pytest.fixture(scope="module")
def frame(spark, rows):
    data = [(int(y), float(p), Vectors.dense(c), [float(v) for v in c], float(w)) for y, p, c, w in zip(*rows)]
    return spark.createDataFrame(data, ["label", "prediction", "probability", "chances", "weight"]).cache()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_classification_equals_spark_and_scikit_learn(frame, rows, weighted):
    labels, predicted, _, weights = rows
    weights = weights if weighted else None
    column = {"weightCol": "weight"} if weighted else {}
    found = evaluate_classification(frame, probabilityCol="probability", **column)
    assert found.labels == [0.0, 1.0, 2.0, 3.0] and found.rows == 300
    matrix = metrics.confusion_matrix(labels, predicted, sample_weight=weights)
    np.testing.assert_allclose(found.confusionMatrix, matrix, rtol=1e-12)
    assert (found.confusionMatrix.index.name, found.confusionMatrix.columns.name) == ("label", "prediction")
    about = {"zero_division": 0, "sample_weight": weights}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted, **about)
    np.testing.assert_allclose(found.precisionByLabel, precision, rtol=1e-12)
    np.testing.assert_allclose(found.recallByLabel, recall, rtol=1e-12)
    np.testing.assert_allclose(found.fMeasureByLabel(), f1, rtol=1e-12)
    np.testing.assert_allclose(found.byLabel, np.stack([precision, recall, f1, matrix.sum(axis=1)], 1), rtol=1e-12)
    spark = {
        "accuracy": found.accuracy,
        "weightedPrecision": found.weightedPrecision,
        "weightedRecall": found.weightedRecall,
        "weightedTruePositiveRate": found.weightedTruePositiveRate,
        "weightedFalsePositiveRate": found.weightedFalsePositiveRate,
        "f1": found.weightedFMeasure(),
        "weightedFMeasure": found.weightedFMeasure(0.5),
        "logLoss": found.loss,
    }
    for name, value in spark.items():
        beta = 0.5 if name == "weightedFMeasure" else 1.0
        assert value == pytest.approx(
            MulticlassClassificationEvaluator(metricName=name, beta=beta, **column).evaluate(frame), rel=1e-9
        ), name
    for number in range(CLASSES - 1):
        names = {"precisionByLabel": found.precisionByLabel, "falsePositiveRateByLabel": found.falsePositiveRateByLabel}
        for name, values in names.items():
            evaluator = MulticlassClassificationEvaluator(metricName=name, metricLabel=float(number), **column)
            assert values[number] == pytest.approx(evaluator.evaluate(frame), rel=1e-9), name
    assert found.truePositiveRateByLabel == found.recallByLabel


def test_names_arrays_and_no_probability(frame):
    found = evaluate_classification(frame, probabilityCol="chances", labels=["cat", "dog", "owl", "ant", "elk"])
    assert found.confusionMatrix.loc["elk"].sum() == 0
    assert list(found.byLabel.index) == ["cat", "dog", "owl", "ant", "elk"]
    assert found.loss == pytest.approx(evaluate_classification(frame, probabilityCol="probability").loss, rel=1e-12)
    assert evaluate_classification(frame).loss is None
    assert len(repr(found)) < 150 and repr(found).startswith("ClassificationEvaluation(accuracy 0.")
    assert "owl" in found._repr_html_() and len(found._repr_html_()) < 20_000
    many = evaluate_classification(frame, labels=[f"class {n}" for n in range(1000)])
    assert len(many._repr_html_()) < 20_000 and "980 more classes" in many._repr_html_()


def test_it_is_one_job(spark, frame):
    tracker, group = spark.sparkContext.statusTracker(), "evaluation"
    for number, evaluate in enumerate((evaluate_classification, evaluate_regression)):
        spark.sparkContext.setJobGroup(f"{group} {number}", "")
        evaluate(frame)
        jobs = tracker.getJobIdsForGroup(f"{group} {number}")
        # adaptive execution runs each of a query's stages as a job of its own
        assert len(jobs) <= 2
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_regression_equals_spark_and_scikit_learn(spark, weighted):
    rng = np.random.default_rng(6)
    labels = 1e6 + rng.standard_normal(200)  # far from 0: sums of squares would lose all digits
    predicted, weights = labels + 0.3 * rng.standard_normal(200), rng.integers(1, 5, 200) / 2
    rows = [tuple(map(float, row)) for row in zip(labels, predicted, weights)]
    frame = spark.createDataFrame(rows, "y double, p double, w double")
    column = {"weightCol": "w"} if weighted else {}
    found = evaluate_regression(frame, "y", "p", **column)
    about = {"sample_weight": weights if weighted else None}
    assert found.mse == pytest.approx(metrics.mean_squared_error(labels, predicted, **about), rel=1e-9)
    assert found.mae == pytest.approx(metrics.mean_absolute_error(labels, predicted, **about), rel=1e-9)
    assert found.r2 == pytest.approx(metrics.r2_score(labels, predicted, **about), rel=1e-6)
    assert (found.rootMeanSquaredError, found.meanSquaredError) == (found.rmse, found.mse)
    assert found.meanAbsoluteError == found.mae and found.rows == 200
    for name in ("rmse", "mae"):
        evaluator = RegressionEvaluator(labelCol="y", predictionCol="p", metricName=name, **column)
        assert getattr(found, name) == pytest.approx(evaluator.evaluate(frame), rel=1e-9)
    assert repr(found).startswith("RegressionEvaluation(rmse 0.3") and "rmse" in found._repr_html_()
    same = spark.createDataFrame([(1.0, 1.0), (1.0, 2.0)], "label double, prediction double")
    assert math.isnan(evaluate_regression(same).r2)


def test_what_cannot_be_evaluated(spark, frame):
    with pytest.raises(ConfigError, match=r"^labelCol: the DataFrame has no column 'lable'\. Did you mean 'label'\?$"):
        evaluate_classification(frame, labelCol="lable")
    with pytest.raises(ConfigError, match=r"^probabilityCol: column 'label' is of type int, and no Vector or array"):
        evaluate_classification(frame.withColumn("label", frame.label.cast("int")), probabilityCol="label")
    words = frame.withColumn("label", frame.label.cast("string"))
    with pytest.raises(
        ConfigError, match=r"column 'label' is of type string, and no number: index it, as StringIndexer"
    ):
        evaluate_regression(words)
    with pytest.raises(DataError, match=r"^class [23] is among the rows, and there are names for 2 classes$"):
        evaluate_classification(frame.filter("prediction in (0, 3)"), labels=["a", "b"])
    nulls = spark.createDataFrame(
        [(0.0, 1.0, 1.0), (None, 1.0, 1.0), (float("nan"), 1.0, 1.0)], "label double, prediction double, weight double"
    )
    for evaluate in (evaluate_classification, evaluate_regression):
        with pytest.raises(DataError, match=r"^2 of 3 rows have no value in 'label': drop them before"):
            evaluate(nulls)
        with pytest.raises(DataError, match=r"^there are no rows to evaluate$"):
            evaluate(nulls.filter("prediction > 1"))
        with pytest.raises(DataError, match=r"^the weights of all rows \(weight\) are together 0: none counts$"):
            evaluate(nulls.filter("label = 0").withColumn("weight", nulls.weight * 0), weightCol="weight")
        for weight in (-1.0, float("inf")):
            rows = nulls.filter("label = 0").select("label", "prediction", F.lit(weight).alias("weight"))
            with pytest.raises(DataError, match=r"^1 of 2 rows have a negative or infinite weight in 'weight': drop"):
                evaluate(rows.union(rows.withColumn("weight", F.lit(3.0))), weightCol="weight")
