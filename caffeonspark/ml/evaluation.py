"""How good predictions are: one Spark job over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd

from ..causes import explained
from ..data.sources.frames import check_frame, column_of
from ..errors import ConfigError, DataError
from ..report.display import shown, table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["ClassificationEvaluation", "RegressionEvaluation", "evaluate_classification", "evaluate_regression"]

_LEAST = 1e-15  # probability, as Spark's and scikit-learn's log loss have it
_MOST_SHOWN = 20  # classes in a notebook


@dataclass(frozen=True, repr=False, eq=False)
class ClassificationEvaluation:
    """How good a classifier's predictions are, under the names of pyspark.ml's classification summaries.

    Metrics by label are lists over ``labels``. A ratio without anything to count is 0.0, as in Spark.

    Attributes
    ----------
    predictions : the DataFrame
    labels : all classes that are labels or predictions, ascending; with names, all that have one
    confusionMatrix : pandas DataFrame (float64): sums of weights, a row for each label, a column for each prediction;
        by the classes' names where there are such
    loss : the mean of -log(probability of the label), None where there are no probabilities
    rows : how many there are
    """

    predictions: DataFrame
    labels: List[float]
    confusionMatrix: pd.DataFrame
    loss: Optional[float]
    rows: int

    @property
    def _counts(self) -> np.ndarray:
        counts: np.ndarray = self.confusionMatrix.to_numpy(np.float64)
        return counts

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return float(np.trace(self._counts) / self._counts.sum())

    @property
    def precisionByLabel(self) -> List[float]:
        """Of what was predicted to be of a class, the share that is."""
        return _ratios(np.diag(self._counts), self._counts.sum(axis=0))

    @property
    def recallByLabel(self) -> List[float]:
        """Of what is of a class, the share that was predicted to be."""
        return _ratios(np.diag(self._counts), self._counts.sum(axis=1))

    @property
    def truePositiveRateByLabel(self) -> List[float]:
        """The same as ``recallByLabel``."""
        return self.recallByLabel

    @property
    def falsePositiveRateByLabel(self) -> List[float]:
        """Of what is not of a class, the share that was predicted to be."""
        counts, right = self._counts, np.diag(self._counts)
        return _ratios(counts.sum(axis=0) - right, counts.sum() - counts.sum(axis=1))

    def fMeasureByLabel(self, beta: float = 1.0) -> List[float]:
        """The weighted harmonic mean of precision and recall: F1 by default."""
        precision, recall = np.array(self.precisionByLabel), np.array(self.recallByLabel)
        return _ratios((1 + beta * beta) * precision * recall, beta * beta * precision + recall)

    @property
    def weightedPrecision(self) -> float:
        """The mean of ``precisionByLabel`` over the rows."""
        return self._weighted(self.precisionByLabel)

    @property
    def weightedRecall(self) -> float:
        """The mean of ``recallByLabel`` over the rows."""
        return self._weighted(self.recallByLabel)

    @property
    def weightedTruePositiveRate(self) -> float:
        """The mean of ``truePositiveRateByLabel`` over the rows."""
        return self.weightedRecall

    @property
    def weightedFalsePositiveRate(self) -> float:
        """The mean of ``falsePositiveRateByLabel`` over the rows."""
        return self._weighted(self.falsePositiveRateByLabel)

    def weightedFMeasure(self, beta: float = 1.0) -> float:
        """The mean of ``fMeasureByLabel`` over the rows: of F1 by default."""
        return self._weighted(self.fMeasureByLabel(beta))

    def _weighted(self, values: Sequence[float]) -> float:
        return float(np.average(values, weights=self._counts.sum(axis=1)))

    @property
    def byLabel(self) -> pd.DataFrame:
        """A pandas DataFrame with a row for each class: ``precision``, ``recall``, ``f1`` and its ``weight`` (that of
        the rows of this label; their number, where they have no weights), float64."""
        columns = {
            "precision": self.precisionByLabel,
            "recall": self.recallByLabel,
            "f1": self.fMeasureByLabel(),
            "weight": self._counts.sum(axis=1),
        }
        return pd.DataFrame(columns, index=self.confusionMatrix.index)

    def _about(self) -> List[Tuple[str, object]]:
        facts: List[Tuple[str, object]] = [
            ("accuracy", f"{self.accuracy:.4f}"),
            ("F1", f"{self.weightedFMeasure():.4f}"),
        ]
        facts += [("loss", f"{self.loss:.4f}")] if self.loss is not None else []
        return [*facts, ("classes", len(self.labels)), ("rows", self.rows)]

    def __repr__(self) -> str:
        return f"ClassificationEvaluation({', '.join(f'{name} {value}' for name, value in self._about())})"

    def _repr_html_(self) -> str:
        frame = self.byLabel
        some: str = frame.iloc[:_MOST_SHOWN].rename(index=shown).to_html(float_format="%.4f", border=0)
        more = f"<div>… and {len(frame) - _MOST_SHOWN} more classes: byLabel</div>" if len(frame) > _MOST_SHOWN else ""
        return table("ClassificationEvaluation", self._about()) + some + more


@dataclass(frozen=True, repr=False, eq=False)
class RegressionEvaluation:
    """How good a regressor's predictions are; the metrics of pyspark.ml's RegressionEvaluator.

    Attributes
    ----------
    predictions : the DataFrame
    rmse, mse, mae : root of the mean square, mean square and mean absolute difference of prediction and label
    r2 : the share of the labels' variance that is explained: 1.0 at best; NaN where all labels are the same
    rows : how many there are
    """

    predictions: DataFrame
    rmse: float
    mse: float
    mae: float
    r2: float
    rows: int

    @property
    def rootMeanSquaredError(self) -> float:
        """``rmse``, as pyspark.ml's summaries call it."""
        return self.rmse

    @property
    def meanSquaredError(self) -> float:
        """``mse``, as pyspark.ml's summaries call it."""
        return self.mse

    @property
    def meanAbsoluteError(self) -> float:
        """``mae``, as pyspark.ml's summaries call it."""
        return self.mae

    def _about(self) -> List[Tuple[str, object]]:
        names = ("rmse", "mse", "mae", "r2")
        return [*((name, f"{getattr(self, name):.4g}") for name in names), ("rows", self.rows)]

    def __repr__(self) -> str:
        return f"RegressionEvaluation({', '.join(f'{name} {value}' for name, value in self._about())})"

    def _repr_html_(self) -> str:
        return table("RegressionEvaluation", self._about())


