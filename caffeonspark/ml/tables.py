"""The Params of the Spark ML classes that are no flags: types, defaults and meaning, a table for each purpose.

``keywords.py`` makes the Params, setters and getters of them, ``scripts/make_stubs.py`` what editors know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Tuple

from ..flags import Flag, flag, table_of
from ..settings import FLAGS, NOT_PARAMS

__all__ = ["PARAMS_OF", "WITHOUT_DEFAULT"]

SOLVER_TYPES = ("SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS")


@dataclass(frozen=True)
class Columns:
    """Which columns a fit reads."""

    net: str = flag(
        "text",
        "",
        "the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)",
        section="Columns",
    )
    featuresCol: Tuple[str, ...] = flag("names", ("features",), "the column, or columns, that fill the net's inputs")
    labelCol: str = flag("text", "label", "the column of labels")
    weightCol: str = flag("text", "", "the column of sample weights: each sample's loss is multiplied by its own")
    validationIndicatorCol: str = flag(
        "text", "", "the boolean column that is true for rows to validate with; they are not trained"
    )
    validationFraction: float = flag(
        "float", 0.0, "validate with this fraction of the rows, chosen by seed", minimum=0, below=1
    )


@dataclass(frozen=True)
class Training:
    """How a net is trained. A solver that is given (``conf``) says what is not set here."""

    maxIter: int = flag("int", 1000, "iterations (default with conf: the solver's max_iter)", section="x", minimum=1)
    epochs: Optional[float] = flag("float", None, "instead of maxIter: how often the rows are gone through", above=0)
    batchSize: int = flag("int", 64, "rows of an iteration, of each rank (default with conf: the net's)", minimum=1)
    stepSize: float = flag("float", 0.001, "the learning rate (default with conf: the solver's base_lr)", minimum=0)
    momentum: float = flag("float", 0.9, "momentum (default with conf: the solver's)", minimum=0)
    weightDecay: float = flag("float", 0.0, "weight decay, L2 (default with conf: the solver's)", minimum=0)
    solverType: str = flag("choice", "Adam", "the solver (default with conf: its type)", choices=SOLVER_TYPES)
    lrPolicy: str = flag("text", "fixed", "how the learning rate changes (default with conf: the solver's lr_policy)")
    seed: int = flag("int", 0, "of everything random (default with conf: the solver's random_seed, if any)", minimum=0)
    solverOverrides: Optional[Dict[str, Any]] = flag(  # noqa: RUF009
        "fields", None, 'any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}'
    )
    initialModel: Any = flag(  # noqa: RUF009
        "model", "", "start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"
    )
    freeze: Tuple[str, ...] = flag("names", (), "layers that keep their weights")
    progress: str = flag("choice", "auto", "auto, bar, log or none", choices=("auto", "bar", "log", "none"))


@dataclass(frozen=True)
class Rows:
    """What a row does that cannot be used."""

    handleInvalid: str = flag(
        "choice",
        "error",
        "a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)",
        choices=("error", "skip", "keep"),
        section="x",
    )


@dataclass(frozen=True)
class Blobs:
    """What a CaffeModel adds to a DataFrame."""

    outputType: str = flag(
        "choice", "array", "of the columns: array (of float) or vector", choices=("array", "vector"), section="x"
    )
    outputCols: Tuple[str, ...] = flag("names", (), "the columns' names, one for each of features (default: theirs)")


@dataclass(frozen=True)
class Prediction:
    """What every predictor adds."""

    predictionCol: str = flag("text", "prediction", "the column for predictions", section="x")
    rawBlob: str = flag("text", "", "the blob of raw predictions (default: what the net's last loss takes)")


@dataclass(frozen=True)
class Classification:
    """What a classifier adds to these."""

    probabilityCol: str = flag("text", "probability", 'the column for class probabilities; "" for none', section="x")
    rawPredictionCol: str = flag("text", "rawPrediction", 'the column for raw scores; "" for none')


@dataclass(frozen=True)
class Inputs:
    """What a model reads."""

    featuresCol: Tuple[str, ...] = flag("names", ("features",), "the columns that fill the net's inputs", section="x")
    labelCol: str = flag("text", "label", "the column of labels, for evaluate")
    weightCol: str = flag("text", "", "the column of weights, for evaluate, where a DataFrame has it")


_FIT_FLAGS = {name: one for name, one in FLAGS.items() if name not in NOT_PARAMS}
_BLOB_FLAGS = ("features", "label")
#: The flags that mean something to a trained model.
_MODEL_FLAGS = ("engine", "blasKernel", "resize", "badRecords", "badRecordsMax", "maxPixels", "scoreBatch")
_FIT = {**table_of(Columns), **table_of(Training), **table_of(Rows)}
_PREDICTOR = {name: one for name, one in _FIT_FLAGS.items() if name not in _BLOB_FLAGS}
_PREDICTOR["shuffle"] = replace(FLAGS["shuffle"], default=True, help="shuffle each rank's rows again for every epoch")
#: What a training of several nets, one after the other, has no use for.
_OF_ONE_NET = ("conf", "model", "weights", "snapshot", "resume", "keepSnapshots", "initialModel", "labelCol", "freeze")


def _only(*names: str) -> Dict[str, Flag]:
    return {name: FLAGS[name] for name in names}


#: The Params of each class, by its name.
PARAMS_OF: Mapping[str, Mapping[str, Flag]] = {
    "CaffeEstimator": {**_FIT_FLAGS, **_FIT, **table_of(Blobs)},
    "CaffeModel": {
        **_only(*_BLOB_FLAGS, *_MODEL_FLAGS),
        **table_of(Inputs),
        **table_of(Rows),
        **table_of(Blobs),
    },
    "CaffeClassifier": {**_PREDICTOR, **_FIT, **table_of(Prediction), **table_of(Classification)},
    "CaffeClassificationModel": {
        **_only(*_MODEL_FLAGS),
        **table_of(Inputs),
        **table_of(Rows),
        **table_of(Prediction),
        **table_of(Classification),
    },
    "CaffeAutoencoder": {
        name: one for name, one in {**_PREDICTOR, **_FIT, **table_of(Blobs)}.items() if name not in _OF_ONE_NET
    },
    "CaffeRegressor": {**_PREDICTOR, **_FIT, **table_of(Prediction)},
    "CaffeRegressionModel": {
        **_only(*_MODEL_FLAGS),
        **table_of(Inputs),
        **table_of(Rows),
        **table_of(Prediction),
    },
}
#: Params that stay undefined until they are set: columns of nets that name them themselves.
WITHOUT_DEFAULT: Mapping[str, Tuple[str, ...]] = {
    "CaffeEstimator": ("featuresCol", "labelCol"),
    "CaffeModel": ("featuresCol", "labelCol"),
}
