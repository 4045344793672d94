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
from ..inference.models import ModelFile
from ..inference.outputs import OutputColumn, with_outputs
from ..inference.tasks import check_model, make_task
from ..nets.net import TEST, Net
from ..plans.scoring import ScoringSource
from ..report.result import TrainingResult
from .blobs import default_features
from .params import FLAG_NAMES, CaffeParams
from .persistence import ModelReader, ModelWriter

__all__ = ["CaffeModel"]


class CaffeModel(Model, CaffeParams, MLReadable, MLWritable):
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
        self._file = ModelFile(b"", ".caffemodel")

    def _trained(self, net: Net, content: bytes, ending: str, summary: Optional[TrainingResult]) -> None:
        self._net, self._file, self.summary = net, ModelFile(content, ending), summary

    @property
    def _content(self) -> bytes:
        return self._file.content

    @property
    def _ending(self) -> str:
        return self._file.ending

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
        """The DataFrame with more columns, computed when they are used: no job runs, and no row is looked at."""
        assert self._net is not None
        check_frame(dataset, streams=True)
        config = Config(dataset.sparkSession, {k: v for k, v in self.flags().items() if k != "conf"})
        outputs = self._outputs(dataset.schema)
        blobs = list(dict.fromkeys(output.blob for output in outputs))
        with explained():
            source = ScoringSource(config, self._net, dataset).for_blobs(blobs)
            task = make_task(config.run_config, source.plan, blobs, self._file)
            return with_outputs(dataset, source, task, outputs, self._handle_invalid())

    def _outputs(self, schema: Any) -> List[OutputColumn]:
        """The columns that ``transform`` adds: those of ``features``, as ``outputType`` and ``outputCols`` say.
        ``schema`` is the DataFrame's. Raises ConfigError."""
        features, label = self.getOrDefault("features"), self._param("label")
        blobs = [*features, *([label] if label and label not in features else [])]
        names = self._param("outputCols") or blobs
        if len(names) != len(blobs):
            raise ConfigError(
                f"outputCols has {len(names)} names ({', '.join(names)}) for {len(blobs)} features ({', '.join(blobs)})"
            )
        form = self._param("outputType") or "array"
        return [OutputColumn(name, blob, form) for name, blob in zip(names, blobs)]

    def _handle_invalid(self) -> Optional[str]:
        """What a row does that cannot be used: ``handleInvalid``, unless only ``badRecords`` was set."""
        if not self.hasParam("handleInvalid") or (self.isSet("badRecords") and not self.isSet("handleInvalid")):
            return None
        value: Optional[str] = self._param("handleInvalid")
        return value

    def _param(self, name: str) -> Any:
        """A Param's value; None where the class has no such Param, or no value for it."""
        defined = self.hasParam(name) and self.isDefined(name)
        return self.getOrDefault(name) if defined else None

    def copy(self, extra: Any = None) -> CaffeModel:
        copied: CaffeModel = super().copy(extra)
        return copied

    # ---- saving

    def write(self) -> MLWriter:
        return ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader:
        return ModelReader(cls)
