"""Deploy nets made from nets that are trained: what goes, what stays, and what comes instead."""

import pytest
from google.protobuf import text_format

from caffeonspark.errors import ConfigError
from caffeonspark.nets.deploy import data_inputs, deploy_net, set_shapes
from caffeonspark.nets.net import TEST, TRAIN, net_in_phase
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.nets.schema import SolverParameter
from tests.support.paths import ROOT

DATA = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "lmdb" batch_size: 2 } }\n'
IP = 'layer { name: "%s" type: "InnerProduct" bottom: "%s" top: "%s" inner_product_param { num_output: 2 } }\n'
LOSS = 'layer { name: "%s" type: "%s" bottom: "%s" bottom: "%s" top: "%s" %s }\n'


def deployed(text):
    message = parse_net(text.encode(), "net.prototxt")
    state = SolverParameter().test_state.add(stage=["test-on-test"])  # of the autoencoder
    test, train = (net_in_phase(message, "net.prototxt", phase, state) for phase in (TEST, TRAIN))
    return deploy_net(test, train)


def layers(message):
    return [f"{layer.type} {','.join(layer.bottom)}>{','.join(layer.top)}" for layer in message.layer]


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("lenet_lmdb", 9, "Softmax ip2>prob"),
        ("lenet_cos", 9, "Softmax ip2>prob"),
        ("lenet_memory", 9, "Softmax ip2>prob"),
        ("cifar10_full", 14, "Softmax ip1>prob"),
        ("caffenet", 24, "Softmax fc8>prob"),
        ("mnist_autoencoder", None, "Sigmoid decode1>decode1neuron"),
        ("googlenet", 143, "Softmax loss3/classifier>prob"),
    ],
)
def test_our_nets(name, count, last):
    message = deployed((ROOT / "prototxt" / f"{name}_train_test.prototxt").read_text())
    assert data_inputs(message) == ["data"]
    made = layers(message)
    assert made[0] == "Input >data"
    assert made[-1] == last
    assert count is None or len(made) == count
    assert not any("label" in layer or "flatdata>" in layer or "loss1" in layer for layer in made)
    text = text_format.MessageToString(set_shapes(message, {"data": (1, 3, 8, 8)}))
    for word in ("lr_mult", "include", "filler", "loss_weight", "source_class", "cos_data_param", "transform_param"):
        assert word not in text


