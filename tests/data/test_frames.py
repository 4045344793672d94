"""What is no DataFrame that can be trained on, and names of columns."""

import pandas as pd
import pytest

from caffeonspark.api.config import Config
from caffeonspark.data.sources.frames import check_frame, quoted
from caffeonspark.errors import ConfigError


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


@pytest.mark.parametrize(("name", "written"), [("a", "`a`"), ("a.b c", "`a.b c`"), ("`", "````"), ("a`b", "`a``b`")])
def test_quoted_names(name, written):
    assert quoted(name) == written
