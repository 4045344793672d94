"""Who gets which rows."""

import pytest
from pyspark.sql import functions as F

from caffeonspark.spread import bounds, rows_for_ranks


@pytest.mark.parametrize(("total", "ranks"), [(10, 1), (10, 3), (7, 4), (3, 4), (600, 7)])
def test_bounds_partition_the_records(total, ranks):
    pieces = [range(*bounds(total, ranks, rank)) for rank in range(ranks)]
    assert [i for piece in pieces for i in piece] == list(range(total))
    for rank, piece in enumerate(pieces):
        assert all(i * ranks // total == rank for i in piece)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 9])
def test_each_rank_gets_its_rows_of_every_frame(spark, ranks):
    train = spark.range(0, 103, 1, 5).select(F.col("id").cast("string").alias("SampleID"), "id")
    other = spark.range(0, 50, 1, 2).select(F.col("id").cast("string").alias("SampleID"), F.lit(1.5).alias("x"))
    rows = rows_for_ranks(spark, [(0, train, False), (1, other, True)], ranks)
    assert rows.rdd.getNumPartitions() == ranks
    found = rows.withColumn("rank", F.spark_partition_id()).collect()
    for layer, total in ((0, 103), (1, 50)):
        mine = [row for row in found if row._layer == layer]
        if layer == 1 or ranks > 1:
            assert sorted(row._index for row in mine) == list(range(total))
        for row in mine:
            payload = row[f"_rows{layer}"]
            if ranks > 1:
                assert payload.SampleID == str(row._index)
                assert row.rank == (row._index * ranks // total if layer == 0 else row._index % ranks)
    assert {row._rows1.x for row in found if row._layer == 1} == {1.5}
