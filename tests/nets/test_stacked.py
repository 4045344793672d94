"""Autoencoders: nets that make their data again, and the small nets that they are trained by, layer by layer."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import ConfigError, nets
from caffeonspark.nets.models import mlp, stacked_autoencoder, with_scores
from caffeonspark.nets.net import TEST, TRAIN, net_in_phase
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.nets.stacked import encoders, pairs_of
from tests.support import stock
from tests.support.paths import ROOT


def layers(net):
    return [f"{layer.type} {','.join(layer.bottom)}>{','.join(layer.top)}" for layer in net.layer]


def in_phase(message, phase=TRAIN):
    return net_in_phase(message, "net.prototxt", phase)


def test_an_autoencoder():
    net = stacked_autoencoder([784, 256, 64], activation="tanh")
    assert nets.stacked_autoencoder is stacked_autoencoder
    assert layers(net) == [
        "Input >data",
        "InnerProduct data>ip1",
        "TanH ip1>ip1",
        "InnerProduct ip1>ip2",
        "TanH ip2>ip2",
        "InnerProduct ip2>decode2",
        "TanH decode2>decode2",
        "InnerProduct decode2>decode1",
        "Sigmoid decode1>reconstruction",
        "SigmoidCrossEntropyLoss decode1,data>loss",
    ]
    sizes = [layer.inner_product_param.num_output for layer in net.layer if layer.type == "InnerProduct"]
    assert sizes == [256, 64, 256, 784]
    assert "Sigmoid decode1>reconstruction" not in layers(in_phase(net).message)
    plain = stacked_autoencoder([8, 4], loss="euclidean", linear_code=True)
    assert layers(plain)[1:] == [
        "InnerProduct data>ip1",
        "InnerProduct ip1>decode1",
        "Split decode1>reconstruction",
        "EuclideanLoss decode1,data>loss",
    ]


@pytest.mark.parametrize("loss", ["sigmoid", "euclidean"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_stock_caffe_trains_each_pair(activation, loss):
    net = stacked_autoencoder([6, 5, 3], activation, loss)
    whole, pairs = in_phase(net), pairs_of(in_phase(net))
    assert [pair.code for pair in pairs] == ["ip1", "ip2"]
    rng = np.random.default_rng(0)
    for one, data in [(whole.message, "data"), (pairs[0].net, "data"), (pairs[1].net, "ip1")]:
        solver = stock.make_solver(
            'base_lr: 0.5 lr_policy: "fixed" random_seed: 1 max_iter: 60', text_format.MessageToString(one)
        )
        blob = solver.net.blobs[data]
        blob.data[...] = rng.uniform(0.2, 0.8, blob.data.shape)
        losses = []
        for _ in range(60):
            solver.step(1)
            losses.append(float(solver.net.blobs["loss"].data))
        assert losses[-1] < losses[0]


def test_the_pairs():
    first, second, third = pairs_of(in_phase(stacked_autoencoder([9, 7, 5, 3], linear_code=True)))
    assert layers(first.net) == [
        "Input >data",
        "InnerProduct data>ip1",
        "Sigmoid ip1>ip1",
        "InnerProduct ip1>decode1",
        "SigmoidCrossEntropyLoss decode1,data>loss",
    ]
    assert layers(second.net) == [
        "Input >ip1",
        "InnerProduct ip1>ip2",
        "Sigmoid ip2>ip2",
        "InnerProduct ip2>decode2",
        "SigmoidCrossEntropyLoss decode2,ip1>loss",
    ]
    assert layers(third.net)[1:3] == ["InnerProduct ip2>ip3", "InnerProduct ip3>decode3"]
    assert list(third.net.layer[0].input_param.shape[0].dim) == [64, 5]
    assert third.layers == ("ip3", "decode3", "sigmoid_decode3")
    assert layers(pairs_of(in_phase(stacked_autoencoder([9, 7, 5], "relu", "euclidean")))[1].net)[-2:] == [
        "ReLU decode2>decode2",
        "EuclideanLoss decode2,ip1>loss",
    ]


@pytest.mark.parametrize("kind", ["Sigmoid", "TanH"])
def test_a_dropout_behind_a_decoder_is_no_part_of_what_it_makes(kind):
    net = stacked_autoencoder([8, 6, 4], activation="tanh")
    for layer in net.layer:
        if layer.type == "TanH":
            layer.type = kind
    at = next(number for number, layer in enumerate(net.layer) if layer.name == "tanh_decode2") + 1
    rest = list(net.layer[at:])
    del net.layer[at:]
    net.layer.add(name="drop", type="Dropout", bottom=["decode2"], top=["decode2"])
    net.layer.extend(rest)
    _, second = pairs_of(in_phase(net))
    sigmoid = kind == "Sigmoid"
    assert layers(second.net)[-1] == f"{'SigmoidCrossEntropy' if sigmoid else 'Euclidean'}Loss decode2,ip1>loss"
    assert [layer.type for layer in second.net.layer].count(kind) == (1 if sigmoid else 2)
    assert "Dropout" not in [layer.type for layer in second.net.layer]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_the_encoders_with_scores_are_the_mlp(activation):
    for phase in (TRAIN, TEST):
        made = with_scores(encoders(in_phase(stacked_autoencoder([9, 7, 5], activation), phase)), "ip2", 4)
        wanted = mlp([9, 7, 5, 4], activation)
        assert list(made.layer) == list(wanted.layer)


def test_an_autoencoder_of_ones_own_that_leaves_out_some_of_its_data():
    message = stacked_autoencoder([9, 7, 5], "relu")
    drop = type(message)().layer.add(name="noise", type="Dropout", bottom=["data"], top=["noisy"])
    message.layer.insert(1, drop)
    message.layer[2].bottom[:] = ["noisy"]
    first, second = pairs_of(in_phase(message))
    assert layers(first.net)[:3] == ["Input >data", "Dropout data>noisy", "InnerProduct noisy>ip1"]
    assert layers(second.net)[:2] == ["Input >ip1", "InnerProduct ip1>ip2"]


def change(net, name, **fields):
    (layer,) = (layer for layer in net.layer if layer.name == name)
    for field, value in fields.items():
        if field == "num_output":
            layer.inner_product_param.num_output = value
        else:
            setattr(layer, field, value)
    return net


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (mlp([4, 3, 2]), r"takes one blob and makes it again, and this net takes data, label$"),
        (change(stacked_autoencoder([4, 3, 2]), "decode2", num_output=5), r"makes 5 numbers, and 'ip1', .*image, 3$"),
        (
            change(stacked_autoencoder([4, 3, 2]), "sigmoid1", type="TanH"),
            r"'decode2' ends in Sigmoid, and 'ip1'.*TanH",
        ),
        (change(stacked_autoencoder([4, 3, 2]), "ip2", type="Scale"), r"as many InnerProduct layers encode as decode"),
    ],
)
def test_what_is_no_autoencoder(net, said):
    with pytest.raises(ConfigError, match=said) as raised:
        pairs_of(in_phase(net))
    assert "\n" not in raised.value.message


def test_a_net_that_is_no_chain():
    path = ROOT / "prototxt/mnist_autoencoder_train_test.prototxt"
    with pytest.raises(ConfigError, match=r"layer 'encode1' .* takes data: the layers .* follow one another"):
        pairs_of(net_in_phase(parse_net(path.read_bytes(), str(path)), str(path), TRAIN))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: stacked_autoencoder(5), r"^stacked_autoencoder: layers is a list of sizes, such as \[784, 256, 64\]"),
        (lambda: stacked_autoencoder([5]), r"layers has the sizes of the features, the hidden layers and the code"),
        (lambda: stacked_autoencoder([5, 0]), r"^stacked_autoencoder: layers: a whole number of at least 1, not 0$"),
        (lambda: stacked_autoencoder(loss="softmax"), r"loss: there is no 'softmax'\. Valid names: euclidean, sigmoid"),
        (lambda: stacked_autoencoder(activation="rlu"), r"^stacked_autoencoder: activation: .* Did you mean 'relu'\?"),
        (lambda: stacked_autoencoder(linear_code=1), r"^stacked_autoencoder: linear_code is True or False, not 1$"),
        (lambda: with_scores(mlp(), "ip1", 1), r"^mlp: with loss 'softmax' the last layer has a score for each class"),
    ],
)
def test_what_is_no_argument(make, said):
    with pytest.raises(ConfigError, match=said) as raised:
        make()
    assert "\n" not in raised.value.message
