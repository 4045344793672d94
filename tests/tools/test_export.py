"""Deploy nets and weights that are exported, as stock Caffe and OpenCV read them."""

import subprocess
import sys

import numpy as np
import pytest

from caffeonspark import Config, ConfigError, DataError, export_model, run_tool
from caffeonspark.formats.caffemodel import read_caffemodel
from tests.support import stock
from tests.support.deployed import fill, forward, write_deployed
from tests.support.stock import caffe

SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1'
#: Two layers that share their weights, of which one has a bias of its own; and one that only training needs.
SHARED = """
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 144 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
layer { name: "c" type: "InnerProduct" bottom: "a" top: "c" param { name: "w" } param { name: "b2" }
  inner_product_param { num_output: 144 weight_filler { type: "xavier" } } }
layer { name: "helper" type: "InnerProduct" bottom: "a" top: "helper" inner_product_param { num_output: 10 } }
layer { name: "first" type: "SoftmaxWithLoss" bottom: "helper" bottom: "label" top: "first" loss_weight: 0.3 }
layer { name: "last" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "last" }
"""


@pytest.fixture
def trained(tmp_path, small_lmdb):
    """trained(layers, ending): a Config of a net over an LMDB and of a model that stock Caffe saved."""

    def make(layers=stock.LAYERS, ending=".caffemodel"):
        (tmp_path / "net.prototxt").write_text(stock.lmdb_net(small_lmdb, 4, 7, layers=layers))
        (tmp_path / "solver.prototxt").write_text(SOLVER)
        model = tmp_path / f"lenet{ending}"
        net = stock.make_solver('base_lr: 0.1 lr_policy: "fixed" random_seed: 5', stock.input_net(4, layers=layers)).net
        fill(net)
        (net.save_hdf5 if ending.endswith(".h5") else net.save)(str(model))
        return Config(None, conf=str(tmp_path / "solver.prototxt"), model=str(model))

    return make


def scaled(images):
    return images.astype(np.float32) * np.float32(stock.SCALE)


@pytest.mark.parametrize("layers", [stock.LAYERS, SHARED], ids=["lenet", "shared"])
def test_every_format_into_every_format(trained, tmp_path, small_images, layers):
    """Stock Caffe computes with the exported files what it computes with the net and model that were trained."""
    images, labels = small_images[0][:20], small_images[1][:20]
    score = "ip2" if layers == stock.LAYERS else "c"
    found = []
    for ending in (".caffemodel", ".caffemodel.h5"):
        for format in ("binary", "hdf5"):
            config = trained(layers, ending)
            folder = tmp_path / f"{format}{ending}"
            net, weights = export_model(config, str(folder), format)
            assert sorted(path.name for path in folder.iterdir()) == sorted(
                ["deploy.prototxt", (name := weights.rpartition("/")[2]), f"{name}.sha256"]
            )
            assert name == ("lenet.caffemodel.h5" if format == "hdf5" else "lenet.caffemodel")
            found.append(forward(net, weights, scaled(images), 20, score))
            assert forward(net, weights, scaled(images), 20).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    expected = stock.forward_all(stock.input_net(20, layers=layers), config.model, images, labels, 20, [score])
    for values in found:
        np.testing.assert_array_equal(values, expected[score])


def test_what_is_in_the_files(trained, tmp_path, small_lmdb):
    config = trained(SHARED)
    net, weights = export_model(config, str(tmp_path / "out"))
    with open(net) as f:
        text = f.read()
    assert text.startswith("# input 'data' takes images after -transform 'scale: 0.00390625'\nlayer {")
    assert "dim: 1\n      dim: 1\n      dim: 12\n      dim: 12\n" in text
    for word in ("label", "helper", "Loss", "lr_mult", "filler", "Split"):
        assert word not in text
    assert [layer.name for layer in read_caffemodel(weights)] == ["data", "a", "r", "c", "prob"]
    _, weights = export_model(config, str(tmp_path / "out"), "hdf5", overwrite=True)
    blobs = {layer.name: [blob is not None for blob in layer.blobs] for layer in read_caffemodel(weights)}
    assert blobs == {"data": [], "a": [True, True], "r": [], "c": [False, True], "prob": []}
    assert not (tmp_path / "out" / "lenet.caffemodel").exists()


