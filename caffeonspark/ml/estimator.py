"""An Estimator that trains a Caffe net and gives a ``CaffeModel``.

>>> estimator = CaffeEstimator(conf="lenet_solver.prototxt", clusterSize=2, features=["prob"])
>>> model = estimator.fit(frame)          # a DataFrame with the columns the CoSData layer names
>>> model.transform(frame).select("prob")
>>> model.save("hdfs:///models/lenet"); CaffeModel.load("hdfs:///models/lenet")
"""

from __future__ import annotations

from typing import Any, Dict, List

from pyspark.sql import DataFrame

from ..settings import FLAGS, NOT_PARAMS
from .blobs import checked_features
from .fitting import Settled, fit
from .keywords import EstimatorParams
from .model import CaffeModel
from .predictors import NetEstimator, fit_of, params_for

__all__ = ["CaffeEstimator"]


class CaffeEstimator(EstimatorParams, NetEstimator):
    """Trains a Caffe net on a DataFrame.

    Parameters
    ----------
    **params
        Flags by name (``conf``, ``clusterSize``, ``devices``, ``weights``, …; see ``caffeonspark -help``), and what
        ``explainParams()`` lists beyond them. ``features`` are the blobs the model adds as columns: by default the
        outputs of the TEST net that do not need a label, or else all of its outputs. The columns are those that the
        net's CoSData layer names; with ``featuresCol`` they fill the net's inputs, whatever its data layers are.

        With ``model``, each fit writes its files beside it under a name of its own
        (``lenet.CaffeModel_4f….caffemodel``, see ``summary.model``), so several fits at once do not meet; the model of
        the one that ended last is ``model`` too. Without it, the trained net is kept in the CaffeModel only. A fit that
        ended early says which snapshot there is, and what goes on from it.
    """

    def flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        return {name: value for name, value in self.given().items() if name in FLAGS and name not in NOT_PARAMS}

    def _fit(self, dataset: DataFrame) -> CaffeModel:
        by_columns = self.isSet("featuresCol") or not self.isSet("conf")
        if by_columns:
            self._setDefault(featuresCol=["features"], labelCol="label")
        fitted = fit(fit_of(self, "CaffeModel", by_columns), dataset, self._check)
        model = CaffeModel()
        model._resetUid(self.uid)
        model._trained(fitted.nets.tests[0], fitted.content, fitted.ending, fitted.result)
        model._set(**params_for(model, self))
        model._set(features=fitted.checked)
        if by_columns:
            model._set(featuresCol=self.getOrDefault("featuresCol"), labelCol=self.getOrDefault("labelCol"))
        return model

    def _check(self, settled: Settled, rows: DataFrame) -> List[str]:
        return checked_features(settled.run_config)
