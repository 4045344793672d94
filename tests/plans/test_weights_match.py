"""Models compared with nets as Caffe copies them: by name, by number and by shape."""

import os

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.errors import ConfigError, DataError
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.schema import NetParameter
from caffeonspark.plans.layer_names import parameters_by_name
from caffeonspark.plans.net_plan import NetPlan
from caffeonspark.plans.weights_match import check_all_there, check_same_parameters, match_weights
from caffeonspark.process import run_in_child
from tests.support import caffe_files, stock
from tests.support.stock import caffe


def plan_of(text, path="net.prototxt", phase=0):
    message = text_format.Parse(text, NetParameter())
    layers = [layer for layer in message.layer if not layer.include or phase]
    del message.layer[:]
    for layer in layers:
        message.layer.add().CopyFrom(layer)
        message.layer[-1].ClearField("include")
    message.state.phase = phase
    found = CaffeEngine().inspect(message, {}, 4, path)
    weights = parameters_by_name(Net(message, path, TRAIN), message, found.layers)
    return NetPlan(message.SerializeToString(), path, (), (), found.shapes, {}, True, found.parameters, weights)


PLAN = plan_of(stock.input_net(4))
SHAPES = {"conv": [(8, 1, 5, 5), (8,)], "ip1": [(150, 128), (150,)], "ip2": [(10, 150), (10,)]}


def model(folder, layers, hdf5=False):
    """(name, content) of a model with blobs of zeros of these shapes."""
    path = folder / ("m.caffemodel.h5" if hdf5 else "m.caffemodel")
    write_caffemodel(
        str(path), [LayerWeights(name, "", [np.zeros(s, np.float32) for s in shapes]) for name, shapes in layers]
    )
    return str(path), path.read_bytes()


@pytest.fixture(params=[False, True], ids=["binary", "HDF5"])
def save(request, tmp_path):
    return lambda layers: model(tmp_path, list(layers), request.param)


def test_what_is_taken_what_is_new_and_what_is_left_over(save):
    file = save([("data", []), *SHAPES.items()])
    assert match_weights(PLAN, [file]).describe() == "3 layers taken (conv, ip1, ip2)"
    check_all_there(PLAN, *file)
    file = save([("conv", SHAPES["conv"]), ("fc8", [(1000, 9), (1000,)])])
    match = match_weights(PLAN, [file])
    assert match.describe() == "1 layer taken (conv), 2 new (ip1, ip2), 1 left over (fc8)"
    with pytest.raises(ConfigError, match=r"m\.caffemodel\S* has no parameters for ip1, ip2 of net\.prototxt: it is"):
        check_all_there(PLAN, *file)


def test_long_lists_are_short(tmp_path):
    match = match_weights(PLAN, [model(tmp_path, [*SHAPES.items(), *((f"x{n}", [(2,)]) for n in range(40))])])
    assert match.describe() == "3 layers taken (conv, ip1, ip2), 40 left over (x0, x1, x2, x3, x4 and 35 more)"


def test_several_files_count_together(tmp_path):
    (tmp_path / "other").mkdir()
    one = model(tmp_path, [("conv", SHAPES["conv"])])
    other = model(tmp_path / "other", [("ip1", SHAPES["ip1"]), ("ip2", SHAPES["ip2"])])
    assert match_weights(PLAN, [one, other]).describe() == "3 layers taken (conv, ip1, ip2)"


def test_nothing_in_common_names_the_users_file(save):
    name, content = save([("Conv", SHAPES["conv"]), ("fc", [(2, 3)])])
    with pytest.raises(ConfigError) as e:
        match_weights(PLAN, [(name, content)])
    assert e.value.message.startswith(f"{name}: nothing in common with net.prototxt: the layers with parameters are ")
    assert e.value.message.endswith("in the file and conv, ip1, ip2 in the net. Did you mean 'Conv'?")


def copies(content, ending, net, folder):
    """Whether stock Caffe copies the model into the net and does not end the process."""
    (folder / "net.prototxt").write_text(net)
    (folder / f"copied{ending}").write_bytes(content)

    def run(send):
        caffe.Net(str(folder / "net.prototxt"), caffe.TRAIN).copy_from(str(folder / f"copied{ending}"))
        send(b"copied")

    return run_in_child(run, 60)[0] == b"copied"


