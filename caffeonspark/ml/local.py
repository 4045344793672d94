"""Prediction without Spark: ``model.predict(x)``, and a saved model's folder on a local disk."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple, Type, TypeVar, Union

import numpy as np

from ..api.config import Config
from ..errors import ConfigError
from ..inference.local_net import LocalNet, local_net
from ..inference.outputs import OutputColumn, formed
from ..nets.net import Net
from ..storage import Storage
from .holding import HoldsNet
from .persistence import restored
from .saved import class_of, read_metadata

__all__ = ["LocalOutputs", "LocalPrediction", "local_outputs_of"]

Self = TypeVar("Self", bound="LocalPrediction")

#: The layers whose tops are probabilities.
_PROBABILITIES = ("Softmax", "Sigmoid")


@dataclass(frozen=True)
class LocalOutputs:
    """What a model predicts.

    Attributes
    ----------
    prediction : what ``predict`` gives: one, or a dict of several by their names
    probability : what ``predictProbability`` gives; None where there is none
    otherwise : what to say then
    """

    prediction: Tuple[OutputColumn, ...]
    probability: Optional[OutputColumn] = None
    otherwise: str = ""

    @property
    def blobs(self) -> List[str]:
        """The blobs of both."""
        probability = () if self.probability is None else (self.probability,)
        return list(dict.fromkeys(one.blob for one in (*self.prediction, *probability)))


class LocalPrediction(HoldsNet):
    """Predictions in this process, for models with a TEST net and weights.

    The net is built at the first call, after another process has shown that net and weights run, and once more where
    parameters were changed since. Pickling and copying leave it behind. Threads may predict at once, and forked
    processes may continue to predict.
    """

    def predict(self, x: Any) -> Any:
        """What the model predicts, without Spark.

        >>> model.predict("one.png"), model.predict([[5.1, 3.5], [4.9, 3.0]])

        Parameters
        ----------
        x : one value or a list of them
            An image: a path (a str with an image's ending, or a ``pathlib.Path``), the bytes of a file, a PIL image, a
            row of Spark's image format, or a uint8 array of height x width x channels (BGR, as OpenCV has it; grey
            ones may have two axes). It is decoded and transformed as ``transform`` does. Numbers: a Vector, a list,
            or an array of a sample's shape (channels x height x width for images) or of all its numbers in a row. An
            array with one axis more is many values. Where a net has several inputs: a dict or Row by column.

        Returns
        -------
        Of a CaffeModel a float32 array of each of ``features``: (values,), or (n, values) for a list of n; a dict of
        them by blob where there are several. Of a classification model the index of the class, of a regression model
        the number: a float, or a float64 array of n.

        Raises
        ------
        DataError
            For a value that cannot be used: which one, and why.
        ConfigError
            Where the net or the weights cannot be used, at the first call.
        """
        made = self._made()
        return _computed(made.net, x, made.outputs.prediction)

    def predictProbability(self, x: Any) -> Any:
        """The probability of each class, without Spark: a Vector, or a float64 array of (n, classes) for a list.

        What it takes and raises is what ``predict`` takes and raises. A CaffeModel gives the one of its ``features``
        that a Softmax or Sigmoid layer makes; ConfigError where there is none.
        """
        made = self._made()
        if made.outputs.probability is None:
            raise ConfigError(f"predictProbability: {made.outputs.otherwise}")
        return _computed(made.net, x, [made.outputs.probability])

    @classmethod
    def loadLocal(cls: Type[Self], folder: Union[str, os.PathLike[str]]) -> Self:
        """A saved model, from its folder on a local disk, without Spark.

        >>> CaffeModel.loadLocal("models/lenet").predict("one.png")

        Raises
        ------
        ConfigError
            Where there is no saved model of this class.
        DataError
            Where it is damaged.
        """
        path, metadata = read_metadata(folder, cls)
        model: Self = restored(class_of(metadata, path, cls), metadata, path, Storage())
        return model

    def _local_outputs(self) -> LocalOutputs:
        """What is predicted, for each kind of model."""
        raise NotImplementedError

    # ---- the net in this process

    def _made(self) -> _Made:
        """What is predicted, and the net that computes it: as the Params are now."""
        state = (self._net, self.caffemodel[0], self.extractParamMap())
        made = _of_models.get(self)
        if made is None or not made.is_for(state):
            with _making:
                made = _of_models.get(self)
                if made is None or not made.is_for(state):
                    outputs = self._local_outputs()
                    made = _of_models[self] = _Made(state, outputs, self._make_local_net(outputs.blobs))
        return made

    def _make_local_net(self, blobs: Sequence[str]) -> LocalNet:
        config, net = Config(None, self._flags()), self._reading(blobs)
        content, ending = self.caffemodel
        return local_net(config, net, blobs, content, f"the model{ending}")


@dataclass(frozen=True)
class _Made:
    """What was made of a model for this process, and of what."""

    state: Tuple[Any, Any, Any]
    outputs: LocalOutputs
    net: LocalNet

    def is_for(self, state: Tuple[Any, Any, Any]) -> bool:
        return self.state[0] is state[0] and self.state[1] is state[1] and bool(self.state[2] == state[2])


def local_outputs_of(net: Net, blobs: Sequence[str]) -> LocalOutputs:
    """What is predicted of a net's blobs: an array of each, and of them the one that is a probability."""
    there = [top for layer in net.message.layer if layer.type in _PROBABILITIES for top in layer.top]
    found = [blob for blob in blobs if blob in there]
    hint = f": choose one, setFeatures(['{there[-1]}'])" if there else ", and the net has none"
    return LocalOutputs(
        tuple(OutputColumn(blob, blob, "array") for blob in blobs),
        OutputColumn(found[0], found[0], "vector") if len(found) == 1 else None,
        f"it gives the one of features that a Softmax or Sigmoid layer makes{hint}",
    )


_of_models: weakref.WeakKeyDictionary[LocalPrediction, _Made] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _after_fork() -> None:
    global _making
    _making = threading.Lock()  # which another thread may have held


os.register_at_fork(after_in_child=_after_fork)


def _computed(net: LocalNet, x: Any, outputs: Sequence[OutputColumn]) -> Any:
    """Outputs of what was given: one by itself, several by their names."""
    values, single = net.run(x)
    found = {one.name: _result(values[one.blob], one.form, single) for one in outputs}
    return found if len(found) > 1 else found[outputs[0].name]


def _result(values: np.ndarray, form: str, single: bool) -> Any:
    """A blob's (n, width) values in a form: of all samples, or of the one that was given by itself."""
    if form == "vector" and values.shape[1] == 1:  # of two classes
        form = "two_probabilities"
    found = formed(values, form)
    if not single:
        return found
    if found.ndim == 1:
        return float(found[0])
    if found.dtype == np.float32:
        return found[0]
    from pyspark.ml.linalg import Vectors

    return Vectors.dense(found[0])
