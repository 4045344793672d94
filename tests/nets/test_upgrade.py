"""Old nets, solvers and models brought up to date, field by field as Caffe's own programs do it."""

import itertools
import random
import re

import pytest
from google.protobuf import text_format

from caffeonspark import Config
from caffeonspark.errors import ConfigError
from caffeonspark.formats.binary import whole_net
from caffeonspark.nets.prototxt import parse_net, parse_solver
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.nets.upgrade import SOLVER_TYPES, V0_TYPES, layer_type, upgrade_net, upgrade_solver
from tests.support import stock_tools
from tests.support.stock import caffe

caffe_pb2 = caffe.proto.caffe_pb2

pytestmark = pytest.mark.skipif(
    stock_tools.find("upgrade_net_proto_text") is None, reason="this Caffe has no upgrade_net_proto_text"
)
V1 = caffe_pb2.V1LayerParameter.LayerType.items()


def by_stock(tmp_path, text):
    """What upgrade_net_proto_text makes of a net; None where it refuses it."""
    source, output = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    source.write_text(text)
    taken, wrote, _ = stock_tools.run("upgrade_net_proto_text", source, output)
    return text_format.Parse(wrote.decode(), NetParameter()) if taken else None


def by_us(text):
    net = text_format.Parse(text, NetParameter())
    changes = upgrade_net(net, "net.prototxt")
    return net, changes


def same(tmp_path, text):
    """The net, upgraded by us; it is the one that Caffe makes."""
    net, changes = by_us(text)
    assert net == by_stock(tmp_path, text)
    again = NetParameter()
    again.CopyFrom(net)
    assert upgrade_net(again, "net.prototxt").done == () and again == net
    return net, changes


_numbers = itertools.count(1)


def fill(message, leave_out=(), chosen=lambda: True):
    """Set the fields of a message, and of those in it, to values that are none of their defaults."""
    for field in message.DESCRIPTOR.fields:
        if field.name in leave_out or not chosen():
            continue
        repeated = field.label == field.LABEL_REPEATED
        for _ in range(2 if repeated else 1):
            if field.message_type is not None:
                new = getattr(message, field.name).add() if repeated else getattr(message, field.name)
                new.SetInParent()
                fill(new, (), chosen)
                continue
            value = next(_numbers) % 1000 + 2
            if field.enum_type is not None:
                value = field.enum_type.values[value % len(field.enum_type.values)].number
            elif field.cpp_type == field.CPPTYPE_BOOL:
                value = not field.default_value if not repeated else True
            elif field.cpp_type == field.CPPTYPE_STRING:
                value = f"text {value}"
            elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
                value /= 7
            if field.type == field.TYPE_BYTES:
                value = value.encode()
            if repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


# ---- field by field


def test_every_v1_type_with_every_field(tmp_path):
    net = caffe_pb2.NetParameter(name="all", force_backward=True, debug_info=True)
    net.state.stage.append("stage")
    for name, number in V1:
        layer = net.layers.add()
        fill(layer, ("layer", "type"))
        layer.name, layer.type = name, number
    net.layers.add(name="no type")
    new, _ = same(tmp_path, text_format.MessageToString(net))
    assert {layer.name: layer.type for layer in new.layer} == {**{n: layer_type(n) for n, _ in V1}, "no type": ""}
    assert len(V1) == 40 and {layer_type(name) for name, _ in V1} - {""} <= set(caffe.layer_type_list())


def test_every_v0_type_with_every_field(tmp_path):
    """Those that mean nothing in a layer, too."""
    net = caffe_pb2.NetParameter(name="all", force_backward=True, debug_info=True, input=["in"], input_dim=[1, 2, 3, 4])
    net.state.stage.append("stage")
    for kind in V0_TYPES:
        layer = net.layers.add(bottom=["in"], top=[kind], name="not this", blobs_lr=[7])
        fill(layer.layer, ("type",))
        layer.layer.name, layer.layer.type = kind, kind
    net.layers.add(bottom=["in"], top=["no type"]).layer.name = "no type"
    new, changes = same(tmp_path, text_format.MessageToString(net))
    assert {layer.name: layer.type for layer in new.layer[1:]} == {
        **{kind: layer_type(kind) for kind in V0_TYPES},
        "no type": "",
    }
    assert changes.done == ("layers of before 2014", "input fields")
    assert "num_output in layer 'relu' of type relu" in changes.ignored
    assert "blobs_lr outside of layer { … } in layer 'relu'" in changes.ignored
    assert {"debug_info of the net", "state of the net"} <= set(changes.ignored)
    assert not [text for text in changes.ignored if "'conv'" in text and "num_output" in text]


