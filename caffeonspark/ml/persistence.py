"""How a model is saved: Spark ML's metadata, with the net's prototxt, the ``.caffemodel`` and the summary beside it."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter
from pyspark.sql import SparkSession

from ..formats.checksums import read_checked, write_model
from ..nets.net import TEST, Net
from ..nets.prototxt import parse_net
from ..spark.session import storage_of
from ..storage import join
from .summary import read_summary, write_summary

__all__ = ["ModelReader", "ModelWriter"]


class ModelWriter(MLWriter):
    """Spark ML's metadata, with the TEST net's prototxt, the .caffemodel and the training's summary beside it."""

    def __init__(self, model: Any) -> None:
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
        if model.hasSummary:
            write_summary(storage, path, model.summary)


class ModelReader(MLReader):
    def __init__(self, cls: Any) -> None:
        super().__init__()
        self._class = cls

    def load(self, path: str) -> Any:
        metadata = DefaultParamsReader.loadMetadata(path, self.sc)
        storage = storage_of(SparkSession(self.sc))
        net = parse_net(storage.read(join(path, "net.prototxt")), metadata["netPath"])
        content = read_checked(storage, join(path, "model" + metadata["ending"]))
        model = self._class()
        model._trained(Net(net, metadata["netPath"], TEST), content, metadata["ending"], read_summary(storage, path))
        DefaultParamsReader.getAndSetParams(model, metadata)
        model._resetUid(metadata["uid"])
        return model
