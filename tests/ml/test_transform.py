"""What transform does to DataFrames: nothing before they are used, whatever they are, and no more than add columns."""

import gc
import subprocess
import sys
import textwrap
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import Broadcast, SparkContext
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from caffeonspark import CaffeModel, Config, ConfigError
from caffeonspark.inference.models import ModelFile
from caffeonspark.inference.outputs import OutputColumn
from caffeonspark.plans.scoring import ScoringSource, with_sizes
from tests.support import stock
from tests.support.deployed import forward, write_two_heads


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """(net, model): paths."""
    return write_two_heads(tmp_path_factory.mktemp("transform"))


@pytest.fixture(scope="module")
def fitted(spark, net):
    return CaffeModel.fromNet(spark, net=net[0], model=net[1], columns={"x": "features"}, features=["prob"])


@pytest.fixture
def model(fitted):
    return fitted.copy()


X = np.random.default_rng(1).standard_normal((50, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def frame(spark):
    """Rows with a number, an id and three features."""
    rows = [(number, f"id{number}", [float(v) for v in values]) for number, values in enumerate(X)]
    return spark.createDataFrame(rows, "number int, id string, features array<float>").repartition(3, "number")


@pytest.fixture
def jobs(spark, request):
    """The jobs of this test so far."""
    context, group = spark.sparkContext, f"test {request.node.name}"
    context.setJobGroup(group, "")
    yield lambda: list(context.statusTracker().getJobIdsForGroup(group))
    context.setLocalProperty("spark.jobGroup.id", None)


def plan_of(frame, capsys):
    """The physical plan of a query, as text."""
    capsys.readouterr()
    frame.explain()
    return capsys.readouterr().out


def test_nothing_runs_before_the_columns_are_used(spark, net, model, frame, jobs, capsys):
    settings = {row.key: row.value for row in spark.sql("SET").collect()}
    parts = frame.rdd.getNumPartitions()  # which shuffles
    before = jobs()
    scored = model.transform(frame)
    assert scored.columns == ["number", "id", "features", "prob"]
    assert jobs() == before
    assert {row.key: row.value for row in spark.sql("SET").collect()} == settings
    assert "Python" not in plan_of(scored.select("id"), capsys)
    plan = plan_of(scored.filter("number = 1"), capsys)
    assert plan.index("ArrowEvalPython") < plan.index("Filter")  # which is below: the function gets what it leaves
    assert scored.rdd.getNumPartitions() == parts
    found = {row.number: row.prob for row in scored.collect()}
    np.testing.assert_allclose([found[n] for n in range(50)], forward(*net, {"x": X}, 4), rtol=1e-6)
    assert jobs() != before


def test_passes_of_another_size(spark, net, model, frame):
    """-scoreBatch: each partition in passes of so many, as plain pycaffe computes such."""
    scored = model._set(scoreBatch=16).transform(frame.coalesce(1).sortWithinPartitions("number"))
    found = np.float32([row.prob for row in scored.orderBy("number").collect()])
    np.testing.assert_array_equal(found, forward(*net, {"x": X}, 16))


def test_frames_without_rows(spark, model, frame):
    empty = model.transform(spark.createDataFrame([], frame.schema))
    assert empty.collect() == []
    assert model.transform(frame.filter("number < 0")).count() == 0
    few = model.transform(frame.filter("number in (1, 2)").repartition(7))
    assert sorted(row.number for row in few.collect()) == [1, 2]


def test_a_model_is_sent_once_and_forgotten_with_its_object(monkeypatch, fitted, frame):
    sent, forgotten = [], []
    broadcast, unpersist = SparkContext.broadcast, Broadcast.unpersist
    monkeypatch.setattr(SparkContext, "broadcast", lambda self, value: sent.append(value) or broadcast(self, value))
    monkeypatch.setattr(
        Broadcast, "unpersist", lambda self, blocking=False: forgotten.append(self) or unpersist(self, True)
    )
    model = fitted.copy()
    model._trained(model._net, model._content, model._ending, None)  # as if it had been loaded again
    copies = [model.copy({model.badRecords: "skip"}), model]
    scored = [one.transform(frame.select("number", "features")) for one in copies * 2]
    assert len(sent) == 1
    before = sorted(scored[0].collect())
    del model, copies
    gc.collect()
    until = time.monotonic() + 20
    while not forgotten and time.monotonic() < until:
        time.sleep(0.05)
    assert len(forgotten) == 1
    assert sorted(scored[1].collect()) == before


def test_names_of_any_kind(spark, net, model, frame, tmp_path):
    """Columns with dots and backticks, others of the same name, and Spark's rules for upper case."""
    strange = CaffeModel.fromNet(spark, net=net[0], model=net[1], columns={"x": "my.`features`"}, features=["prob"])
    named = frame.withColumnRenamed("features", "my.`features`")
    twice = named.join(frame.select("number", F.lit(1).alias("other")), "number").withColumn("Other.x", F.lit(2))
    doubled = twice.select("*", F.lit(3).alias("OTHER"))
    about = {"ml_attr": {"type": "nominal"}}
    strange._outputs = lambda: [OutputColumn("p.`of` it", "prob", "vector", about), OutputColumn("q", "prob")]
    scored = strange.transform(doubled)
    assert scored.columns == [*doubled.columns, "p.`of` it", "q"]
    assert scored.schema["p.`of` it"].metadata == about
    row = scored.select("number", "`p.``of`` it`", "q").filter("number = 7").first()
    assert row[1] == Vectors.dense(row.q)

    for name in ("NUMBER", "number"):
        model._outputs = lambda name=name: [OutputColumn(name, "prob")]
        with pytest.raises(ConfigError, match=rf"^the DataFrame has a column 'number' already: .* output '{name}' "):
            model.transform(frame)
    model._outputs = lambda: [OutputColumn("p", "prob"), OutputColumn("P", "prob")]
    with pytest.raises(ConfigError, match=r"^two outputs would be one column, 'p' and 'P'"):
        model.transform(frame)
    spark.conf.set("spark.sql.caseSensitive", True)
    try:
        assert model.transform(frame).columns[-2:] == ["p", "P"]
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


def test_types_are_looked_at_before_anything_runs(spark, model, frame, jobs):
    before = jobs()
    with pytest.raises(
        ConfigError, match=r"^[^\n]*column 'features' is string, which cannot fill input 'x' of 3[^\n]*$"
    ):
        model.transform(frame.withColumn("features", F.lit("x")))
    with pytest.raises(
        ConfigError, match=r"input 'x' reads column 'features', which the given DataFrame does not have"
    ):
        model.transform(frame.drop("features"))
    pair = VectorAssembler(inputCols=["number", "number"], outputCol="features").transform(frame.drop("features"))
    with pytest.raises(ConfigError, match=r"column 'features' has Vectors of 2 values; top 'x' takes 3 \(3\)"):
        model.transform(pair)
    assert jobs() == before


FORMS = ["single", "two_scores", "two_probabilities", "two_argmax"]


def test_forms_of_outputs(net, model, frame):
    model._outputs = lambda: [
        *[OutputColumn(form, "prob", form) for form in ("array", "vector", "argmax")],
        *[OutputColumn(form, "one", form.replace("single", "number")) for form in FORMS],
    ]
    scored = model.transform(frame)
    numbers = dict.fromkeys(["argmax", "single", "two_argmax"], "double")
    vectors = dict.fromkeys(["vector", "two_scores", "two_probabilities"], "vector")
    assert dict(scored.dtypes[3:]) == {"array": "array<float>", **numbers, **vectors}
    for row in scored.collect():
        prob, one = np.float32(row.array), np.float32(row.single)
        assert row.vector == Vectors.dense(prob)
        assert row.argmax == prob.argmax()
        assert row.two_scores == Vectors.dense([-row.single, row.single])
        assert row.two_probabilities == Vectors.dense([1 - row.single, row.single])
        assert row.two_argmax == float(one > 0)


@pytest.mark.parametrize(
    ("kind", "invalid"), [("array<float>", "keep"), ("vector", "skip"), ("array<float>", "error"), ("vector", None)]
)
def test_rows_that_cannot_be_used(spark, net, model, frame, invalid, kind, capsys):
    holes = frame.withColumn("features", F.when(F.col("number") % 5 != 0, F.col("features"))).drop("id")
    if kind == "vector":
        holes = holes.withColumn("features", F.when(F.col("features").isNotNull(), array_to_vector("features")))
    model._handle_invalid = lambda: invalid
    model._outputs = lambda: [OutputColumn("p", "prob", "vector"), OutputColumn("label", "prob", "argmax")]
    scored = model.transform(holes)
    if invalid in ("error", None):
        with pytest.raises(Exception, match=r"record 'row \d+ of partition \d+': column 'features' is null"):
            scored.collect()
        return
    rows = {row.number: row for row in scored.collect()}
    good = [number for number in range(50) if number % 5]
    assert sorted(rows) == (good if invalid == "skip" else list(range(50)))
    np.testing.assert_allclose([rows[n].p.toArray() for n in good], forward(*net, {"x": X[good]}, 4), rtol=1e-6)
    assert all(rows[n].p is None and rows[n].label is None for n in rows if n % 5 == 0)
    assert scored.filter("label >= 0").count() == len(good)
    assert plan_of(scored.filter("number > 7"), capsys).count("ArrowEvalPython") == 1
    if invalid == "skip":
        assert scored.select("number").count() == len(good)


def test_bad_records_of_the_flag(model, frame):
    model._set(badRecords="skip")
    holes = frame.withColumn("features", F.when(F.col("number") % 5 != 0, F.col("features")))
    assert model.transform(holes).filter("prob is null").count() == 10


def test_images_whose_size_no_layer_states(spark, tmp_path, small_images, small_lmdb):
    """A net over an LMDB learns at the fit how large its images are; without that, the first row tells."""
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 8, 8))
    (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), features="ip2")
    images = [bytearray(image.tobytes()) for image in small_images[0][:20]]
    rows = spark.createDataFrame(
        [(image, 1, 12, 12) for image in images], "data binary, channels int, height int, width int"
    )
    stream_like = rows.filter("height < 0")
    net = config.nets.tests[0]
    (tops,) = [layer.tops for layer in ScoringSource(config, net, rows).for_blobs(["ip2"]).plan.layers]
    known = with_sizes(config, net, ["ip2"], rows)
    assert with_sizes(config, known, ["ip2"], rows) is known
    (noted,) = [layer.tops for layer in ScoringSource(config, known, stream_like).for_blobs(["ip2"]).plan.layers]
    assert noted == tops
    assert noted[0].shape == (1, 12, 12)


