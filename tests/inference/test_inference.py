"""features and test: a row out for every row in, with stock Caffe's numbers."""

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataSource
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.prototxts import COS_LAYER, rows_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with random weights."""
    solver = stock.make_solver('base_lr: 0.1 lr_policy: "fixed" random_seed: 5', stock.input_net(4))
    path = tmp_path_factory.mktemp("model") / "random.caffemodel"
    solver.net.save(str(path))
    return path


def config_for(spark, folder, net, model, **flags):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1 base_lr: 0.1 lr_policy: "fixed"')
    return Config(spark, conf=str(folder / "solver.prototxt"), model=f"file:{model}", **flags)


def cos_config(spark, folder, model, batch=8, **flags):
    net = COS_LAYER.format(batch=batch, source="", scale=stock.SCALE) + stock.LAYERS
    return config_for(spark, folder, net, model, **flags)


def test_all_mnist_rows_with_a_batch_that_does_not_divide_them(spark, tmp_path, mnist):
    images, labels = mnist["test"][0][:, np.newaxis], mnist["test"][1]
    path = write_lmdb(tmp_path / "lmdb", images, labels)
    layers = stock.LAYERS
    solver = stock.make_solver('base_lr: 0.1 lr_policy: "fixed" random_seed: 5', stock.input_net(4, (1, 28, 28)))
    model = tmp_path / "random.caffemodel"
    solver.net.save(str(model))
    config = config_for(
        spark,
        tmp_path,
        stock.lmdb_net(path, 64, 64),
        model,
        clusterSize=2,
        features="ip2,accuracy,loss",
        label="label",
    )
    source = DataSource(spark).getSource(config, False)
    cos = CaffeOnSpark(spark)
    frame = cos.features(source)
    assert frame.columns == ["SampleID", "ip2", "accuracy", "loss", "label"]
    rows = {row.SampleID: row for row in frame.collect()}
    assert sorted(rows) == [f"{i:08d}" for i in range(10_000)]
    mine = np.array([rows[f"{i:08d}"].ip2 for i in range(10_000)], np.float32)
    parts = [slice(0, 5000), slice(5000, 10_000)]  # each task has its own batches
    expected = [
        stock.forward_all(
            stock.input_net(64, (1, 28, 28), layers), model, images[p], labels[p], 64, ["ip2", "accuracy"]
        )
        for p in parts
    ]
    np.testing.assert_array_equal(mine, np.concatenate([e["ip2"] for e in expected]))
    accuracy = np.array([rows[f"{i:08d}"].accuracy[0] for i in range(10_000)], np.float32)
    np.testing.assert_array_equal(accuracy, np.concatenate([e["accuracy"] for e in expected])[:, 0])
    assert [rows[f"{i:08d}"].label[0] for i in (0, 1, 9_999)] == [float(labels[i]) for i in (0, 1, 9_999)]

    means = cos.test(source)
    assert list(means) == ["accuracy", "loss"]
    whole = stock.forward_all(
        stock.input_net(100, (1, 28, 28), layers), model, images, labels, 100, ["accuracy", "loss"]
    )
    assert means["accuracy"] == pytest.approx([whole["accuracy"].mean()], rel=1e-6)
    assert means["loss"] == pytest.approx([whole["loss"].mean(dtype=np.float64)], rel=1e-6)


@pytest.mark.parametrize("sizes", [[3, 0, 1, 3], [7, 0, 0, 0], [0, 1], [20, 5, 1]])
def test_partitions_of_any_size(spark, tmp_path, model, small_images, sizes):
    images, labels = small_images
    count = sum(sizes)
    rows = rows_of(images[:count], labels[:count])
    owner = np.repeat(np.arange(len(sizes)), sizes)
    pairs = spark.sparkContext.parallelize(list(zip(owner.tolist(), rows)), 3)
    parts = pairs.partitionBy(len(sizes), int).values()
    frame = spark.createDataFrame(parts, "id string, data binary, label int")
    assert frame.rdd.getNumPartitions() == len(sizes)
    config = cos_config(spark, tmp_path, model, batch=8, features="ip2,loss")
    source = DataSource(spark).getSource(config, False, frame)
    found = {row.SampleID: row.ip2 for row in CaffeOnSpark(spark).features(source).collect()}
    assert sorted(found) == sorted(f"id{i}" for i in range(count))
    expected = stock.forward_all(stock.input_net(8), model, images[:count], labels[:count], 8, ["ip2", "loss"])
    for i in range(count):
        np.testing.assert_allclose(found[f"id{i}"], expected["ip2"][i], rtol=1e-6, atol=1e-6)
    means = CaffeOnSpark(spark).test(source)
    assert means["loss"] == pytest.approx([expected["loss"].mean(dtype=np.float64)], rel=1e-5)


def test_seven_rows_on_four_ranks(spark, tmp_path, model, small_images):
    """Training, features and test, from an LMDB and from a DataFrame."""
    images, labels = small_images[0][:7], small_images[1][:7]
    path = write_lmdb(tmp_path / "seven_lmdb", images, labels)
    settings = 'net: "net.prototxt" max_iter: 3 base_lr: 0.1 lr_policy: "fixed" random_seed: 1'
    for name, net in (
        ("lmdb", stock.lmdb_net(path, 4, 3)),
        ("frame", COS_LAYER.format(batch=4, source="", scale=stock.SCALE) + stock.LAYERS),
    ):
        folder = tmp_path / name
        folder.mkdir()
        config = config_for(spark, folder, net, folder / "m.caffemodel", clusterSize=4, features="label", quiet=True)
        (folder / "solver.prototxt").write_text(settings)
        config.conf = str(folder / "solver.prototxt")
        frame = spark.createDataFrame(rows_of(images, labels), "id string, data binary, label int")
        given = frame if name == "frame" else None
        cos, data = CaffeOnSpark(spark), DataSource(spark)
        assert cos.train(data.getSource(config, True, given)).iteration == 3
        found = {r.SampleID: r.label[0] for r in cos.features(data.getSource(config, False, given)).collect()}
        assert list(dict(sorted(found.items())).values()) == [float(v) for v in labels]
        assert set(cos.test(data.getSource(config, False, given))) == {"accuracy", "loss"}


def test_unknown_blob_is_named_with_the_nearest(spark, tmp_path, model, small_lmdb):
    config = config_for(spark, tmp_path, stock.lmdb_net(small_lmdb, 8), model, features="ip3")
    with pytest.raises(ConfigError, match=r"the TEST net has no blob 'ip3'\. Did you mean 'ip2'\?"):
        CaffeOnSpark(spark).features(DataSource(spark).getSource(config, False))


@pytest.mark.slow
def test_a_million_and_three_rows_on_four_tasks(spark, tmp_path):
    """One of the partitions has three rows; every row comes out once, with its own value."""
    sizes = [400_000, 300_000, 300_000, 3]
    parts = [spark.range(sum(sizes[:k]), sum(sizes[: k + 1]), 1, 1) for k in range(4)]
    frame = parts[0].union(parts[1]).union(parts[2]).union(parts[3])
    frame = frame.selectExpr("concat('id', id) AS id", "id AS x", "id % 2 AS label")
    assert frame.rdd.getNumPartitions() == 4
    net = (
        'layer { name: "data" type: "CoSData" top: "x" top: "label" include { phase: TRAIN } include { phase: TEST } '
        'source_class: "DataFrameSource" cos_data_param { batch_size: 1000 '
        'top { name: "x" type: INT sample_num_axes: 0 } top { name: "label" type: INT sample_num_axes: 0 } } } '
        'layer { name: "both" type: "Eltwise" bottom: "x" bottom: "label" top: "both" '
        "eltwise_param { operation: SUM } }"
    )
    (tmp_path / "empty.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }'
    )
    stock.caffe.Net(str(tmp_path / "empty.prototxt"), stock.caffe.TEST).save(str(tmp_path / "empty.caffemodel"))
    config = config_for(spark, tmp_path, net, tmp_path / "empty.caffemodel", clusterSize=4, features="x,both")
    source = DataSource(spark).getSource(config, False, frame)
    found = (
        CaffeOnSpark(spark)
        .features(source)
        .selectExpr("SampleID", "SampleID = concat('id', cast(x[0] AS long)) AND both[0] = x[0] + x[0] % 2 AS right")
    )
    count, different, right = found.selectExpr("count(*)", "count(DISTINCT SampleID)", "sum(int(right))").first()
    assert count == different == right == sum(sizes)
    mean = CaffeOnSpark(spark).test(source)["both"][0]
    assert mean == pytest.approx((sum(sizes) - 1) / 2 + (sum(sizes) // 2) / sum(sizes), rel=1e-12)
