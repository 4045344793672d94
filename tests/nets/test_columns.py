"""Which blobs of a net are data, and the layer that fills them from columns."""

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.nets.columns import Filled, check_trains, data_of, nets_to_test, reading
from caffeonspark.nets.models import mlp
from caffeonspark.nets.net import TEST, TRAIN, SolverNets, net_in_phase, solver_nets
from caffeonspark.nets.prototxt import Files, parse_net, parse_solver
from tests.support.paths import ROOT


def ip(bottom, top, outputs=2):
    return (
        f'layer {{ name: "{top}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" '
        f"inner_product_param {{ num_output: {outputs} }} }}\n"
    )


def loss(*bottoms, kind="SoftmaxWithLoss", rest=""):
    named = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{kind}" type: "{kind}" {named} top: "{kind}" {rest} }}\n'


def inputs(dims="dim: 4 dim: 6", top="data", rest=""):
    return f'layer {{ name: "{top}" type: "Input" top: "{top}" input_param {{ shape {{ {dims} }} }} {rest} }}\n'


TRAINED = ip("data", "ip") + loss("ip", "label")
LMDB = (
    'layer { name: "d" type: "Data" top: "data" top: "label" %s data_param { source: "x" batch_size: %d }\n'
    "  transform_param { mirror: true crop_size: 3 mean_value: 4 %s } }\n"
)
COS = """layer { name: "d" type: "CoSData" top: "data" top: "label" cos_data_param { batch_size: 5 shuffle: true
  top { name: "pixels" type: RAW_IMAGE channels: 1 height: 6 width: 7 transform_param { crop_size: 5 mirror: true } }
  top { name: "digit" sample_num_axes: 0 } } }
"""


def nets_of(text, solver=""):
    message = parse_solver(f"{solver} net_param {{ {text} }}".encode(), "solver.prototxt")
    return solver_nets(message, "solver.prototxt", Files(lambda path: b"", lambda path: False))


def data(text):
    return data_of(nets_of(text).train)


def kinds(found):
    return {blob.name: ("label" if blob.is_label else "feature", blob.shape) for blob in found.blobs}


CASES = {
    "nothing": (TRAINED, {"data": ("feature", None), "label": ("label", None)}, 0),
    "Input": (inputs() + TRAINED, {"data": ("feature", (6,)), "label": ("label", None)}, 4),
    "input fields": (
        'input: "data" input_dim: 3 input_dim: 1 input_dim: 8 input_dim: 9 ' + TRAINED,
        {"data": ("feature", (1, 8, 9)), "label": ("label", None)},
        3,
    ),
    "one Input layer": (
        'layer { name: "i" type: "Input" top: "data" top: "label" input_param { shape { dim: 2 dim: 3 } '
        "shape { dim: 2 } } }" + TRAINED,
        {"data": ("feature", (3,)), "label": ("label", ())},
        2,
    ),
    "Input without a shape": (
        'layer { name: "i" type: "Input" top: "data" }' + TRAINED,
        {"data": ("feature", None), "label": ("label", None)},
        0,
    ),
    "DummyData": (
        'layer { name: "i" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 2 dim: 3 } '
        "shape { dim: 2 } } }" + TRAINED,
        {"data": ("feature", (3,)), "label": ("label", ())},
        2,
    ),
    "old DummyData": (
        'layer { name: "i" type: "DummyData" top: "data" top: "label" dummy_data_param { num: 2 num: 2 channels: 3 '
        "channels: 1 height: 4 height: 1 width: 5 width: 1 } }" + TRAINED,
        {"data": ("feature", (3, 4, 5)), "label": ("label", (1, 1, 1))},
        2,
    ),
    "Input beside a placeholder": (
        inputs() + 'layer { name: "l" type: "DummyData" top: "label" dummy_data_param { shape { dim: 4 } } }' + TRAINED,
        {"data": ("feature", (6,)), "label": ("label", ())},
        4,
    ),
    "Data": (LMDB % ("", 7, "") + TRAINED, {"data": ("feature", None), "label": ("label", None)}, 7),
    "CoSData": (COS + TRAINED, {"data": ("feature", (1, 5, 5)), "label": ("label", ())}, 5),
    "MemoryData": (
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 2 channels: 3 '
        "height: 4 width: 5 } }" + TRAINED,
        {"data": ("feature", (3, 4, 5)), "label": ("label", None)},
        2,
    ),
    "HDF5Data": (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "x" batch_size: 2 } }'
        + TRAINED,
        {"data": ("feature", None), "label": ("label", None)},
        2,
    ),
    "changed in place": (
        'layer { name: "p" type: "Power" bottom: "data" top: "data" }' + TRAINED,
        {"data": ("feature", None), "label": ("label", None)},
        0,
    ),
    "no label": (ip("data", "ip", 6) + loss("ip", "data", kind="EuclideanLoss"), {"data": ("feature", None)}, 0),
    "a label that nobody takes": (
        LMDB % ("", 7, "") + ip("data", "ip", 6) + loss("ip", "data", kind="EuclideanLoss"),
        {"data": ("feature", None)},
        7,
    ),
    "two of each": (
        ip("a", "ia") + ip("b", "ib") + loss("ia", "la") + loss("ib", "lb", kind="EuclideanLoss"),
        {"a": ("feature", None), "la": ("label", None), "b": ("feature", None), "lb": ("label", None)},
        0,
    ),
    "constant labels": (
        inputs() + 'layer { name: "l" type: "DummyData" top: "label" dummy_data_param { data_filler { value: 1 } '
        "shape { dim: 4 } } }" + TRAINED,
        {"data": ("feature", (6,))},
        4,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_which_blobs_are_data(case):
    text, expected, batch = CASES[case]
    found = data(text)
    assert kinds(found) == expected
    assert found.batch_size == batch
    fed_by = [layer.type for layer in found.rest.message.layer if not layer.bottom]
    assert fed_by == (["DummyData"] if case == "constant labels" else [])


def test_the_order_is_that_of_the_net():
    assert list(kinds(data(CASES["two of each"][0]))) == ["a", "b", "la", "lb"]


def test_what_a_data_layer_says_stays():
    blobs = data(COS + TRAINED).blobs
    assert [(blob.block.name, blob.block.HasField("type")) for blob in blobs] == [("pixels", True), ("digit", True)]
    assert data(COS + TRAINED).shuffle
    image = data(LMDB % ("", 7, "force_gray: true") + TRAINED).blobs[0]
    assert (image.block.transform_param.crop_size, image.block.transform_param.mirror) == (3, True)
    assert image.colours == 1
    assert not image.block.transform_param.HasField("force_gray")
    listed = (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { new_height: 8 new_width: 9 } }'
    )
    image = data(listed + TRAINED).blobs[0]
    assert (image.colours, image.block.height, image.block.width) == (3, 8, 9)


