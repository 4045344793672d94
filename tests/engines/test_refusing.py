"""Which layer Caffe refuses."""

import re

import pytest

from caffeonspark import ConfigError
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.caffe.refusing import refusing_layer
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.nets.schema import NetParameter

IP = """layer { name: "%s" type: "InnerProduct" bottom: "%s" top: "%s" inner_product_param { num_output: %d } }
"""


def inspect(text):
    CaffeEngine().inspect(parse_net(text.encode(), "n"), {}, 0, "n")


@pytest.mark.parametrize("bad", range(7))
def test_it_is_the_first_that_is_refused(bad):
    net = NetParameter(layer=[{"name": str(number)} for number in range(7)])
    asked = []

    def refusal(beginning):
        asked.append(len(beginning.layer))
        return "no" if len(beginning.layer) > bad else ""

    assert refusing_layer(net, "no", refusal).name == str(bad)
    assert len(asked) <= 3
    assert len(net.layer) == 7


def test_where_the_beginning_is_refused_for_something_else_none_is_named():
    assert refusing_layer(NetParameter(layer=[{}, {}, {}]), "no", lambda beginning: "other") is None
    assert refusing_layer(NetParameter(), "no", lambda beginning: "no") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { num: 2 shape { dim: 3 } } }',
            "n: layer 'd' (DummyData): Caffe refuses the net: Check failed: ",
        ),
        (
            'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 0 dim: 3 } } }',
            "n: layer 'd' (DummyData): Caffe refuses the net: Check failed: data_ (a blob is empty: a dimension",
        ),
        (
            'layer { name: "i" type: "Input" top: "x" top: "t" }' + IP % ("ip", "x", "y", 2) + IP % ("jp", "y", "z", 2),
            "n: layer 'ip' (InnerProduct): Caffe refuses the net: Check failed: ",
        ),
        (
            'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }'
            + IP % ("ip", "x", "y", 2)
            + 'layer { name: "a" type: "Accuracy" bottom: "y" bottom: "x" }',
            "n: layer 'a' (Accuracy): Caffe refuses the net: Check failed: MinTopBlobs()",
        ),
    ],
)
def test_the_message_names_it(text, words):
    with pytest.raises(ConfigError, match="^" + re.escape(words)):
        inspect(text)
