"""An Estimator that trains a Caffe net and gives a ``CaffeModel``.

>>> estimator = CaffeEstimator(conf="lenet_solver.prototxt", clusterSize=2, features=["prob"])
>>> model = estimator.fit(frame)          # a DataFrame with the columns the CoSData layer names
>>> model.transform(frame).select("prob")
>>> model.save("hdfs:///models/lenet"); CaffeModel.load("hdfs:///models/lenet")
"""

from __future__ import annotations

import os
from typing import List

from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame

from ..api.config import Config
from ..api.keywords import EstimatorFlags
from ..data.sources.frames import check_frame
from ..errors import ConfigError, StorageError
from ..formats.checksums import write_model
from ..formats.endings import ending_of
from ..plans.net_source import NetSource
from ..report import observers_for
from ..runs.fits import under_own_name
from ..runs.kept import folder_unless_needed
from ..runs.run import train
from .blobs import checked_features
from .model import CaffeModel
from .params import CaffeParams
from .shown import ShownParams

__all__ = ["CaffeEstimator"]


class CaffeEstimator(ShownParams, EstimatorFlags, Estimator, CaffeParams, DefaultParamsReadable, DefaultParamsWritable):
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
            observers = observers_for(run, keep=named, name=model.uid)
            result = train(run, source, [], observers, take, model.uid)
            if named:
                try:
                    write_model(config.storage, place, contents[0])
                except StorageError as e:
                    raise StorageError(f"{e.message}; the model is saved as {run.model_uri}") from e
        model._trained(config.nets.tests[0], contents[0], ending_of(place), result)
        model._set(**{k: v for k, v in self.flags().items() if k not in ("conf", "model", "features")})
        model._set(features=blobs)
        return model
