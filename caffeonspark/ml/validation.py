"""Which rows of a DataFrame are trained, and which are validated with."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..causes import explained
from ..data.sources.frames import column_of
from ..errors import ConfigError, DataError, suggest

__all__ = ["check_parts", "check_validation", "split"]


def check_validation(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where Params that look at validations have none."""
    if given.get("validationIndicatorCol") or given.get("validationFraction"):
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


def check_parts(training: DataFrame, validation: Optional[DataFrame]) -> None:
    """Raise DataError where rows were parted, and one part has none."""
    if validation is None:
        return
    for part, use in ((training, "to train"), (validation, "to validate with")):
        with explained("the DataFrame cannot be read"):
            empty = part.isEmpty()
        if empty:
            raise DataError(
                f"there is no row {use}: the DataFrame is empty, or what validationIndicatorCol or validationFraction "
                "chooses is all or nothing of it"
            )
