"""An Estimator that trains a Caffe net and gives a ``CaffeModel``.

>>> estimator = CaffeEstimator(conf="lenet_solver.prototxt", clusterSize=2, features=["prob"])
>>> model = estimator.fit(frame)          # a DataFrame with the columns the CoSData layer names
>>> model.transform(frame).select("prob")
>>> model.save("hdfs:///models/lenet"); CaffeModel.load("hdfs:///models/lenet")
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from pyspark.sql import DataFrame

from ..nets.net import Net
from ..plans.scoring import with_sizes
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
        outputs of the TEST net that do not need a label, or all of its outputs if each needs one. The columns are
        those that the net's CoSData layer names; with ``featuresCol``, ``labelCol`` or ``weightCol`` they fill the
        net's inputs, whatever its data layers are.

        With ``model``, each fit writes its files next to it, under its own name
        (``lenet.CaffeModel_4f….caffemodel``, see ``summary.model``), so several fits at once do not meet; the model of
        the one that ended last is ``model`` too. Without it, the trained net is kept in the CaffeModel only. A fit that
        ended early reports which snapshot there is, and how to continue from it.
    """

    def flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        return {name: value for name, value in self.given().items() if name in FLAGS and name not in NOT_PARAMS}

    def _fit(self, dataset: DataFrame) -> CaffeModel:
        columns = ("featuresCol", "labelCol", "weightCol")
        by_columns = any(map(self.isSet, columns)) or not self.isSet("conf")
        about = fit_of(self, "CaffeModel", by_columns)
        fitted = fit(about, dataset, self._check)
        model = CaffeModel()
        model._resetUid(self.uid)
        net, blobs = fitted.checked
        model._trained(net, fitted.content, fitted.ending, fitted.result)
        model._set(**params_for(model, self))
        model._set(features=blobs)
        if by_columns:
            model._set(featuresCol=about.value("featuresCol"), labelCol=about.value("labelCol"))
        return model

    def _check(self, settled: Settled, rows: DataFrame) -> Tuple[Net, List[str]]:
        blobs = checked_features(settled.run_config)
        return with_sizes(settled, settled.run_config.nets.tests[0], blobs, rows), blobs
