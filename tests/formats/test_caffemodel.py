"""Models read and written here are Caffe's own, to the bit."""

import re
import sys

import caffe
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffeonspark.errors import ConfigError, DataError
from caffeonspark.formats import binary
from caffeonspark.formats.caffemodel import LayerWeights, read_caffemodel, write_caffemodel
from tests.support.caffe_files import SPOILED, make, snapshot
from tests.support.library_alone import WITHOUT_CAFFE, run

BOTH = pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "HDF5"])
NETS = pytest.mark.parametrize("net", ["BatchNorm", "shared"])


def same(one, other):
    assert one.dtype == other.dtype == np.float32
    assert one.shape == other.shape and one.tobytes() == other.tobytes()


def layers_of(net):
    """A pycaffe net's layers as our values; its shared parameters share their memory here, too."""
    kinds = dict(zip(net._layer_names, [layer.type for layer in net.layers]))
    blobs = {name: [blob.data for blob in params] for name, params in net.params.items()}
    return [LayerWeights(name, kinds[name], blobs.get(name, [])) for name in net._layer_names]


@NETS
@pytest.mark.parametrize("by", ["snapshot", "save"])
def test_caffes_binary_model_is_read(net, by, tmp_path):
    if by == "snapshot":
        solver, path, _ = snapshot(tmp_path, net)
    else:
        solver, path = make(tmp_path, net), tmp_path / "saved.caffemodel"
        solver.net.save(str(path))
    read = read_caffemodel(str(path))
    expected = layers_of(solver.net)
    assert [(layer.name, layer.type) for layer in read] == [(layer.name, layer.type) for layer in expected]
    for layer, other in zip(read, expected):
        assert len(layer.blobs) == len(other.blobs)
        for one, two in zip(layer.blobs, other.blobs):
            same(one, two)
            assert one.flags.writeable


@pytest.mark.parametrize("by", ["snapshot", "save_hdf5"])
def test_caffes_hdf5_model_is_read(by, tmp_path):
    if by == "snapshot":
        solver, path, _ = snapshot(tmp_path, hdf5=True)
    else:
        solver, path = make(tmp_path), tmp_path / "saved.caffemodel.h5"
        solver.net.save_hdf5(str(path))
    read = read_caffemodel(str(path))
    expected = sorted(layers_of(solver.net), key=lambda layer: layer.name)
    assert [layer.name for layer in read] == [layer.name for layer in expected]
    for layer, other in zip(read, expected):
        assert layer.type == "" and len(layer.blobs) == len(other.blobs)
        for one, two in zip(layer.blobs, other.blobs):
            same(one, two)


def test_shared_parameters_are_once_in_caffes_hdf5_model(tmp_path):
    solver, path, _ = snapshot(tmp_path, "shared", hdf5=True)
    read = {layer.name: layer.blobs for layer in read_caffemodel(str(path))}
    for number in range(2):
        same(read["a"][number], solver.net.params["a"][number].data)
    assert read["b"] == []
    assert read["c"][0] is None
    same(read["c"][1], solver.net.params["c"][1].data)


def tree(path):
    """Everything in an HDF5 file: names of groups, and type, shape and bytes of datasets."""
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(
            lambda name, item: found.update(
                {name: (str(item.dtype), item.shape, item[()].tobytes()) if isinstance(item, h5py.Dataset) else None}
            )
        )
    return found


@NETS
def test_our_hdf5_model_is_caffes(net, tmp_path):
    solver, path, _ = snapshot(tmp_path, net, hdf5=True)
    from_net, from_file = (str(tmp_path / f"{name}.caffemodel.h5") for name in ("net", "file"))
    write_caffemodel(from_net, layers_of(solver.net))
    assert tree(from_net) == tree(path)
    write_caffemodel(from_file, read_caffemodel(str(path)))
    assert tree(from_file) == tree(path)


