"""Which rows of a DataFrame are trained, and which are validated with."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..data.sources.frames import column_of
from ..errors import ConfigError, suggest

__all__ = ["check_validation", "split"]


def check_validation(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where Params that look at validations have none."""
    fraction = given.get("validationFraction", 0.0)
    if fraction >= 1:
        raise ConfigError(f"validationFraction is {fraction:g}: it is a part of the rows, below 1")
    if given.get("validationIndicatorCol") or fraction:
        return
    for name in ("patience", "best", "monitor"):
        if given.get(name):
            raise ConfigError(f"{name} looks at validations: set validationIndicatorCol or validationFraction")


def split(dataset: DataFrame, indicator: str, fraction: float, seed: int) -> Tuple[DataFrame, Optional[DataFrame]]:
    """(rows to train, rows to validate with or None). A row whose indicator is null is trained.

    Raises
    ------
    ConfigError
        For an indicator column that is not there, or not boolean.
    """
    if indicator:
        if indicator not in dataset.columns:
            raise ConfigError(
                f"validationIndicatorCol: the DataFrame has no column '{indicator}'. "
                f"{suggest(indicator, dataset.columns)}"
            )
        kind = dataset.schema[indicator].dataType
        if not isinstance(kind, (T.BooleanType, T.NumericType)):
            raise ConfigError(
                f"validationIndicatorCol: column '{indicator}' is {kind.simpleString()}; it has to be boolean"
            )
        column = column_of(dataset, indicator, "validationIndicatorCol: the DataFrame has")
        chosen = F.coalesce(column.cast("boolean"), F.lit(False))
        return dataset.filter(~chosen), dataset.filter(chosen)
    if fraction:
        training, validation = dataset.randomSplit([1 - fraction, fraction], seed)
        return training, validation
    return dataset, None
