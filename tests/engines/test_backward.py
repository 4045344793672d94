"""Which gradients are final while pycaffe's backward pass still runs."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.schema import NetParameter, SolverParameter
from tests.support import stock

INPUTS = stock.input_net(4, layers="")


def line(name, bottom, top="", outputs=6, more=""):
    filler = 'weight_filler { type: "xavier" }'
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top or name}" {more} '
        f"inner_product_param {{ num_output: {outputs} {filler} }} }}\n"
    )


def loss(bottom, name="loss", more=""):
    return (
        f'layer {{ name: "{name}" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "label" top: "{name}" {more} }}\n'
    )


SHARED = 'param { name: "w" } param { name: "b" }'
NETS = {
    # by name: its layers, and the groups of gradients
    "stock": (stock.LAYERS, [[4, 5], [2, 3], [0, 1]]),
    "shared": (  # the last layer has the first one's parameters
        line("a", "data", outputs=144, more=SHARED)
        + line("b", "a", outputs=144)
        + line("c", "b", outputs=144, more=SHARED)
        + loss("c"),
        [[2, 3], [0, 1]],
    ),
    "two towers": (  # a layer of Caffe is used twice by sharing its parameters
        line("a1", "data", more=SHARED)
        + line("top1", "a1")
        + line("a2", "data", more=SHARED)
        + line("top2", "a2")
        + 'layer { name: "sum" type: "Eltwise" bottom: "top1" bottom: "top2" top: "sum" }\n'
        + loss("sum"),
        [[4, 5], [2, 3], [0, 1]],
    ),
    "used by two": (  # one top, two layers: Caffe puts a Split behind it
        line("a", "data") + line("b", "a") + line("c", "a") + loss("b", "first") + loss("c", "second"),
        [[4, 5], [2, 3], [0, 1]],
    ),
    "frozen": (
        line("a", "data", more="param { lr_mult: 0 } param { lr_mult: 0 }")
        + line("b", "a", more="param { lr_mult: 0 } param { lr_mult: 1 }")
        + line("c", "b")
        + loss("c"),
        [[4, 5], [2, 3], [0, 1]],
    ),
    "cut off": (
        line("a", "data") + line("b", "a", more="propagate_down: false") + line("c", "b") + loss("c"),
        [[4, 5], [2, 3], [0, 1]],
    ),
    "normalised": (
        'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm" }\n' + line("a", "norm") + loss("a"),
        [[3, 4], [0, 1, 2]],
    ),
}


def make_trainer(layers, folder, solver=""):
    text = f'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 3 {solver}'
    messages = text_format.Parse(text, SolverParameter()), text_format.Parse(INPUTS + layers, NetParameter())
    return contextlib.closing(CaffeTrainer(*messages, [], 0, str(folder)))


def loading(trainer):
    rng = np.random.default_rng(1)

    def load():
        trainer.inputs["data"][...] = rng.random((4, 1, 12, 12))
        trainer.inputs["label"][...] = rng.integers(0, 6, 4)

    return load


@pytest.mark.parametrize("iter_size", [1, 2, 3])
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_final_when_it_is_said(tmp_path, name, iter_size):
    layers, groups = NETS[name]
    with make_trainer(layers, tmp_path, f"iter_size: {iter_size}") as trainer:
        assert trainer.final_order == groups
        assert sorted(sum(groups, [])) == list(range(len(trainer.gradients)))  # noqa: RUF017
        passes, found, said = [], {}, []

        def layer_done(final):
            said.append(final)
            assert len(passes) == iter_size  # not before the last one
            for group in groups[len(found) : final]:
                found[tuple(group)] = [trainer.gradients[number].copy() for number in group]

        def ready(loss):
            for group, arrays in found.items():
                for number, array in zip(group, arrays):
                    np.testing.assert_array_equal(array, trainer.gradients[number])
            assert len(found) == len(groups)

        trainer.watch_backward(layer_done)
        load = loading(trainer)
        for _ in range(2):
            passes.clear()
            found.clear()
            said.clear()
            trainer.step(lambda: passes.append(load()), ready)
            assert said == sorted(said)
            assert said[-1] == len(groups)
            assert said[0] < len(groups)  # it came early


def test_who_watches_changes_nothing(tmp_path):
    weights = []
    for watched in (False, True):
        with make_trainer(stock.LAYERS, tmp_path, "iter_size: 2 clip_gradients: 0.1 weight_decay: 0.01") as trainer:
            if watched:
                trainer.watch_backward(lambda final: None)
            load = loading(trainer)
            for _ in range(5):
                trainer.step(load, lambda loss: None)
            weights.append([array.copy() for array in trainer.weights])
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)


def test_a_gradient_may_be_changed_when_it_is_final(tmp_path):
    """What is made of it then is what the solver applies, as if it had been made at the end."""
    weights = []
    for early in (False, True):
        with make_trainer(NETS["shared"][0], tmp_path, "iter_size: 2 clip_gradients: 0.1") as trainer:
            groups, done = trainer.final_order, []

            def scale(final, trainer=trainer, groups=groups, done=done):
                for group in groups[len(done) : final]:
                    done.append(group)
                    for number in group:
                        trainer.gradients[number][...] *= np.float32(0.5)

            if early:
                trainer.watch_backward(scale)
            load = loading(trainer)
            for _ in range(3):
                done.clear()
                trainer.step(load, lambda loss, scale=scale: scale(2))
            weights.append([array.copy() for array in trainer.weights])
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)


def test_other_passes_are_not_watched(tmp_path):
    with make_trainer(stock.LAYERS, tmp_path) as trainer:
        said = []
        trainer.watch_backward(said.append)
        load = loading(trainer)
        trainer.compute(2, load)
        trainer.step_over(3, load, lambda losses: None)
        assert not said
        trainer.step(load, lambda loss: None)
        assert said


def test_with_debug_info_nothing_is_watched(tmp_path):
    with make_trainer(stock.LAYERS, tmp_path, "debug_info: true") as trainer:
        said = []
        trainer.watch_backward(said.append)
        trainer.step(loading(trainer), lambda loss: None)
        assert not said


def test_an_error_on_the_way_ends_the_iteration(tmp_path):
    with make_trainer(stock.LAYERS, tmp_path) as trainer:
        before = [array.copy() for array in trainer.weights]

        def fail(final):
            if final == 2:
                raise ValueError("enough")

        trainer.watch_backward(fail)
        with pytest.raises(ValueError, match="enough"):
            trainer.step(loading(trainer), lambda loss: None)
        assert trainer.iteration == 0
        for array, was in zip(trainer.weights, before):
            np.testing.assert_array_equal(array, was)


class Caller:
    """Whoever steps a trainer, and what belongs to it."""

    def __init__(self, trainer):
        self.load = loading(trainer)

    def load_batch(self):
        self.load()

    def ready(self, loss):
        pass

    def done(self, final):
        pass

    def sum_up(self, counts):
        pass


@pytest.mark.parametrize("more", ["", "loss_param { ignore_label: 3 }"])
def test_a_closed_trainer_lets_go_of_whoever_it_called(tmp_path, more):
    """Caffe keeps callbacks for good, and a Python worker trains more than once."""
    with make_trainer(line("a", "data") + loss("a", more=more), tmp_path) as trainer:
        caller = Caller(trainer)
        trainer.normalize_over(2, caller.sum_up)
        trainer.watch_backward(caller.done)
        trainer.step(caller.load_batch, caller.ready)
    left = weakref.ref(caller)
    del caller
    gc.collect()
    assert left() is None
