"""What is no DataFrame that can be trained on, and names of columns."""

import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from caffeonspark.api.config import Config
from caffeonspark.data.sources.frames import as_text, check_frame, or_null, quoted
from caffeonspark.errors import ConfigError
from caffeonspark.spark.session import start_spark


def instance_of(name, module):
    return type(name, (), {"__module__": module})()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            pd.DataFrame({"a": [1]}),
            r"is a pandas\.core\.frame\.DataFrame: spark\.createDataFrame\(frame\) makes one of it",
        ),
        ([1, 2], r"is a builtins\.list: spark\.createDataFrame makes one"),
        (instance_of("DataFrame", "pyspark.pandas.frame"), r"frame\.to_spark\(\) makes one of it"),
        (instance_of("DataFrame", "pyspark.sql.connect.dataframe"), r"which a Spark Connect session does not have"),
    ],
)
def test_what_is_no_frame(given, message):
    with pytest.raises(ConfigError, match=f"the data has to be a Spark DataFrame, and .*{message}"):
        check_frame(given)


def test_sessions_that_cannot_be_used():
    with pytest.raises(ConfigError, match=r"this is a Spark Connect session.*make a SparkSession with a master"):
        Config(instance_of("SparkSession", "pyspark.sql.connect.session"))
    with pytest.raises(ConfigError, match="a SparkSession or SparkContext is needed, not str"):
        Config("local[2]")


def test_frames_of_connect_sessions_that_are_frames_too():
    """In PySpark 4 their class is a subclass of the DataFrame that there is for both."""
    kind = type("DataFrame", (DataFrame,), {"__module__": "pyspark.sql.connect.dataframe"})
    with pytest.raises(ConfigError, match=r"is a pyspark\.sql\.connect\.dataframe\.DataFrame: this library needs"):
        check_frame(object.__new__(kind))


def test_a_command_line_that_asks_for_a_connect_session(monkeypatch):
    monkeypatch.setenv("SPARK_REMOTE", "sc://here:15002")
    message = r"^SPARK_REMOTE is sc://here:15002: this is a Spark Connect session"
    with pytest.raises(ConfigError, match=message), start_spark():
        pass


@pytest.mark.parametrize(("name", "written"), [("a", "`a`"), ("a.b c", "`a.b c`"), ("`", "````"), ("a`b", "`a``b`")])
def test_quoted_names(name, written):
    assert quoted(name) == written


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_values_that_are_none_of_a_type_are_null_in_every_session(spark, ansi):
    """PySpark 4 makes errors of them where a session does not say otherwise, and of bytes that are no text."""
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        chosen = [
            or_null("'seven'", "int"),
            or_null("' 12'", "int"),
            or_null("9e12D", "int"),
            or_null("'maybe'", "boolean"),
            or_null("NULL", "int"),
            as_text(F.expr("unhex('ff00')")),
            as_text(F.lit("é")),
        ]
        assert tuple(spark.range(1).select(*chosen).first()) == (None, 12, None, None, None, "0xFF00", "é")
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
