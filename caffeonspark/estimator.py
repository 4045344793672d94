"""Caffe nets in Spark ML pipelines: an Estimator that trains one and the Model it gives.

>>> estimator = CaffeEstimator(conf="lenet_solver.prototxt", clusterSize=2, features=["prob"])
>>> model = estimator.fit(frame)          # a DataFrame with the columns the CoSData layer names
>>> model.transform(frame).select("prob")
>>> model.save("hdfs:///models/lenet"); CaffeModel.load("hdfs:///models/lenet")

Spark writes the names of these classes, this module's included, into what is saved: they are part of that format.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from google.protobuf import text_format
from pyspark.ml import Estimator, Model
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import DataFrame, SparkSession

from .api.config import Config
from .api.keywords import EstimatorFlags, FlagParams
from .causes import explained
from .data.sources.frames import check_frame
from .errors import ConfigError, StorageError
from .flags import Flag
from .formats.checksums import read_checked, write_model
from .formats.endings import ending_of
from .inference.tasks import check_model, make_task, with_outputs
from .nets.net import TEST, Net
from .nets.prototxt import parse_net
from .plans.net_source import NetSource
from .report import observers_for
from .report.result import TrainingResult
from .runs.fits import under_own_name
from .runs.kept import folder_unless_needed
from .runs.run import train
from .settings import FLAGS, NOT_PARAMS
from .spark.session import storage_of
from .storage import join

__all__ = ["CaffeEstimator", "CaffeModel"]

_NAMES = [name for name in FLAGS if name not in NOT_PARAMS]


class _CaffeParams(FlagParams, Params):
    """A Param for every flag that means something in a pipeline."""

    def flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        return {name: self.getOrDefault(name) for name in _NAMES if self.isDefined(self.getParam(name))}


def _converter(flag: Flag) -> Any:
    if flag.alone is not None:
        return flag.convert  # True, as well as text
    converters = {
        "int": TypeConverters.toInt,
        "float": TypeConverters.toFloat,
        "switch": TypeConverters.toBoolean,
        "names": TypeConverters.toListString,
    }
    return converters.get(flag.kind, TypeConverters.toString)


for _name in _NAMES:
    _flag = FLAGS[_name]
    setattr(_CaffeParams, _name, Param(Params._dummy(), _name, _flag.help, _converter(_flag)))


class CaffeEstimator(EstimatorFlags, Estimator, _CaffeParams, DefaultParamsReadable, DefaultParamsWritable):
    """Trains a Caffe net on a DataFrame.

    Parameters
    ----------
    **params
        Flags by name (``conf``, ``clusterSize``, ``devices``, ``weights``, …; see ``caffeonspark -help``). ``features``
        are the blobs the model adds as columns: by default the outputs of the TEST net that do not need a label,
        or else all of its outputs.

        With ``model``, each fit writes its files beside it under a name of its own, with the ``uid`` of the CaffeModel
        it returns (``lenet.CaffeModel_4f….caffemodel``), so several fits at once do not meet; the model of the one that
        ended last is ``model`` too. Without it, the trained net is kept in the CaffeModel only. A fit that ended early
        says which snapshot there is, and what goes on from it.
    """

    def _fit(self, dataset: DataFrame) -> CaffeModel:
        flags, named = self.flags(), bool(self.flags().get("model"))
        if flags.get("resume") and not named:
            raise ConfigError(
                "resume goes on from the newest snapshot beside model, and no model is named: set it, or name a "
                "snapshot and its weights"
            )
        check_frame(dataset)
        model = CaffeModel()
        contents: List[bytes] = []  # of the model, as it comes; the newest last

        def take(path: str) -> None:
            with open(path, "rb") as f:
                contents[:] = [f.read()]

        with folder_unless_needed(".solverstate", ".solverstate.h5") as folder:
            if not named:
                flags["model"] = "file:" + os.path.join(folder, "model.caffemodel")
                flags.setdefault("keepSnapshots", 1)
            config = Config(dataset.sparkSession, flags)
            blobs = checked_features(config)
            place = config.run_config.model_uri
            config.storage.check_writable(place)
            run = under_own_name(config.run_config, model.uid) if named else config.run_config
            source = NetSource(config, config.nets.train, dataset)
            result = train(run, source, [], observers_for(run, keep=named), take)
            if named:
                try:
                    write_model(config.storage, place, contents[0])
                except StorageError as e:
                    raise StorageError(f"{e.message}; the model is saved as {run.model_uri}") from e
        model._trained(config.nets.tests[0], contents[0], ending_of(place), result)
        model._set(**{k: v for k, v in self.flags().items() if k not in ("conf", "model", "features")})
        model._set(features=blobs)
        return model


def checked_features(config: Config) -> List[str]:
    """The blobs that ``transform`` will add. Raises ConfigError, before anything is trained, where it could not."""
    if not config.nets.tests:
        raise ConfigError(f"{config.solver_path}: the net has no data layer in the TEST phase, which transform needs")
    net = config.nets.tests[0]
    if not net.data_layers():
        layer = net.made_layers()[0]
        raise ConfigError(
            f"{net.where(layer)} ({layer.type}) makes the TEST net's data, which a DataFrame cannot stand for: use a "
            "CoSData layer"
        )
    net.check_blobs(config.blobs)
    return config.blobs or default_features(net)


def default_features(net: Net) -> List[str]:
    """The blobs to predict when none are named: what the TEST net's losses and accuracies are made from.

    That is, the outputs that remain when the layers that use a second top of a data layer (the label) are
    taken away; all outputs where nothing remains.
    """
    labels = {top for layer in net.data_layers() if layer.type != "Input" for top in list(layer.top)[1:]}
    left: Dict[str, None] = {}
    for layer in net.message.layer:
        if labels & set(layer.bottom):
            labels |= set(layer.top)
            continue
        for bottom in layer.bottom:
            left.pop(bottom, None)
        for top in layer.top:
            if top not in labels:
                left[top] = None
    return list(left) or net.output_blobs()


class CaffeModel(Model, _CaffeParams, MLReadable, MLWritable):
    """A trained net that adds columns to a DataFrame; made by ``CaffeEstimator.fit``, ``load`` or ``fromNet``.

    ``transform`` runs the part of the TEST net that ``features`` depend on, and needs only the columns that part
    reads: no label column to predict.

    Attributes
    ----------
    summary : what training did (None for a loaded model)
    """

    def __init__(self) -> None:
        super().__init__()
        self.summary: Optional[TrainingResult] = None
        self._net: Optional[Net] = None
        self._content = b""
        self._ending = ".caffemodel"

    def _trained(self, net: Net, content: bytes, ending: str, summary: Optional[TrainingResult]) -> None:
        self._net, self._content, self._ending, self.summary = net, content, ending, summary

    @classmethod
    def fromNet(cls, spark: Any, **flags: Any) -> CaffeModel:
        """A model of a net and of weights that are there already, such as a deploy net and its ``.caffemodel``.

        >>> CaffeModel.fromNet(spark, net="deploy.prototxt", model="caffenet.caffemodel", columns={"data": "image"},
        ...                    transform="crop_size: 227 mean_value: 104 mean_value: 117 mean_value: 123")

        Parameters
        ----------
        spark : SparkSession or SparkContext
        **flags
            ``net`` and ``model``, ``columns`` and ``transform``; and what an estimator takes. ``features`` are the
            net's outputs unless they are given.

        Raises
        ------
        ConfigError, DataError
            Where the net or the model cannot be read, or an input or blob that is named is not there.
        """
        config = Config(spark, flags)
        if not config.net:
            raise ConfigError("CaffeModel.fromNet: net is missing: name the net's prototxt")
        if config.data:
            raise ConfigError("CaffeModel.fromNet takes no data: give a DataFrame to transform")
        net = config.run_config.net(TEST)
        net.check_blobs(config.blobs)
        path = check_model(config.run_config)
        model = cls()
        model._trained(net, read_checked(config.storage, path), ending_of(path), None)
        left_out = ("conf", "features", "model", "weights")
        model._set(**{name: value for name, value in config.changed.items() if name in _NAMES and name not in left_out})
        model._set(features=config.blobs or default_features(net))
        return model

    def setFeatures(self, value: List[str]) -> CaffeModel:
        """Choose the blobs that ``transform`` adds."""
        self._set(features=value)
        return self

    def _transform(self, dataset: DataFrame) -> DataFrame:
        assert self._net is not None
        check_frame(dataset)
        flags = {k: v for k, v in self.flags().items() if k != "conf"}
        config = Config(dataset.sparkSession, flags)
        blobs = config.blobs
        source = NetSource(config, self._net, dataset).for_blobs(blobs)
        taken = sorted(set(blobs) & set(dataset.columns))
        if taken:
            raise ConfigError(f"the DataFrame has a column '{taken[0]}' already: rename it, or choose other features")
        task = make_task(config.run_config, source.plan, blobs, self._content, self._ending)
        with explained():
            return with_outputs(dataset, source, task)

    def copy(self, extra: Any = None) -> CaffeModel:
        copied: CaffeModel = super().copy(extra)
        return copied

    # ---- saving

    def write(self) -> MLWriter:
        return _ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader:
        return _ModelReader(cls)


class _ModelWriter(MLWriter):
    """Spark ML's metadata, with the TEST net's prototxt and the .caffemodel beside it."""

    def __init__(self, model: CaffeModel) -> None:
        super().__init__()
        self._model = model

    def saveImpl(self, path: str) -> None:
        model = self._model
        assert model._net is not None
        extra = {"ending": model._ending, "netPath": model._net.path}
        DefaultParamsWriter.saveMetadata(model, path, self.sc, extraMetadata=extra)
        storage = storage_of(SparkSession(self.sc))
        storage.write(join(path, "net.prototxt"), text_format.MessageToString(model._net.message).encode())
        write_model(storage, join(path, "model" + model._ending), model._content)


class _ModelReader(MLReader):
    def __init__(self, cls: Any) -> None:
        super().__init__()
        self._class = cls

    def load(self, path: str) -> CaffeModel:
        metadata = DefaultParamsReader.loadMetadata(path, self.sc)
        storage = storage_of(SparkSession(self.sc))
        net = parse_net(storage.read(join(path, "net.prototxt")), metadata["netPath"])
        content = read_checked(storage, join(path, "model" + metadata["ending"]))
        model = CaffeModel()
        model._trained(Net(net, metadata["netPath"], TEST), content, metadata["ending"], None)
        DefaultParamsReader.getAndSetParams(model, metadata)
        model._resetUid(metadata["uid"])
        return model
