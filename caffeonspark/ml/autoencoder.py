"""Autoencoders that are trained layer by layer, without labels, and hand their encoders to an MLP.

>>> from caffeonspark import CaffeAutoencoder, CaffeClassifier, nets
>>> pretrained = CaffeAutoencoder(net=nets.stacked_autoencoder([784, 256, 64]), epochs=10, clusterSize=2).fit(images)
>>> CaffeClassifier(net=pretrained.mlp(10), initialModel=pretrained, epochs=5, clusterSize=2).fit(labelled)
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from pyspark.sql import DataFrame

from ..api.config import Config
from ..data.sources.frames import check_frame, column_of
from ..errors import ConfigError
from ..formats.caffemodel import LayerWeights
from ..inference.deployed import content_of, read_weights
from ..nets.inline import given_text
from ..nets.models import with_scores
from ..nets.net import Net
from ..nets.stacked import Pair, encoders, pairs_of
from .estimator import CaffeEstimator
from .keywords import AutoencoderParams
from .model import CaffeModel
from .nets import fed
from .predictors import NetEstimator, params_for
from .summary import TrainingSummary

__all__ = ["CaffeAutoencoder", "CaffeAutoencoderModel"]

_OF_ROWS = ("validationIndicatorCol", "weightCol")
_ENDING = ".caffemodel"


class CaffeAutoencoder(AutoencoderParams, NetEstimator):
    """Trains a deep autoencoder greedily: each encoder with its own decoder, on what the encoders before it make.

    The first pair learns to make the features again, the second to make the first one's code again, and so on: one
    training after the other, each by the Params given here, so ``maxIter`` and ``epochs`` are of each. The
    rows are encoded again for each of them, lazily. A pair's loss is the net's own for the first; for the others the
    cross entropy where the code comes from a Sigmoid, otherwise the squared error.

    Parameters
    ----------
    **params
        See ``explainParams()``. ``net`` is ``nets.stacked_autoencoder(…)``, or any net that is a chain of InnerProduct
        layers and what follows each, its second half the mirror image of the first. There is no label.
    """

    def _fit(self, dataset: DataFrame) -> CaffeAutoencoderModel:
        check_frame(dataset)
        given = self.given()
        if not given.get("net"):
            raise ConfigError("no net is given: set net to nets.stacked_autoencoder(layers=[…]), or another such net")
        config = Config(dataset.sparkSession)
        conf = given_text(None, given["net"], config.files)
        nets = Config(dataset.sparkSession, conf=conf).nets
        features = self.getOrDefault("featuresCol")
        pairs = pairs_of(nets.train)
        whole = fed(nets, dataset, features, "", "", given.get("batchSize")).nets.tests[0]
        rows, column = dataset, features
        weights: Dict[str, LayerWeights] = {}
        summaries: List[TrainingSummary] = []
        for number, pair in enumerate(pairs):
            fitted = self._trained_pair(pair, rows, column)
            weights.update({layer.name: layer for layer in _weights(fitted, pair)})
            assert fitted.summary is not None  # of a fit
            summaries.append(fitted.summary)
            if number + 1 < len(pairs):
                rows, column = self._encoded(dataset, whole, pair.code, weights)
        model = CaffeAutoencoderModel()
        model._resetUid(self.uid)
        model._trained(whole, content_of(list(weights.values())), _ENDING, summaries[-1])
        model._set(**params_for(model, self))
        model._set(features=[pairs[-1].code], featuresCol=features)
        model.summaries = summaries
        return model

    def _trained_pair(self, pair: Pair, rows: DataFrame, column: List[str]) -> CaffeModel:
        params = {**self.given(), "net": pair.net, "featuresCol": column, "features": [pair.code]}
        params["shuffle"] = self.getOrDefault("shuffle")
        params.pop("outputCols", None)
        fitted: CaffeModel = CaffeEstimator(**params).fit(rows)
        return fitted

    def _encoded(
        self, dataset: DataFrame, whole: Net, code: str, weights: Dict[str, LayerWeights]
    ) -> Tuple[DataFrame, List[str]]:
        """The rows, with what the encoders that are trained make of them in a column; and its name."""
        encoder = CaffeModel()
        encoder._trained(whole, content_of(list(weights.values())), _ENDING, None)
        encoder._set(**{name: value for name, value in params_for(encoder, self).items() if name != "outputCols"})
        column, taken = code, {name.lower() for name in dataset.columns}
        while column.lower() in taken:
            column += "_"
        encoder._set(features=[code], outputCols=[column], outputType="array")
        encoded = encoder.transform(dataset)
        kept = [name for name in (self.given().get(one) for one in _OF_ROWS) if name]
        return encoded.select(*[column_of(encoded, name, "the DataFrame") for name in (*kept, column)]), [column]


class CaffeAutoencoderModel(CaffeModel):
    """A trained autoencoder; made by ``CaffeAutoencoder.fit`` or ``load``.

    ``transform`` adds the code, a column of the name of its blob unless ``outputCols`` names it; with ``features``
    any other blobs of the net, such as ``reconstruction``. It is taken as ``initialModel``: by nets whose layers
    have the names of its encoders (``nets.mlp`` with as many hidden layers of the same sizes and activation), and
    by the autoencoder itself, to be trained whole.

    Attributes
    ----------
    summaries : list of TrainingSummary
        Of each pair's training, from the one at the data on. They are not saved, but for the last, which is ``summary``
    """

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.summaries: List[TrainingSummary] = []

    def mlp(self, outputs: int, loss: str = "softmax") -> Any:
        """A net of the encoders, with scores above the code, for ``CaffeClassifier(net=…, initialModel=this model)``.

        Parameters
        ----------
        outputs : how many scores it has: the number of classes, with "softmax"
        loss : as that of ``nets.mlp``

        Returns
        -------
        NetParameter

        Raises
        ------
        ConfigError
            For an argument that is none of these.
        """
        net = encoders(self._held())
        for layer in net.layer:
            layer.ClearField("cos_data_param")  # whose columns are this model's
        return with_scores(net, net.layer[-1].top[0], outputs, loss)


def _weights(fitted: CaffeModel, pair: Pair) -> List[LayerWeights]:
    content, ending = fitted.caffemodel
    return [layer for layer in read_weights(f"the model{ending}", content) if layer.name in pair.layers]
