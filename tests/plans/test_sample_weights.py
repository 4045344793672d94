"""Which losses weigh samples, which are refused, and what records may weigh."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import BadRecords, ConfigError, DataError, ImageTop, NumberTop, Records
from caffeonspark.data.records import BadRecordPolicy
from caffeonspark.data.tops import without_bad_values
from caffeonspark.nets.net import TEST, TRAIN, Net
from caffeonspark.nets.sample_weight import SAMPLE_WEIGHT
from caffeonspark.nets.schema import NetParameter
from caffeonspark.plans.inspection import Inspection
from caffeonspark.plans.sample_weights import (
    WEIGHABLE,
    WeightedLoss,
    limits_of_weights,
    sample_weight_notes,
    weighted_losses,
)

TOPS = (NumberTop("data", (5,)), NumberTop("label", ()), NumberTop(SAMPLE_WEIGHT, ()))
INPUTS = "".join(f'layer {{ name: "{top.name}" type: "Input" top: "{top.name}" }}\n' for top in TOPS)


def layer(kind, bottoms=("data", "label"), more=""):
    bottom = " ".join(f'bottom: "{name}"' for name in bottoms)
    return f'layer {{ name: "one" type: "{kind}" {bottom} top: "one" {more} }}\n'


def found(layers, tops=TOPS, shapes=None, axes=None, flexible=True, weighable=WEIGHABLE, phase=TRAIN):
    message = text_format.Parse(INPUTS + layers, NetParameter())
    shapes = {"data": (4, 5), "label": (4,), SAMPLE_WEIGHT: (4,), **(shapes or {})}
    inspection = Inspection(shapes, flexible, {"data": (0, 1), "label": (0, 1)} if axes is None else axes, 0, [])
    return weighted_losses(Net(message, "net.prototxt", phase), message, tops, inspection, weighable)


@pytest.mark.parametrize("kind", WEIGHABLE)
def test_losses_that_can(kind):
    assert found(layer(kind)) == (WeightedLoss(3, 0),)


def test_no_weights_where_the_top_is_used_or_missing_or_the_net_is_a_test_net():
    assert found(layer("SoftmaxWithLoss") + layer("Silence", (SAMPLE_WEIGHT,))) == ()
    assert found(layer("EuclideanLoss", ("data", SAMPLE_WEIGHT))) == ()
    assert found(layer("HingeLoss"), phase=TEST) == ()
    assert found(layer("HingeLoss"), tops=TOPS[:2]) == ()


def test_a_loss_that_is_only_shown_need_not_weigh():
    assert found(layer("HingeLoss", more="loss_weight: 0") + layer("SoftmaxWithLoss")) == (WeightedLoss(4, 0),)


BEGIN = "net.prototxt: layer 'one' ({}) cannot weigh samples by top 'sample_weight': "
REFUSED = {
    "another type": (
        {"layers": layer("HingeLoss")},
        BEGIN.format("HingeLoss") + "samples are weighed in losses of type SoftmaxWithLoss, SigmoidCrossEntropyLoss, "
        "EuclideanLoss",
    ),
    "a sum that is minimised": (
        {"layers": layer("SoftmaxWithLoss") + layer("Reduction", ("data",), "loss_weight: 1")},
        BEGIN.format("Reduction") + "samples are weighed in",
    ),
    "an engine that cannot": (
        {"layers": layer("EuclideanLoss"), "weighable": ()},
        BEGIN.format("EuclideanLoss") + "the engine cannot weigh samples",
    ),
    "a fork's third bottom": (
        {"layers": layer("SoftmaxWithLoss", ("data", "label", "label"))},
        BEGIN.format("SoftmaxWithLoss") + "it has 3 bottoms, and samples are weighed in losses of 2",
    ),
    "several entries a sample": (
        {"layers": layer("SoftmaxWithLoss"), "shapes": {"data": (12, 5)}, "axes": {"data": (0, 3)}},
        BEGIN.format("SoftmaxWithLoss")
        + "which of the 4 samples each entry of bottom 'data' (12x5) belongs to is not known",
    ),
    "a blob without samples": (
        {"layers": layer("EuclideanLoss"), "axes": {}},
        BEGIN.format("EuclideanLoss") + "which of the 4 samples each entry of bottom 'data' (4x5) belongs to",
    ),
    "time steps of a net of one batch size": (
        {"layers": layer("EuclideanLoss"), "tops": (NumberTop("data", (4, 5), True), *TOPS[1:]), "flexible": False},
        BEGIN.format("EuclideanLoss") + "which of the 4 samples",
    ),
    "a softmax over the samples": (
        {"layers": layer("SoftmaxWithLoss", more="softmax_param { axis: -2 }")},
        BEGIN.format("SoftmaxWithLoss") + "its softmax is over the samples, whose losses depend on each other",
    ),
    "no loss": (
        {"layers": ""},
        "net.prototxt: top 'sample_weight' weighs the samples' losses, and the net has no loss",
    ),
    "several numbers a sample": (
        {"layers": layer("EuclideanLoss"), "tops": (*TOPS[:2], NumberTop(SAMPLE_WEIGHT, (2, 3)))},
        "net.prototxt: top 'sample_weight' weighs the samples, which takes one number for each, and has 2x3: call it "
        "something else where it is no weight",
    ),
    "images": (
        {"layers": layer("EuclideanLoss"), "tops": (*TOPS[:2], ImageTop(SAMPLE_WEIGHT, (1, 1, 1)))},
        "net.prototxt: top 'sample_weight' weighs the samples, which takes one number for each, and has 1x1x1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    given, expected = REFUSED[name]
    with pytest.raises(ConfigError) as e:
        found(**given)
    assert e.value.message.startswith(expected)


def test_notes():
    norm = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'
    message = text_format.Parse(INPUTS + norm + layer("EuclideanLoss"), NetParameter())
    weighs, batch_norm = sample_weight_notes(message, [WeightedLoss(4, 0)], 4, "")
    assert weighs == "top 'sample_weight' weighs the samples in training (loss 'one'); validation is not weighted"
    assert batch_norm == (
        "layer 'bn' (BatchNorm): its mean and variance are of a batch's samples as they are, whatever they weigh"
    )
    message.layer[3].batch_norm_param.use_global_stats = True
    assert len(sample_weight_notes(message, [WeightedLoss(4, 0)], 4, "")) == 1
    _, averaged = sample_weight_notes(message, [WeightedLoss(4, 0)], 4, "average")
    assert averaged.startswith("with -sync average each of the 4 ranks divides by the sum of its own samples' weights")
    assert len(sample_weight_notes(message, [WeightedLoss(4, 0)], 1, "average")) == 1
    sliced = text_format.Parse(
        'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "sample_weight" }', NetParameter()
    )
    assert sample_weight_notes(sliced, (), 1, "") == [
        "layer 'cut' (Slice): its top 'sample_weight' weighs nothing: only a data layer's does"
    ]


def test_bad_weights_are_bad_records():
    top = NumberTop(SAMPLE_WEIGHT, (), limits=limits_of_weights([WeightedLoss(0, 0)])[SAMPLE_WEIGHT])
    values = np.float32([0, 1.5, -0.5, np.nan, np.inf, -np.inf, 2])
    ids = [f"r{number}" for number in range(len(values))]
    skipped = BadRecords("data", BadRecordPolicy(skip=True))
    kept = without_bad_values([top], Records(ids, [values], np.arange(len(values))), skipped)
    assert list(kept.ids) == ["r0", "r1", "r6"]
    assert skipped.counts == {"negative weight": 1, "not finite": 3}
    with pytest.raises(DataError, match=r"r2.*top 'sample_weight' is -0.5; a weight is 0 or more"):
        without_bad_values([top], Records(ids, [values], np.arange(len(values))), BadRecords("data", BadRecordPolicy()))
