"""CaffeOnSpark's classes with the constructors and the functions that its programs know."""

from __future__ import annotations

from typing import Any, Sequence

from ..api.config import Config as _Config
from ..api.driver import CaffeOnSpark as _CaffeOnSpark
from ..report import Observer
from .java_style import JavaStyle
from .udfs import floatarray2doubleUDF, floatarray2doublevectorUDF

__all__ = ["CaffeOnSpark", "Config", "registerContext", "registerSQLContext"]


class CaffeOnSpark(_CaffeOnSpark):
    """``caffeonspark.CaffeOnSpark``, made as ``CaffeOnSpark(sc)`` or ``CaffeOnSpark(sc, sqlContext)``.

    Parameters
    ----------
    sc : SparkContext or SparkSession
    sqlContext : not needed
    observers : see ``caffeonspark.CaffeOnSpark``
    """

    floatarray2doubleUDF = staticmethod(floatarray2doubleUDF)
    floatarray2doublevectorUDF = staticmethod(floatarray2doublevectorUDF)

    def __init__(self, sc: Any, sqlContext: Any = None, observers: Sequence[Observer] = ()) -> None:
        super().__init__(sc, observers)


class Config(_Config):
    """``caffeonspark.Config``, whose messages have the getters of Java's too: ``solverParameter.getTestIter(0)``."""

    @property
    def solverParameter(self) -> Any:
        return JavaStyle(super().solverParameter)

    @property
    def netParam(self) -> Any:
        return JavaStyle(super().netParam)


def registerContext(sc: Any) -> None:
    """Nothing needs a context to be registered."""


def registerSQLContext(sqlContext: Any) -> None:
    """Nothing needs a context to be registered."""
