"""Nets that are made by a call: what they are, that stock Caffe builds and trains them, and what is no argument."""

import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format

import caffeonspark.nets
from caffeonspark import ConfigError, nets
from caffeonspark.nets.models import lenet, mlp
from caffeonspark.nets.schema import NetParameter
from tests.support import stock
from tests.support.stock import caffe


def layers(net):
    return [f"{layer.type} {','.join(layer.bottom)}>{','.join(layer.top)}" for layer in net.layer]


def stock_text(net, *label):
    """The net with a layer for its labels, for stock Caffe."""
    whole = NetParameter()
    whole.CopyFrom(net)
    made = whole.layer.add(name="label", type="Input", top=["label"])
    made.input_param.shape.add().dim.extend((64, *label))
    order = [len(whole.layer) - 1, *range(len(whole.layer) - 1)]
    text = NetParameter(layer=[whole.layer[number] for number in order])
    return text_format.MessageToString(text)


def test_the_names_are_public_and_loaded_late():
    assert nets.mlp is caffeonspark.nets.mlp is mlp
    assert nets.lenet is lenet
    assert {"mlp", "lenet"} <= set(dir(nets))
    with pytest.raises(AttributeError, match=r"module 'caffeonspark.nets' has no attribute 'mpl'"):
        _ = nets.mpl
    code = "import sys, caffeonspark; from caffeonspark import nets; assert 'google.protobuf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code + "; import caffeonspark.nets; caffeonspark.nets.mlp"], check=True)


def test_a_perceptron():
    net = mlp(layers=[784, 256, 128, 10], activation="tanh", dropout=0.25)
    assert layers(net) == [
        "Input >data",
        "InnerProduct data>ip1",
        "TanH ip1>ip1",
        "Dropout ip1>ip1",
        "InnerProduct ip1>ip2",
        "TanH ip2>ip2",
        "Dropout ip2>ip2",
        "InnerProduct ip2>ip3",
        "Accuracy ip3,label>accuracy",
        "SoftmaxWithLoss ip3,label>loss",
    ]
    assert list(net.layer[0].input_param.shape[0].dim) == [64, 784]
    assert [layer.inner_product_param.num_output for layer in net.layer if layer.type == "InnerProduct"] == [
        256,
        128,
        10,
    ]
    assert {layer.dropout_param.dropout_ratio for layer in net.layer if layer.type == "Dropout"} == {0.25}
    assert len({layer.name for layer in net.layer}) == len(net.layer)


@pytest.mark.parametrize(("activation", "hidden"), [("relu", "msra"), ("tanh", "xavier"), ("sigmoid", "xavier")])
def test_fillers_go_with_the_activation(activation, hidden):
    products = [layer for layer in mlp([4, 3, 2], activation).layer if layer.type == "InnerProduct"]
    assert [layer.inner_product_param.weight_filler.type for layer in products] == [hidden, "xavier"]


@pytest.mark.parametrize(
    ("layers_", "loss", "label"),
    [
        ([5, 4, 3], "softmax", ()),
        ([5, 4, 1], "euclidean", ()),
        ([5, 2], "euclidean", (2,)),
        ([5, 4, 1], "sigmoid", (1,)),
    ],
)
def test_stock_caffe_learns_with_each_loss(layers_, loss, label):
    net = mlp(layers_, loss=loss, dropout=0.1)
    solver = stock.make_solver('base_lr: 0.2 lr_policy: "fixed" random_seed: 1 max_iter: 60', stock_text(net, *label))
    rng = np.random.default_rng(1)
    data = rng.standard_normal((64, layers_[0])).astype(np.float32)
    wanted = data[:, : max(layers_[-1], 1)] if loss == "euclidean" else data[:, :1] > 0
    solver.net.blobs["data"].data[...] = data
    solver.net.blobs["label"].data[...] = np.float32(wanted).reshape(64, *label)
    losses = []
    for _ in range(120):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    assert np.mean(losses[-10:]) < 0.7 * losses[0]


