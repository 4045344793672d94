"""The name under which models that were saved before ``ml/`` know these classes; Spark ML saves names of modules."""

from __future__ import annotations

from .ml.estimator import CaffeEstimator
from .ml.model import CaffeModel

__all__ = ["CaffeEstimator", "CaffeModel"]
