"""Nets whose data are columns: whatever the columns hold, they are trained as with data layers of their own."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import SparseVector, Vectors
from pyspark.sql import functions as F

from caffeonspark import Config, ConfigError, DataError, nets
from caffeonspark.data.records import BadRecords
from caffeonspark.ml.nets import DEFAULT_BATCH_SIZE, fed, given_text
from caffeonspark.nets.net import TEST
from caffeonspark.plans.net_source import NetSource
from caffeonspark.report import observers_for
from caffeonspark.runs.run import train
from tests.nets.test_columns import COS, LMDB, TRAINED, inputs, ip, loss
from tests.support import stock

SIDE = 12
SGD = 'type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 12\n'


def png(image):
    out = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)[:, :, ::-1]).save(out, "PNG")
    return out.getvalue()


IMAGE = "struct<origin: string, height: int, width: int, nChannels: int, mode: int, data: binary>"
SCHEMA = f"""id string, png binary, image {IMAGE}, sized struct<height: int, width: int, image: binary>, raw binary,
ints array<int>, floats array<float>, label int, text string, word string, one array<double>, weight double,
number double, nothing array<float>, `a.b` array<double>, `c``d` int"""


@pytest.fixture(scope="module")
def frame(spark, small_images):
    rows = []
    for number, (image, label) in enumerate(zip(*small_images)):
        pixels = image.transpose(1, 2, 0).tobytes()
        scaled = (image.astype(np.float32) * np.float32(stock.SCALE)).reshape(-1)
        file, label = png(image), int(label)
        images_ = [file, ("", SIDE, SIDE, 1, 0, pixels), (SIDE, SIDE, file), pixels]
        numbers = [[int(v) for v in image.reshape(-1)], [float(v) for v in scaled]]
        labels = [label, str(label), f"class {label}", [float(label)], 1.0, label / 10, None]
        rows.append((f"id{number:03}", *images_, *numbers, *labels, [float(v) for v in scaled[:6]], label))
    made = spark.createDataFrame(rows, SCHEMA).coalesce(1)
    return made.withColumn("vector", array_to_vector(F.col("floats").cast("array<double>"))).cache()


def config_of(text, session=None, **flags):
    return Config(session, conf=given_text(None, text, Config(None).files), **flags)


def feed(text, frame, features=(), label="label", weight="", size=None):
    return fed(config_of(text).nets, frame, list(features), label, weight, size)


def shapes(net):
    (layer,) = net.data_layers()
    return {top: tuple(shape.dim) for top, shape in zip(layer.top, layer.input_param.shape)}


@dataclass(frozen=True)
class Settled:
    run_config: Any
    engine: Any

    def load_engine(self):
        return self.engine


def source_of(config, nets_, net, frame):
    settled = Settled(replace(config.run_config, nets=nets_), config.load_engine())
    return NetSource(settled, net, frame)


def first_blobs(source):
    """The blobs of the first rows, by top."""
    (one,) = source.sources
    one.settle()
    records = one.reader().decode(one.frame().limit(5)._collect_as_arrow()[0], BadRecords(one.description))
    found = {}
    for top, column in zip(one.tops, records.columns):
        found[top.name] = np.full((len(records), *top.shape), np.nan, np.float32)
        top.fill(column, found[top.name], np.zeros((len(records), 3)))
    return found


# ---- shapes and values

CONV = stock.LAYERS
SUM = ip("a", "ia") + ip("b", "ib")
SUM += 'layer { name: "sum" type: "Eltwise" bottom: "ia" bottom: "ib" top: "ip" }'
FLAT = ip("data", "ip") + loss("ip", "label")


@pytest.mark.parametrize(
    ("net", "column", "shape", "scaled"),
    [
        (FLAT, "vector", (144,), True),
        (FLAT, "floats", (144,), True),
        (FLAT, "ints", (144,), False),
        (FLAT, "number", (1,), None),
        (FLAT, "a.b", (6,), None),
        (FLAT, "png", (1, 12, 12), False),
        (CONV, "vector", (1, 12, 12), True),
        (CONV, "ints", (1, 12, 12), False),
        (CONV, "png", (1, 12, 12), False),
        (CONV, "image", (1, 12, 12), False),
        (CONV, "sized", (1, 12, 12), False),
        (inputs("dim: 7 dim: 1 dim: 12 dim: 12") + CONV, "floats", (1, 12, 12), True),
        (inputs("dim: 7 dim: 3 dim: 12 dim: 12") + CONV, "png", (3, 12, 12), None),
    ],
)
def test_columns_of_every_kind(frame, small_images, net, column, shape, scaled):
    found = feed(net, frame, [column])
    assert (found.features, found.labels) == (("data",), ("label",))
    size = 7 if "dim: 7" in net else DEFAULT_BATCH_SIZE
    for one in (found.nets.train, *found.nets.tests):
        assert shapes(one) == {"data": (size, *shape), "label": (size,)}
    assert [one.phase for one in found.nets.tests] == [TEST]
    if scaled is not None:
        config = config_of(net, frame.sparkSession)
        blobs = first_blobs(source_of(config, found.nets, found.nets.train, frame))
        expected = small_images[0][:5].astype(np.float32) * np.float32(stock.SCALE if scaled else 1)
        np.testing.assert_array_equal(blobs["data"], expected.reshape(5, *shape))
        np.testing.assert_array_equal(blobs["label"], small_images[1][:5])


@pytest.mark.parametrize(("column", "shape"), [("text", ()), ("c`d", ()), ("one", (1,)), ("floats", (144,))])
def test_labels_of_every_kind(frame, column, shape):
    kind = "SoftmaxWithLoss" if column != "floats" else "EuclideanLoss"
    found = feed(ip("data", "ip", 144) + loss("ip", "label", kind=kind), frame, ["vector"], column)
    assert shapes(found.nets.train)["label"] == (DEFAULT_BATCH_SIZE, *shape)


def test_sparse_vectors_and_dense_ones(spark):
    rows = [(SparseVector(4, {1: 2.0}), 0), (Vectors.dense([1, 2, 3, 4]), 1)]
    frame = spark.createDataFrame(rows, ["features", "label"]).coalesce(1)
    found = feed(nets.mlp([4, 3, 2]), frame, ["features"], size=2)
    assert shapes(found.nets.train) == {"data": (2, 4), "label": (2,)}
    config = config_of(nets.mlp([4, 3, 2]), spark)
    blobs = first_blobs(source_of(config, found.nets, found.nets.train, frame))
    np.testing.assert_array_equal(blobs["data"], [[0, 2, 0, 0], [1, 2, 3, 4]])


def test_nulls_are_not_looked_at(spark):
    rows = [(Vectors.dense([1, 2, 3]), 0), (None, 1)]
    frame = spark.createDataFrame(rows, ["features", "label"]).coalesce(1).orderBy("label", ascending=False)
    assert frame.first().features is None
    assert shapes(feed(FLAT, frame, ["features"]).nets.train)["data"] == (DEFAULT_BATCH_SIZE, 3)


def test_several_inputs_find_their_columns(frame):
    net = SUM.replace('"b"', '"floats"') + loss("ip", "label")
    for features in (["a.b", "floats"], ["floats", "a.b"], ["a.b"]):  # by name, in order, and a column of its own
        found = feed(net, frame, features)
        assert found.features == ("a", "floats")
        (layer,) = found.nets.train.data_layers()
        assert [block.name for block in layer.cos_data_param.top] == ["a.b", "floats", "label"]
        assert shapes(found.nets.train) == {"a": (64, 6), "floats": (64, 144), "label": (64,)}


def test_several_columns_of_numbers_are_one_input(frame, small_images):
    for net in (FLAT, nets.mlp([9, 10])):
        found = feed(net, frame, ["number", "a.b", "c`d", "one"])
        assert shapes(found.nets.train) == {"data": (64, 9), "label": (64,)}
        blobs = first_blobs(source_of(config_of(net, frame.sparkSession), found.nets, found.nets.train, frame))
        labels = small_images[1][:5].astype(np.float32)[:, np.newaxis]
        scaled = small_images[0][:5].astype(np.float32).reshape(5, -1)[:, :6] * np.float32(stock.SCALE)
        np.testing.assert_array_equal(blobs["data"], np.hstack([labels / np.float32(10), scaled, labels, labels]))
    with pytest.raises(ConfigError, match=r"input 'data' reads column 'a\.b', which the given DataFrame does not have"):
        config = config_of(FLAT, frame.sparkSession)
        source_of(config, found.nets, found.nets.train, frame.select("number", "label", "one")).sources[0].settle()


def test_two_labels_have_columns_of_their_names(frame):
    net = ip("data", "ia") + loss("ia", "number", kind="EuclideanLoss") + ip("data", "ib") + loss("ib", "digit")
    found = feed(net, frame, ["vector"])
    assert found.labels == ("number", "digit")
    (layer,) = found.nets.train.data_layers()
    assert [block.name for block in layer.cos_data_param.top] == ["vector", "number", "label"]


def test_a_net_that_learns_without_labels(frame):
    net = ip("data", "ip", 144) + loss("ip", "data", kind="EuclideanLoss")
    found = feed(net, frame, ["vector"], label="")
    assert (found.features, found.labels) == (("data",), ())


def test_weights_are_of_train_only(frame):
    found = feed(FLAT, frame, ["vector"], weight="weight", size=8)
    assert shapes(found.nets.train) == {"data": (8, 144), "label": (8,), "sample_weight": (8,)}
    assert shapes(found.nets.tests[0]) == {"data": (8, 144), "label": (8,)}
    (layer,) = found.nets.train.data_layers()
    assert layer.cos_data_param.top[2].name == "weight"


def test_data_layers_are_replaced(frame, small_images):
    """With their transformations, tops and batch sizes; a crop is taken of images, at random in TRAIN only."""
    phases = [LMDB % (f"include {{ phase: {name} }}", size, "") for name, size in (("TRAIN", 7), ("TEST", 9))]
    found = feed("".join(phases) + TRAINED, frame, ["png"])
    assert shapes(found.nets.train) == {"data": (7, 1, 3, 3), "label": (7,)}
    assert shapes(found.nets.tests[0]) == {"data": (9, 1, 3, 3), "label": (9,)}
    config = config_of("".join(phases) + TRAINED, frame.sparkSession)
    source = source_of(config, found.nets, found.nets.train, frame)
    source.sources[0].settle()
    transform = source.sources[0].tops[0].transform
    assert (transform.train, transform.mirror, transform.crop) == (True, True, 3)
    only_train = feed(phases[0] + TRAINED, frame, ["png"])
    test = source_of(config, only_train.nets, only_train.nets.tests[0], frame)
    test.sources[0].settle()
    assert not test.sources[0].tops[0].is_random
    expected = small_images[0][:5, :, 4:7, 4:7].astype(np.float32) - np.float32(4)
    np.testing.assert_array_equal(first_blobs(test)["data"], expected)


def test_cos_data_keeps_its_types(frame, small_images):
    net = COS.replace("height: 6 width: 7", "height: 12 width: 12").replace("mirror: true", "scale: 0.5") + TRAINED
    raw = feed(net, frame, ["raw"])
    config = config_of(net, frame.sparkSession)
    source = source_of(config, raw.nets, raw.nets.tests[0], frame)
    expected = small_images[0][:5, :, 3:8, 3:8].astype(np.float32) * np.float32(0.5)
    np.testing.assert_array_equal(first_blobs(source)["data"], expected)
    (one,) = source_of(config, raw.nets, raw.nets.train, frame).sources
    one.settle()
    assert one.shuffle
    image = feed(net, frame, ["image"])  # which RAW_IMAGE does not read
    np.testing.assert_array_equal(
        first_blobs(source_of(config, image.nets, image.nets.tests[0], frame))["data"], expected
    )


# ---- training


def trained(frame, folder, text, ranks, features=()):
    """The weights after 12 iterations over these ranks."""
    folder.mkdir()
    model = f"file:{folder}/model.caffemodel"
    conf = given_text(SGD, text, Config(None).files)
    config = Config(frame.sparkSession, conf=conf, model=model, clusterSize=ranks, quiet=True)
    found = fed(config.nets, frame, features, "label", "", 10).nets if features else config.nets
    source = source_of(config, found, found.train, frame)
    run = source.run_config
    train(run, source, [], observers_for(run, keep=False))
    return stock.load_weights(folder / "model.caffemodel", stock.input_net(10))


BLOCKS = """layer { name: "data" type: "CoSData" top: "data" top: "label" source_class: "DataFrameSource"
  cos_data_param { batch_size: 10 top { name: "floats" type: FLOAT_ARRAY channels: 1 height: 12 width: 12 }
  top { name: "label" type: FLOAT sample_num_axes: 0 } } }
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_train_as_with_data_layers_and_as_stock_caffe(frame, tmp_path, small_images, ranks):
    ours = trained(frame, tmp_path / "fed", inputs("dim: 3 dim: 1 dim: 12 dim: 12") + CONV, ranks, ["vector"])
    cos = trained(frame, tmp_path / "cos", BLOCKS + CONV, ranks) if ranks == 2 else ours
    solver, _ = stock.train_in_turn(SGD, ranks, 10, 12, *small_images)
    for one, other, expected in zip(ours, cos, stock.weights(solver.net)):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, expected)


