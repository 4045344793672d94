"""The engine that is pycaffe, without Spark."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import NetParameter, SolverParameter

INPUTS = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 1000 } } }
layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 4 } } }
"""
LINE = 'layer {{ name: "line" type: "InnerProduct" bottom: "x" top: "line" inner_product_param {{ num_output: {} }} }}'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "line" bottom: "y" top: "loss" }'


def net(outputs=10):
    return text_format.Parse(INPUTS + LINE.format(outputs) + LOSS, NetParameter())


def solver():
    return text_format.Parse('base_lr: 0.1 lr_policy: "fixed" random_seed: 3 max_iter: 5', SolverParameter())


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_inputs_are_the_blobs_that_data_comes_in_through(tmp_path):
    trainer = CaffeEngine().trainer(solver(), net(), [net()], 0, str(tmp_path))
    assert {name: blob.shape for name, blob in trainer.inputs.items()} == {"x": (4, 1000), "y": (4,)}
    trainer.inputs["x"][...] = 1
    heard = []
    trainer.step(lambda: None, heard.append)
    assert len(heard) == 1
    assert trainer.iteration == 1
    weights = trainer.test_net(0)
    weights.forward()
    assert np.isfinite(weights.blobs["loss"])
    trainer.close()


def test_a_closed_trainer_gives_its_memory_back(tmp_path):
    engine, size = CaffeEngine(), 4 * 1000 * 10_000  # bytes of the parameters
    for number in range(6):
        trainer = engine.trainer(solver(), net(10_000), [], 0, str(tmp_path))
        trainer.step(lambda: None, lambda loss: None)
        trainer.close()
        del trainer
        if number == 1:
            before = resident()
    assert resident() < before + size


def test_what_caffe_refuses_is_told_in_its_own_words():
    larger = {"x": (5, 1000), "y": (5,)}
    found = CaffeEngine().inspect(net(), larger, 4, "a.prototxt")
    assert found.shapes["line"] == (4, 10)
    assert found.parameters == 10_010
    assert found.flexible
    assert found.batch_axes == {"x": (0, 1), "y": (0, 1), "line": (0, 1)}
    wrong = net()
    wrong.layer[-1].bottom[1] = "x"
    with pytest.raises(
        ConfigError,
        match=r"^a\.prototxt: layer 'loss' \(SoftmaxWithLoss\): Caffe refuses the net: Check failed: .*outer_num_",
    ):
        CaffeEngine().inspect(wrong, larger, 4, "a.prototxt")
