"""Class names: those that StringIndexer leaves in a label column, on their way to the prediction column.

Spark ML keeps them in a column's metadata, ``{"ml_attr": {"type": "nominal", "vals": [names by index]}}``.
"""

from __future__ import annotations

from typing import Any, Dict, List

from pyspark.sql import DataFrame

from ..errors import ConfigError

__all__ = ["check_number", "class_names", "nominal"]

_KEY = "ml_attr"


def class_names(dataset: DataFrame, column: str) -> List[str]:
    """The names of the classes in a label column, by index; none where it has none."""
    fields = [field for field in dataset.schema.fields if field.name == column]
    attributes = fields[0].metadata.get(_KEY, {}) if fields and fields[0].metadata else {}
    return [str(name) for name in attributes.get("vals", [])] if attributes.get("type") == "nominal" else []


def check_number(names: List[str], classes: int, column: str, where: str) -> None:
    """Raise ConfigError where a net has fewer scores than the label column has classes."""
    if len(names) > classes:
        raise ConfigError(
            f"{where} has {classes} scores, and label column '{column}' has {len(names)} classes "
            f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): give the net's last layer num_output: "
            f"{len(names)}"
        )


def nominal(column: str, names: List[str], classes: int) -> Dict[str, Any]:
    """The metadata of a column of class indices."""
    about: Dict[str, Any] = {"type": "nominal", "name": column}
    known = names if len(names) == classes else names and [*names, *map(str, range(len(names), classes))]
    about["vals" if known else "num_vals"] = known or classes
    return {_KEY: about}