CASES = {
    "a loss of the TRAIN phase": (
        DATA
        + IP % ("ip", "data", "ip")
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", "include { phase: TRAIN }")
        + LOSS % ("acc", "Accuracy", "ip", "label", "acc", ""),
        ["Input >data", "InnerProduct data>ip", "Softmax ip>prob"],
    ),
    "a softmax that is there": (
        DATA
        + IP % ("ip", "data", "ip")
        + 'layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }'
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", ""),
        ["Input >data", "InnerProduct data>ip", "Softmax ip>p"],
    ),
    "scores are outputs": (
        DATA + IP % ("ip", "data", "ip") + LOSS % ("loss", "HingeLoss", "ip", "label", "loss", ""),
        ["Input >data", "InnerProduct data>ip"],
    ),
    "a regression, its label first": (
        DATA + IP % ("ip", "data", "ip") + LOSS % ("loss", "EuclideanLoss", "label", "ip", "loss", ""),
        ["Input >data", "InnerProduct data>ip"],
    ),
    "two tasks": (
        DATA
        + 'layer { name: "s" type: "Slice" bottom: "label" top: "a" top: "b" }'
        + IP % ("x", "data", "x")
        + IP % ("y", "data", "y")
        + LOSS % ("lx", "SoftmaxWithLoss", "x", "a", "lx", "")
        + LOSS % ("ly", "SoftmaxWithLoss", "y", "b", "ly", "loss_weight: 0.5"),
        [
            "Input >data",
            "InnerProduct data>x",
            "InnerProduct data>y",
            "Softmax x>prob_lx",
            "Softmax y>prob_ly",
        ],
    ),
    "pairs": (
        'layer { name: "d" type: "Data" top: "pair" top: "sim" data_param { source: "lmdb" batch_size: 2 } }\n'
        + 'layer { name: "s" type: "Slice" bottom: "pair" top: "data" top: "data_p" }'
        + IP % ("x", "data", "x")
        + IP % ("y", "data_p", "y")
        + 'layer { name: "loss" type: "ContrastiveLoss" bottom: "x" bottom: "y" bottom: "sim" top: "loss" }',
        ["Input >pair", "Slice pair>data,data_p", "InnerProduct data>x", "InnerProduct data_p>y"],
    ),
    "a loss made of layers": (
        DATA
        + IP % ("ip", "data", "ip")
        + 'layer { name: "e" type: "Eltwise" bottom: "ip" bottom: "label" top: "e" }'
        + 'layer { name: "r" type: "Reduction" bottom: "e" top: "r" loss_weight: 1 }',
        ["Input >data", "InnerProduct data>ip"],
    ),
    "columns": (
        'layer { name: "d" type: "CoSData" top: "words" top: "cont" top: "target" source_class: "CoSData" '
        'cos_data_param { source: "x" batch_size: 2 top { name: "w" } top { name: "c" } top { name: "t" } } }'
        + 'layer { name: "lstm" type: "LSTM" bottom: "words" bottom: "cont" top: "lstm" }'
        + LOSS % ("loss", "SoftmaxWithLoss", "lstm", "target", "loss", "softmax_param { axis: 2 }"),
        ["Input >words", "Input >cont", "LSTM words,cont>lstm", "Softmax lstm>prob"],
    ),
    "a regression of columns, its label first": (
        'layer { name: "d" type: "HDF5Data" top: "target" top: "x" hdf5_data_param { source: "l" batch_size: 2 } }'
        + IP % ("ip", "x", "ip")
        + LOSS % ("loss", "EuclideanLoss", "target", "ip", "loss", ""),
        ["Input >x", "InnerProduct x>ip"],
    ),
    "a layer that computes and is weighed": (
        DATA
        + 'layer { name: "x" type: "Power" bottom: "data" top: "x" loss_weight: 0.1 }'
        + IP % ("ip", "x", "ip")
        + 'layer { name: "r" type: "ReLU" bottom: "ip" top: "ip" loss_weight: 0.1 }'
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", ""),
        ["Input >data", "Power data>x", "InnerProduct x>ip", "ReLU ip>ip", "Softmax ip>prob"],
    ),
    "inputs, of which one is a label": (
        'layer { name: "d" type: "Input" top: "x" top: "label" '
        "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }"
        + IP % ("ip", "x", "ip")
        + LOSS % ("acc", "Accuracy", "ip", "label", "acc", "")
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", ""),
        ["Input >x", "InnerProduct x>ip", "Softmax ip>prob"],
    ),
    "a Python data layer": (
        'layer { name: "d" type: "Python" top: "x" top: "label" python_param { module: "m" layer: "Voc" } }'
        + IP % ("ip", "x", "ip")
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", ""),
        ["Input >x", "InnerProduct x>ip", "Softmax ip>prob"],
    ),
    "constants beside data": (
        DATA
        + 'layer { name: "k" type: "DummyData" top: "k" dummy_data_param { shape { dim: 2 dim: 3 } } }'
        + 'layer { name: "c" type: "Concat" bottom: "data" bottom: "k" top: "c" }'
        + IP % ("ip", "c", "ip")
        + LOSS % ("loss", "SoftmaxWithLoss", "ip", "label", "loss", ""),
        ["Input >data", "DummyData >k", "Concat data,k>c", "InnerProduct c>ip", "Softmax ip>prob"],
    ),
    "silence": (
        DATA
        + 'layer { name: "silent" type: "Silence" bottom: "label" }'
        + IP % ("prob", "data", "prob")
        + LOSS % ("loss", "SoftmaxWithLoss", "prob", "label", "loss", ""),
        ["Input >data", "InnerProduct data>prob", "Softmax prob>prob_"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_constructs(case):
    text, wanted = CASES[case]
    message = deployed(text)
    assert layers(message) == wanted
    if case == "columns":
        assert message.layer[-1].softmax_param.axis == 2


def test_shared_parameters_keep_their_names():
    one = IP.replace("inner_product_param", 'param { name: "w" lr_mult: 2 } param { lr_mult: 1 } inner_product_param')
    message = deployed(DATA + one % ("x", "data", "x") + IP % ("y", "x", "y"))
    assert [param.name for param in message.layer[1].param] == ["w", ""]
    assert not message.layer[2].param


def test_nothing_is_left():
    with pytest.raises(
        ConfigError, match=r"net.prototxt: nothing is left of the TEST net without its losses and the labels"
    ):
        deployed(DATA + LOSS % ("e", "Eltwise", "data", "label", "e", ""))
