"""A user's own source: what the documentation shows."""

from pyspark.sql import functions as F

from caffeonspark.data.sources.dataframe import DataFrameSource


class Squares(DataFrameSource):
    """Rows that are nowhere stored."""

    def load(self):
        n = F.col("id").cast("double")
        return self.config.spark().range(20).select(F.array(n, n * n, F.lit(0.0)).alias("x"), (n % 2).alias("label"))
