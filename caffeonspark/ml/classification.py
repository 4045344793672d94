"""Classifiers: Caffe nets whose scores become predictions and probabilities.

>>> from caffeonspark import CaffeClassifier, nets
>>> classifier = CaffeClassifier(net=nets.mlp([64, 100, 10]), featuresCol="features", labelCol="label", epochs=20)
>>> model = classifier.fit(train)
>>> MulticlassClassificationEvaluator(metricName="accuracy").evaluate(model.transform(test))
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from pyspark.sql import DataFrame

from ..errors import ConfigError
from ..inference.outputs import OutputColumn
from ..nets.net import TEST, Net
from ..plans.net_source import NetSource
from .evaluation import ClassificationEvaluation, evaluate_classification
from .fitting import Settled, fit
from .heads import Head, class_limits, classification_head, sized
from .keywords import ClassificationModelParams, ClassifierParams
from .labels import for_all, names_of, nominal
from .local import LocalOutputs
from .predictors import NetEstimator, PredictionModel, fit_of, params_for

__all__ = ["CaffeClassificationModel", "CaffeClassifier"]


class CaffeClassifier(ClassifierParams, NetEstimator):
    """Trains a net to tell classes apart.

    Labels are class indices from 0, as StringIndexer makes them; its names travel to the prediction column.

    Parameters
    ----------
    **params
        See ``explainParams()``. ``net`` is a prototxt's path or text, a NetParameter, a ``caffe.NetSpec`` or
        ``caffeonspark.nets.mlp(…)``; it needs no data layer: ``featuresCol`` and ``labelCol`` fill what no layer makes.
        ``conf``, a solver's prototxt, stands for ``net`` and for all that says how to train.
    """

    def _fit(self, dataset: DataFrame) -> CaffeClassificationModel:
        column = self.getOrDefault("labelCol")
        raw_blob = self.getOrDefault("rawBlob") if self.isDefined("rawBlob") else ""

        def check(settled: Settled, rows: DataFrame) -> Tuple[Net, Head, List[str]]:
            net, head = classification_head(settled.run_config.nets, settled.run_config.net(TEST), raw_blob)
            head = sized(head, NetSource(settled, net, rows).for_blobs([head.raw]).plan, net.path)
            return net, head, names_of(rows, column, head.classes, f"{net.path}: blob '{head.raw}'")

        about = fit_of(self, "CaffeClassificationModel")
        fitted = fit(about, dataset, check, lambda net: class_limits(net, raw_blob))
        model = CaffeClassificationModel()
        model._resetUid(self.uid)
        net, model._head, model._labels = fitted.checked
        model._trained(net, fitted.content, fitted.ending, fitted.result)
        model._set(**params_for(model, self))
        return model


class CaffeClassificationModel(ClassificationModelParams, PredictionModel):
    """A trained classifier; made by ``CaffeClassifier.fit`` or ``load``.

    ``transform`` adds ``predictionCol`` (double, the class's index; with the names of the classes), ``probabilityCol``
    and ``rawPredictionCol`` (Vectors, a number for each class), but for those that are "".
    """

    _labels: Sequence[str] = ()

    @property
    def labels(self) -> List[str]:
        """The names of the classes, by index; empty where the label column had none."""
        return list(self._labels)

    @property
    def numClasses(self) -> int:
        """How many classes the net tells apart."""
        return self.head.classes

    def evaluate(self, dataset: DataFrame) -> ClassificationEvaluation:
        """How good the model is on rows with labels, weighted where they have ``weightCol``, computed in one pass.

        Returns
        -------
        ClassificationEvaluation
            Accuracy, precision and recall of each class, the confusion matrix, and the log loss.
        """
        return evaluate_classification(
            self.transform(dataset),
            labelCol=self.getOrDefault("labelCol"),
            predictionCol=self.getOrDefault("predictionCol"),
            probabilityCol=self.getOrDefault("probabilityCol"),
            weightCol=self._weights_of(dataset),
            labels=self.labels or None,
        )

    def _outputs(self) -> List[OutputColumn]:
        head = self.head
        forms = ("two_scores", "two_probabilities", "two_argmax") if head.binary else ("vector", "vector", "argmax")
        label = self.getOrDefault("predictionCol")
        columns = [
            OutputColumn(self.getOrDefault("rawPredictionCol"), head.raw, forms[0]),
            OutputColumn(self.getOrDefault("probabilityCol"), head.probability, forms[1]),
            OutputColumn(label, head.raw, forms[2], nominal(label, self.labels, head.classes)),
        ]
        named = [column for column in columns if column.name]
        if not named:
            raise ConfigError("predictionCol, probabilityCol and rawPredictionCol are all empty: name a column to add")
        return named

    def _local_outputs(self) -> LocalOutputs:
        head = self.head
        prediction = OutputColumn("prediction", head.raw, "two_argmax" if head.binary else "argmax")
        form = "two_probabilities" if head.binary else "vector"
        return LocalOutputs((prediction,), OutputColumn("probability", head.probability, form))

    def _saved(self) -> Dict[str, Any]:
        return {**super()._saved(), "labels": self._labels}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        super()._restore(saved)
        self._labels = for_all(saved["labels"], self.head.classes)  # earlier versions named fewer
