"""Losses that are not divided by the batch's size: two ranks against one stock solver with both ranks' samples."""

import contextlib

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.plans.normalization import normalization_notes
from caffeonspark.settings import Settings
from caffeonspark.sync.all_reduce import AllReduce
from tests.support import stock
from tests.support.local_ranks import in_threads

SOLVER = 'base_lr: 0.02 momentum: 0.9 lr_policy: "fixed" weight_decay: 0.0005 random_seed: 3'
BATCH, IGNORED = 12, 9
BODY = stock.LAYERS[: stock.LAYERS.index('layer { name: "accuracy"')].replace("pool: MAX", "pool: AVE")
BODY = BODY.replace('"ReLU"', '"TanH"')  # where rounding decides nothing


def inputs(batch, infogain=False):
    net = stock.input_net(batch, layers="")
    net += (
        f'layer {{ name: "targets" type: "Input" top: "targets" input_param {{ shape {{ dim: {batch} dim: 10 }} }} }}\n'
    )
    if infogain:
        net += 'layer { name: "h" type: "Input" top: "h" input_param { shape { dim: 1 dim: 1 dim: 10 dim: 10 } } }\n'
    return net


def loss(kind, param, name="loss", bottom="ip2", label="", more=""):
    label = label or ("targets" if kind == "SigmoidCrossEntropyLoss" else "label")
    third = 'bottom: "h" ' if kind == "InfogainLoss" else ""
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" bottom: "{label}" {third}top: "{name}" '
        f"loss_param {{ {param} }} {more} }}\n"
    )


def samples(count, seed=1):
    """Images, labels, and targets for each class. Of the first half of each batch of 2 x BATCH, the first rank's, most
    labels are ignored; now and then all."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, 1, 12, 12)).astype(np.float32)
    labels = rng.integers(0, 9, count).astype(np.float32)
    targets = rng.integers(0, 2, (count, 10)).astype(np.float32)
    first = np.arange(count) % (2 * BATCH) < BATCH
    labels[first & (rng.random(count) < 0.8)] = IGNORED
    targets[(first[:, None]) & (rng.random((count, 10)) < 0.8)] = IGNORED
    labels[: 2 * BATCH] = IGNORED
    targets[2 * BATCH : 3 * BATCH] = IGNORED
    return images, labels, targets


H = (np.eye(10) + np.random.default_rng(5).random((10, 10)) / 5).astype(np.float32)


def fill(blobs, data, at):
    for name, values in zip(("data", "label", "targets"), data):
        blobs[name][...] = values[at]
    if "h" in blobs:
        blobs["h"][...] = H


def two_ranks(tmp_path, net, data, iterations, solver):
    """Two ranks' weights and losses; rank r has the r-th half of each batch."""

    def run(comm):
        at = 0

        def load():
            nonlocal at
            start = (2 * at + comm.rank) * BATCH
            fill(trainer.inputs, data, slice(start, start + BATCH))
            at += 1

        folder = tmp_path / f"rank{comm.rank}"
        folder.mkdir()
        messages = text_format.Parse(solver, SolverParameter()), text_format.Parse(net, NetParameter())
        trainer = CaffeTrainer(*messages, [], comm.rank, str(folder))
        with contextlib.closing(trainer):
            strategy = AllReduce(trainer, comm, Settings(), lambda: False)
            strategy.start([], None, None)
            losses = [strategy.iterate(load).history[0][1] for _ in range(iterations)]
            return [array.copy() for array in trainer.weights], losses

    found = in_threads(2, run)
    for mine, theirs in zip(*(weights for weights, _ in found)):
        np.testing.assert_array_equal(mine, theirs)
    return found[0]


