"""DataFrames that users give: whether they can be read at all, and the columns of theirs by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence

from ...errors import ConfigError, suggest

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = [
    "as_text",
    "check_frame",
    "check_free",
    "check_not_stream",
    "check_unambiguous",
    "column_of",
    "or_null",
    "quoted",
]


def check_frame(frame: Any, streams: bool = False) -> None:
    """Raise ConfigError unless ``frame`` is a DataFrame, whose rows are all there or, with ``streams``, are to come."""
    from pyspark.sql import DataFrame

    kind = f"{type(frame).__module__}.{type(frame).__name__}"
    if not isinstance(frame, DataFrame) or ".connect." in kind:  # PySpark 4's Connect frames are DataFrames, too
        if kind.startswith("pandas."):
            hint = "spark.createDataFrame(frame) makes one of it"
        elif kind.startswith("pyspark.pandas."):
            hint = "frame.to_spark() makes one of it"
        elif ".connect." in kind:
            hint = "this library needs the driver's own JVM, which a Spark Connect session does not have"
        else:
            hint = "spark.createDataFrame makes one of Python's rows"
        raise ConfigError(f"the data has to be a Spark DataFrame, and is a {kind}: {hint}")
    if not streams:
        check_not_stream(frame)


def check_not_stream(frame: DataFrame) -> None:
    """Raise ConfigError for a stream, where its rows are to be looked at or counted."""
    if frame.isStreaming:
        raise ConfigError(
            "the DataFrame is a stream, which has no end to wait for: read with spark.read, or write it to files first"
        )


def quoted(name: str) -> str:
    """A column's name as Spark's expressions take it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def column_of(frame: DataFrame, name: str, where: str) -> Column:
    """A column by its name. Raises ConfigError, which begins with ``where``, unless there is exactly one."""
    from pyspark.sql import functions as F

    names = frame.columns
    if name not in names:
        raise ConfigError(f"{where} has no column '{name}'. {suggest(name, names)}")
    check_unambiguous(frame, [name], where)
    return F.col(quoted(name))


def _same_names(frame: DataFrame, name: str, names: Sequence[str]) -> List[str]:
    """Those of these names that Spark takes for the same as ``name``."""
    sensitive = str(frame.sparkSession.conf.get("spark.sql.caseSensitive")) == "true"
    return [one for one in names if one == name or (not sensitive and one.lower() == name.lower())]


def check_free(frame: DataFrame, names: Sequence[str]) -> None:
    """Raise ConfigError unless columns of these names can be added to the frame."""
    for number, name in enumerate(names):
        taken = _same_names(frame, name, frame.columns)
        if taken:
            raise ConfigError(
                f"the DataFrame has a column '{taken[0]}' already: rename it, or give the output '{name}' another name"
            )
        twice = _same_names(frame, name, names[:number])
        if twice:
            raise ConfigError(f"two outputs would be one column, '{twice[0]}' and '{name}': give them different names")


def check_unambiguous(frame: DataFrame, used: Sequence[str], where: str) -> None:
    """Raise ConfigError, which begins with ``where``, for a column in use that another one has the name of."""
    for name in used:
        same = _same_names(frame, name, frame.columns)
        if len(same) > 1:
            raise ConfigError(
                f"{where} has {len(same)} columns called '{name}' ({', '.join(same)}): rename or drop all but one"
            )


def or_null(sql: str, kind: str) -> Column:
    """What an SQL expression has, as a type such as ``int``; null for values that are none of it, also where the
    session makes a cast of them an error (``spark.sql.ansi.enabled``)."""
    from pyspark.sql import functions as F

    return F.expr(f"try_cast({sql} AS {kind})")


def as_text(column: Column) -> Column:
    """A column as text; bytes that are no UTF-8, which Python would not take, as hexadecimal digits after ``0x``."""
    from pyspark.sql import functions as F

    text = column.cast("string")
    content = text.cast("binary")
    if hasattr(F, "is_valid_utf8"):
        valid = F.is_valid_utf8(text)
    else:  # PySpark 3.5, where decoding does not fail
        valid = F.encode(F.decode(content, "UTF-8"), "UTF-8") == content
    return F.when(valid, text).otherwise(F.concat(F.lit("0x"), F.hex(content)))
