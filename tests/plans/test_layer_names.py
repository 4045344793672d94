"""Layers of one name, or of none: refused where parameters would be mixed up, computed as Caffe does elsewhere."""

import re

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import Config
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.plans.net_source import NetSource
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.local_ranks import on_ranks

SOLVER = 'base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 9'
# ReLU and loss have one name, the pooling none: nothing of them is saved
MIXED = stock.LAYERS.replace('"relu" type', '"loss" type').replace('name: "pool" ', "")


@pytest.fixture
def plan_of(tmp_path, small_images):
    """The plan of the net with these layers, in a phase."""
    images, labels = small_images
    write_lmdb(tmp_path / "lmdb", images[:20], labels[:20])

    def plan(layers, phase=0, blobs=(), more=""):
        (tmp_path / "net.prototxt").write_text(stock.lmdb_net(tmp_path / "lmdb", 4, 4, layers=layers))
        (tmp_path / "solver.prototxt").write_text(f'net: "net.prototxt" {SOLVER} {more}')
        config = Config(None, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/m.caffemodel")
        source = NetSource(config, config.run_config.net(phase))
        return (source.for_blobs(blobs) if blobs else source).plan

    return plan


@pytest.mark.parametrize(
    ("change", "phase", "message"),
    [
        (
            ('"ip1" type', '"ip2" type'),
            0,
            "the 4th and the 6th layer of the TRAIN phase, InnerProduct and InnerProduct, are both called 'ip2'",
        ),
        (
            ('"ip1" type', '"conv" type'),
            1,
            "the 2nd and the 4th layer of the TEST phase, Convolution and InnerProduct, are both called 'conv'",
        ),
        (("ip", "ip"), 0, "the 4th and the 6th layer of the TRAIN phase, InnerProduct and InnerProduct, have no name"),
    ],
    ids=["one name", "two types in the TEST phase", "no name"],
)
def test_two_layers_with_parameters_and_one_name_are_refused(plan_of, tmp_path, change, phase, message):
    layers = stock.LAYERS.replace(*change)
    if change[0] == "ip":
        layers = re.sub(r'name: "ip\d" ', "", layers)
    with pytest.raises(ConfigError) as e:
        plan_of(layers, phase)
    assert e.value.message.startswith(f"{tmp_path}/net.prototxt: {message}")
    assert e.value.message.endswith("give each a name of its own")


def test_layers_without_parameters_may_share_names(plan_of):
    plan = plan_of(MIXED)
    names = [layer.name for layer in plan.message().layer]
    assert len(set(names)) == len(names) and "" not in names
    assert {"conv", "ip1", "ip2"} < set(names)
    assert [layer.name for layer in plan.weights] == ["conv", "ip1", "ip2"]
    assert plan.weights[1].shapes == ((150, 128), (150,))
    assert plan.parameters == 8 * 26 + 150 * 129 + 10 * 151


@pytest.mark.parametrize("first", ["relu", "pool"])
def test_a_layer_with_parameters_and_others_of_its_name(plan_of, first, tmp_path):
    """Caffe's validation ends the process of such nets, and so does loading their model."""
    layers = stock.LAYERS.replace(f'"{first}" type', '"ip1" type')
    train, test = plan_of(layers), plan_of(layers, 1)
    solver = text_format.Parse(SOLVER, SolverParameter())
    trainer = CaffeTrainer(solver, train.message(), [test.message()], 0, str(tmp_path))
    net = trainer.test_net(0)
    net.forward()
    trainer.save_weights(str(tmp_path / "x.caffemodel"))
    trainer.load_weights(str(tmp_path / "x.caffemodel"))
    trainer.close()


def test_such_a_net_is_trained_and_saved_as_caffe_does(plan_of, tmp_path, small_images):
    """Two ranks, with gradients exchanged, against one stock solver; validation, both formats, equal digests."""
    images, labels = small_images
    expected, _ = stock.train_in_turn(SOLVER, 2, 4, 5, images, labels, layers=MIXED)
    message = plan_of(MIXED).message()
    layers = "".join(
        f"layer {{ {text_format.MessageToString(layer, as_one_line=True)} }}\n"
        for layer in message.layer
        if layer.type != "Input"
    )

    def work(rank):
        rank.train(5)
        for ending in ("", ".h5"):
            rank.trainer.save_weights(str(tmp_path / f"{rank.rank}.caffemodel{ending}"))
            rank.trainer.load_weights(str(tmp_path / f"{rank.rank}.caffemodel{ending}"))
        return rank.weights()

    for found in on_ranks(tmp_path, images, labels, 2, work, solver=SOLVER, layers=layers, batch=4):
        assert len(found) == 6
        for mine, theirs in zip(found, stock.weights(expected.net)):
            np.testing.assert_array_equal(mine, theirs)


def test_every_blob_that_is_saved_is_in_the_digest(tmp_path):
    """Also of layers that pycaffe's ``net.params`` loses, which planning refuses."""
    net = stock.input_net(4, layers=stock.LAYERS.replace('"ip1" type', '"ip2" type'))
    trainer = CaffeTrainer(
        text_format.Parse(SOLVER, SolverParameter()), text_format.Parse(net, NetParameter()), [], 0, str(tmp_path)
    )
    assert [array.shape for array in trainer.weights] == [(8, 1, 5, 5), (8,), (150, 128), (150,), (10, 150), (10,)]
    trainer.close()
