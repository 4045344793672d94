"""Names and shapes of a model without its numbers: the same as reading all of it gives, and as picky."""

import random

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffeonspark.errors import DataError
from caffeonspark.formats.caffemodel import read_caffemodel
from caffeonspark.formats.shapes import BlobShape, read_shapes
from tests.support.caffe_files import SPOILED, snapshot

BOTH = pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "HDF5"])


@BOTH
@pytest.mark.parametrize("net", ["BatchNorm", "shared"])
def test_they_are_those_of_the_model(net, hdf5, tmp_path):
    _, path, _ = snapshot(tmp_path, net, hdf5=hdf5)
    found = read_shapes(path.read_bytes(), str(path))
    assert [(layer.name, [blob and blob.sizes for blob in layer.blobs]) for layer in found] == [
        (layer.name, [None if blob is None else blob.shape for blob in layer.blobs])
        for layer in read_caffemodel(str(path))
    ]


CAUSES = {
    "empty": "is empty",
    "prototxt": "but text: a prototxt describes a net",
    "Git LFS pointer": "but a Git LFS pointer to one",
    "cut short": "damaged|truncated",
    "gzip": r"but compressed by gzip: unpack it \(gunzip\)",
    "xz": r"but compressed by xz: unpack it \(unxz\)",
    "bzip2": r"but compressed by bzip2: unpack it \(bunzip2\)",
    "PyTorch": "but a zip archive, as PyTorch saves its models",
    "pickle": "but a pickle of Python's",
    "web page": "but a web page",
}


@BOTH
@pytest.mark.parametrize("kind", SPOILED)
def test_what_is_no_model_is_called_what_it_is(kind, hdf5, tmp_path):
    _, path, _ = snapshot(tmp_path, hdf5=hdf5)
    path.write_bytes(SPOILED[kind](path.read_bytes()))
    for read in (lambda: read_shapes(path.read_bytes(), str(path)), lambda: read_caffemodel(str(path))):
        with pytest.raises(DataError, match=CAUSES[kind]) as e:
            read()
        assert e.value.message.startswith(f"{path} ")


def test_a_name_of_the_other_format(tmp_path):
    _, binary, _ = snapshot(tmp_path)
    _, hdf5, _ = snapshot(tmp_path, hdf5=True)
    with pytest.raises(DataError, match=r"^a\.caffemodel is an HDF5 file: .*end in \.h5"):
        read_shapes(hdf5.read_bytes(), "a.caffemodel")
    with pytest.raises(DataError, match=r"^a\.caffemodel\.h5 is no HDF5 file"):
        read_shapes(binary.read_bytes(), "a.caffemodel.h5")


def test_a_solver_state_is_no_model(tmp_path):
    _, _, state = snapshot(tmp_path)
    with pytest.raises(DataError, match="is no model of Caffe's"):
        read_shapes(state.read_bytes(), "s")


def blob(message, shape, old=False, packed=True):
    new = message.blobs.add()
    if old:
        new.num, new.channels, new.height, new.width = shape
    else:
        new.shape.dim.extend(shape)
    new.data.extend(np.zeros(int(np.prod(shape))))


def test_models_of_before_2014_and_2015():
    net = caffe_pb2.NetParameter()
    blob(net.layers.add(name="v1"), (1, 1, 5, 4), old=True)
    (one,) = read_shapes(net.SerializeToString(), "old.caffemodel")
    net = caffe_pb2.NetParameter()
    net.layers.add().layer.MergeFrom(caffe_pb2.V0LayerParameter(name="p", type="padding"))
    inner = net.layers.add().layer
    inner.name, inner.type = "v0", "conv"
    blob(inner, (5, 4, 1, 1), old=True)
    (other,) = read_shapes(net.SerializeToString(), "old.caffemodel")
    assert (one.name, one.blobs) == ("v1", [BlobShape((1, 1, 5, 4), True)])
    assert (other.name, other.blobs) == ("v0", [BlobShape((5, 4, 1, 1), True)])
    assert one.blobs[0].fits((5, 4)) and one.blobs[0].fits((1, 5, 4)) and not one.blobs[0].fits((4, 5))
    assert other.blobs[0].fits((5, 4, 1, 1)) and not other.blobs[0].fits((5, 4))
    assert not BlobShape((1, 1, 5, 4)).fits((5, 4))  # new ones are what they say


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers { name: 'a' } layer { name: 'b' }", "m: layer 'b': this model has 'layer' and, of older versions"),
        ("layers { name: 'a' } layers { layer { name: 'b' } }", "m: layer 'a' is of 2014 and others are of before"),
        (
            "layers { layer { name: 'a' type: 'convv' } }",
            r"m: layer 'a': unknown layer type 'convv' of before 2014. Did you mean 'conv'\?",
        ),
    ],
)
def test_models_that_caffe_cannot_bring_up_to_date(tmp_path, text, message):
    """It ends the process for the first and the last, and loses layers of the second."""
    content = text_format.Parse(text, caffe_pb2.NetParameter()).SerializeToString()
    with pytest.raises(DataError, match=f"^{message}"):
        read_shapes(content, "m")
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DataError, match=f"^{message}"):
        read_caffemodel(str(tmp_path / "m"), "m")


def test_numbers_and_shape_that_do_not_go_together():
    net = caffe_pb2.NetParameter()
    blob(net.layer.add(name="a"), (2, 3))
    net.layer[0].blobs[0].data.append(1)
    with pytest.raises(DataError, match=r"^m: layer 'a': blob 0 has 7 numbers, where its shape \(2, 3\) needs 6"):
        read_shapes(net.SerializeToString(), "m")


def test_damage_is_a_data_error_or_not_seen(tmp_path):
    """Never another exception; never long. What checksums are for is that it may not be seen."""
    _, path, _ = snapshot(tmp_path)
    whole, rng = path.read_bytes(), random.Random(7)
    for number in range(600):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(200 if number % 2 else len(content))] = rng.randrange(256)
        if number % 3 == 0:
            del content[rng.randrange(len(content)) :]
        try:
            read_shapes(bytes(content), "m")
        except DataError as e:
            assert e.message.startswith("m")
