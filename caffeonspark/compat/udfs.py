"""CaffeOnSpark's two functions of columns, which make of a feature what Spark ML takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import Column

__all__ = ["floatarray2doubleUDF", "floatarray2doublevectorUDF"]


def floatarray2doubleUDF(column: Any) -> Column:
    """The first value of an ``array<float>`` as a ``double``: a label, of what ``features`` gives.

    Parameters
    ----------
    column : Column, or the name of one
    """
    from pyspark.sql import functions as F

    first: Column = (F.col(column) if isinstance(column, str) else column).getItem(0)
    return first.cast("double")


def floatarray2doublevectorUDF(column: Any) -> Column:
    """An ``array<float>`` as a vector of Spark ML's.

    Parameters
    ----------
    column : Column, or the name of one
    """
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    vector: Column = array_to_vector((F.col(column) if isinstance(column, str) else column).cast("array<double>"))
    return vector
