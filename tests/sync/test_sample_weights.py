"""Samples that weigh differently: ranks with weights against one stock solver whose rows are repeated and left out."""

import contextlib

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import NumberTop
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.sample_weight import SAMPLE_WEIGHT
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.plans.sample_weights import weighted_losses
from caffeonspark.settings import Settings
from caffeonspark.sync.all_reduce import AllReduce
from caffeonspark.sync.registry import strategy_for
from tests.support import stock
from tests.support.local_ranks import in_threads

SOLVER = 'base_lr: 0.02 momentum: 0.9 lr_policy: "fixed" weight_decay: 0.0005 random_seed: 3'
BATCH, IGNORED = 6, 4

TOPS = (NumberTop("data", (7,)), NumberTop("label", ()), NumberTop("targets", (5,)))
BODY = """
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


def loss(kind, param="", name="loss", bottom="ip2", label="", more=""):
    label = label or ("label" if kind == "SoftmaxWithLoss" else "targets")
    param = f"loss_param {{ {param} }}" if param else ""
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" bottom: "{label}" top: "{name}" {param} {more} }}\n'
    )


def net_of(tops, layers, batch, weighted):
    """The net, fed through Input layers; one batch and the shapes of one with one more."""
    tops = (*tops, NumberTop(SAMPLE_WEIGHT, ())) if weighted else tops
    inputs = "".join(
        f'layer {{ name: "{top.name}" type: "Input" top: "{top.name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in top.blob_shape(batch))} }} }} }}\n"
        for top in tops
    )
    return tops, text_format.Parse(f"{inputs}{layers}", NetParameter(state={"phase": TRAIN}))


def losses_of(tops, message):
    found = CaffeEngine().inspect(message, {top.name: top.blob_shape(BATCH + 1) for top in tops}, BATCH, "net")
    return weighted_losses(Net(message, "net", TRAIN), message, tops, found, CaffeEngine().weighable_losses())


def samples(tops, count, seed=1):
    """Numbers for each top, the sample first; labels of whole numbers."""
    rng = np.random.default_rng(seed)
    made = {}
    for top in tops:
        shape = (count, *top.shape)
        whole = {"label": 5, "targets": 2}.get(top.name)
        made[top.name] = (rng.integers(0, whole, shape) if whole else rng.random(shape) - 0.3).astype(np.float32)
    if "targets" in made:
        made["targets"][rng.random(made["targets"].shape) < 0.2] = IGNORED
    return made


def weights_of(count, ranks):
    """0 to 3; those of the first of several ranks are all 0 in its first pass."""
    weights = np.random.default_rng(2).integers(0, 4, count).astype(np.float32)
    weights[: BATCH * (ranks - 1)] = 0
    return weights


class Noting(AllReduce):
    """Keeps the gradients that the solver applies."""

    def _exchange(self, loss):
        super()._exchange(loss)
        self.seen = [*getattr(self, "seen", []), [array.copy() for array in self.trainer.gradients]]


def on_ranks(folder, ranks, tops, layers, data, weights, iterations, solver=SOLVER, strategy=Noting, settings=None):
    """(gradients of each iteration, losses, the model) of each rank; rank r has the r-th part of each pass."""
    tops, message = net_of(tops, layers, BATCH, True)
    data = {**data, SAMPLE_WEIGHT: weights}
    losses = losses_of(tops, message)

    def run(comm):
        at = 0

        def load():
            nonlocal at
            start = (ranks * at + comm.rank) * BATCH
            for top in tops:
                top.samples(trainer.inputs[top.name])[...] = data[top.name][start : start + BATCH]
            at += 1

        own = folder / f"rank{comm.rank}"
        own.mkdir(exist_ok=True)
        trainer = CaffeTrainer(text_format.Parse(solver, SolverParameter()), message, [], comm.rank, str(own))
        with contextlib.closing(trainer):
            trainer.weigh_samples(losses)
            one = strategy(trainer, comm, settings or Settings(), lambda: False)
            one.start([], None, None)
            history = [entry for _ in range(iterations) for entry in one.iterate(load).history]
            history += one.exchange_losses()
            with one.view():
                model = [array.copy() for array in trainer.weights]
            return getattr(one, "seen", []), [entry[1] for entry in history], model

    return in_threads(ranks, run)


def in_stock(tops, layers, data, weights, size, iterations, solver=SOLVER):
    """The same of one stock solver, which has each row as often as it weighs; ``size`` rows are a pass."""
    _, message = net_of(tops, layers, BATCH, False)
    one = stock.make_solver(solver, text_format.MessageToString(message))
    at, gradients, losses, of_passes = 0, [], [], []
    weighted = [(one.net.blobs[name], w) for name, w in one.net.blob_loss_weights.items() if w]
    last = len(one.net.layers) - 1

    def load(layer):
        nonlocal at
        if layer == 0:
            rows = np.repeat(np.arange(at * size, (at + 1) * size), weights[at * size : (at + 1) * size].astype(int))
            for top in tops:
                one.net.blobs[top.name].reshape(*top.blob_shape(len(rows)))
                top.samples(one.net.blobs[top.name].data)[...] = data[top.name][rows]
            at += 1

    def note(layer):
        if layer == last:
            of_passes.append(sum(float(blob.data.sum()) * w for blob, w in weighted))

    one.net.before_forward(load)
    one.net.after_forward(note)
    one.add_callback(lambda: None, lambda: gradients.append([blob.diff.copy() for blob in stock.parameters(one.net)]))
    for _ in range(iterations):
        one.step(1)
        losses.append(np.mean(of_passes))
        of_passes.clear()
    return gradients, losses, stock.weights(one.net)


def assert_close(mine, theirs):
    for first, second in zip(mine, theirs):
        assert np.abs(first - second).max() <= 1e-6 * max(1.0, np.abs(second).max())


def check(folder, ranks, layers, tops=TOPS, iterations=4, passes=1, scale=1.0, solver=SOLVER):
    size = ranks * BATCH
    data, weights = samples(tops, size * iterations * passes), weights_of(size * iterations * passes, ranks)
    found = on_ranks(folder, ranks, tops, layers, data, weights * np.float32(scale), iterations, solver)
    gradients, losses, model = in_stock(tops, layers, data, weights, size, iterations, solver)
    for mine in found:
        assert len(mine[0]) == len(gradients) == iterations
        for one, other in zip(mine[0], gradients):
            assert_close(one, other)
        np.testing.assert_allclose(mine[1], losses, rtol=1e-5)
        assert_close(mine[2], model)


MODES = ("", "normalization: FULL", "normalization: VALID", "normalization: BATCH_SIZE", "normalization: NONE")
CASES = [
    loss(kind, f"{mode} {ignoring}".strip())
    for kind in ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss")
    for mode in MODES
    for ignoring in ("", f"ignore_label: {IGNORED}")
]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("layers", [*CASES, loss("EuclideanLoss")])
def test_a_weight_is_how_often_a_row_is_there(tmp_path, ranks, layers):
    solver = SOLVER.replace("0.02", "0.002") if "NONE" in layers else SOLVER
    check(tmp_path, ranks, BODY + layers, solver=solver)


PLACES = (NumberTop("data", (2, 3, 4)), NumberTop("label", (3, 4)))
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "xavier" } } }
"""
STEPS = (NumberTop("data", (3, 7), time_major=True), NumberTop("label", (3,), time_major=True))
WORDS = """
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
"""


