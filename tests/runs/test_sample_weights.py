"""Rows with weights, from a DataFrame to the model: two ranks on Spark against stock Caffe with the rows repeated."""

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataError, DataSource, Observer
from tests.support import stock

SOLVER = 'base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" weight_decay: 0.001 random_seed: 3 max_iter: 6'
WEIGHTS = [0, 1, 2, 3, 0, 0, 1, 0, 5, 1, 1, 1, 0, 4, 1, 2]  # of 8 rows of each of two ranks
COS_DATA = """
layer { name: "rows" type: "CoSData" top: "x" top: "label" top: "sample_weight" include { phase: TRAIN }
  cos_data_param { batch_size: 8
    top { name: "x" type: FLOAT_ARRAY channels: 4 sample_num_axes: 1 }
    top { name: "label" type: INT }
    top { name: "sample_weight" type: FLOAT } } }
"""
LAYERS = """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


class Heard(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def config_of(spark, folder, net, **flags):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" {SOLVER}')
    model = f"file:{folder}/m.caffemodel"
    return Config(spark, conf=str(folder / "solver.prototxt"), model=model, clusterSize=2, quiet=True, **flags)


def test_rows_with_weights(spark, tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.random((16, 4)).astype(np.float32), rng.integers(0, 3, 16)
    rows = [(f"row {n}", x[n].tolist(), int(labels[n]), float(WEIGHTS[n])) for n in range(16)]
    rows.insert(3, ("the odd one", [0.0] * 4, 1, -0.5))
    frame = spark.createDataFrame(rows, ["id", "x", "label", "sample_weight"])
    config = config_of(spark, tmp_path, COS_DATA + LAYERS, badRecordsMax=0.1)
    heard = Heard()
    cos, sources = CaffeOnSpark(spark, observers=[heard]), DataSource(spark)
    with pytest.raises(DataError, match=r"record 'the odd one': top 'sample_weight' is -0.5; a weight is 0 or more"):
        cos.train(sources.getSource(config, True, dataframe=frame))
    config.badRecords = "skip"
    cos.train(sources.getSource(config, True, dataframe=frame))
    assert any("top 'sample_weight' weighs the samples in training (loss 'loss')" in note for note in heard.notes)

    net = stock.input_net(sum(WEIGHTS), (4,), LAYERS.replace('"x"', '"data"'))
    one = stock.make_solver(SOLVER, net)
    stock.load(one.net, (np.repeat(x, WEIGHTS, 0), np.repeat(labels, WEIGHTS)))
    losses = []
    for _ in range(6):
        one.step(1)
        losses.append(float(one.net.blobs["loss"].data))
    np.testing.assert_allclose([loss for _, loss, _ in cos.result.history], losses, rtol=1e-5)
    for mine, theirs in zip(stock.load_weights(tmp_path / "m.caffemodel", net), stock.weights(one.net)):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


def test_a_loss_that_cannot_is_refused_before_anything_starts(spark, tmp_path):
    frame = spark.createDataFrame([([0.0] * 4, 1, 1.0)], ["x", "label", "sample_weight"])
    config = config_of(spark, tmp_path, COS_DATA + LAYERS.replace("SoftmaxWithLoss", "HingeLoss"))
    with pytest.raises(ConfigError, match=r"net\.prototxt: layer 'loss' \(HingeLoss\) cannot weigh samples"):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True, dataframe=frame))
