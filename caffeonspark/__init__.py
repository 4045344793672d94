"""Distributed deep learning with Caffe nets on Apache Spark."""

from .caffeonspark import CaffeOnSpark
from .config import Config
from .errors import CaffeOnSparkError, ConfigError, DataError, TrainingError
from .estimator import CaffeEstimator, CaffeModel
from .sources import DataSource, NetSource

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
]

__version__ = "0.1.0"
