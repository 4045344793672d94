"""A user's own source: what the documentation shows."""

from typing import ClassVar, Mapping

from pyspark.sql import functions as F

from caffeonspark import DataFrameSource


class Squares(DataFrameSource):
    """Rows that are nowhere stored."""

    def load(self):
        n = F.col("id").cast("double")
        return self.config.spark().range(20).select(F.array(n, n * n, F.lit(0.0)).alias("x"), (n % 2).alias("label"))


class SquaresLayer(Squares):
    """The same on a layer type of its own, which has CoSData's parameters."""

    layer_types: ClassVar[Mapping[str, str]] = {"Squares": "cos_data_param"}
