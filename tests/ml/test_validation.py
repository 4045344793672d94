"""Which rows are trained and which are validated with: each is in one part."""

import contextlib

import pytest
from pyspark.sql import functions as F

from caffeonspark import CaffeClassifier, DataError, nets
from caffeonspark.ml.validation import split


@pytest.mark.parametrize(("indicator", "fraction"), [("held", 0.0), ("", 0.5)])
def test_a_row_is_in_one_part(spark, indicator, fraction):
    """Also where a shuffle brings rows in another order each time, and with it others of what rand gives."""
    rows = spark.range(0, 20000, 1, 8).repartition(4).withColumn("held", F.rand(1) < 0.5)
    with contextlib.ExitStack() as cleanup:
        parts = split(rows, indicator, fraction, 1, cleanup)
        training, validation = ([row.id for row in part.collect()] for part in parts)
    assert sorted(training + validation) == list(range(20000))
    assert not rows.is_cached


def test_an_indicator_that_is_missing_is_trained(spark):
    for kind, values in (("double", [1.0, 0.0, float("nan"), None]), ("boolean", [True, False, None, None])):
        rows = spark.createDataFrame(list(enumerate(values)), f"id int, held {kind}")
        with contextlib.ExitStack() as cleanup:
            parts = split(rows, "held", 0.0, 1, cleanup)
            assert [[row.id for row in part.collect()] for part in parts] == [[1, 2, 3], [0]]


def test_rows_that_are_gone_when_they_are_counted(spark, digits, tmp_path):
    place = tmp_path / "rows.parquet"
    digits.select("features", "label").coalesce(4).write.parquet(str(place))
    rows = spark.read.parquet(str(place))
    max(place.glob("*.parquet"), key=lambda path: path.name).unlink()
    classifier = CaffeClassifier(net=nets.mlp(layers=[64, 10]), epochs=1, quiet=True)
    with pytest.raises(DataError, match=r"cannot be read: a file of the data is gone: File .* does not exist$"):
        classifier.fit(rows)