def test_a_net_that_states_its_batch_size_keeps_it(trained, tmp_path):
    config = trained()
    head, accuracy, tail = (tmp_path / "net.prototxt").read_text().partition('layer { name: "accuracy"')
    reshape = 'layer { name: "s" type: "Reshape" bottom: "ip2" top: "s" reshape_param { shape { dim: 7 dim: 10 } } }\n'
    tail = tail.replace('bottom: "ip2"', 'bottom: "s"')
    (tmp_path / "net.prototxt").write_text(head + reshape + accuracy + tail)
    config.refresh()
    net, weights = export_model(config, str(tmp_path / "out"))
    assert caffe.Net(net, weights, caffe.TEST).blobs["prob"].data.shape == (7, 10)


def test_a_net_without_test_data(trained, tmp_path, small_lmdb):
    config = trained()
    text = (tmp_path / "net.prototxt").read_text()
    second = text.index('layer { name: "data"', 1)
    (tmp_path / "net.prototxt").write_text(text[:second] + text[text.index('layer { name: "conv"') :])
    config.refresh()
    assert not config.run_config.nets.tests
    net, weights = export_model(config, str(tmp_path / "out"))
    assert caffe.Net(net, weights, caffe.TEST).blobs["prob"].data.shape == (1, 10)


def test_what_is_refused(trained, tmp_path):
    config = trained()
    with pytest.raises(ConfigError, match=r"the format of weights is binary or hdf5, not 'onnx'"):
        export_model(config, str(tmp_path / "out"), "onnx")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match=r"-output .*taken exists already: -overwrite replaces it"):
        export_model(config, str(tmp_path / "taken"))
    with pytest.raises(ConfigError, match="-model is missing"):
        export_model(Config(None, conf=config.conf), str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="no solver is given"):
        export_model(Config(None, model=config.model), str(tmp_path / "out"))
    text = (tmp_path / "net.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(text.replace("num_output: 150", "num_output: 151"))
    config.refresh()
    with pytest.raises(
        ConfigError, match=r"lenet.caffemodel: layer 'ip1': parameter 0 is 150x128 in the file and 151x128"
    ):
        export_model(config, str(tmp_path / "out"))
    (tmp_path / "net.prototxt").write_text(text.replace('name: "ip2"', 'name: "ip3"'))
    config.refresh()
    with pytest.raises(
        ConfigError, match=r"lenet.caffemodel has no parameters for ip3 of .*net.prototxt: it is the model of"
    ):
        export_model(config, str(tmp_path / "out"))
    (tmp_path / "lenet.caffemodel").write_bytes(b"")
    with pytest.raises(DataError, match=r"lenet.caffemodel is no model: it is empty"):
        export_model(config, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_read_is_not_replaced(trained, tmp_path, monkeypatch):
    """-overwrite takes a folder with all that is in it."""
    config = trained()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for output in (str(tmp_path), f"file:{tmp_path}/", ".", "link", str(tmp_path.parent), "lenet.caffemodel"):
        with pytest.raises(
            ConfigError, match=r"-overwrite would remove .*, which is read: give another place than -output "
        ):
            export_model(config, output, overwrite=True)
    assert (tmp_path / "net.prototxt").exists() and (tmp_path / "lenet.caffemodel").is_file()
    (tmp_path / "lenet.caffemodels").mkdir()
    export_model(config, "lenet.caffemodels", overwrite=True)
    (tmp_path / "only").mkdir()
    with pytest.raises(ConfigError, match=r"the model \(-model\) .*/only is a folder: name the file"):
        export_model(Config(None, conf=config.conf, model=str(tmp_path / "only")), "out")


def test_no_tool_replaces_what_it_reads(tmp_path):
    (tmp_path / "mnist").mkdir()
    for name in ("images", "labels"):
        (tmp_path / "mnist" / name).write_bytes(b"x")
    flags = {name: str(tmp_path / "mnist" / name) for name in ("images", "labels")}
    with pytest.raises(ConfigError, match=r"-overwrite would remove .*/mnist/images, which is read"):
        run_tool("Idx2LMDB", Config(None), {**flags, "output": str(tmp_path / "mnist"), "overwrite": True})
    with pytest.raises(ConfigError, match=r"-overwrite would remove .*/mnist, which is read"):
        flags = {"imageRoot": str(tmp_path / "mnist"), "output": str(tmp_path), "overwrite": True}
        run_tool("LMDB2DataFrame", Config(None), flags)
    assert len(list((tmp_path / "mnist").iterdir())) == 2


def test_names_that_hdf5_does_not_take(trained, tmp_path):
    config = trained(stock.LAYERS.replace('name: "conv"', 'name: "a/conv"'))
    with pytest.raises(
        ConfigError, match=r"net.prototxt: the layer name 'a/conv' cannot be in an HDF5 file: take -format binary"
    ):
        export_model(config, str(tmp_path / "out"), "hdf5")
    net, weights = export_model(config, str(tmp_path / "out"))
    assert "a/conv" in caffe.Net(net, weights, caffe.TEST).params


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ('type: "Python" python_param { module: "tests.support.made" layer: "Numbers" }', (1, 6)),
        ('type: "DummyData" dummy_data_param { shape { dim: 4 dim: 6 } shape { dim: 4 } }', (1, 6)),
        ('type: "Input" input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } }', (4, 6)),
    ],
    ids=["Python", "DummyData", "Input"],
)
def test_nets_that_make_their_data(tmp_path, data, shape):
    """Their data is an input like that of others, and their labels go."""
    ip = 'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 } }\n'
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
    (tmp_path / "net.prototxt").write_text(f'layer {{ name: "made" top: "x" top: "label" {data} }}\n{ip}{loss}')
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    fill(net)
    net.save(str(tmp_path / "m.caffemodel"))
    config = Config(None, conf=str(tmp_path / "solver.prototxt"), model=str(tmp_path / "m.caffemodel"))
    deployed = caffe.Net(*export_model(config, str(tmp_path / "out")), caffe.TEST)
    assert list(deployed.inputs) == ["x"] and deployed.blobs["x"].data.shape == shape
    assert deployed.outputs == ["prob"]
    np.testing.assert_array_equal(deployed.params["ip"][0].data, net.params["ip"][0].data)