@pytest.mark.parametrize("seed", range(6))
def test_layers_with_some_of_their_fields(tmp_path, seed):
    rng = random.Random(seed)
    few = 0.15
    v1, v0 = caffe_pb2.NetParameter(), caffe_pb2.NetParameter(input=["in"])
    for _ in range(60):
        _, number = rng.choice(V1)
        layer = v1.layers.add()
        fill(layer, ("layer", "type"), lambda: rng.random() < few)
        layer.type = number
        kind = rng.choice(list(V0_TYPES))
        layer = v0.layers.add(bottom=["in"])
        fill(layer.layer, ("type",), lambda: rng.random() < few)
        layer.layer.type = kind
    for net in (v1, v0):
        same(tmp_path, text_format.MessageToString(net))


V1_CONV = 'layers { name: "c" type: CONVOLUTION bottom: "d" top: "c" convolution_param { num_output: 2 } %s }'
PADDED = """
input: "in" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "p" type: "padding" pad: 2 } bottom: "in" top: "p" }
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 pad: 1 } bottom: "p" top: "c" }
layers { layer { name: "q" type: "padding" } bottom: "c" top: "c" }
layers { layer { name: "m" type: "pool" pool: AVE kernelsize: 3 } bottom: "c" top: "m" }
layers { layer { name: "again" type: "pool" pool: STOCHASTIC kernelsize: 3 } bottom: "c" top: "n" }
"""


