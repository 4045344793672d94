"""Trained nets that add columns to DataFrames."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from pyspark.ml import Model
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame

from ..api.config import Config
from ..causes import explained
from ..data.sources.forms import joined, parts_of
from ..data.sources.frames import check_frame
from ..errors import ConfigError
from ..formats.checksums import read_checked
from ..formats.endings import ending_of
from ..inference.deployed import content_of
from ..inference.models import ModelFile
from ..inference.outputs import OutputColumn, with_outputs
from ..inference.tasks import check_model, make_task
from ..nets.inputs import Feed, fed
from ..nets.net import TEST, Net
from ..plans.scoring import ScoringSource
from ..settings import FLAGS
from .blobs import default_features
from .caffe_files import CaffeFiles, FromCaffe
from .keywords import ModelParams
from .local import LocalOutputs, LocalPrediction, local_outputs_of
from .persistence import ModelReader, ModelWriter
from .spark_mlp import spark_mlp
from .summary import HasTrainingSummary, TrainingSummary, kept_summary
from .tables import PARAMS_OF

__all__ = ["CaffeModel", "NetModel"]


class NetModel(LocalPrediction, CaffeFiles, HasTrainingSummary, Model, MLReadable, MLWritable):
    """What every trained net is: a TEST net and the content of its model file.

    ``transform`` runs the part of the net that its columns depend on, and needs only the columns that part reads: no
    label column to predict.

    Attributes
    ----------
    summary : TrainingSummary of what training did; None where nothing was trained (``fromNet``) or saved with it
    """

    def __init__(self) -> None:
        super().__init__()
        self.summary: Optional[TrainingSummary] = None
        self._net: Optional[Net] = None
        self._file = ModelFile(b"", ".caffemodel")

    def _trained(self, net: Net, content: bytes, ending: str, summary: Any) -> None:
        self._net, self._file, self.summary = net, ModelFile(content, ending), kept_summary(summary)

    @property
    def _content(self) -> bytes:
        return self._file.content

    @property
    def _ending(self) -> str:
        return self._file.ending

    @property
    def caffemodel(self) -> Tuple[bytes, str]:
        """The content of the model file, and how its name ends: ``.caffemodel`` or ``.caffemodel.h5``."""
        return self._content, self._ending

    def _outputs(self) -> List[OutputColumn]:
        """The columns that ``transform`` adds."""
        raise NotImplementedError

    def _flags(self) -> Dict[str, Any]:
        """The flags that are set, for Config."""
        names = [name for name in PARAMS_OF["CaffeModel"] if name in FLAGS and self.hasParam(name)]
        return {name: self.getOrDefault(name) for name in names if self.isSet(self.getParam(name))}

    def _reading(self, blobs: Sequence[str]) -> Net:
        """The part of the net for the blobs, with the columns of ``featuresCol`` where they fill its inputs."""
        net = self._held()
        net.check_blobs(blobs)
        net = net.pruned(blobs)
        if self.isSet("featuresCol") and net.data_layers():
            _rename(net.data_layers()[0], self.getOrDefault("featuresCol"))
        return net

    def _transform(self, dataset: DataFrame) -> DataFrame:
        """The DataFrame with more columns, computed when they are used: no job runs, and no row is looked at."""
        check_frame(dataset, streams=True)
        config = Config(dataset.sparkSession, self._flags())
        outputs = self._outputs()
        blobs = list(dict.fromkeys(output.blob for output in outputs))
        with explained():
            source = ScoringSource(config, self._reading(blobs), dataset)
            task = make_task(config.run_config, source.plan, blobs, self._file)
            return with_outputs(dataset, source, task, outputs, self._handle_invalid())

    def _handle_invalid(self) -> Optional[str]:
        """What a row does that cannot be used: ``handleInvalid``, unless only ``badRecords`` was set."""
        if self.isSet("badRecords") and not self.isSet("handleInvalid"):
            return None
        value: str = self.getOrDefault("handleInvalid")
        return value

    def toFeatureExtractor(self, blob: str) -> CaffeModel:
        """A CaffeModel with the same weights whose ``transform`` adds one blob of the net as a column of Vectors.

        >>> Pipeline(stages=[model.toFeatureExtractor("fc7"), LogisticRegression(featuresCol="fc7")])

        Raises ConfigError where the net has no such blob.
        """
        self._reading([blob])
        extractor = CaffeModel()
        extractor._trained(self._held(), self._content, self._ending, None)
        given = {param.name: value for param, value in self.extractParamMap().items() if self.isSet(param)}
        names = [name for name in given if extractor.hasParam(name) and name not in ("features", "label", "outputCols")]
        extractor._set(**{**{name: given[name] for name in names}, "features": [blob], "outputType": "vector"})
        return extractor

    def copy(self, extra: Any = None) -> Any:
        return super().copy(extra)

    # ---- saving

    def _saved(self) -> Dict[str, Any]:
        """What is saved in addition to Params, net and weights; for JSON."""
        return {}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Take what ``_saved`` gave."""

    def write(self) -> MLWriter:
        return ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader:
        return ModelReader(cls)