def test_the_command(monkeypatch, trained, tmp_path, capfd):
    import contextlib

    from caffeonspark import cli
    from caffeonspark.spark import session

    config = trained(ending=".caffemodel.h5")
    monkeypatch.setattr(session, "start_spark", lambda: contextlib.nullcontext(None))
    monkeypatch.setattr(Config, "spark", lambda self: None)
    words = ["export", "-conf", config.conf, "-model", config.model, "-output", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert caffe.Net(f"{tmp_path}/out/deploy.prototxt", f"{tmp_path}/out/lenet.caffemodel", caffe.TEST)
    assert f"wrote {tmp_path}/out/lenet.caffemodel" in capfd.readouterr().err
    assert cli.main(words[:-2]) == 1
    assert "export: -output is missing: the folder to write" in capfd.readouterr().err


# ---- OpenCV

READ = """
import sys
import cv2
import numpy as np
deploy, model, images, found, batch = sys.argv[1:]
net = cv2.dnn.readNetFromCaffe(deploy, model)
rows = []
images = np.load(images)
for start in range(0, len(images), int(batch)):
    net.setInput(images[start : start + int(batch)], "data")
    rows.append(net.forward().reshape(len(images[start : start + int(batch)]), -1))
np.save(found, np.concatenate(rows))
"""


@pytest.fixture(scope="module")
def opencv(tmp_path_factory):
    """opencv(deploy, model, images, batch): what OpenCV computes, in a process and from a folder of its own."""
    folder = tmp_path_factory.mktemp("opencv")
    version = "opencv-python-headless==4.8.1.78"  # 5 reads no Caffe; later ones of 4 need a newer numpy
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder / "site"),
        version,
    ]
    installed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if installed.returncode:
        pytest.skip(f"{version} cannot be installed: {installed.stdout}")

    def run(deploy, model, images, batch):
        np.save(folder / "images.npy", images)
        program = f"import sys; sys.path.insert(0, {str(folder / 'site')!r})" + READ
        words = [deploy, model, str(folder / "images.npy"), str(folder / "found.npy"), str(batch)]
        done = subprocess.run([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
        return np.load(folder / "found.npy")

    return run


def test_opencv_reads_what_was_saved_as_hdf5(opencv, trained, tmp_path, small_images):
    net, weights = export_model(trained(ending=".caffemodel.h5"), str(tmp_path / "out"))
    images = scaled(small_images[0][:100])
    np.testing.assert_allclose(
        opencv(net, weights, images, 100), forward(net, weights, images, 100), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caffenet", "googlenet"])
def test_opencv_reads_large_nets(opencv, tmp_path, name):
    net, weights = write_deployed(tmp_path, name, 10)
    shape = caffe.Net(net, caffe.TEST).blobs["data"].data.shape[1:]
    images = np.random.default_rng(1).integers(-120, 130, (100, *shape)).astype(np.float32)
    np.testing.assert_allclose(
        opencv(net, weights, images, 10), forward(net, weights, images, 10), rtol=1e-4, atol=1e-4
    )
