"""Deploy nets that score DataFrames: net.forward's numbers, to the bit, whatever the columns hold."""

import contextlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.ml.linalg import Vectors

from caffeonspark import CaffeModel, CaffeOnSpark, Config, ConfigError, DataError, DataSource, cli
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from tests.support.deployed import SHAPES, forward, scores, write_deployed


def png(image):
    """(channels, height, width) BGR as a PNG file."""
    pixels = image.transpose(1, 2, 0)[:, :, ::-1] if len(image) == 3 else image[0]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


def spark_image(image):
    """(channels, height, width) BGR as a row of Spark's image format."""
    pixels = image.transpose(1, 2, 0).tobytes()
    kind = {1: 0, 3: 16}[len(image)]
    sizes = {"height": image.shape[1], "width": image.shape[2], "nChannels": len(image), "mode": kind}
    return {"origin": "", **sizes, "data": pixels}


IMAGE = pa.struct(
    [
        ("origin", pa.string()),
        *((name, pa.int32()) for name in ("height", "width", "nChannels", "mode")),
        ("data", pa.binary()),
    ]
)
IP = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }'
COLUMNS = {
    "png": lambda images: pa.array([png(image) for image in images], pa.binary()),
    "image": lambda images: pa.array([spark_image(image) for image in images], IMAGE),
    "floats": lambda images: pa.array(
        [image.astype(np.float32).reshape(-1) for image in images], pa.list_(pa.float32())
    ),
}


def write_rows(path, images):
    """A parquet file in one part: an id and a column of each kind."""
    ids = pa.array([f"row{number}" for number in range(len(images))])
    path.mkdir()
    pq.write_table(
        pa.table({"id": ids, **{name: make(images) for name, make in COLUMNS.items()}}), path / "part.parquet"
    )
    return str(path)


def pixels(count, shape, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """LeNet's deploy net, random weights, 11 images, and their rows."""
    folder = tmp_path_factory.mktemp("lenet")
    images = pixels(11, SHAPES["lenet_lmdb"])
    net, model = write_deployed(folder, "lenet_lmdb", 4)
    return folder, net, model, images, write_rows(folder / "rows", images)


@pytest.mark.parametrize("column", COLUMNS)
def test_lenet_scores_as_caffe_does(spark, lenet, column):
    _, net, model, images, rows = lenet
    flags = {"net": net, "model": model, "data": rows, "columns": {"data": column}, "transform": "scale: 0.00390625"}
    expected = forward(net, model, images.astype(np.float32) * np.float32(0.00390625), 4)
    np.testing.assert_array_equal(scores(spark, **flags), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "column"), [("caffenet", "png"), ("googlenet", "image")])
def test_large_nets_score_as_caffe_does(spark, tmp_path, name, column):
    """With a crop and means: what data layers do to images."""
    channels, side, _ = SHAPES[name]
    images = pixels(3, (channels, side + 9, side + 20))
    net, model = write_deployed(tmp_path, name, 2)
    means = np.float32([104, 117, 123]).reshape(3, 1, 1)
    expected = forward(net, model, (images - means)[:, :, 4 : 4 + side, 10 : 10 + side], 2)
    transform = f"crop_size: {side} mean_value: 104 mean_value: 117 mean_value: 123"
    rows = write_rows(tmp_path / "rows", images)
    flags = {"net": net, "model": model, "data": rows, "columns": {"data": column}, "transform": transform}
    np.testing.assert_array_equal(scores(spark, **flags), expected)


def test_the_command_and_a_caffe_model(spark, lenet, tmp_path, monkeypatch, capfd):
    _, net, model, images, rows = lenet
    expected = forward(net, model, images.astype(np.float32), 4)
    monkeypatch.setattr(cli, "start_spark", lambda: contextlib.nullcontext(spark))
    words = ["-test", "-net", net, "-weights", model, "-data", rows, "-columns", "data=floats"]
    assert cli.main([*words, "-output", f"file:{tmp_path}/means"]) == 0
    out, err = capfd.readouterr()
    np.testing.assert_allclose([float(v) for v in out.split(": ")[1].split(",")], expected.mean(axis=0), rtol=1e-5)
    assert "deploy.prototxt has no loss and no accuracy: these are the means of its outputs" in err

    frame = spark.read.parquet(rows).coalesce(1)
    scoring = CaffeModel.fromNet(spark, net=net, model=model, columns={"data": "image"})
    assert scoring.getOrDefault("features") == ["prob"]
    scoring.save(str(tmp_path / "saved"))
    for one in (scoring, CaffeModel.load(str(tmp_path / "saved"))):
        found = {row.id: row.prob for row in one.transform(frame).select("id", "prob").collect()}
        np.testing.assert_array_equal(np.float32([found[f"row{n}"] for n in range(11)]), expected)
    with pytest.raises(ConfigError, match=r"CaffeModel\.fromNet: net is missing"):
        CaffeModel.fromNet(spark, model=model)
    with pytest.raises(ConfigError, match=r"has no blob 'prb'\. Did you mean 'prob'\?"):
        CaffeModel.fromNet(spark, net=net, model=model, features=["prb"])


