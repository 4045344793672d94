"""Layers that pass no gradient on: where Caffe ends at the first iteration, and nowhere else, the net is refused."""

import re

import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import NetParameter
from caffeonspark.process import run_in_child
from tests.corpus.case import inner_product, layer
from tests.support import stock

XAVIER = 'weight_filler { type: "xavier" }'
INPUTS = """layer { name: "in" type: "Input" top: "x" top: "label" top: "few" top: "cont" top: "words"
  input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } shape { dim: 4 dim: 4 } shape { dim: 2 dim: 2 }
    shape { dim: 4 } } }
"""
A, B = inner_product("x>a", 4), inner_product("x>b", 1)
FIXED = inner_product("x>b", 1).replace(
    "inner_product_param", "param { lr_mult: 0 } param { lr_mult: 0 } inner_product_param"
)
LABELS = layer("Reshape", "b>c", "reshape_param { shape { dim: 4 } }")
SEQUENCE = layer("Reshape", "a>s", "reshape_param { shape { dim: 2 dim: 2 dim: 4 } }")
MARKS = layer("Reshape", "b>c", "reshape_param { shape { dim: 2 dim: 2 } }")
END = layer("EuclideanLoss", "a,few>loss")


def loss_of(blob):
    return layer("Reduction", f"{blob}>loss", "loss_weight: 1")


def on_labels(kind, rest=""):
    return A + B + LABELS + layer(kind, "a,c>loss", rest)


NETS = {
    "ArgMax": A + layer("ArgMax", "a>m") + loss_of("m"),
    "Threshold": A + layer("Threshold", "a>m") + loss_of("m"),
    "Accuracy with loss_weight": A + layer("Accuracy", "a,label>m", "loss_weight: 1"),
    "SoftmaxWithLoss": on_labels("SoftmaxWithLoss"),
    "HingeLoss": on_labels("HingeLoss"),
    "MultinomialLogisticLoss": on_labels("MultinomialLogisticLoss"),
    "SigmoidCrossEntropyLoss": A + inner_product("x>c", 4) + layer("SigmoidCrossEntropyLoss", "a,c>loss"),
    "Embed": B
    + LABELS
    + layer("Embed", "c>e", f"embed_param {{ num_output: 2 input_dim: 3 {XAVIER} }}")
    + loss_of("e"),
    "BatchReindex": A + B + LABELS + layer("BatchReindex", "a,c>r") + loss_of("r"),
    "LSTM": A
    + SEQUENCE
    + B
    + MARKS
    + layer("LSTM", "s,c>h", f"recurrent_param {{ num_output: 2 {XAVIER} }}")
    + loss_of("h"),
    "after the parameters of another": inner_product("x>h", 3)
    + layer("ReLU", "h>h")
    + layer("ArgMax", "h>m")
    + loss_of("m"),
    "Parameter": layer("Parameter", ">p", "parameter_param { shape { dim: 4 dim: 2 } }")
    + layer("ArgMax", "p>m")
    + loss_of("m"),
}
#: The same nets with a way out, and others in which such layers do no harm.
GOOD = {
    "ArgMax of data": layer("ArgMax", "x>m") + layer("Silence", "m>") + A + END,
    "ArgMax beside the loss": A + layer("ArgMax", "a>m") + END,
    "ArgMax of what is fixed": FIXED + layer("ArgMax", "b>m") + layer("Silence", "m>") + A + END,
    "a loss of what is fixed": A + FIXED + LABELS + layer("SoftmaxWithLoss", "a,c>loss"),
    "Accuracy": A + layer("Accuracy", "a,label>m") + END,
    "propagate_down of the labels": on_labels("SoftmaxWithLoss", "propagate_down: true propagate_down: false"),
    "propagate_down behind ArgMax": A
    + layer("ArgMax", "a>m")
    + layer("Reduction", "m>r", "propagate_down: false loss_weight: 1"),
    "loss_weight 0": A + layer("ArgMax", "a>m", "loss_weight: 0") + END,
    "BatchNorm of data": layer("BatchNorm", "x>n") + layer("ArgMax", "n>m") + layer("Silence", "m>") + A + END,
    "EuclideanLoss of two": A + inner_product("x>c", 4) + layer("EuclideanLoss", "a,c>loss"),
}


def look(text):
    """What ``check_gradients`` says of the layers behind the inputs."""
    net = text_format.Parse(INPUTS + text, NetParameter())
    net.state.phase = 0
    CaffeEngine().inspect(net, {}, 4, "net.prototxt")
    net.state.phase = 1  # nothing is learned there
    CaffeEngine().inspect(net, {}, 4, "net.prototxt")


def caffe_runs(text):
    def run(send):
        solver = stock.make_solver('base_lr: 0.1 lr_policy: "fixed"', INPUTS + text)
        solver.step(1)
        send(b"runs")

    return run_in_child(run, 60.0)[0] == b"runs"


@pytest.mark.parametrize("name", NETS)
def test_what_caffe_ends_at(name):
    assert not caffe_runs(NETS[name])
    with pytest.raises(
        ConfigError, match=r"^net\.prototxt: layer '\w+': \w+ (has|passes) no gradient.* Caffe ends there"
    ) as e:
        look(NETS[name])
    mended = NETS[name].replace('type: "Reduction"', 'type: "Reduction" propagate_down: false')
    if "has no gradient" not in e.value.message:
        advice = re.search(r"Give the layer (propagate_down: .*)", e.value.message).group(1)
        named = re.search(r"layer '(\w+)'", e.value.message).group(1)
        mended = NETS[name].replace(f'name: "{named}"', f'name: "{named}" {advice}')
    assert caffe_runs(mended)
    look(mended)


@pytest.mark.parametrize("name", GOOD)
def test_what_caffe_runs(name):
    assert caffe_runs(GOOD[name])
    look(GOOD[name])