def test_a_bottom_that_is_misspelt():
    (blob,) = [blob for blob in data(inputs() + ip("data", "ip1") + loss("ip11", "label")).blobs if blob.hint]
    assert (blob.name, blob.hint) == ("ip11", "Did you mean 'ip1'?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            inputs() + inputs("dim: 5", "label") + TRAINED,
            r"prototxt: a row of data fills one sample of each, and the batch sizes differ: 'data' 4, 'label' 5$",
        ),
        (
            'layer { name: "i" type: "Input" top: "data" top: "label" top: "x" input_param { shape { dim: 2 } '
            "shape { dim: 2 } } }" + TRAINED,
            r"prototxt: layer 'i': 3 tops and 2 shapes: give it a shape \{ dim: … \} for each top, or one for all$",
        ),
        (
            inputs("dim: 4 dim: 0") + TRAINED,
            r"layer 'data': the shape is 4x0: each dimension is at least 1, and the first",
        ),
        (
            'layer { name: "d" type: "HDF5Data" top: "data" hdf5_data_param { batch_size: 2 } '
            "transform_param { mirror: true } }" + TRAINED,
            r"^solver.prototxt: layer 'd': HDF5Data does not transform data: take transform_param away$",
        ),
    ],
)
def test_what_does_not_go_together(text, message):
    with pytest.raises(ConfigError, match=message):
        data(text)


# ---- TEST


def test_the_test_nets_of_a_solver_stay():
    nets = nets_of(LMDB % ("include { phase: TRAIN }", 7, "") + LMDB % ("include { phase: TEST }", 9, "") + TRAINED)
    (test,) = nets_to_test(nets)
    found = data_of(test, data_of(nets.train))
    assert (found.batch_size, found.reads) == (9, True)
    assert found.blobs[0].block.transform_param.mirror  # as the net says


@pytest.mark.parametrize("rest", ["", 'layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" }'])
def test_where_only_train_has_data(rest):
    """The TEST layers are those of TEST, the data those of TRAIN, but for the mirror."""
    text = LMDB % ("include { phase: TRAIN }", 7, "") + ip("data", "ip")
    text += loss("ip", "label", rest="include { phase: TRAIN }") + rest.replace("top:", "include { phase: TEST } top:")
    nets = nets_of(text)
    assert not nets.tests
    (test,) = nets_to_test(nets)
    train = data_of(nets.train)
    found = data_of(test, train)
    assert (test.phase, test.message.state.phase) == (TEST, TEST)
    assert [layer.type for layer in found.rest.message.layer] == ["InnerProduct", *(["Accuracy"] if rest else [])]
    assert kinds(found) == {"data": ("feature", None), **({"label": ("label", None)} if rest else {})}
    image = found.blobs[0].block.transform_param
    assert (image.crop_size, image.mirror, list(image.mean_value)) == (3, False, [4])
    assert train.blobs[0].block.transform_param.mirror
    assert found.batch_size == 7