@pytest.mark.parametrize(
    ("text", "done"),
    [
        (V1_CONV % "", ["layers of before 2015"]),
        (V1_CONV % "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0", ["layers of before 2015"]),
        (V1_CONV % "blobs_lr: 0", ["layers of before 2015"]),
        (V1_CONV % "weight_decay: 3 param: 'w'", ["layers of before 2015"]),
        (V1_CONV % "param: 'w' param: 'b' blob_share_mode: PERMISSIVE blobs_lr: 1", ["layers of before 2015"]),
        (V1_CONV % "blob_share_mode: STRICT blob_share_mode: PERMISSIVE", ["layers of before 2015"]),
        (V1_CONV % "include { phase: TRAIN stage: 's' } exclude { min_level: 2 }", ["layers of before 2015"]),
        (V1_CONV % "loss_weight: 0.5 loss_weight: 2", ["layers of before 2015"]),
        (
            "layers { name: 'd' type: DATA top: 'd' data_param { source: 'x' scale: 0.5 mirror: true } }"
            "layers { name: 'e' type: DATA top: 'e' transform_param { scale: 2 crop_size: 3 } data_param { scale: 1 } }"
            "layers { name: 'i' type: IMAGE_DATA top: 'i' } layers { name: 'w' type: WINDOW_DATA top: 'w' }"
            "layers { name: 'm' type: MEMORY_DATA top: 'm' } layers { name: 'r' type: RELU data_param { scale: 2 } }",
            ["layers of before 2015", "transformation fields outside transform_param"],
        ),
        (
            "layers { name: 'i' type: IMAGE_DATA image_data_param { mean_file: 'm' crop_size: 0 } }"
            "layers { name: 'd' type: DATA data_param { source: 'x' } }",
            ["layers of before 2015", "transformation fields outside transform_param"],
        ),
        (
            "layers { name: 'w' type: WINDOW_DATA window_data_param { mirror: false } }",
            ["layers of before 2015", "transformation fields outside transform_param"],
        ),
        ("layers { name: 'i' type: IMAGE_DATA image_data_param { source: 'x' } }", ["layers of before 2015"]),
        # today's layers keep what Caffe does not look at there
        ("layer { name: 'd' type: 'Data' top: 'd' data_param { source: 'x' scale: 0.5 mirror: true } }", []),
        (PADDED, ["layers of before 2014", "input fields"]),
        (
            "layers { layer { name: 'd' type: 'data' source: 'x' batchsize: 5 scale: 2 meanfile: 'm' cropsize: 3 "
            "mirror: true rand_skip: 4 } top: 'd' top: 'l' }",
            ["layers of before 2014"],
        ),
        ("input: 'a' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4", ["input fields"]),
        (
            "input: 'a' input: 'b' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5 input_dim: 6 "
            "input_dim: 7 input_dim: 8 input_dim: 9 layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'r' }",
            ["input fields"],
        ),
        (
            "input: 'a' input: 'b' input_shape { dim: 1 dim: 2 } input_shape { dim: 3 } input_shape { dim: 4 }"
            "layer { name: 'r' type: 'ReLU' } layer { name: 's' type: 'ReLU' }",
            ["input fields"],
        ),
        ("input: 'a' input_shape { dim: 1 } input_dim: 5", ["input fields"]),
        ("input: 'a' layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'r' }", ["input fields"]),
        ("input: 'a' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 " + V1_CONV % "", None),
        ("input_dim: 1 layer { name: 'r' type: 'ReLU' }", []),
        (
            "layer { name: 'n' type: 'BatchNorm' param { lr_mult: 1 } param { name: 'x' decay_mult: 2 } param { } }"
            "layer { name: 'two' type: 'BatchNorm' param { lr_mult: 1 } param { lr_mult: 1 } }"
            "layer { name: 'four' type: 'BatchNorm' param { } param { } param { } param { } }"
            "layer { name: 's' type: 'Scale' param { lr_mult: 1 } param { } param { } }",
            ["learning rates of BatchNorm's statistics"],
        ),
        ("layer { name: 'n' type: 'BatchNorm' param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }", []),
        ("layer { name: 'r' type: 'ReLU' }", []),
        ("name: 'nothing'", []),
    ],
)
def test_constructs(tmp_path, text, done):
    _, changes = same(tmp_path, text)
    assert done is None or list(changes.done) == done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layers { layer { name: 'c' type: 'covn' } top: 'c' }",
            "net.prototxt: layer 'c': unknown layer type 'covn' in a net of before 2014. Did you mean 'conv'?",
        ),
        (
            V1_CONV % "" + "layer { name: 'new' type: 'ReLU' }",
            "net.prototxt: layer 'new': this net has 'layer' and, of older versions of Caffe, 'layers' ('c'): write "
            "all of them in one way",
        ),
        (
            "layers { layer { name: 'c' type: 'conv' } bottom: 'dta' top: 'c' }",
            "net.prototxt: layer 'c': bottom 'dta' is the top of no layer before it.",
        ),
        (
            "input: 'd' layers { layer { name: 'p' type: 'padding' } bottom: 'd' top: 'p' }"
            "layers { layer { name: 'r' type: 'relu' } bottom: 'p' top: 'r' }",
            "net.prototxt: layer 'r': a padding layer ('p') goes before conv and pool layers, not before relu",
        ),
        (
            "input: 'd' layers { layer { name: 'p' type: 'padding' } bottom: 'd' top: 'p' }"
            "layers { layer { name: 'c' type: 'conv' } bottom: 'p' bottom: 'p' top: 'r' }",
            "net.prototxt: layer 'c': around padding a layer has 1 bottom, not 2",
        ),
        (
            "input: 'd' layers { layer { name: 'p' type: 'padding' } bottom: 'd' bottom: 'd' top: 'p' }"
            "layers { layer { name: 'c' type: 'conv' } bottom: 'p' top: 'r' }",
            "net.prototxt: layer 'p': around padding a layer has 1 bottom, not 2",
        ),
        (
            "input: 'd' layers { layer { name: 'p' type: 'padding' } bottom: 'd' top: 'p' top: 'q' }"
            "layers { layer { name: 'c' type: 'conv' } bottom: 'p' top: 'r' }",
            "net.prototxt: layer 'p': a padding layer has 1 top",
        ),
    ],
)
def test_what_caffe_refuses(tmp_path, text, message):
    assert by_stock(tmp_path, text) is None
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        by_us(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layers { layer { name: 'r' type: 'relu' } top: 'r' } " + V1_CONV % "",
            "net.prototxt: layer 'c': it is written as layers of 2014 are, and others of this net in the way before",
        ),
        (
            "layers { layer { name: 'r' type: 'relu' } top: 'r' } layer { name: 'new' type: 'ReLU' }",
            "net.prototxt: layer 'new': this net has 'layer' and, of older versions of Caffe, 'layers' ('r')",
        ),
        (
            "input: 'a' input: 'b' input_shape { dim: 1 }",
            "net.prototxt: input 'b' has no shape: 2 inputs need 2 values of input_shape, not 1",
        ),
        (
            "input: 'a' input: 'b' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5",
            "net.prototxt: input 'b' has no shape: 2 inputs need 8 values of input_dim, not 5",
        ),
    ],
)
def test_what_caffe_would_make_nonsense_of(text, message):
    """It loses the layers of the other version, and reads beyond the end of the shapes."""
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        by_us(text)


# ---- models


