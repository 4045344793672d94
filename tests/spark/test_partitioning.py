"""Who gets which rows."""

import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.sql import functions as F

from caffeonspark.spark.partitioning import bounds, has_stable_partitions, rows_for_ranks


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


@pytest.mark.parametrize("ranks", [1, 3])
def test_files_are_read_by_name_whatever_their_sizes(spark, tmp_path, ranks):
    sizes = [3, 40, 0, 17, 1]
    ids = [f"{number:03d}" for number in range(sum(sizes))]
    for number, size in enumerate(sizes):
        start = sum(sizes[:number])
        table = pa.table({"SampleID": pa.array(ids[start : start + size], pa.string())})
        pyarrow.parquet.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=10)
    frame = spark.read.parquet(str(tmp_path))
    assert [row.SampleID for row in frame.collect()] != ids  # Spark reads the largest first
    rows = rows_for_ranks(spark, [(0, frame, False)], ranks).withColumn("rank", F.spark_partition_id()).collect()
    found = sorted((row._index, row._rows0.SampleID, row.rank) for row in rows)
    assert [name for _, name, _ in found] == ids
    assert [index for index, _, _ in found] == list(range(len(ids)))
    assert [rank for _, _, rank in found] == [number * ranks // len(ids) for number in range(len(ids))]


def test_frames_whose_partitions_depend_on_the_query(spark, tmp_path):
    frame = spark.range(100).withColumn("x", F.rand(seed=1))
    assert has_stable_partitions(frame)
    assert has_stable_partitions(frame.filter("x > 0.5").select("id"))
    wide = frame.orderBy("x")
    assert not has_stable_partitions(wide)
    assert not has_stable_partitions(frame.join(spark.range(50), "id"))
    wide = wide.persist()
    assert has_stable_partitions(wide.select("id"))
    wide.unpersist()