# ---- streams

SCHEMA = "number long, features array<float>"


def write_files(folder, files, rows):
    """Parquet files of numbered rows, whose features the number gives."""
    folder.mkdir(exist_ok=True)
    for file in range(files):
        numbers = np.arange(file * rows, (file + 1) * rows)
        lists = pa.array(list(features_of(numbers)), pa.list_(pa.float32()))
        pq.write_table(pa.table({"number": numbers, "features": lists}), folder / f"part{file:03d}.parquet")


def features_of(numbers):
    return np.stack([np.sin(numbers), np.cos(numbers), numbers % 7], axis=1).astype(np.float32)


def test_a_stream(spark, net, model, tmp_path, jobs):
    write_files(tmp_path / "in", 3, 10)
    before = jobs()
    scored = model.transform(spark.readStream.schema(SCHEMA).parquet(str(tmp_path / "in")))
    assert scored.isStreaming
    assert jobs() == before
    query = scored.writeStream.format("memory").queryName("scored").trigger(availableNow=True).start()
    query.awaitTermination()
    rows = sorted(spark.table("scored").collect())
    assert [row.number for row in rows] == list(range(30))
    expected = forward(*net, {"x": features_of(np.arange(30))}, 4)
    np.testing.assert_allclose([row.prob for row in rows], expected, rtol=1e-5)
    spark.catalog.dropTempView("scored")