def test_lenet_is_that_of_caffes_examples(tmp_path):
    net = lenet(dropout=0.5)
    assert layers(net) == [
        "Input >data",
        "Convolution data>conv1",
        "Pooling conv1>pool1",
        "Convolution pool1>conv2",
        "Pooling conv2>pool2",
        "InnerProduct pool2>ip1",
        "ReLU ip1>ip1",
        "Dropout ip1>ip1",
        "InnerProduct ip1>ip2",
        "Accuracy ip2,label>accuracy",
        "SoftmaxWithLoss ip2,label>loss",
    ]
    (tmp_path / "net.prototxt").write_text(stock_text(lenet(classes=4, channels=3, height=32, width=40)))
    built = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert built.blobs["data"].data.shape == (64, 3, 32, 40)
    assert {name: built.blobs[name].data.shape[1:] for name in ("conv1", "pool2", "ip1", "ip2")} == {
        "conv1": (20, 28, 36),
        "pool2": (50, 5, 7),
        "ip1": (500,),
        "ip2": (4,),
    }
    assert "accuracy" in built.blobs
    assert "accuracy" not in caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN).blobs


@pytest.mark.parametrize("side", [16, 17])
def test_the_smallest_images_of_lenet(tmp_path, side):
    (tmp_path / "net.prototxt").write_text(stock_text(lenet(height=side, width=side)))
    assert caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).blobs["pool2"].data.shape[2] >= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp(layers=784), r"^mlp: layers is a list of sizes, such as \[784, 256, 10\], not 784$"),
        (lambda: mlp(layers="784,10"), r"^mlp: layers is a list of sizes, .*, not '784,10'$"),
        (lambda: mlp(layers=[784]), r"^mlp: layers has the sizes of the features, .* at least 2, not \[784\]$"),
        (lambda: mlp(layers=[784, 0, 10]), r"^mlp: layers: a whole number of at least 1, not 0$"),
        (lambda: mlp(layers=[784, 2.5, 10]), r"^mlp: layers: a whole number of at least 1, not 2\.5$"),
        (lambda: mlp(layers=[784, "10"]), r"^mlp: layers: a whole number of at least 1, not '10'$"),
        (lambda: mlp(layers=[784, True]), r"^mlp: layers: a whole number of at least 1, not True$"),
        (lambda: mlp(layers=[784, float("nan")]), r"^mlp: layers: a whole number of at least 1, not nan$"),
        (
            lambda: mlp(layers=[784, 1]),
            r"^mlp: with loss 'softmax' the last layer has a score for each class, at least 2",
        ),
        (lambda: mlp(activation="rlu"), r"^mlp: activation: there is no 'rlu'\. Did you mean 'relu'\?$"),
        (lambda: mlp(activation=None), r"^mlp: activation: there is no None\. Valid names: relu, sigmoid, tanh\.$"),
        (lambda: mlp(loss="hinge"), r"^mlp: loss: there is no 'hinge'\. Valid names: euclidean, sigmoid, softmax\.$"),
        (lambda: mlp(dropout=1), r"^mlp: dropout is a share, 0 to less than 1, not 1$"),
        (lambda: mlp(dropout="0.5"), r"^mlp: dropout is a share, 0 to less than 1, not '0\.5'$"),
        (lambda: lenet(classes=1), r"^lenet: classes: a whole number of at least 2, not 1$"),
        (lambda: lenet(height=8), r"^lenet: height: a whole number of at least 16, not 8$"),
        (lambda: lenet(dropout=-0.1), r"^lenet: dropout is a share, 0 to less than 1, not -0\.1$"),
    ],
)
def test_what_is_no_argument(make, message):
    with pytest.raises(ConfigError, match=message) as raised:
        make()
    assert "\n" not in raised.value.message


def test_sizes_of_numpy_are_sizes():
    assert mlp(np.array([4, 3, 2])) == mlp((4, np.int64(3), 2.0))
