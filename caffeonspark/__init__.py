"""Distributed deep learning with Caffe nets on Apache Spark."""

from ._version import __version__
from .api.config import Config
from .api.driver import CaffeOnSpark
from .api.estimator import CaffeEstimator, CaffeModel
from .api.sources import DataSource
from .errors import CaffeOnSparkError, ConfigError, DataError, TrainingError
from .plans.net_source import NetSource

__all__ = [
    "CaffeEstimator",
    "CaffeModel",
    "CaffeOnSpark",
    "CaffeOnSparkError",
    "Config",
    "ConfigError",
    "DataError",
    "DataSource",
    "NetSource",
    "TrainingError",
    "__version__",
]
