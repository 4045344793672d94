"""Which rows of a DataFrame are trained, and which are validated with."""

from __future__ import annotations

import contextlib
from typing import Any, Mapping, Optional, Tuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..causes import explained
from ..data.sources.frames import column_of
from ..errors import ConfigError, DataError, suggest
from ..spark.partitioning import has_stable_partitions

__all__ = ["check_parts", "check_validation", "split"]


def check_validation(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where Params that look at validations have none."""
    if given.get("validationIndicatorCol") or given.get("validationFraction"):
        return
    for name in ("patience", "best", "monitor"):
        if given.get(name):
            raise ConfigError(f"{name} looks at validations: set validationIndicatorCol or validationFraction")


def split(
    dataset: DataFrame, indicator: str, fraction: float, seed: int, cleanup: contextlib.ExitStack
) -> Tuple[DataFrame, Optional[DataFrame]]:
    """(rows to train, rows to validate with or None). A row whose indicator is null or NaN is trained.

    Where rows are exchanged between partitions, they may come in another order when they are computed again, and get
    something else of ``rand`` and ``randomSplit``: they are persisted until ``cleanup`` ends, so that each row is in
    one of the parts.

    Raises
    ------
    ConfigError
        For an indicator column that is not there, or not boolean.
    """
    if indicator or fraction:
        with explained("the DataFrame cannot be read"):
            if not has_stable_partitions(dataset):
                dataset = dataset.persist(StorageLevel.DISK_ONLY)
                cleanup.callback(dataset.unpersist)
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
        if isinstance(kind, T.FractionalType) and not isinstance(kind, T.DecimalType):  # of pandas, which has no null
            column = F.nanvl(column, F.lit(0.0))
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
