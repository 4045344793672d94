"""Class names: those that StringIndexer leaves in a label column, on their way to the prediction column.

Spark ML keeps them in a column's metadata, ``{"ml_attr": {"type": "nominal", "vals": [names by index]}}``.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from pyspark.sql import DataFrame

from ..errors import ConfigError

__all__ = ["for_all", "names_of", "nominal"]

_KEY = "ml_attr"


def names_of(dataset: DataFrame, column: str, classes: int, where: str) -> List[str]:
    """The name of each class that a net tells apart, by index: those in the metadata of the label column; none where it
    has none. Scores beyond them are called by their numbers.

    Raises
    ------
    ConfigError
        Where the net has fewer scores than the column has classes; it begins with ``where``.
    """
    names = _in_metadata(dataset, column)
    if len(names) > classes:
        raise ConfigError(
            f"{where} has {classes} scores, and label column '{column}' has {len(names)} classes "
            f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): give the net's last layer num_output: "
            f"{len(names)}"
        )
    return for_all(names, classes)


def for_all(names: Sequence[str], classes: int) -> List[str]:
    """A name for each class; none where there are none."""
    found = list(names)
    for number in range(len(names), classes if names else 0):
        name = str(number)
        while name in found:  # which metadata cannot have twice
            name += "_"
        found.append(name)
    return found


def _in_metadata(dataset: DataFrame, column: str) -> List[str]:
    fields = [field for field in dataset.schema.fields if field.name == column]
    attributes = fields[0].metadata.get(_KEY, {}) if fields and fields[0].metadata else {}
    return [str(name) for name in attributes.get("vals", [])] if attributes.get("type") == "nominal" else []


def nominal(column: str, names: List[str], classes: int) -> Dict[str, Any]:
    """The metadata of a column of class indices."""
    values: Dict[str, Any] = {"vals": names} if names else {"num_vals": classes}
    return {_KEY: {"type": "nominal", "name": column, **values}}
