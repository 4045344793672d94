"""How models and estimators are saved: Spark ML's metadata, with net and weights next to a model's."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterator, Union

from google.protobuf import text_format
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from ..api.config import Config
from ..causes import explained
from ..errors import ConfigError, DataError
from ..formats.checksums import read_checked, write_model
from ..nets.net import TEST, Net
from ..nets.prototxt import parse_net, parse_solver
from ..spark.session import session_of, storage_of
from ..storage import Storage, join
from .nets import given_text
from .summary import read_summary, write_summary

__all__ = ["EstimatorReader", "EstimatorWriter", "ModelReader", "ModelWriter", "restored"]


class _Writer(MLWriter):
    """Saves where there is a driver's own JVM, and nothing is at the path yet."""

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self._instance = instance

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        path = os.fspath(path)
        session = session_of(self.sparkSession)  # raises for Spark Connect, before PySpark does
        if not self.shouldOverwrite and storage_of(session).exists(path):
            raise ConfigError(f"{path} exists already: write().overwrite().save(…) replaces it")
        self._prepare(session)
        with explained(f"{path} cannot be saved"):
            super().save(path)

    def _prepare(self, session: Any) -> None:
        """Raise for what cannot be saved, before anything is replaced."""
        raise NotImplementedError


class ModelWriter(_Writer):
    """Spark ML's metadata, with the TEST net's prototxt, the .caffemodel and the training's summary next to it."""

    def _prepare(self, session: Any) -> None:
        self._instance._held()

    def saveImpl(self, path: str) -> None:
        model = self._instance
        net = model._held()
        content, ending = model.caffemodel
        extra = {"ending": ending, "netPath": net.path, **model._saved()}
        storage = storage_of(session_of(self.sparkSession))
        storage.write(join(path, "net.prototxt"), text_format.MessageToString(net.message).encode())
        write_model(storage, join(path, "model" + ending), content)
        if model.hasSummary:
            write_summary(storage, path, model.summary)
        # last: without it nobody takes what lies here for a saved model
        DefaultParamsWriter.saveMetadata(model, path, self.sc, extraMetadata=extra)


class ModelReader(MLReader):
    """Reads a folder that a model's ``save`` wrote."""

    def __init__(self, cls: Any) -> None:
        super().__init__()
        self._class = cls

    def load(self, path: Union[str, os.PathLike[str]]) -> Any:
        path = os.fspath(path)
        session = session_of(self.sparkSession)
        metadata = _metadata(self._class, path, session)
        return restored(self._class, metadata, path, storage_of(session))


def restored(cls: Any, metadata: Dict[str, Any], path: str, storage: Storage) -> Any:
    """The model, of class ``cls``, saved at ``path`` with this metadata. Raises DataError for a damaged one."""
    with _unless_damaged(path):
        net = parse_net(storage.read(join(path, "net.prototxt")), metadata["netPath"])
        content = read_checked(storage, join(path, "model" + metadata["ending"]))
        model = cls()
        model._trained(Net(net, metadata["netPath"], TEST), content, metadata["ending"], read_summary(storage, path))
        model._restore(metadata)
        _set_params(model, metadata)
        model._resetUid(metadata["uid"])
    return model


class EstimatorWriter(_Writer):
    """Spark ML's metadata, in which solver and nets are texts, and the ``initialModel`` next to it."""

    def _prepare(self, session: Any) -> None:
        estimator = self._instance
        given, kept = estimator.given(), estimator.copy()
        conf, net, files = given.get("conf"), given.get("net"), Config(session).files
        if conf:
            kept.clear(kept.net)
            kept._set(conf=given_text(conf, net, files))
        elif net:
            kept._set(net=parse_solver(given_text(None, net, files).encode(), "net.prototxt").net_param)
        model = given.get("initialModel", "")
        if not isinstance(model, str):
            kept.clear(kept.initialModel)
            model._held()
        self._kept = kept

    def saveImpl(self, path: str) -> None:
        model = self._instance.given().get("initialModel", "")
        beside = not isinstance(model, str)
        if beside:
            model.write().save(join(path, "initialModel"))
        DefaultParamsWriter.saveMetadata(self._kept, path, self.sc, extraMetadata={"initialModel": beside})


class EstimatorReader(MLReader):
    """Reads a folder that an estimator's ``save`` wrote."""

    def __init__(self, cls: Any) -> None:
        super().__init__()
        self._class = cls

    def load(self, path: Union[str, os.PathLike[str]]) -> Any:
        path = os.fspath(path)
        metadata = _metadata(self._class, path, session_of(self.sparkSession))
        estimator = self._class()
        with _unless_damaged(path):
            _set_params(estimator, metadata)
            estimator._resetUid(metadata["uid"])
            if metadata.get("initialModel"):
                estimator._set(initialModel=DefaultParamsReader.loadParamsInstance(join(path, "initialModel"), self.sc))
        return estimator


def _metadata(wanted: Any, path: str, session: Any) -> Dict[str, Any]:
    """What Spark ML wrote of it. Raises ConfigError where nothing, or something else, was saved, and DataError where it
    is damaged."""
    if not storage_of(session).exists(join(path, "metadata")):
        raise ConfigError(f"{path}: there is no saved {wanted.__name__}: name the folder that save wrote")
    with _unless_damaged(path):
        metadata: Dict[str, Any] = DefaultParamsReader.loadMetadata(path, session.sparkContext)
        saved = str(metadata["class"]).rsplit(".", 1)[-1]
    if saved != wanted.__name__:
        raise ConfigError(f"{path} is a {saved}, not a {wanted.__name__}: load it with {saved}.load")
    return metadata


@contextlib.contextmanager
def _unless_damaged(path: str) -> Iterator[None]:
    """Metadata that is not what was saved at ``path`` is a DataError."""
    try:
        with explained(f"{path} cannot be loaded"):
            yield
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        what = f"no {e}" if isinstance(e, KeyError) else str(e)
        raise DataError(f"{path} is damaged: its metadata is not what save wrote ({what}): save it again") from e


def _set_params(instance: Any, metadata: Dict[str, Any]) -> None:
    """The Params that were set. A model of an earlier version has some of its estimator's, which mean nothing to it."""
    instance._set(**{name: value for name, value in metadata["paramMap"].items() if instance.hasParam(name)})