def test_a_stream_of_images_whose_size_nobody_knows(spark, tmp_path, small_lmdb):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 8, 8))
    (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    config = Config(spark, conf=str(tmp_path / "solver.prototxt"), features="ip2")
    (tmp_path / "in").mkdir()
    stream = spark.readStream.schema("data binary").parquet(str(tmp_path / "in"))
    with pytest.raises(ConfigError, match=r"^[^\n]*layer 'data': only the data tells how large a sample is[^\n]*$"):
        _ = ScoringSource(config, config.nets.tests[0], stream).for_blobs(["ip2"]).plan


@pytest.mark.slow
def test_each_row_of_a_stream_is_scored_once_over_a_restart(spark, net, model, tmp_path):
    files, each = 25, 4000
    write_files(tmp_path / "in", files, each)
    source = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).parquet(str(tmp_path / "in"))
    place = {"checkpointLocation": str(tmp_path / "checkpoint"), "path": str(tmp_path / "out")}
    began = time.monotonic()
    query = model.transform(source).writeStream.format("parquet").options(**place).start()
    while (query.lastProgress or {}).get("batchId", -1) < 2:
        assert query.exception() is None
        time.sleep(0.05)
    query.stop()  # in the middle of a batch
    done = spark.read.parquet(str(tmp_path / "out")).count()
    assert each <= done < files * each
    query = model.transform(source).writeStream.format("parquet").options(**place).trigger(availableNow=True).start()
    query.awaitTermination()
    found = spark.read.parquet(str(tmp_path / "out"))
    assert found.selectExpr("count(*)", "count(DISTINCT number)", "max(number)").first()[:] == (
        100_000,
        100_000,
        99_999,
    )
    print(f"100,000 rows, {done} of them before the restart: {time.monotonic() - began:.1f} s")
    sample = sorted(found.filter("number % 1000 = 7").collect())
    expected = forward(*net, {"x": features_of(np.array([row.number for row in sample]))}, 4)
    np.testing.assert_allclose([row.prob for row in sample], expected, rtol=1e-5)


# ---- large ones, and other applications


@pytest.mark.slow
def test_a_model_of_more_than_two_gigabytes(spark):
    """HDF5 files may be so large; the bytes arrive."""
    model = ModelFile(bytes(2 * (1 << 30)) + b"the end", ".caffemodel.h5")
    content = model.broadcast(spark.sparkContext)
    found = spark.sparkContext.parallelize([0], 1).map(lambda _: (len(content.value), content.value[-7:])).collect()
    assert found == [(2 * (1 << 30) + 7, b"the end")]
    content.destroy()


@pytest.mark.slow
def test_a_model_lives_longer_than_an_application(net, tmp_path):
    program = f"""
        from pyspark.sql import SparkSession
        from caffeonspark import CaffeModel
        found = []
        model = None
        for _ in range(2):
            spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
            model = model or CaffeModel.fromNet(spark, net={net[0]!r}, model={net[1]!r}, features=["prob"])
            frame = spark.createDataFrame([([0.5, 1.0, 2.0],)], "x array<float>")
            found.append(model.transform(frame).first().prob)
            spark.stop()
        assert found[0] == found[1] and len(found[0]) == 5
        print("done")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("done\n"), done.stderr
    assert "Traceback" not in done.stderr
