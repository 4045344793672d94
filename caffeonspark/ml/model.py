"""A trained net that adds columns to DataFrames."""

from __future__ import annotations

from typing import Any, List, Optional

from pyspark.ml import Model
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame

from ..api.config import Config
from ..causes import explained
from ..data.sources.frames import check_frame
from ..errors import ConfigError
from ..formats.checksums import read_checked
from ..formats.endings import ending_of
from ..inference.tasks import check_model, make_task, with_outputs
from ..nets.net import TEST, Net
from ..plans.net_source import NetSource
from .blobs import default_features
from .params import FLAG_NAMES, CaffeParams
from .persistence import ModelReader, ModelWriter
from .summary import HasTrainingSummary, TrainingSummary, kept_summary

__all__ = ["CaffeModel"]


class CaffeModel(HasTrainingSummary, Model, CaffeParams, MLReadable, MLWritable):
    """A trained net that adds columns to a DataFrame; made by ``CaffeEstimator.fit``, ``load`` or ``fromNet``.

    ``transform`` runs the part of the TEST net that ``features`` depend on, and needs only the columns that part
    reads: no label column to predict.

    Attributes
    ----------
    summary : TrainingSummary of what training did; None where nothing was trained (``fromNet``) or saved with it
    """

    def __init__(self) -> None:
        super().__init__()
        self.summary: Optional[TrainingSummary] = None
        self._net: Optional[Net] = None
        self._content = b""
        self._ending = ".caffemodel"

    def _trained(self, net: Net, content: bytes, ending: str, summary: Any) -> None:
        self._net, self._content, self._ending, self.summary = net, content, ending, kept_summary(summary)

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
        model._set(
            **{name: value for name, value in config.changed.items() if name in FLAG_NAMES and name not in left_out}
        )
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
        return ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader:
        return ModelReader(cls)