def one_solver(net, data, iterations, solver):
    """A stock solver with both ranks' samples: its weights, and the loss of each iteration."""
    stock_solver = stock.make_solver(solver, net)
    blobs = {name: stock_solver.net.blobs[name] for name in stock_solver.net.blobs}
    weighted = [(blobs[name], w) for name, w in stock_solver.net.blob_loss_weights.items() if w]
    at, losses = 0, []

    def load(layer):
        nonlocal at
        if layer == 0:
            fill({name: blob.data for name, blob in blobs.items()}, data, slice(2 * at * BATCH, 2 * (at + 1) * BATCH))
            at += 1

    last = len(stock_solver.net.layers) - 1
    of_passes = []
    stock_solver.net.before_forward(load)
    stock_solver.net.after_forward(
        lambda n: of_passes.append(sum(float(blob.data.sum()) * w for blob, w in weighted)) if n == last else None
    )
    for _ in range(iterations):
        of_passes.clear()
        stock_solver.step(1)
        losses.append(sum(of_passes) / len(of_passes))
    return stock.weights(stock_solver.net), losses


def deviation(first, second):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(first, second))


def check(tmp_path, layers, iterations=8, infogain=False, solver=SOLVER, passes=1):
    data = samples(2 * BATCH * iterations * passes)
    mine, losses = two_ranks(tmp_path, inputs(BATCH, infogain) + BODY + layers, data, iterations, solver)
    theirs, expected = one_solver(inputs(2 * BATCH, infogain) + BODY + layers, data, iterations, solver)
    assert deviation(mine, theirs) < 1e-5
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-7)


MODES = {
    "default": "",
    "FULL": "normalization: FULL",
    "VALID": "normalization: VALID",
    "BATCH_SIZE": "normalization: BATCH_SIZE",
    "NONE": "normalization: NONE",
    "normalize": "normalize: true",
    "normalize not": "normalize: false",
}


# Caffe refuses the older field in an InfogainLoss
KINDS = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "InfogainLoss")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in KINDS for mode in MODES if kind != "InfogainLoss" or "normalize" not in mode],
)
@pytest.mark.parametrize("ignoring", [True, False], ids=["ignoring", "all"])
def test_two_ranks_are_one_solver(tmp_path, kind, ignoring, mode):
    solver = SOLVER.replace("0.02", "0.001") if mode == "NONE" else SOLVER
    param = f"ignore_label: {IGNORED} {MODES[mode]}" if ignoring else MODES[mode]
    check(tmp_path, loss(kind, param), infogain=kind == "InfogainLoss", solver=solver)