@NETS
def test_our_binary_model_says_what_caffes_does(net, tmp_path):
    _, path, _ = snapshot(tmp_path, net)
    ours = tmp_path / "ours.caffemodel"
    write_caffemodel(str(ours), read_caffemodel(str(path)), "the net")
    expected = caffe_pb2.NetParameter.FromString(path.read_bytes())
    written = caffe_pb2.NetParameter.FromString(ours.read_bytes())
    assert written.name == "the net"
    assert len(written.layer) == len(expected.layer)
    for layer, other in zip(written.layer, expected.layer):
        assert (layer.name, layer.type) == (other.name, other.type)
        assert [blob.SerializeToString() for blob in layer.blobs] == [blob.SerializeToString() for blob in other.blobs]


@BOTH
@NETS
def test_caffe_loads_our_model(net, hdf5, tmp_path):
    rng = np.random.default_rng(5)
    target = make(tmp_path, net).net
    layers = []
    made = {}  # shared parameters are the same array
    for layer in layers_of(target):
        blobs = [
            made.setdefault(blob.ctypes.data, rng.normal(size=blob.shape).astype(np.float32)) for blob in layer.blobs
        ]
        layers.append(LayerWeights(layer.name, layer.type, blobs))
    path = str(tmp_path / ("ours.caffemodel.h5" if hdf5 else "ours.caffemodel"))
    write_caffemodel(path, layers)
    target.copy_from(path)
    for layer in layers:
        for number, blob in enumerate(layer.blobs):
            same(target.params[layer.name][number].data, blob)


@BOTH
def test_what_is_written_is_read(hdf5, tmp_path):
    path = str(tmp_path / ("m.caffemodel.h5" if hdf5 else "m.caffemodel"))
    blobs = [
        np.array(7, np.float32),
        np.zeros((0, 3), np.float32),
        np.arange(6, dtype=np.float64).reshape(2, 3).T,
        np.array([np.nan, np.inf, -0.0], np.float32),
        *(part[:size] for part in [np.ones(8, np.float32)] for size in (4, 8)),  # begin alike, are not the same
    ]
    write_caffemodel(path, [LayerWeights("layer ä", "Own", blobs), LayerWeights("plain")], "net")
    first, second = read_caffemodel(path)
    assert (first.name, second.name, second.blobs) == ("layer ä", "plain", [])
    assert (first.type, second.type) == (("", "") if hdf5 else ("Own", ""))
    for one, two in zip(first.blobs, blobs):
        same(one, np.array(two, np.float32, order="C"))


# ---- old files, and other people's