WRONG = {
    "another size": ("ip1", [(150, 64), (150,)], "parameter 0 is 150x64 in the file and 150x128 in the net"),
    "more axes": ("ip1", [(1, 1, 150, 128), (150,)], "parameter 0 is 1x1x150x128 in the file and 150x128 in the net"),
    "no bias": ("ip1", [(150, 128)], "has 1 parameter in the file and 2 parameters in the net"),
    "one too many": ("ip1", [(150, 128), (150,), (1,)], "has 3 parameters in the file and 2 parameters in the net"),
    "parameters of a ReLU": ("relu", [(3,)], "has 1 parameter in the file and 0 parameters in the net"),
    "none": ("ip1", [], "has 0 parameters in the file and 2 parameters in the net"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_caffe_would_die_of_is_told_before(save, kind, tmp_path):
    layer, shapes, message = WRONG[kind]
    name, content = save({**SHAPES, layer: shapes}.items())
    with pytest.raises(ConfigError) as e:
        match_weights(PLAN, [(name, content)])
    assert e.value.message.startswith(f"{name}: layer '{layer}'")
    assert message in e.value.message
    assert not copies(content, os.path.splitext(name)[1], stock.input_net(4), tmp_path)


def test_shapes_of_before_2015_fit_as_in_caffe(tmp_path):
    net = caffe_pb2.NetParameter()
    for name, shapes in SHAPES.items():
        layer = net.layers.add(name=name)
        for shape in shapes:
            blob = layer.blobs.add()
            blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - len(shape)) + shape
            blob.data.extend(np.zeros(int(np.prod(shape))))
    check_all_there(PLAN, "old.caffemodel", net.SerializeToString())
    assert copies(net.SerializeToString(), ".caffemodel", stock.input_net(4), tmp_path)
    net.layers[1].blobs[0].height, net.layers[1].blobs[0].width = 128, 150
    with pytest.raises(ConfigError, match="parameter 0 is 1x1x128x150 in the file and 150x128 in the net"):
        match_weights(PLAN, [("old.caffemodel", net.SerializeToString())])
    assert not copies(net.SerializeToString(), ".caffemodel", stock.input_net(4), tmp_path)


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("net", ["BatchNorm", "shared"])
def test_a_nets_own_model_has_everything(net, hdf5, tmp_path):
    """Statistics, and parameters that layers share and HDF5 files have once."""
    _, path, _ = caffe_files.snapshot(tmp_path, net, hdf5=hdf5)
    check_all_there(plan_of(caffe_files.NETS[net]), str(path), path.read_bytes())


def test_two_layers_of_one_name_in_a_file(tmp_path):
    net = caffe_pb2.NetParameter()
    for _ in range(2):
        for shape in SHAPES["ip1"]:
            blob = (net.layer[-1] if len(net.layer) and len(net.layer[-1].blobs) == 1 else net.layer.add()).blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend(np.zeros(int(np.prod(shape))))
    for layer in net.layer:
        layer.name = "ip1"
    with pytest.raises(DataError, match=r"^m: 2 layers with parameters are called 'ip1', and which of them"):
        match_weights(PLAN, [("m", net.SerializeToString())])


def test_a_test_net_shares_by_name_and_size():
    assert check_same_parameters(PLAN, plan_of(stock.input_net(7), phase=1)) == []
    smaller = plan_of(stock.input_net(4, layers=stock.LAYERS.replace("num_output: 150", "num_output: 100")), "t", 1)
    with pytest.raises(ConfigError) as e:
        check_same_parameters(PLAN, smaller)
    assert e.value.message.startswith(
        "t: layer 'ip1' has parameters of 150x128, 150 in the TRAIN phase and of 100x128, 100 in the TEST phase"
    )
    renamed = plan_of(stock.input_net(4, layers=stock.LAYERS.replace('"ip2" type', '"new" type')), phase=1)
    assert check_same_parameters(PLAN, renamed) == ["new"]
    swapped = stock.LAYERS.replace('"relu" type', '"ip3" type').replace('"ip1" type', '"relu" type')
    with pytest.raises(ConfigError, match=r"'relu' has parameters of no size \(it has none\) in the TRAIN phase"):
        check_same_parameters(PLAN, plan_of(stock.input_net(4, layers=swapped), phase=1))


def test_a_large_model_is_read_in_a_moment(tmp_path):
    """Of CaffeNet's 61 million numbers none becomes a Python object or is copied."""
    import time
    import tracemalloc

    layers = [("fc6", [(4096, 9216), (4096,)]), ("fc7", [(4096, 4096), (4096,)]), ("ip1", SHAPES["ip1"])]
    name, content = model(tmp_path, layers)
    assert len(content) > 200e6
    tracemalloc.start()
    begin = time.monotonic()
    match = match_weights(PLAN, [(name, content)])
    seconds, (_, most) = time.monotonic() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert match.left_over == ("fc6", "fc7")
    assert most < 1e6 and seconds < 1
