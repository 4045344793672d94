"""Nets that make their own data, and data layers with batches of different sizes, on two executors."""

import numpy as np
import pytest

from caffeonspark import CaffeEstimator, CaffeOnSpark, ConfigError, DataSource
from caffeonspark.report import Observer
from tests.support import stock
from tests.support.here import same
from tests.support.training import config_of

SOLVER = (
    'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 6 test_iter: 3 '
    "test_interval: 3"
)
REST = (
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 '
    'weight_filler { type: "xavier" } } }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
)
LAYER = """
import os

import caffe


class Ranks(caffe.Layer):
    def setup(self, bottom, top):
        self.rank, ranks = int(os.environ["CAFFEONSPARK_RANK"]), os.environ["CAFFEONSPARK_RANKS"]
        if len(self.param_str):
            open(os.path.join(self.param_str, f"{self.rank} of {ranks}"), "w").close()
        self.done = 0
        top[0].reshape(4, 2)
        top[1].reshape(4)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].data[...] = [self.rank + 1, self.done]
        top[1].data[...] = 2
        self.done += 1

    def backward(self, top, propagate_down, bottom):
        pass
"""


class Notes(Observer):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def python_net(module, folder=""):
    param = f'module: "{module}" layer: "Ranks" param_str: "{folder}"'
    return f'layer {{ name: "d" type: "Python" top: "data" top: "label" python_param {{ {param} }} }}\n' + REST


def test_a_net_with_a_python_data_layer(spark, tmp_path):
    (tmp_path / "made_of_ranks.py").write_text(LAYER)
    (tmp_path / "seen").mkdir()
    spark.sparkContext.addPyFile(str(tmp_path / "made_of_ranks.py"))
    config = config_of(spark, tmp_path, python_net("made_of_ranks", tmp_path / "seen"), SOLVER, features="data,ip,loss")
    notes = Notes()
    cos, data = CaffeOnSpark(spark, observers=[notes]), DataSource(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {"0 of 1", "0 of 2", "1 of 2"}
    assert [(row.iteration, row.rows) for row in curve] == [(0, 24), (3, 24), (6, 24)]
    assert sum("layer 'd' (Python): each of the 2 ranks makes this data by itself" in line for line in notes.lines) == 1
    means = cos.test(data.getSource(config, False))
    assert list(means) == ["loss"]
    rows = cos.features(data.getSource(config, False)).orderBy("SampleID").collect()
    assert [row.SampleID for row in rows] == sorted(str(number) for number in range(12))
    for row in rows:
        assert row.data == [1, int(row.SampleID) // 4]
    assert means["loss"][0] == pytest.approx(np.mean([row.loss for row in rows]))


def test_a_module_that_executors_do_not_have(spark, tmp_path, monkeypatch):
    (tmp_path / "here_only.py").write_text(LAYER)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = config_of(spark, tmp_path, python_net("here_only"), SOLVER)
    words = r"rank \d of 2 on .*: layer 'd' \(Python\): there is no module 'here_only' on this machine: send it to"
    with pytest.raises(ConfigError, match=words):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))


def test_a_dataframe_cannot_stand_for_data_that_is_made(spark, tmp_path):
    net = (
        'layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 4 dim: 2 } } }\n'
    )
    config_of(spark, tmp_path, net.replace("} } }", "} shape { dim: 4 } } }") + REST, SOLVER)
    frame = spark.range(3)
    with pytest.raises(
        ConfigError, match="layer 'd' \\(DummyData\\) makes the TEST net's data, which a DataFrame cannot"
    ):
        CaffeEstimator(conf=str(tmp_path / "solver.prototxt"), clusterSize=2).fit(frame)


@pytest.fixture(scope="module")
def two_frames(spark, tmp_path_factory):
    """Three images for each text, in parquet files; one layer name for both."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(3)
    images, words = rng.uniform(-1, 1, (60, 2)), rng.integers(0, 3, 20)
    frame = spark.createDataFrame(
        [(f"i{n:02d}", [float(v) for v in row]) for n, row in enumerate(images)], "id string, data array<float>"
    )
    frame.coalesce(1).write.parquet(f"file://{folder}/images")
    frame = spark.createDataFrame([(f"w{n:02d}", int(word)) for n, word in enumerate(words)], "id string, label int")
    frame.coalesce(1).write.parquet(f"file://{folder}/words")
    layer = (
        'layer {{ name: "data" type: "CoSData" top: "{0}" source_class: "CoSData" cos_data_param {{ batch_size: {1} '
        'source: "file:{2}/{3}" dataframe_format: "parquet" top {{ name: "{0}" type: {4} sample_num_axes: {5} }} }} '
        "}}\n"
    )
    pixels = "FLOAT_ARRAY channels: 2"
    net = layer.format("data", 12, folder, "images", pixels, 1) + layer.format("label", 4, folder, "words", "INT", 0)
    net += 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: -1 dim: 6 } } }\n'
    return net + REST.replace('bottom: "data"', 'bottom: "r"'), images.astype(np.float32), words


def test_batches_of_different_sizes(spark, tmp_path, two_frames):
    net, images, words = two_frames
    config = config_of(spark, tmp_path, net, SOLVER, features="data,label")
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    assert [(row.iteration, row.rows) for row in curve] == [(0, 36), (3, 36), (6, 36)]
    # stock Caffe's solver with the batches of both ranks, which it has in turn
    inputs = 'layer { name: "r" type: "Input" top: "r" input_param { shape { dim: 8 dim: 6 } } }\n'
    inputs += 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 8 } } }\n'
    settings = SOLVER.replace('net: "net.prototxt"', "").partition("test_iter")[0]
    solver = stock.make_solver(settings, inputs + REST.replace('bottom: "data"', 'bottom: "r"'))
    rows, parts = images.reshape(20, 6), (list(range(12)), list(range(12, 20)))
    for at in range(6):
        chosen = [part[(4 * at + k) % len(part)] for part in parts for k in range(4)]
        solver.net.blobs["r"].data[...], solver.net.blobs["label"].data[...] = rows[chosen], words[chosen]
        solver.step(1)
    trained = stock.load_weights(tmp_path / "model.caffemodel", inputs + REST.replace('bottom: "data"', 'bottom: "r"'))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(trained, stock.weights(solver.net)))
    found = {row.SampleID: row for row in cos.features(data.getSource(config, False)).collect()}
    assert sorted(found) == [f"i{number:02d}" for number in range(60)]
    for number in range(60):
        row = found[f"i{number:02d}"]
        assert same([np.float32(row.data)], [images[number]])
        assert row.label == [words[number // 3]]
    means = cos.test(data.getSource(config, False))
    logits = rows @ trained[0].T + trained[1]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20), words]
    assert means["loss"][0] == pytest.approx(losses.mean(), rel=1e-5)