LABELLED = """
layer { name: "in" type: "Input" top: "x" top: "label" input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
"""


def test_vectors_and_labels_of_a_dataframe(spark, tmp_path, capfd):
    """Several inputs, one of them a label: -test says how good the net is."""
    rng = np.random.default_rng(2)
    points, weights = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal((2, 3)).astype(np.float32)
    (tmp_path / "net.prototxt").write_text(LABELLED)
    blobs = [weights, np.zeros(2, np.float32)]
    write_caffemodel(str(tmp_path / "m.caffemodel"), [LayerWeights("ip", "InnerProduct", list(blobs))])
    labels = rng.integers(0, 2, 20)
    rows = [(f"row{n}", Vectors.dense(point), str(label)) for n, (point, label) in enumerate(zip(points, labels))]
    frame = spark.createDataFrame(rows, ["id", "point", "label"]).coalesce(1)
    config = Config(
        spark, net=str(tmp_path / "net.prototxt"), model=str(tmp_path / "m.caffemodel"), columns={"x": "point"}
    )
    means = CaffeOnSpark(spark).test(DataSource(spark).getSource(config, False, frame))
    right = (points @ weights.T).argmax(axis=1) == labels
    assert means == {"accuracy": pytest.approx([right.mean()], abs=1e-6)}
    assert "has no loss and no accuracy" not in capfd.readouterr().err
    config.features = ["ip"]
    source = DataSource(spark).getSource(config, False, frame.drop("label"))
    found = {row.SampleID: row.ip for row in CaffeOnSpark(spark).features(source).collect()}
    np.testing.assert_allclose([found[f"row{n}"] for n in range(20)], points @ weights.T, rtol=1e-4, atol=1e-5)
    (tmp_path / "net.prototxt").write_text(LABELLED.replace("dim: 3", "dim: 5"))
    with pytest.raises(DataError, match=r"column 'point' has 3 values in its first row; input 'x' takes 5 \(5\)"):
        _ = DataSource(spark).getSource(config, False, frame).plan


REFUSED = {
    "no column": (
        {"columns": {}},
        r"input 'data' reads column 'data', which DataFrame .*rows does not have\. .*-columns data=COLUMN, or",
    ),
    "text": (
        {"columns": {"data": "id"}},
        r"column 'id' is string, which cannot fill input 'data' of 1x28x28: it takes an image \(binary, or Spark's "
        r"image format\), an array of numbers or a Vector",
    ),
    "no data": ({"data": ""}, r"nothing is named that fills the net's inputs \(data\): give -data PATH"),
    "format": ({"dataFormat": "orc"}, r"cannot be read as orc"),
    "crop": ({"transform": "crop_size: 24"}, r"-transform, .*input 'data' is 1x28x28, and crop_size 24 does not give"),
    "mean": ({"transform": "mean_value: 1 mean_value: 2"}, r"input 'data' is 1x28x28, and the mean has 2 channels"),
    "mean file": ({"transform": 'mean_file: "m"'}, r"mean_file m .*does not exist"),
    "width": (
        {"net": "wide", "columns": {"data": "floats"}},
        r"column 'floats' has 784 values in its first row; input 'data' takes 841 \(1x29x29\)",
    ),
    "images": ({"net": "flat"}, r"column 'png' holds images \(binary\), and input 'data' takes 784 numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored(spark, lenet, tmp_path, case):
    flags, message = REFUSED[case]
    _, net, model, _, rows = lenet
    flags = {"net": net, "model": model, "data": rows, "columns": {"data": "png"}, **flags}
    if flags["net"] != net:
        dims = {"wide": "dim: 4 dim: 1 dim: 29 dim: 29", "flat": "dim: 4 dim: 784"}[flags["net"]]
        (tmp_path / "other.prototxt").write_text(f'input: "data" input_shape {{ {dims} }} {IP}')
        flags["net"] = str(tmp_path / "other.prototxt")
    with pytest.raises((ConfigError, DataError), match=message) as raised:
        _ = DataSource(spark).getSource(Config(spark, flags), False).plan
    assert "\n" not in raised.value.message
