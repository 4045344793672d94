"""Models from Caffe's own files and back, without Spark."""

import pathlib

import numpy as np
import pytest

from caffeonspark import CaffeModel, ConfigError, DataError
from caffeonspark.nets.prototxt import parse_net
from tests.ml.test_local import small
from tests.support.deployed import forward, write_deployed
from tests.support.stock import caffe


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenet")
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 28, 28)).astype(np.float32)
    return (*write_deployed(folder, "lenet_lmdb", 4), images)


def test_the_net_in_every_form(lenet, tmp_path):
    net, weights, images = lenet
    expected = forward(net, weights, images, 3)
    with open(net) as f:
        text = f.read()
    spec = caffe.NetSpec()
    spec.data = caffe.layers.Input(shape={"dim": [4, 1, 28, 28]})
    spec.ip = caffe.layers.InnerProduct(spec.data, num_output=2)
    for given in (net, pathlib.Path(net), f"file:{net}", text, text.encode(), parse_net(text.encode(), net)):
        found = CaffeModel.fromCaffe(given, weights)
        assert found.getFeatures() == ["prob"]
        np.testing.assert_array_equal(found.predict(list(images)), expected)
    fill_and_save(spec, tmp_path)
    made = CaffeModel.fromCaffe(spec, tmp_path / "spec.caffemodel.h5")
    assert made.predict(images[0]).shape == (2,)


def fill_and_save(spec, folder):
    (folder / "spec.prototxt").write_text(str(spec.to_proto()))
    caffe.Net(str(folder / "spec.prototxt"), caffe.TEST).save_hdf5(str(folder / "spec.caffemodel.h5"))


def test_what_fromcaffe_refuses(lenet, tmp_path):
    net, weights, _ = lenet
    (tmp_path / "text.txt").write_text("hello")
    others = small(tmp_path, (1, 4))[2]
    for given, message in (
        ({"net": "none.prototxt"}, r"the prototxt \(net\) .*none\.prototxt does not exist"),
        ({"net": 3}, r"net: a prototxt is given by its path, as text, bytes or message, not as 3"),
        ({"weights": "none.caffemodel"}, r"the weights .*none\.caffemodel does not exist"),
        ({"weights": "hdfs://h/m.caffemodel"}, r"weights hdfs://h/m\.caffemodel: files of this machine are read"),
        ({"weights": others}, r"m\.caffemodel: nothing in common with .*deploy\.prototxt: its layers .* are ip"),
        ({"features": ["prb"]}, r"has no blob 'prb'\. Did you mean 'prob'\?"),
        ({"columns": {"x": "y"}}, r"has no input 'x'"),
        ({"transform": "scael: 2"}, r"transform: .*scael"),
        ({"resise": True}, r"has no parameter 'resise'\. Did you mean 'resize'\?"),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            CaffeModel.fromCaffe(**{"net": net, "weights": weights, **given})
        assert "\n" not in raised.value.message
    with pytest.raises(DataError, match=r"text\.txt"):
        CaffeModel.fromCaffe(net, tmp_path / "text.txt")


def test_weights_are_the_files(lenet):
    net, weights, _ = lenet
    found = CaffeModel.fromCaffe(net, weights).weights()
    plain = caffe.Net(net, weights, caffe.TEST)
    assert list(found) == list(plain.params)
    for name, blobs in plain.params.items():
        for mine, blob in zip(found[name], blobs):
            assert mine.dtype == np.float32
            np.testing.assert_array_equal(mine, blob.data)
            with pytest.raises(ValueError, match="read-only"):
                mine[...] = 0


@pytest.mark.parametrize("format", ["", "hdf5"])
def test_stock_caffe_reads_what_is_saved(lenet, tmp_path, format):
    net, weights, images = lenet
    model = CaffeModel.fromCaffe(net, weights, transform="scale: 0.5")
    saved = model.saveCaffe(tmp_path / "deployed", format=format)
    names = sorted(path.name for path in (tmp_path / "deployed").iterdir())
    model_name = "model.caffemodel.h5" if format else "model.caffemodel"
    assert names == ["deploy.prototxt", model_name, f"{model_name}.sha256"]
    np.testing.assert_array_equal(forward(*saved, images, 3), forward(net, weights, images, 3))
    with open(saved[0]) as f:
        assert f.readline() == "# input 'data' takes images after -transform 'scale: 0.5'\n"
    with pytest.raises(ConfigError, match="deployed exists already: overwrite=True replaces it"):
        model.saveCaffe(tmp_path / "deployed")
    assert model.saveCaffe(tmp_path / "deployed", format=format, overwrite=True) == saved
    with pytest.raises(ConfigError, match="the format of weights is binary or hdf5, not 'onnx'"):
        model.saveCaffe(tmp_path / "other", format="onnx")
    with pytest.raises(ConfigError, match=r"folder s3a://b/x: files of this machine are read and written here"):
        model.saveCaffe("s3a://b/x")
    again = CaffeModel.fromCaffe(*saved)
    assert [*again.weights()] == [*model.weights()]


def test_a_mean_file_goes_along(lenet, tmp_path):
    """It need not be there any more, and is written beside a deploy net."""
    net, weights, images = lenet
    mean = np.random.default_rng(4).integers(0, 200, (1, 28, 28)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(caffe.io.array_to_blobproto(mean[np.newaxis]).SerializeToString())
    expected = forward(net, weights, images - mean, 3)
    model = CaffeModel.fromCaffe(net, weights, transform=f'mean_file: "{tmp_path}/mean.binaryproto"')
    (tmp_path / "mean.binaryproto").unlink()
    np.testing.assert_array_equal(model.predict(images.astype(np.uint8)), expected)
    saved = model.saveCaffe(tmp_path / "deployed")
    with open(saved[0]) as f:
        line = f.readline()
    assert line == "# input 'data' takes images after -transform 'mean_file: \"data_mean.binaryproto\"'\n"
    again = CaffeModel.fromCaffe(*saved, transform='mean_file: "data_mean.binaryproto"')
    np.testing.assert_array_equal(again.predict(images.astype(np.uint8)), expected)