def test_where_all_layers_are_of_train():
    text = "".join(
        one.replace("name:", "include { phase: TRAIN } name:", 1)
        for one in (LMDB % ("", 7, ""), ip("data", "ip"), loss("ip", "label"))
    )
    nets = nets_of(text)
    (test,) = nets_to_test(nets)
    assert [layer.type for layer in test.message.layer] == ["Data", "InnerProduct", "SoftmaxWithLoss"]
    found = data_of(test, data_of(nets.train))
    assert not found.blobs[0].block.transform_param.mirror
    made = reading(found, [Filled("data", (3,), found.blobs[0].block), Filled("label", (), found.blobs[1].block)], 7)
    assert not any(layer.include for layer in made.message.layer)


def test_a_net_without_data_layers_is_tested_too():
    nets = nets_of(
        "".join(str(part) for part in [ip("data", "ip"), loss("ip", "label")])
        + 'layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" include { phase: TEST } }'
    )
    assert not nets.tests
    (test,) = nets_to_test(nets)
    assert test.output_blobs() == ["SoftmaxWithLoss", "acc"]


def test_a_train_net_of_its_own():
    message = parse_solver(f"train_net_param {{ {TRAINED} }}".encode(), "s")
    nets = solver_nets(message, "s", Files(lambda path: b"", lambda path: False))
    (test,) = nets_to_test(nets)
    assert (test.phase, [layer.type for layer in test.message.layer]) == (TEST, ["InnerProduct", "SoftmaxWithLoss"])


# ---- the layer that reads


def test_one_layer_reads_all():
    found = data(COS + TRAINED)
    for blob in found.blobs:
        blob.block.name = blob.block.name.upper()
    net = reading(found, [Filled(blob.name, blob.shape, blob.block) for blob in found.blobs], 8)
    (layer,) = net.data_layers()
    assert (layer.type, layer.name, list(layer.top)) == ("Input", "data", ["data", "label"])
    assert [list(shape.dim) for shape in layer.input_param.shape] == [[8, 1, 5, 5], [8]]
    param = layer.cos_data_param
    assert (param.batch_size, param.shuffle, [block.name for block in param.top]) == (8, True, ["PIXELS", "DIGIT"])
    assert net.phase == TRAIN
    again = data_of(net)  # a net that is fed already
    assert kinds(again) == kinds(found)
    assert [blob.block for blob in again.blobs] == [blob.block for blob in found.blobs]


def test_layers_keep_names_of_their_own():
    found = data('layer { name: "data" type: "InnerProduct" bottom: "x" top: "ip" }' + loss("ip", "label"))
    net = reading(found, [Filled(blob.name, (1,), blob.block) for blob in found.blobs], 8)
    assert [layer.name for layer in net.message.layer] == ["data_", "data", "SoftmaxWithLoss"]


def test_our_perceptron():
    message = parse_solver(b"", "s")
    message.net_param.CopyFrom(mlp([5, 4, 3]))
    nets = solver_nets(message, "s", Files(lambda path: b"", lambda path: False))
    assert kinds(data_of(nets.train)) == {"data": ("feature", (5,)), "label": ("label", None)}
    (test,) = nets_to_test(nets)
    assert test.output_blobs() == ["accuracy", "loss"]


@pytest.mark.parametrize(
    "text",
    [
        inputs() + ip("data", "ip"),
        inputs() + ip("data", "ip") + 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }',
        inputs() + ip("data", "ip") + loss("ip", "label", rest="loss_weight: 0"),
    ],
)
def test_a_deploy_net_trains_nothing(text):
    with pytest.raises(ConfigError, match=r"^solver.prototxt: the net has no loss, so there is nothing to train") as e:
        check_trains(nets_of(text).train)
    assert "\n" not in e.value.message
    check_trains(nets_of(inputs() + ip("data", "ip") + loss("ip", "label")).train)
    check_trains(nets_of(inputs() + ip("data", "ip").replace("inner_", "loss_weight: 1 inner_", 1)).train)


@pytest.mark.parametrize("path", sorted((ROOT / "prototxt").glob("*_train_test.prototxt")), ids=lambda path: path.stem)
def test_our_prototxts(path):
    message = parse_net(path.read_bytes(), path.name)
    nets = SolverNets(net_in_phase(message, path.name, TRAIN), (net_in_phase(message, path.name, TEST),))
    train = data_of(nets.train)
    assert train.reads
    labels = [] if "autoencoder" in path.stem else [("label", True)]
    for found in (train, data_of(nets.tests[0], train)):
        assert [(blob.name, blob.is_label) for blob in found.blobs] == [("data", False), *labels]
        assert found.batch_size
