"""Layers that do not learn: what they were stays, to the bit, in stock Caffe's solvers."""

import contextlib

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import ConfigError
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.freeze import frozen
from caffeonspark.nets.schema import NetParameter, SolverParameter
from tests.support.training import RULES

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 6 dim: 2 dim: 5 dim: 5 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 6 } } }
layer { name: "ids" type: "Input" top: "ids" input_param { shape { dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }
layer { name: "prelu" type: "PReLU" bottom: "bn" top: "bn" }
layer { name: "deconv" type: "Deconvolution" bottom: "bn" top: "deconv"
  convolution_param { num_output: 2 kernel_size: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "bias" type: "Bias" bottom: "deconv" top: "deconv" }
layer { name: "ip1" type: "InnerProduct" bottom: "deconv" top: "ip1"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "emb" type: "Embed" bottom: "ids" top: "emb"
  embed_param { input_dim: 9 num_output: 6 weight_filler { type: "uniform" } } }
layer { name: "sum" type: "Eltwise" bottom: "ip1" bottom: "emb" top: "sum" }
layer { name: "ip2" type: "InnerProduct" bottom: "sum" top: "ip2"
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
LEARNS = ("conv", "bn", "scale", "prelu", "deconv", "bias", "ip1", "emb", "ip2")


def net_of(text):
    return text_format.Parse(text, NetParameter())


def changed(net, folder, rule):
    """The layers whose parameters changed in some iterations."""
    solver = text_format.Parse(f'{rule} lr_policy: "fixed" weight_decay: 0.01 random_seed: 4', SolverParameter())
    trainer = CaffeTrainer(solver, net, [], 0, str(folder))
    rng = np.random.default_rng(0)

    def load():
        trainer.inputs["data"][...] = rng.random(trainer.inputs["data"].shape)
        trainer.inputs["label"][...] = rng.integers(0, 3, 6)
        trainer.inputs["ids"][...] = rng.integers(0, 9, 6)

    with contextlib.closing(trainer):
        blobs = trainer._net.params
        before = {name: [blob.data.copy() for blob in blobs[name]] for name in blobs}
        for _ in range(3):
            trainer.step(load, lambda loss: None)
        return {name for name in blobs if any((blob.data != old).any() for blob, old in zip(blobs[name], before[name]))}


@pytest.mark.parametrize("rule", RULES)
def test_frozen_layers_stay_and_others_learn(tmp_path, rule):
    rest = {"deconv", "emb", "ip2"}
    assert changed(net_of(NET), tmp_path, RULES[rule]) == set(LEARNS)
    assert changed(frozen(net_of(NET), [*set(LEARNS) - rest]), tmp_path, RULES[rule]) == rest


@pytest.mark.parametrize("name", LEARNS)
def test_each_type_by_itself(tmp_path, name):
    net = net_of(NET)
    kept = net.SerializeToString()
    assert changed(frozen(net, [name]), tmp_path, RULES["SGD"]) == set(LEARNS) - {name}
    assert net.SerializeToString() == kept  # a copy was changed


@pytest.mark.parametrize(
    ("kind", "bottoms", "more"),
    [
        ("LSTM", ("x", "cont"), ""),
        ("RNN", ("x", "cont"), ""),
        ("LSTM", ("x", "cont", "static"), ""),
        ("LSTM", ("x", "cont", "c", "h"), "expose_hidden: true"),
        ("LSTM", ("x", "cont", "static", "c", "h"), "expose_hidden: true"),
        ("RNN", ("x", "cont", "static"), ""),
    ],
)
def test_recurrent_layers(tmp_path, kind, bottoms, more):
    shapes = {"x": (3, 2, 4), "cont": (3, 2), "static": (2, 5), "c": (1, 2, 6), "h": (1, 2, 6)}
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shapes[name])} }} }} }}\n"
        for name in bottoms
    )
    given = " ".join(f'bottom: "{name}"' for name in bottoms)
    more_tops = 'top: "c2" top: "h2"' if more else ""
    text += (
        f'layer {{ name: "r" type: "{kind}" {given} top: "r" {more_tops} recurrent_param {{ num_output: 6 {more} '
        'weight_filler { type: "uniform" } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "r" top: "ip" inner_product_param { num_output: 1 '
        'weight_filler { type: "xavier" } } loss_weight: 1 }\n'
    )
    net = frozen(net_of(text), ["r"])
    trainer = CaffeTrainer(SolverParameter(base_lr=1, lr_policy="fixed"), net, [], 0, str(tmp_path))
    with contextlib.closing(trainer):  # Caffe takes no more param blocks than there are parameters
        assert len(net.layer[len(bottoms)].param) == len(trainer._net.params["r"])


FOUR = NET + 'layer { name: "own" type: "Python" bottom: "data" top: "own" }\n'


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conw"], "freeze: the net has no layer 'conw'. Did you mean 'conv'?"),
        (["sum"], "freeze: layer 'sum' (Eltwise) has no parameters, so there is nothing to freeze"),
        (["own"], "freeze: how many parameters layer 'own' (Python) has is not known: give it a block param {"),
        ("conv", "freeze takes a list of layer names, not 'conv': ['conv']"),
    ],
)
def test_refusals(names, message):
    with pytest.raises(ConfigError) as e:
        frozen(net_of(FOUR), names)
    assert e.value.message.startswith(message)


def test_parameters_that_layers_share():
    shared = NET.replace('top: "ip1"\n', 'top: "ip1" param { name: "w" }\n')
    shared = shared.replace('top: "ip2"\n', 'top: "ip2" param { name: "w" }\n')
    with pytest.raises(ConfigError, match="layer 'ip1' shares parameter 'w' with layer 'ip2', which would still learn"):
        frozen(net_of(shared), ["ip1"])
    both = frozen(net_of(shared), ["ip1", "ip2"])
    assert [param.name for layer in both.layer for param in layer.param if layer.name in ("ip1", "ip2")] == [
        "w",
        "",
        "w",
    ]


def test_layers_of_both_phases():
    net = net_of(NET + NET.replace('"conv"', '"conv"'))
    chosen = [layer for layer in frozen(net, ["conv"]).layer if layer.name == "conv"]
    assert [[param.lr_mult for param in layer.param] for layer in chosen] == [[0, 0], [0, 0]]
