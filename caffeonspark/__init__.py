"""Distributed deep learning with Caffe nets on Apache Spark.

Everything public can be imported from here; it is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List

from ._version import __version__

if TYPE_CHECKING:
    from . import nets as nets
    from .api.config import Config as Config
    from .api.driver import CaffeOnSpark as CaffeOnSpark
    from .api.sources import DataSource as DataSource
    from .comm.base import Communicator as Communicator
    from .data.records import ENCODED as ENCODED
    from .data.records import RAW_BYTES as RAW_BYTES
    from .data.records import RAW_FLOATS as RAW_FLOATS
    from .data.records import BadRecord as BadRecord
    from .data.records import BadRecords as BadRecords
    from .data.records import Records as Records
    from .data.records import pack_image as pack_image
    from .data.sources.base import FrameReader as FrameReader
    from .data.sources.base import FrameSource as FrameSource
    from .data.sources.base import RangeReader as RangeReader
    from .data.sources.base import RangeSource as RangeSource
    from .data.sources.base import Source as Source
    from .data.sources.base import SourceConfig as SourceConfig
    from .data.sources.dataframe import DataFrameSource as DataFrameSource
    from .data.tops import ImageTop as ImageTop
    from .data.tops import NumberTop as NumberTop
    from .engines.base import Engine as Engine
    from .engines.base import Predictor as Predictor
    from .engines.base import Trainer as Trainer
    from .errors import CaffeOnSparkError as CaffeOnSparkError
    from .errors import CommunicationError as CommunicationError
    from .errors import ConfigError as ConfigError
    from .errors import DataError as DataError
    from .errors import InfrastructureError as InfrastructureError
    from .errors import Interrupted as Interrupted
    from .errors import InterruptedByKeyboard as InterruptedByKeyboard
    from .errors import PeerLost as PeerLost
    from .errors import RankLost as RankLost
    from .errors import StallError as StallError
    from .errors import StorageError as StorageError
    from .errors import TrainingError as TrainingError
    from .ml.autoencoder import CaffeAutoencoder as CaffeAutoencoder
    from .ml.autoencoder import CaffeAutoencoderModel as CaffeAutoencoderModel
    from .ml.classification import CaffeClassificationModel as CaffeClassificationModel
    from .ml.classification import CaffeClassifier as CaffeClassifier
    from .ml.estimator import CaffeEstimator as CaffeEstimator
    from .ml.model import CaffeModel as CaffeModel
    from .ml.regression import CaffeRegressionModel as CaffeRegressionModel
    from .ml.regression import CaffeRegressor as CaffeRegressor
    from .plans.inspection import Inspection as Inspection
    from .plans.inspection import SolverInspection as SolverInspection
    from .plans.net_source import NetSource as NetSource
    from .report.base import Observer as Observer
    from .report.metrics import read_metrics as read_metrics
    from .report.result import RankMachine as RankMachine
    from .report.result import RankTiming as RankTiming
    from .report.result import TrainingResult as TrainingResult
    from .report.result import ValidationResult as ValidationResult
    from .sync.base import Progress as Progress
    from .sync.base import Strategy as Strategy
    from .tools.export import export_model as export_model
    from .tools.registry import run_tool as run_tool

#: The public names of each module: the imports above, for Python.
_NAMES: Dict[str, List[str]] = {
    "api.config": ["Config"],
    "api.driver": ["CaffeOnSpark"],
    "api.sources": ["DataSource"],
    "comm.base": ["Communicator"],
    "data.records": ["ENCODED", "RAW_BYTES", "RAW_FLOATS", "BadRecord", "BadRecords", "Records", "pack_image"],
    "data.sources.base": ["FrameReader", "FrameSource", "RangeReader", "RangeSource", "Source", "SourceConfig"],
    "data.sources.dataframe": ["DataFrameSource"],
    "data.tops": ["ImageTop", "NumberTop"],
    "engines.base": ["Engine", "Predictor", "Trainer"],
    "errors": [
        "CaffeOnSparkError",
        "CommunicationError",
        "ConfigError",
        "DataError",
        "InfrastructureError",
        "Interrupted",
        "InterruptedByKeyboard",
        "PeerLost",
        "RankLost",
        "StallError",
        "StorageError",
        "TrainingError",
    ],
    "ml.autoencoder": ["CaffeAutoencoder", "CaffeAutoencoderModel"],
    "ml.classification": ["CaffeClassificationModel", "CaffeClassifier"],
    "ml.estimator": ["CaffeEstimator"],
    "ml.model": ["CaffeModel"],
    "ml.regression": ["CaffeRegressionModel", "CaffeRegressor"],
    "plans.inspection": ["Inspection", "SolverInspection"],
    "plans.net_source": ["NetSource"],
    "report.base": ["Observer"],
    "report.metrics": ["read_metrics"],
    "report.result": ["RankMachine", "RankTiming", "TrainingResult", "ValidationResult"],
    "sync.base": ["Progress", "Strategy"],
    "tools.export": ["export_model"],
    "tools.registry": ["run_tool"],
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}

#: Public modules.
_MODULES = ("nets",)

__all__ = ["__version__", *_MODULES, *_PLACES]


def __getattr__(name: str) -> object:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value: object = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