def test_models_field_by_field(tmp_path):
    """With their numbers, which are bytes to us: packed, in double precision, and differences."""
    v1, v0 = caffe_pb2.NetParameter(), caffe_pb2.NetParameter(input=["in"], input_dim=[1, 2, 3, 4])
    for _, number in V1:
        layer = v1.layers.add()
        fill(layer, ("layer", "type"))
        layer.type = number
    for kind in V0_TYPES:
        layer = v0.layers.add(bottom=["in"])
        fill(layer.layer, ("type",))
        layer.layer.type = kind
    for number, net in enumerate((v1, v0)):
        source, output = tmp_path / f"{number}.old", tmp_path / f"{number}.new"
        source.write_bytes(net.SerializeToString())
        taken, wrote, _ = stock_tools.run("upgrade_net_proto_binary", source, output)
        assert taken
        ours = whole_net().FromString(source.read_bytes())
        upgrade_net(ours, "old")
        blobs = ours.layer[5].blobs
        assert len(blobs) == 2 and len(blobs[0].data[0]) == 8
        assert NetParameter.FromString(ours.SerializeToString()) == NetParameter.FromString(wrote)


# ---- solvers


@pytest.mark.parametrize("name", [*caffe_pb2.SolverParameter.SolverType.keys(), None])
def test_solver_types(tmp_path, name):
    text = "net: 'n' max_iter: 3 base_lr: 0.1" + (f" solver_type: {name}" if name else " type: 'Adam'")
    source, output = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    source.write_text(text)
    taken, wrote, _ = stock_tools.run("upgrade_solver_proto_text", source, output)
    assert taken
    solver = text_format.Parse(text, SolverParameter())
    changes = upgrade_solver(solver, "solver.prototxt")
    assert solver == text_format.Parse(wrote.decode(), SolverParameter())
    assert changes.done == (("solver_type",) if name else ())
    assert parse_solver(text.encode(), "solver.prototxt").type in SOLVER_TYPES


def test_a_solver_with_both_types(tmp_path):
    text = "net: 'n' max_iter: 3 solver_type: SGD type: 'SGD'"
    (tmp_path / "old.prototxt").write_text(text)
    assert not stock_tools.run("upgrade_solver_proto_text", tmp_path / "old.prototxt", tmp_path / "new.prototxt")[0]
    with pytest.raises(ConfigError, match=r"^s\.prototxt: solver_type is the old name of type: give one of them"):
        parse_solver(text.encode(), "s.prototxt")


@pytest.mark.parametrize("field", ["net_param", "train_net_param", "test_net_param"])
def test_nets_that_stand_in_a_solver(tmp_path, field, capfd):
    """Caffe takes these as they stand, and so loses such layers: here they are nets as others are."""
    solver = parse_solver(f"max_iter: 3 {field} {{ {PADDED} }}".encode(), "s.prototxt")
    net = getattr(solver, field)
    assert (net[0] if field == "test_net_param" else net) == by_stock(tmp_path, PADDED)
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        "caffeonspark: s.prototxt is of an older version of Caffe (layers of before 2014, input fields) and was "
        "brought up to date, as Caffe does: 'caffeonspark upgrade s.prototxt NEW' writes the result to the file NEW"
    )
    with pytest.raises(ConfigError, match=r"^s.prototxt: layer 'c': unknown layer type 'covn'"):
        parse_solver(
            f"max_iter: 3 {field} {{ layers {{ layer {{ name: 'c' type: 'covn' }} }} }}".encode(), "s.prototxt"
        )


def test_lines_at_the_start(capfd):
    parse_net(
        b"layer { name: 'n' type: 'BatchNorm' param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }", "n"
    )
    assert capfd.readouterr().err == ""  # no run would notice
    parse_net(b"layers { layer { name: 'r' type: 'relu' num_output: 3 } top: 'r' }", "n.prototxt")
    assert capfd.readouterr().err.splitlines() == [
        "caffeonspark: n.prototxt is of an older version of Caffe (layers of before 2014) and was brought up to date, "
        "as Caffe does: 'caffeonspark upgrade n.prototxt NEW' writes the result to the file NEW",
        "caffeonspark: n.prototxt: ignored, as by Caffe: num_output in layer 'r' of type relu",
    ]


def test_a_file_of_several_nets_is_told_of_once(tmp_path, capfd):
    (tmp_path / "old.prototxt").write_text(PADDED)
    (tmp_path / "solver.prototxt").write_text(
        "train_net: 'old.prototxt' test_net: 'old.prototxt' test_net: 'old.prototxt' "
        "test_iter: 1 test_iter: 1 max_iter: 1"
    )
    config = Config(None, conf=str(tmp_path / "solver.prototxt"))
    assert [layer.name for layer in config.nets.train.message.layer] == ["input", "c", "m", "again"]
    assert capfd.readouterr().err.count("was brought up to date") == 1