def evaluate_classification(
    predictions: DataFrame,
    labelCol: str = "label",
    predictionCol: str = "prediction",
    probabilityCol: str = "",
    weightCol: str = "",
    labels: Optional[Sequence[str]] = None,
) -> ClassificationEvaluation:
    """Compare predicted classes with labels, in one Spark job.

    Parameters
    ----------
    predictions : DataFrame
    labelCol, predictionCol : columns of numbers: 0, 1, …
    probabilityCol : a column of Vectors or arrays with each class's probability, for the loss
    weightCol : a column of numbers, how much a row counts
    labels : the names of classes 0, 1, …, as StringIndexerModel has them

    Raises
    ------
    ConfigError
        For a column that is not there or of another type.
    DataError
        Where there are no rows, and for rows without a label, a prediction or a weight, or with one that is negative or
        infinite.
    """
    from pyspark.sql import functions as F

    label, prediction = _number(predictions, "labelCol", labelCol), _number(predictions, "predictionCol", predictionCol)
    weight = _number(predictions, "weightCol", weightCol) if weightCol else F.lit(1.0)
    loss = _loss(predictions, probabilityCol, label) if probabilityCol else F.lit(None).cast("double")
    columns = [label.alias("label"), prediction.alias("prediction"), weight.alias("weight"), loss.alias("loss")]
    groups = predictions.select(*columns).groupBy("label", "prediction")
    sums = [F.sum("weight"), F.count(F.lit(1)), F.count("weight"), F.sum(F.col("loss") * F.col("weight"))]
    sums.append(_count_bad(F.col("weight")))
    with explained():
        found = [tuple(row) for row in groups.agg(*sums).collect()]
    rows = sum(group[3] for group in found)
    if not rows:
        raise DataError("there are no rows to evaluate")
    _check_missing(sum(group[3] for group in found if group[0] is None), rows, labelCol)
    _check_missing(sum(group[3] for group in found if group[1] is None), rows, predictionCol)
    _check_missing(sum(group[3] - group[4] for group in found), rows, weightCol)
    _check_weights(sum(group[6] for group in found), rows, weightCol)
    classes = sorted({float(value) for group in found for value in group[:2]})
    names = list(labels or [])
    if names:
        strange = [value for value in classes if value not in range(len(names))]
        if strange:
            raise DataError(f"class {strange[0]:g} is among the rows, and there are names for {len(names)} classes")
        classes = [float(number) for number in range(len(names))]
    counts = np.zeros((len(classes), len(classes)))
    for group in found:
        counts[classes.index(group[0]), classes.index(group[1])] = group[2]
    if not counts.sum() > 0:
        raise DataError(f"the weights of all rows ({weightCol}) are together {counts.sum():g}: none counts")
    index = pd.Index(names or classes, name="label")
    matrix = pd.DataFrame(counts, index=index, columns=index.rename("prediction"))
    mean = sum(group[5] for group in found) / counts.sum() if probabilityCol else None
    return ClassificationEvaluation(predictions, classes, matrix, mean, rows)


