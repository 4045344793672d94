"""What classifiers and regressors share: fits that give models with a prediction column."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional

from pyspark.ml import Estimator
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame

from .fitting import Fit
from .heads import Head
from .model import NetModel
from .persistence import EstimatorReader, EstimatorWriter
from .shown import ShownParams

__all__ = ["NetEstimator", "PredictionModel", "fit_of", "params_for"]


class NetEstimator(ShownParams, Estimator, MLReadable, MLWritable):
    """An Estimator that is saved with its solver and nets as text, so that it can be loaded anywhere."""

    def write(self) -> MLWriter:
        return EstimatorWriter(self)

    @classmethod
    def read(cls) -> MLReader:
        return EstimatorReader(cls)


class PredictionModel(NetModel):
    """A net whose predictions are in a column of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._head: Optional[Head] = None

    @property
    def head(self) -> Head:
        """Where the net's predictions are."""
        self._held()
        assert self._head is not None  # which comes with the net
        return self._head

    @property
    def numFeatures(self) -> int:
        """How many numbers a row's features have, over all of the net's inputs."""
        (layer,) = self._reading([self.head.raw]).data_layers()
        return sum(math.prod(shape.dim[1:]) for shape in layer.input_param.shape)

    def _weights_of(self, dataset: DataFrame) -> str:
        """The column of weights, where the rows have it; else ""."""
        weight = self.getOrDefault("weightCol") if self.isDefined("weightCol") else ""
        return weight if weight in dataset.columns else ""

    def _saved(self) -> Dict[str, Any]:
        return {"head": self.head.as_dict()}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self._head = Head(**saved["head"])


def fit_of(estimator: Any, kind: str, by_columns: bool = True) -> Fit:
    """What an estimator of such models was given."""
    given = estimator.given()
    defaults = {
        name: list(flag.default) if flag.kind == "names" else flag.default for name, flag in estimator._table.items()
    }
    return Fit(given, {name: value for name, value in defaults.items() if name not in given}, kind, by_columns)


def params_for(model: Any, estimator: Any) -> Dict[str, Any]:
    """The Params that were set on an estimator and mean something to its model."""
    return {name: value for name, value in estimator.given().items() if name in model._table}
