"""How a model is saved: Spark ML's metadata, with the net's prototxt and the ``.caffemodel`` beside it."""

from __future__ import annotations

from typing import Any, Dict

from google.protobuf import text_format
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter
from pyspark.sql import SparkSession

from ..formats.checksums import read_checked, write_model
from ..nets.net import TEST, Net
from ..nets.prototxt import parse_net
from ..spark.session import storage_of
from ..storage import Storage, join

__all__ = ["ModelReader", "ModelWriter", "restored"]


class ModelWriter(MLWriter):
    """Spark ML's metadata, with the TEST net's prototxt and the .caffemodel beside it."""

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


class ModelReader(MLReader):
    def __init__(self, cls: Any) -> None:
        super().__init__()
        self._class = cls

    def load(self, path: str) -> Any:
        metadata = DefaultParamsReader.loadMetadata(path, self.sc)
        return restored(self._class, metadata, path, storage_of(SparkSession(self.sc)))


def restored(cls: Any, metadata: Dict[str, Any], path: str, storage: Storage) -> Any:
    """The model of class ``cls`` that was saved at ``path`` with this metadata. Raises DataError where it is damaged."""
    net = parse_net(storage.read(join(path, "net.prototxt")), metadata["netPath"])
    content = read_checked(storage, join(path, "model" + metadata["ending"]))
    model = cls()
    model._trained(Net(net, metadata["netPath"], TEST), content, metadata["ending"], None)
    DefaultParamsReader.getAndSetParams(model, metadata)
    model._resetUid(metadata["uid"])
    return model
