"""Regressors: Caffe nets whose output is a number for each row.

>>> from caffeonspark import CaffeRegressor, nets
>>> regressor = CaffeRegressor(net=nets.mlp([8, 50, 1], loss="euclidean"), featuresCol="features", labelCol="price")
>>> RegressionEvaluator(labelCol="price").evaluate(regressor.fit(train).transform(test))
"""

from __future__ import annotations

from typing import List, Tuple

from pyspark.sql import DataFrame

from ..inference.outputs import OutputColumn
from ..nets.net import TEST, Net
from ..plans.net_source import NetSource
from .evaluation import RegressionEvaluation, evaluate_regression
from .fitting import Settled, fit
from .heads import Head, regression_head, sized
from .keywords import RegressionModelParams, RegressorParams
from .local import LocalOutputs
from .predictors import NetEstimator, PredictionModel, fit_of, params_for

__all__ = ["CaffeRegressionModel", "CaffeRegressor"]


class CaffeRegressor(RegressorParams, NetEstimator):
    """Trains a net to predict numbers: the target of its EuclideanLoss, or of the loss that ``rawBlob`` goes to.

    Parameters
    ----------
    **params
        As those of ``CaffeClassifier``, without the columns of classes.
    """

    def _fit(self, dataset: DataFrame) -> CaffeRegressionModel:
        raw_blob = self.getOrDefault("rawBlob") if self.isDefined("rawBlob") else ""

        def check(settled: Settled, rows: DataFrame) -> Tuple[Net, Head]:
            net = settled.run_config.net(TEST)
            head = regression_head(settled.run_config.nets, net, raw_blob)
            return net, sized(head, NetSource(settled, net, rows).for_blobs([head.raw]).plan, net.path)

        fitted = fit(fit_of(self, "CaffeRegressionModel"), dataset, check)
        model = CaffeRegressionModel()
        model._resetUid(self.uid)
        net, model._head = fitted.checked
        model._trained(net, fitted.content, fitted.ending, fitted.result)
        model._set(**params_for(model, self))
        return model


class CaffeRegressionModel(RegressionModelParams, PredictionModel):
    """A trained regressor; made by ``CaffeRegressor.fit`` or ``load``.

    ``transform`` adds ``predictionCol``: double, or a Vector where the net predicts several numbers for a row.
    """

    def evaluate(self, dataset: DataFrame) -> RegressionEvaluation:
        """How good the model is on rows with labels, computed in one pass: rmse, mse, mae and r2."""
        return evaluate_regression(
            self.transform(dataset),
            labelCol=self.getOrDefault("labelCol"),
            predictionCol=self.getOrDefault("predictionCol"),
            weightCol=self._weights_of(dataset),
        )

    def _outputs(self) -> List[OutputColumn]:
        form = "number" if self.head.size == 1 else "vector"
        return [OutputColumn(self.getOrDefault("predictionCol"), self.head.raw, form)]

    def _local_outputs(self) -> LocalOutputs:
        form = "number" if self.head.size == 1 else "vector"
        return LocalOutputs(
            (OutputColumn("prediction", self.head.raw, form),),
            otherwise="a regression model predicts numbers and no classes",
        )
