"""Deploy nets of our own prototxts, with random weights, and what stock Caffe computes with them."""

import numpy as np
from google.protobuf import text_format

from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.nets.deploy import deploy_net, set_shapes
from caffeonspark.nets.net import TEST, TRAIN, net_in_phase
from caffeonspark.nets.prototxt import parse_net
from tests.support.paths import ROOT
from tests.support.stock import caffe

SHAPES = {"lenet_lmdb": (1, 28, 28), "caffenet": (3, 227, 227), "googlenet": (3, 224, 224)}

TWO_HEADS = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" inner_product_param { num_output: 1 } }
"""


def write_deployed(folder, name, batch):
    """deploy.prototxt of a net of prototxt/ and random.caffemodel, written by stock Caffe; (their paths)."""
    path = f"{ROOT}/prototxt/{name}_train_test.prototxt"
    with open(path, "rb") as f:
        message = parse_net(f.read(), path)
    nets = [net_in_phase(message, path, phase) for phase in (TEST, TRAIN)]
    text = text_format.MessageToString(set_shapes(deploy_net(*nets), {"data": (batch, *SHAPES[name])}))
    (folder / "deploy.prototxt").write_text(text)
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    fill(net)
    net.save(str(folder / "random.caffemodel"))
    return str(folder / "deploy.prototxt"), str(folder / "random.caffemodel")


def write_two_heads(folder, seed=3):
    """A small net with probabilities, "prob", and a single score, "one", of three numbers "x"; (net, model): paths."""
    (folder / "net.prototxt").write_text(TWO_HEADS)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    fill(net, seed)
    net.save(str(folder / "m.caffemodel"))
    return str(folder / "net.prototxt"), str(folder / "m.caffemodel")


def fill(net, seed=3):
    """Random weights that keep the blobs' numbers of one size."""
    rng = np.random.default_rng(seed)
    for blobs in net.params.values():
        for blob in blobs:
            inputs = max(1, blob.count // max(1, blob.data.shape[0]))
            drawn = rng.standard_normal(blob.data.shape, np.float32)
            blob.data[...] = drawn * np.float32((2 / inputs) ** 0.5 if blob.data.ndim > 1 else 0.01)


def forward(deploy, model, images, batch, blob="prob"):
    """A blob of plain pycaffe's net for every image, in batches; the last one smaller.

    ``images`` fill the input ``data``; or they are a dict of what fills each input.
    """
    inputs = images if isinstance(images, dict) else {"data": images}
    net = caffe.Net(deploy, model, caffe.TEST)
    found = []
    for start in range(0, len(next(iter(inputs.values()))), batch):
        for name, values in inputs.items():
            part = values[start : start + batch]
            net.blobs[name].reshape(*part.shape)
            net.blobs[name].data[...] = part
        net.forward()
        found += [row.reshape(-1).copy() for row in net.blobs[blob].data]
    return np.array(found)


def scores(spark, blob="prob", **flags):
    """The same by -features, of rows whose ids are row0, row1, …"""
    config = Config(spark, features=[blob], quiet=True, **flags)
    rows = CaffeOnSpark(spark).features(DataSource(spark).getSource(config, False)).collect()
    return np.array([row[blob] for row in sorted(rows, key=lambda row: int(row.SampleID[3:]))], np.float32)