def test_a_model_of_before_2015(tmp_path):
    old = caffe_pb2.NetParameter(name="old")
    rng = np.random.default_rng(2)
    weights, bias = rng.normal(size=(1, 1, 5, 108)).astype(np.float32), rng.normal(size=(1, 1, 1, 5)).astype(np.float32)
    layer = old.layers.add(name="ip", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    for array in (weights, bias):
        blob = layer.blobs.add(data=array.ravel().tolist())
        blob.num, blob.channels, blob.height, blob.width = array.shape
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    (read,) = read_caffemodel(str(path))
    assert (read.name, read.type) == ("ip", "InnerProduct")
    same(read.blobs[0], weights)
    same(read.blobs[1], bias)


def test_types_of_before_2015_have_their_names_of_today(tmp_path):
    old = caffe_pb2.NetParameter()
    for name, number in caffe_pb2.V1LayerParameter.LayerType.items():
        old.layers.add(name=name, type=number)
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    types = {layer.name: layer.type for layer in read_caffemodel(str(path))}
    assert types.pop("NONE") == ""
    assert len(set(types.values())) == len(types) and set(types.values()) <= set(caffe.layer_type_list())
    assert (types["RELU"], types["SOFTMAX_LOSS"], types["CONVOLUTION"]) == ("ReLU", "SoftmaxWithLoss", "Convolution")


def test_a_model_of_before_2014(tmp_path):
    old = caffe_pb2.NetParameter()
    old.layers.add().layer.MergeFrom(caffe_pb2.V0LayerParameter(name="p", type="padding", pad=2))
    weights = np.random.default_rng(2).normal(size=(1, 1, 5, 108)).astype(np.float32)
    for kind in ("conv", "softmax_loss", "innerproduct"):
        layer = old.layers.add().layer
        layer.name, layer.type = kind, kind
    blob = layer.blobs.add(data=weights.ravel().tolist())
    blob.num, blob.channels, blob.height, blob.width = weights.shape
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    layers = read_caffemodel(str(path))
    assert [layer.type for layer in layers] == ["Convolution", "SoftmaxWithLoss", "InnerProduct"]
    assert [layer.name for layer in layers] == ["conv", "softmax_loss", "innerproduct"]
    same(layers[2].blobs[0], weights)


def test_numbers_in_double_precision_and_numbers_one_by_one(tmp_path):
    net = caffe_pb2.NetParameter()
    blob = net.layer.add(name="double").blobs.add(double_data=[0.1, 0.2])
    blob.shape.dim.append(2)
    content = net.SerializeToString()
    values = np.array([1.5, -2.5], "<f4").tobytes()
    unpacked = b"\x2d" + values[:4] + b"\x2d" + values[4:] + b"\x3a\x03\x0a\x01\x02"  # data, data, shape
    layer = b"\x0a\x03one" + b"\x3a" + bytes([len(unpacked)]) + unpacked
    content += b"\xa2\x06" + bytes([len(layer)]) + layer
    assert list(caffe_pb2.NetParameter.FromString(content).layer[1].blobs[0].data) == [1.5, -2.5]
    path = tmp_path / "m.caffemodel"
    path.write_bytes(content)
    double, one = read_caffemodel(str(path))
    same(double.blobs[0], np.array([0.1, 0.2], np.float32))
    same(one.blobs[0], np.array([1.5, -2.5], np.float32))


# ---- what goes wrong


@BOTH
@pytest.mark.parametrize("kind", SPOILED)
def test_a_file_that_is_no_model_is_named(kind, hdf5, tmp_path):
    _, path, _ = snapshot(tmp_path, hdf5=hdf5)
    path.write_bytes(SPOILED[kind](path.read_bytes()))
    with pytest.raises(DataError) as e:
        read_caffemodel(str(path))
    assert e.value.message.startswith(f"{path} ") and "\n" not in str(e.value)
    with pytest.raises(DataError, match=r"^hdfs:///m "):
        read_caffemodel(str(path), "hdfs:///m")


@BOTH
def test_a_model_that_is_not_there_is_named(hdf5, tmp_path):
    path = tmp_path / ("m.caffemodel.h5" if hdf5 else "m.caffemodel")
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} .*No such file"):
        read_caffemodel(str(path))


@BOTH
def test_a_solver_state_is_no_model(hdf5, tmp_path):
    _, model, state = snapshot(tmp_path, hdf5=hdf5)
    model.write_bytes(state.read_bytes())
    with pytest.raises(DataError, match="is no model of Caffe's"):
        read_caffemodel(str(model))


@BOTH
def test_a_git_lfs_pointer_is_called_so(hdf5, tmp_path):
    path = tmp_path / ("m.caffemodel.h5" if hdf5 else "m.caffemodel")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        read_caffemodel(str(path))