# ---- what is wrong

ERRORS = {
    "a deploy net": (inputs() + ip("data", "ip"), {}, r"^solver\.prototxt: the net has no loss, so there is nothing"),
    "no such features": (
        FLAT,
        {"features": ["vectr"]},
        r"^featuresCol: the DataFrame has no column 'vectr'\. Did you mean 've",
    ),
    "no such label": (
        FLAT,
        {"label": "labl"},
        r"^labelCol: the DataFrame has no column 'labl'\. Did you mean 'label'\?$",
    ),
    "no such weight": (FLAT, {"weight": "w"}, r"^weightCol: the DataFrame has no column 'w'\."),
    "a weight in words": (FLAT, {"weight": "word"}, r"^weightCol: column 'word' is string: weights are numbers$"),
    "a label in words": (
        FLAT,
        {"label": "word"},
        r"^labelCol: column 'word' is text \('class \d'\), and labels are numbers: StringIndexer makes them$",
    ),
    "no label": (FLAT, {"label": ""}, None),
    "one column for two": (
        SUM + loss("ip", "label"),
        {},
        r"^solver\.prototxt: no column fills 'b': the net takes 'a', 'b', and featuresCol names 'vector': a column",
    ),
    "a misspelt bottom": (
        inputs("dim: 4 dim: 144") + ip("data", "ip1") + loss("ip11", "label"),
        {},
        r"^solver\.prototxt: no column fills 'ip11': .* featuresCol names 'vector': .*\. Did you mean 'ip1'\?$",
    ),
    "two columns for one": (
        FLAT,
        {"features": ["png", "number"]},
        r"^solver\.prototxt: featuresCol names 2 columns, and the net takes 1 \('data'\): give it one for each",
    ),
    "three columns for two": (
        SUM + loss("ip", "label"),
        {"features": ["vector", "number", "floats"]},
        r"^solver\.prototxt: featuresCol names 3 columns, and the net takes 2 \('a', 'b'\): give it one for each;",
    ),
    "two labels": (
        ip("data", "ia") + loss("ia", "x", kind="EuclideanLoss") + ip("data", "ib") + loss("ib", "y"),
        {},
        r"^solver\.prototxt: losses compare with 'x', 'y', and labelCol names the one column 'label': ",
    ),
    "no square image": (
        CONV,
        {"features": ["a.b"]},
        r"^solver\.prototxt: layer 'conv' \(Convolution\) takes images, and the 6 numbers in a row of column 'a\.b'",
    ),
    "only nulls": (
        FLAT,
        {"features": ["nothing"]},
        r"^each row of the DataFrame has a null in 'nothing': there is none to take shapes from$",
    ),
    "no image": (
        FLAT,
        {"features": ["raw"]},
        r"^column 'raw' has no image that can be decoded in its first rows: ",
    ),
    "a blob of the weights' name": (
        ip("data", "sample_weight") + loss("sample_weight", "label"),
        {"weight": "weight"},
        r"^solver\.prototxt: weightCol: the net makes a blob 'sample_weight' itself: give it another name$",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_one_line(frame, case):
    net, given, message = ERRORS[case]
    if message is None:
        assert feed(net, frame, **{"features": ["vector"], **given}).labels == ("label",)  # a column of its own name
        return
    with pytest.raises((ConfigError, DataError), match=message) as raised:
        feed(net, frame, **{"features": ["vector"], **given})
    assert "\n" not in raised.value.message


def test_no_rows(frame):
    empty = frame.limit(0)
    with pytest.raises(DataError, match=r"^there is no row to train on: the DataFrame is empty$"):
        feed(FLAT, empty, ["vector"])
    net = nets.mlp([144, 10])  # whose shapes are known
    found = feed(net, empty, ["vector"])
    source = source_of(config_of(net, frame.sparkSession), found.nets, found.nets.train, empty)
    with pytest.raises(DataError, match=r"the given DataFrame is empty$"):
        source.sources[0].open()


@pytest.mark.parametrize(
    ("net", "column", "message"),
    [
        (
            nets.mlp([30, 10]),
            "vector",
            r"column 'vector' has 144 values in its first row; input 'data' takes 30 \(30\)$",
        ),
        (
            nets.lenet(),
            "png",
            r"column 'png': record 'id000': the image is 12x12 and does not fill the blob's 1x28x28; -resize would",
        ),
        (
            nets.lenet(),
            "image",
            r"column 'image': record 'id000': the image is 12x12 and does not fill the blob's 1x28x28; -resize would",
        ),
        (
            nets.lenet(),
            "raw",
            r"column 'raw': record 'id000': the image cannot be decoded: .*; input 'data' takes 1x28x28$",
        ),
        (nets.mlp([30, 10]), "png", r"column 'png' holds images \(binary\), and input 'data' takes 30 numbers"),
        (nets.mlp([30, 10]), "number", r"column 'number' is double, which cannot fill input 'data' of 30"),
    ],
)
def test_rows_that_the_net_says_no_to(frame, net, column, message):
    found = feed(net, frame, [column])
    source = source_of(config_of(net, frame.sparkSession), found.nets, found.nets.train, frame)
    with pytest.raises((ConfigError, DataError), match=message) as raised:
        source.sources[0].open()
    assert "\n" not in raised.value.message