def _rename(layer: Any, columns: Sequence[str]) -> None:
    """Have a data layer read these columns, in the order of its tops, unless it reads columns of theirs already."""
    read = [parts_of(block.name) or (block.name,) for block in layer.cos_data_param.top]
    known = [name for names in read for name in names]
    if set(known) <= set(columns):
        return
    if len(columns) != len(known):
        raise ConfigError(
            f"featuresCol has {len(columns)} columns ({', '.join(columns)}), and the model reads {len(known)}: "
            f"{', '.join(known)}"
        )
    left = iter(columns)
    for block, names in zip(layer.cos_data_param.top, read):
        mine = [next(left) for _ in names]
        block.name = joined(mine) if len(mine) > 1 else mine[0]


class CaffeModel(FromCaffe, ModelParams, NetModel):
    """A trained net that adds blobs to a DataFrame; made by ``CaffeEstimator.fit``, ``load``, ``fromCaffe``, …"""

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
        names = [name for name in PARAMS_OF["CaffeModel"] if name in FLAGS and name not in ("features", "label")]
        model._set(**{name: value for name, value in config.changed.items() if name in names})
        model._set(features=config.blobs or default_features(net))
        return model

    @classmethod
    def fromSparkMLP(cls, mlp: Any) -> CaffeModel:
        """A model with the weights of Spark's MLP: those that it was trained to, or those its training begins with.

        >>> theirs = MultilayerPerceptronClassifier(layers=[784, 256, 10], seed=7)
        >>> ours = CaffeClassifier(net=nets.mlp([784, 256, 10], activation="sigmoid"), solverType="LBFGS",
        ...                        initialModel=CaffeModel.fromSparkMLP(theirs))

        Then both begin with the same weights, here rounded to float32. ``transform`` of the model itself adds ``prob``,
        the probabilities of Spark's model.

        Parameters
        ----------
        mlp : ``pyspark.ml.classification.MultilayerPerceptronClassifier``, for the weights that its fit begins with, by
            its seed or ``initialWeights``, or a ``MultilayerPerceptronClassificationModel``

        Raises
        ------
        ConfigError
            If it is none of these, or its layers are not set.
        """
        net, weights, column = spark_mlp(mlp)
        model = cls()
        test = fed(Net(net, "mlp", TEST), Feed(columns={"data": column}))
        model._trained(test, content_of(weights), ".caffemodel", None)
        model._set(features=["prob"])
        return model

    @property
    def blobs(self) -> List[str]:
        """The blobs of ``features``, then ``label``."""
        features: List[str] = self.getOrDefault("features")
        label = self.getOrDefault("label") if self.isDefined("label") else ""
        return [*features, *([label] if label and label not in features else [])]

    def _outputs(self) -> List[OutputColumn]:
        blobs, names = self.blobs, self.getOrDefault("outputCols") or self.blobs
        if len(names) != len(blobs):
            raise ConfigError(
                f"outputCols has {len(names)} names, and there are {len(blobs)} blobs: {', '.join(blobs)}"
            )
        form = self.getOrDefault("outputType")
        return [OutputColumn(name, blob, form) for name, blob in zip(names, blobs)]

    def _local_outputs(self) -> LocalOutputs:
        self._reading(self.blobs)  # raises where there are none
        return local_outputs_of(self._held(), self.blobs)
