"""Which labels a classifier takes, and what its classes are called: no Spark session is needed."""

import numpy as np
import pytest

from caffeonspark import DataError, nets
from caffeonspark.data.records import BadRecords, Records
from caffeonspark.data.tops import NumberTop, without_bad_values
from caffeonspark.ml.heads import class_limits
from caffeonspark.ml.labels import for_all, nominal
from caffeonspark.nets.net import TRAIN, Net


def limits_of(net, raw=""):
    return class_limits(Net(net, "net.prototxt", TRAIN), raw)


def refused(limits, labels):
    """What is said of these labels; "" where all can be used."""
    top = NumberTop("label", (), limits=limits["label"])
    values = np.array(labels, np.float32)
    try:
        ids = [f"r{n}" for n in range(len(values))]
        without_bad_values([top], Records(ids, [values], np.arange(len(values))), BadRecords("d"))
    except DataError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("net", [nets.mlp(layers=[4, 3]), nets.mlp(layers=[4, 1], loss="sigmoid")])
def test_a_class_is_a_whole_number(net):
    limits = limits_of(net)
    assert refused(limits, [0, 1, 0]) == ""
    assert "'r1': top 'label' is 0.5; a class is a whole number" in refused(limits, [0, 0.5])


def test_two_classes_are_0_and_1():
    """Of which Caffe's own layer knows nothing: it goes on with any target."""
    net = nets.mlp(layers=[4, 1], loss="sigmoid")
    for label in (-1, 2):
        assert f"top 'label' is {label}; layer 'loss' takes 0 to 1" in refused(limits_of(net), [0, label])
    net.layer[-1].loss_param.ignore_label = -1
    assert refused(limits_of(net), [0, -1, 1]) == ""


def test_other_losses_take_what_they_take():
    assert limits_of(nets.mlp(layers=[4, 1], loss="euclidean")) == {}
    assert limits_of(nets.mlp(layers=[4, 3]), "ip1").keys() == {"label"}
    assert limits_of(nets.mlp(layers=[4, 3]), "other") == {}


def test_every_class_has_a_name_of_its_own():
    assert for_all(["a", "b"], 4) == ["a", "b", "2", "3"]
    assert for_all(["x", "2"], 3) == ["x", "2", "2_"]
    assert for_all([], 3) == []
    assert nominal("p", [], 3) == {"ml_attr": {"type": "nominal", "name": "p", "num_vals": 3}}
    assert nominal("p", ["a", "b"], 2)["ml_attr"]["vals"] == ["a", "b"]
