"""Nets with Input layers: what their inputs are, in all forms, and the layer that fills them."""

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.nets.inputs import Feed, fed, inputs_of, measures
from caffeonspark.nets.net import TEST, net_in_phase
from caffeonspark.nets.prototxt import parse_fields, parse_net
from caffeonspark.nets.schema import TransformationParameter

IP = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }'
FORMS = {
    "Input": 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 9 } } }'
    + IP,
    "input_dim": 'input: "data" input_dim: 4 input_dim: 3 input_dim: 8 input_dim: 9 ' + IP,
    "input_shape": 'input: "data" input_shape { dim: 4 dim: 3 dim: 8 dim: 9 } ' + IP,
    "V1": 'input: "data" input_dim: 4 input_dim: 3 input_dim: 8 input_dim: 9 layers { name: "ip" type: INNER_PRODUCT '
    'bottom: "data" top: "ip" inner_product_param { num_output: 2 } }',
}
TWO = (
    'input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 8 } input: "info" input_shape { dim: 2 dim: 3 } '
    + IP
    + 'layer { name: "cat" type: "Concat" bottom: "ip" bottom: "info" top: "cat" }'
)


def net_of(text):
    return net_in_phase(parse_net(text.encode(), "deploy.prototxt"), "deploy.prototxt", TEST)


def transform(text):
    return parse_fields(text, TransformationParameter(), "-transform")


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form):
    net = net_of(FORMS[form])
    assert inputs_of(net) == {"data": (4, 3, 8, 9)}
    assert not net.data_layers()
    (layer,) = fed(net, Feed("place", "json", {"data": "image"}, transform("scale: 0.5"))).data_layers()
    assert (layer.name, layer.type, list(layer.top)) == ("data", "Input", ["data"])
    param = layer.cos_data_param
    assert (param.source, param.dataframe_format, param.batch_size) == ("place", "json", 4)
    assert param.top[0].name == "image"
    assert param.top[0].transform_param.scale == 0.5
    assert [layer.name for layer in fed(net, Feed()).message.layer] == ["data", "ip"]


def test_several_inputs_are_one_layer():
    net = fed(net_of(TWO), Feed(transform=transform("mean_value: 4")))
    (layer,) = net.data_layers()
    assert (layer.name, list(layer.top)) == ("input", ["data", "info"])
    assert [block.HasField("transform_param") for block in layer.cos_data_param.top] == [True, False]
    (part,) = net.pruned(["ip"]).data_layers()
    assert list(part.top) == ["data"]
    assert [list(shape.dim) for shape in part.input_param.shape] == [[2, 3, 8, 8]]
    computed = net.with_inputs([[("data", (2, 3, 8, 8)), ("info", (2, 3))]])
    assert [(one.name, one.type, one.HasField("cos_data_param")) for one in computed.layer[:2]] == [
        ("input_data", "Input", False),
        ("input_info", "Input", False),
    ]


def test_a_net_with_data_of_its_own_stays_as_it_is():
    text = 'layer { name: "d" type: "Data" top: "data" data_param { source: "lmdb" batch_size: 2 } }' + IP
    assert fed(net_of(text), Feed()).data_layers()[0].type == "Data"
    with pytest.raises(ConfigError, match=r"-data goes with a net that has Input layers; layer 'd' of this one names"):
        fed(net_of(text), Feed("place"))


@pytest.mark.parametrize(
    ("text", "feed", "message"),
    [
        (
            FORMS["Input"],
            Feed(columns={"dta": "x"}),
            r"-columns: deploy.prototxt has no input 'dta'\. Did you mean 'data'",
        ),
        (
            FORMS["Input"].replace("dim: 4 dim: 3 dim: 8 dim: 9", ""),
            Feed(),
            r"layer 'in': the shape of input 'data' is empty",
        ),
        (
            FORMS["Input"].replace("dim: 8", "dim: 0"),
            Feed(),
            r"the shape of input 'data' is 4x3x0x9: each dimension is at",
        ),
        (TWO.replace("dim: 2 dim: 3 }", "dim: 1 dim: 3 }"), Feed(), r"they differ: 'data' 2x3x8x8, 'info' 1x3: a row"),
        (
            'layer { name: "in" type: "Input" top: "data" }' + IP,
            Feed(),
            r"layer 'in': 1 tops and 0 shapes: give input_param",
        ),
        (FORMS["Input"] * 2, Feed(), r"layer 'in': top 'data' is already the top of another layer"),
        (
            'input: "data" input_shape { dim: 2 dim: 3 } ' + IP,
            Feed(transform=transform("scale: 2")),
            r"-transform is for images, N x C x H x W, and deploy.prototxt has no such input: 'data' is 2x3",
        ),
    ],
)
def test_what_cannot_be_filled(text, feed, message):
    with pytest.raises(ConfigError, match=message):
        fed(net_of(text), feed)


def test_fields_of_a_transformation():
    with pytest.raises(
        ConfigError, match=r"^-transform: TransformationParameter has no field 'scal'\. Did you mean 'scale'"
    ):
        transform("scal: 2")
    with pytest.raises(ConfigError, match=r"^-transform: TransformationParameter has no field 'resize_param': \w"):
        transform("resize_param { width: 3 }")


def test_what_measures_a_net():
    assert not measures(net_of(TWO))
    assert measures(net_of(TWO + 'layer { name: "a" type: "Accuracy" bottom: "ip" bottom: "info" top: "a" }'))