@pytest.mark.parametrize("mode", ["", "ignore_label: 4", "ignore_label: 4 normalization: BATCH_SIZE"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_sample_may_have_many_labels(tmp_path, ranks, mode):
    """Of the places of an image, and of time steps, which lie before the samples."""
    check(tmp_path, ranks, CONV + loss("SoftmaxWithLoss", mode, bottom="conv"), PLACES)
    check(
        tmp_path,
        ranks,
        WORDS + loss("SoftmaxWithLoss", mode, bottom="ip1", more="softmax_param { axis: 2 }"),
        STEPS,
    )


MORE = """
layer { name: "ip3" type: "InnerProduct" bottom: "data" top: "ip3"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "tanh2" type: "TanH" bottom: "ip2" top: "tanh2" }
"""
SEVERAL = (
    MORE
    + loss("SoftmaxWithLoss", "ignore_label: 4", "first", more="loss_weight: 0.3")
    + loss("SigmoidCrossEntropyLoss", "", "second", more="loss_weight: 2")
    + loss("EuclideanLoss", "", "third", bottom="tanh2", label="ip3")
)


@pytest.mark.parametrize("ranks", [1, 2])
def test_several_losses_one_of_which_learns_through_both_bottoms(tmp_path, ranks):
    check(tmp_path, ranks, BODY + SEVERAL)


@pytest.mark.parametrize("ranks", [1, 2])
def test_passes_are_divided_one_by_one(tmp_path, ranks):
    """As stock Caffe does it with iter_size."""
    check(tmp_path, ranks, BODY + loss("SoftmaxWithLoss"), passes=2, solver=f"{SOLVER} iter_size: 2")


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "EuclideanLoss"])
@pytest.mark.parametrize("scale", [1e-30, 0.37, 1e30])
def test_only_the_proportions_of_weights_count(tmp_path, kind, scale):
    check(tmp_path, 2, BODY + loss(kind), scale=scale)


def test_a_pass_in_which_nothing_weighs_changes_nothing(tmp_path):
    layers = BODY + loss("SoftmaxWithLoss", "ignore_label: 4")
    data, weights = samples(TOPS, 4 * BATCH), np.zeros(4 * BATCH, np.float32)
    weights[2 * BATCH :] = 1
    solver = 'base_lr: 0.1 lr_policy: "fixed" random_seed: 3'
    for gradients, losses, _ in on_ranks(tmp_path, 2, TOPS, layers, data, weights, 2, solver):
        assert all(not gradient.any() for gradient in gradients[0])
        assert any(gradient.any() for gradient in gradients[1])
        assert losses[0] == 0 < losses[1] < 5


def test_averaged_ranks_divide_by_their_own_weights(tmp_path):
    layers = BODY + loss("SoftmaxWithLoss")
    data, weights = samples(TOPS, 2 * BATCH), weights_of(2 * BATCH, 1)
    settings = Settings(sync="average")
    found = on_ranks(tmp_path, 2, TOPS, layers, data, weights, 1, SOLVER, strategy_for(settings), settings)
    alone = []
    for rank in range(2):
        mine = slice(rank * BATCH, (rank + 1) * BATCH)
        rows = {name: values[mine] for name, values in data.items()}
        alone.append(in_stock(TOPS, layers, rows, weights[mine], BATCH, 1))
    for _, losses, model in found:
        assert_close(model, [(a + b) / 2 for a, b in zip(alone[0][2], alone[1][2])])
        np.testing.assert_allclose(losses, (alone[0][1][0] + alone[1][1][0]) / 2, rtol=1e-6)


def test_nets_without_weights_get_no_callback():
    """They compute what they computed, to the bit."""
    tops, message = net_of(TOPS, BODY + loss("SoftmaxWithLoss"), BATCH, False)
    assert losses_of(tops, message) == ()