OTHERS = {
    "two losses behind a Split": loss("SoftmaxWithLoss", "ignore_label: 9", "first", more="loss_weight: 0.3")
    + loss("SigmoidCrossEntropyLoss", "ignore_label: 9 normalization: VALID", "second", more="loss_weight: 2"),
    "one that needs it and one that does not": loss(
        "SoftmaxWithLoss", "ignore_label: 9", "first", more="loss_weight: 0.3"
    )
    + loss("SigmoidCrossEntropyLoss", "", "second"),
    "a loss that goes on": loss("SoftmaxWithLoss", "ignore_label: 9", more="loss_weight: 0")
    + 'layer { name: "scaled" type: "Power" bottom: "loss" top: "scaled" power_param { scale: 0.5 } loss_weight: 1 }\n'
    + 'layer { name: "silence" type: "Silence" bottom: "loss" }\n',
    "labels that are made between two losses": loss("SoftmaxWithLoss", "ignore_label: 9", "first")
    + 'layer { name: "later" type: "Reshape" bottom: "label" top: "later" reshape_param { shape { dim: -1 } } }\n'
    + loss("SoftmaxWithLoss", "ignore_label: 9", "second", label="later"),
    "losses of one name": loss("SoftmaxWithLoss", "ignore_label: 9")
    + loss("SigmoidCrossEntropyLoss", "ignore_label: 9 normalization: VALID").replace('top: "loss"', 'top: "other"'),
    "labels for places": 'layer { name: "places" type: "Reshape" bottom: "ip2" top: "places" '
    "reshape_param { shape { dim: 0 dim: 2 dim: 5 } } }\n"
    'layer { name: "cut" type: "Slice" bottom: "targets" top: "half" top: "rest" slice_param { slice_point: 5 } }\n'
    'layer { name: "silence" type: "Silence" bottom: "rest" }\n'
    + loss("SoftmaxWithLoss", "ignore_label: 9", bottom="places", label="half"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_nets_with_more(tmp_path, name):
    check(tmp_path, OTHERS[name])


def test_passes_of_an_iteration_are_divided_one_by_one(tmp_path):
    """As stock Caffe does it with iter_size."""
    check(tmp_path, loss("SoftmaxWithLoss", "ignore_label: 9"), solver=f"{SOLVER} iter_size: 2", passes=2)


def test_one_exchange_a_pass_and_none_for_other_nets(tmp_path):
    def exchanges(layers):
        net = inputs(BATCH) + BODY + layers
        counted = []
        trainer = CaffeTrainer(
            text_format.Parse(SOLVER, SolverParameter()), text_format.Parse(net, NetParameter()), [], 0, str(tmp_path)
        )
        with contextlib.closing(trainer):
            trainer.normalize_over(2, lambda counts: counted.append(len(counts)))
            trainer.step(lambda: fill(trainer.inputs, samples(BATCH), slice(0, BATCH)), lambda loss: None)
        return counted

    assert exchanges(OTHERS["two losses behind a Split"]) == [2]
    assert exchanges(OTHERS["labels that are made between two losses"]) == [1, 1]
    assert exchanges(loss("SoftmaxWithLoss", "")) == []
    assert exchanges(loss("SoftmaxWithLoss", "ignore_label: 9 normalization: FULL")) == []
    assert exchanges(loss("SoftmaxWithLoss", "normalization: NONE")) == []


def test_without_it_the_ranks_are_not_one_solver(tmp_path, monkeypatch):
    """What this is for: the plain mean over the ranks."""
    monkeypatch.setattr(CaffeTrainer, "normalize_over", lambda *_: None)
    net, data = BODY + loss("SoftmaxWithLoss", "ignore_label: 9"), samples(2 * BATCH * 8)
    mine, _ = two_ranks(tmp_path, inputs(BATCH) + net, data, 8, SOLVER)
    theirs, _ = one_solver(inputs(2 * BATCH) + net, data, 8, SOLVER)
    assert deviation(mine, theirs) > 0.1


def test_what_is_not_one_solver_is_told():
    net = text_format.Parse(
        inputs(BATCH)
        + BODY
        + loss("SoftmaxWithLoss", "ignore_label: 9")
        + loss("FocalLoss", "ignore_label: 255", "focal")
        + 'layer { name: "sum" type: "Reduction" bottom: "ip2" top: "sum" loss_weight: 0.1 }\n'
        + 'layer { name: "mean" type: "Reduction" bottom: "ip2" top: "mean" reduction_param { operation: MEAN } '
        "loss_weight: 0.1 }\n" + 'layer { name: "each" type: "Power" bottom: "ip2" top: "each" loss_weight: 0.1 }\n',
        NetParameter(),
    )
    axes = {"data": (0, 1), "ip2": (0, 1), "each": (0, 1)}
    assert normalization_notes(net, axes, 1, "all_reduce", True) == []
    focal, reduction, each = normalization_notes(net, axes, 4, "all_reduce", True)
    assert focal == (
        "layer 'focal' (FocalLoss): what its loss is divided by is not known: each of the 4 ranks weighs the same, "
        "however many labels it ignores"
    )
    for line, name in ((reduction, "'sum' (Reduction)"), (each, "'each' (Power)")):
        assert line.startswith(f"layer {name}: its loss is a sum over the samples")
        assert "multiply its loss_weight by 4" in line
    (averaged,) = normalization_notes(net, axes, 4, "average", False)
    assert averaged.startswith("layer 'loss' (SoftmaxWithLoss): with -sync average each of the 4 ranks weighs the same")