@pytest.mark.parametrize(
    ("numbers", "why"), [([1.0, 2.0], r"has 2 numbers, where its shape \(3,\) needs 3"), ([], "0")]
)
def test_numbers_that_do_not_fill_their_shape(numbers, why, tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(name="ip").blobs.add(data=numbers).shape.dim.append(3)
    path = tmp_path / "m.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(DataError, match=rf"m.caffemodel: layer 'ip': blob 0 .*{why}"):
        read_caffemodel(str(path))


def test_a_shape_below_zero(tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(name="ip").blobs.add(data=[1.0, 2.0]).shape.dim.extend([-1, -2])
    path = tmp_path / "m.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(DataError, match=r"layer 'ip': blob 0 has 2 numbers, where its shape \(-1, -2\) needs 2"):
        read_caffemodel(str(path))


@pytest.mark.parametrize(
    ("name", "shape", "why"),
    [
        ("0", (2**40,), r"/data/ip/0 has \d+ bytes by its shape \(1099511627776,\), more than the file"),
        ("0", (2**40, 2**40), "more than the file"),
        ("99999999999", (1,), "a layer has no parameter of the number 99999999999"),
        ("-1", (1,), "a layer has no parameter of the number -1"),
    ],
)
def test_an_hdf5_file_that_claims_what_memory_cannot_hold(name, shape, why, tmp_path):
    path = tmp_path / "m.caffemodel.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset(f"data/ip/{name}", shape=shape, dtype="f4")  # nothing of it is written
    with pytest.raises(DataError, match=f"is no model of Caffe's, or it is damaged: .*{why}"):
        read_caffemodel(str(path))


def test_a_compressed_model_may_be_larger_than_its_file(tmp_path):
    path = tmp_path / "m.caffemodel.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("data/ip/0", data=np.ones(10**5, np.float32), compression="gzip")
    assert path.stat().st_size < 10**5
    same(read_caffemodel(str(path))[0].blobs[0], np.ones(10**5, np.float32))


@pytest.mark.parametrize("names", [["conv/1"], [""], ["."], ["a", "a"]])
def test_layer_names_that_hdf5_cannot_hold(names, tmp_path):
    path = tmp_path / "m.caffemodel.h5"
    with pytest.raises(ConfigError, match=re.escape(f"the layer name '{names[0]}'") + ".*BINARYPROTO"):
        write_caffemodel(str(path), [LayerWeights(name) for name in names])
    assert not path.exists()
    write_caffemodel(str(tmp_path / "m.caffemodel"), [LayerWeights(name) for name in names])  # this can


def test_a_binary_model_needs_shared_numbers(tmp_path):
    _, path, _ = snapshot(tmp_path, "shared", hdf5=True)
    with pytest.raises(ConfigError, match="parameter 0 of layer 'c' is shared"):
        write_caffemodel(str(tmp_path / "m.caffemodel"), read_caffemodel(str(path)))


def test_a_model_too_large_for_protobuf(monkeypatch, tmp_path):
    monkeypatch.setattr(binary, "_LARGEST", 2**20 + 7)
    write_caffemodel(str(tmp_path / "m.caffemodel"), [LayerWeights("ip", "", [np.zeros(1, np.float32)])])
    with pytest.raises(ConfigError, match=r"8 bytes of numbers .*snapshot_format: HDF5"):
        write_caffemodel(str(tmp_path / "m.caffemodel"), [LayerWeights("ip", "", [np.zeros(2, np.float32)])])


def test_a_missing_h5py_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (read_caffemodel, lambda path: write_caffemodel(path, [LayerWeights("a")])):
        with pytest.raises(ConfigError, match=r"m.caffemodel.h5: HDF5 needs h5py .*pip install 'caffeonspark\[hdf5\]'"):
            use(str(tmp_path / "m.caffemodel.h5"))


def test_no_caffe_is_needed(tmp_path):
    for hdf5 in (False, True):
        snapshot(tmp_path, hdf5=hdf5)
    printed = run(
        f"""
        from caffeonspark.formats.caffemodel import read_caffemodel, write_caffemodel
        from caffeonspark.formats.solverstate import read_solverstate, write_solverstate
        for end in ("", ".h5"):
            layers = read_caffemodel("{tmp_path}/caffe_iter_3.caffemodel" + end)
            write_caffemodel("{tmp_path}/ours.caffemodel" + end, layers)
            state = read_solverstate("{tmp_path}/caffe_iter_3.solverstate" + end)
            write_solverstate("{tmp_path}/ours.solverstate" + end, state)
            print(len(layers), state.iteration)
        """,
        before=WITHOUT_CAFFE,
    )
    assert printed.split() == ["7", "3", "7", "3"]