def evaluate_regression(
    predictions: DataFrame, labelCol: str = "label", predictionCol: str = "prediction", weightCol: str = ""
) -> RegressionEvaluation:
    """Compare predicted numbers with labels, in one Spark job.

    Parameters
    ----------
    predictions : DataFrame
    labelCol, predictionCol : columns of numbers
    weightCol : a column of numbers, how much a row counts

    Raises
    ------
    ConfigError
        For a column that is not there or of another type.
    DataError
        Where there are no rows, and for rows without a label, a prediction or a weight, or with one that is negative or
        infinite.
    """
    from pyspark.ml.functions import array_to_vector
    from pyspark.ml.stat import Summarizer
    from pyspark.sql import functions as F

    label, prediction = _number(predictions, "labelCol", labelCol), _number(predictions, "predictionCol", predictionCol)
    weight = _number(predictions, "weightCol", weightCol) if weightCol else F.lit(1.0)
    whole = predictions.select(label.alias("y"), prediction.alias("p"), weight.alias("w"))
    pair = array_to_vector(F.array(F.coalesce("y", F.lit(0.0)), F.coalesce(F.col("y") - F.col("p"), F.lit(0.0))))
    summary = Summarizer.metrics("variance", "normL1", "normL2").summary(
        pair, F.when(F.col("w") > 0, F.col("w")).otherwise(0.0)
    )
    sums = [F.count(F.lit(1)), F.count("y"), F.count("p"), F.count("w"), F.sum("w"), F.sum(F.col("w") * F.col("w"))]
    sums.append(_count_bad(F.col("w")))
    with explained():
        try:
            row = whole.agg(summary.alias("s"), *sums).first()
        except Exception as e:  # Spark's summarizer wants rows that count: what there is says why there are none
            if "Nothing has been added" not in str(e):
                raise
            row = whole.agg(F.lit(None), *sums).first()
    assert row is not None
    moments, rows, labelled, predicted, weighted, total, squares, bad = row
    if not rows:
        raise DataError("there are no rows to evaluate")
    _check_missing(rows - labelled, rows, labelCol)
    _check_missing(rows - predicted, rows, predictionCol)
    _check_missing(rows - weighted, rows, weightCol)
    _check_weights(bad, rows, weightCol)
    if not total > 0:
        raise DataError(f"the weights of all rows ({weightCol}) are together {total:g}: none counts")
    mse, mae = float(moments.normL2[1]) ** 2 / total, float(moments.normL1[1]) / total
    variance = float(moments.variance[0]) * (total - squares / total) / total  # Spark's is without bias
    r2 = 1.0 - mse / variance if variance > 0 else math.nan
    return RegressionEvaluation(predictions, math.sqrt(mse), mse, mae, r2, rows)


def _ratios(parts: np.ndarray, wholes: np.ndarray) -> List[float]:
    return [float(part / whole) if whole > 0 else 0.0 for part, whole in zip(parts, wholes)]


def _check_missing(count: int, rows: int, column: str) -> None:
    if count:
        raise DataError(f"{count} of {rows} rows have no value in '{column}': drop them before they are evaluated")


def _count_bad(weight: Column) -> Column:
    """How many weights are negative or infinite."""
    from pyspark.sql import functions as F

    return F.count(F.when((weight < 0) | (weight == math.inf), 1))


def _check_weights(count: int, rows: int, column: str) -> None:
    if count:
        raise DataError(
            f"{count} of {rows} rows have a negative or infinite weight in '{column}': drop them before they are "
            "evaluated"
        )


def _column(frame: Any, param: str, name: str) -> Tuple[Column, Any]:
    """A column and its type. Raises ConfigError where there is none."""
    check_frame(frame)
    column = column_of(frame, name, f"{param}: the DataFrame")
    return column, frame.select(column).schema[0].dataType


def _number(frame: Any, param: str, name: str) -> Column:
    """A column as doubles; null where there is no number."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    column, kind = _column(frame, param, name)
    if not isinstance(kind, (T.NumericType, T.BooleanType)):
        text = ": index it, as StringIndexer does" if isinstance(kind, T.StringType) else ""
        raise ConfigError(f"{param}: column '{name}' is of type {kind.simpleString()}, and no number{text}")
    return F.nanvl(column.cast("double"), F.lit(None).cast("double"))


def _loss(frame: Any, name: str, label: Column) -> Column:
    """-log of the probability of the label, within bounds."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.ml.linalg import VectorUDT
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    column, kind = _column(frame, "probabilityCol", name)
    if isinstance(kind, VectorUDT):
        column = vector_to_array(column)
    elif not isinstance(kind, T.ArrayType):
        raise ConfigError(
            f"probabilityCol: column '{name}' is of type {kind.simpleString()}, and no Vector or array of each class's "
            "probability"
        )
    chance = F.get(column, label.cast("int")).cast("double")  # null for a class that has none
    bounded = F.least(F.greatest(F.coalesce(chance, F.lit(0.0)), F.lit(_LEAST)), F.lit(1 - _LEAST))
    return -F.log(F.when(F.isnan(chance), chance).otherwise(bounded))
