"""The scripts in data/, compared with Caffe's own tools and read back through Caffe's own layers."""

import gzip
import importlib
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from caffeonspark import Config
from caffeonspark.errors import ConfigError, DataError, StorageError
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.plans.net_source import NetSource
from caffeonspark.tools import datasets
from tests.support import stock
from tests.support.data_files import cifar_tarball, entries, idx, numbers
from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "data"))
dataset_paths, make_cifar10, make_digits, make_mnist = map(
    importlib.import_module, ("dataset_paths", "make_cifar10", "make_digits", "make_mnist")
)


@pytest.fixture
def mnist_like(tmp_path):
    """A folder of MNIST's four files, with few images; and what is in them."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    content = {}
    for name, stem, count in (("train", "train", 50), ("test", "t10k", 20)):
        images, labels = numbers(count, 28, 28), numbers(count) % 10
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
        content[name] = images, labels
    return folder, content


def through_caffe(path, count):
    """The images and labels that stock Caffe's Data layer reads from an LMDB."""
    prototxt = path.parent / "read.prototxt"
    prototxt.write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f'data_param {{ source: "{path}" batch_size: {count} backend: LMDB }} }}'
    )
    net = stock.caffe.Net(str(prototxt), stock.caffe.TEST)
    out = net.forward()
    return out["data"].copy(), out["label"].copy()


def tool(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"Caffe's {name} is not installed")
    return found


def script(name, *arguments):
    """Run a script of data/ as users do."""
    return subprocess.run([sys.executable, str(ROOT / "data" / name), *arguments], capture_output=True, text=True)


def main_of(module, monkeypatch, *arguments):
    """The exit status of a script, run in this process."""
    monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
    return datasets.run_script(module.main)


# ---- MNIST


def test_mnist_is_what_stock_caffe_reads(mnist_like, tmp_path):
    folder, content = mnist_like
    make_mnist.make_mnist(str(folder), str(tmp_path / "data"))
    assert sorted(os.listdir(tmp_path / "data")) == ["mnist_test_lmdb", "mnist_train_lmdb"]
    for name, (images, labels) in content.items():
        data, label = through_caffe(tmp_path / "data" / f"mnist_{name}_lmdb", len(images))
        np.testing.assert_array_equal(data[:, 0], images)
        np.testing.assert_array_equal(label, labels)


def test_mnist_is_what_convert_mnist_data_writes(mnist_like, tmp_path):
    folder, _ = mnist_like
    make_mnist.make_mnist(str(folder), str(tmp_path / "data"))
    paths = []
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        paths.append(tmp_path / kind)
        paths[-1].write_bytes(gzip.decompress((folder / f"train-{kind}.gz").read_bytes()))
    subprocess.run([tool("convert_mnist_data"), *paths, tmp_path / "theirs", "--backend=lmdb"], check=True)
    assert entries(tmp_path / "data" / "mnist_train_lmdb") == entries(tmp_path / "theirs")


def test_mnist_from_an_address(mnist_like, tmp_path):
    folder, content = mnist_like
    arguments = ("make_mnist.py", "--to", str(tmp_path / "data"), "--url")
    done = script(*arguments, folder.as_uri())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = script(*arguments, "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "exists already" in line  # before anything is fetched
    assert len(entries(tmp_path / "data" / "mnist_test_lmdb")) == len(content["test"][0])


def test_dataframe_holds_the_same_images(mnist_like, tmp_path):
    folder, content = mnist_like
    make_mnist.make_mnist(str(folder), str(tmp_path / "data"), dataframe=True)
    images, labels = content["test"]
    rows = pq.read_table(str(tmp_path / "data" / "mnist_test_dataframe")).to_pylist()
    assert [row["id"] for row in rows] == [f"{number:08d}" for number in range(len(images))]
    assert [row["label"] for row in rows] == [str(label) for label in labels]
    assert {(row["channels"], row["height"], row["width"], row["encoded"]) for row in rows} == {(1, 28, 28, False)}
    assert [row["data"] for row in rows] == [image.tobytes() for image in images]


def test_dataframe_has_the_channels_last(tmp_path):
    images = numbers(2, 3, 4, 5)
    datasets.write_dataframe(str(tmp_path / "frame"), images, np.arange(2))
    rows = pq.read_table(str(tmp_path / "frame")).to_pylist()
    pixels = np.frombuffer(rows[1]["data"], np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(pixels[:, :, 2], images[1, 2])


@pytest.mark.parametrize("name", ["lenet_lmdb", "lenet_memory", "lenet_cos"])
def test_lenet_finds_its_data(spark, mnist_like, tmp_path, name):
    folder, content = mnist_like
    make_mnist.make_mnist(str(folder), str(tmp_path / "data"), dataframe=True)
    shutil.copytree(ROOT / "prototxt", tmp_path / "prototxt")
    config = Config(spark, conf=str(tmp_path / "prototxt" / f"{name}_solver.prototxt"))
    for phase, (images, _) in ((TRAIN, content["train"]), (TEST, content["test"])):
        source = NetSource(config, config.run_config.net(phase))
        (layer,) = source.plan.layers
        assert [top.shape for top in layer.tops] == [(1, 28, 28), ()]
        count = source.sources[0].frame().count() if layer.count is None else layer.count
        assert count == len(images)


# ---- CIFAR-10


def test_cifar10_is_what_stock_caffe_reads(tmp_path):
    images, labels = cifar_tarball(tmp_path / "cifar.tar.gz")
    make_cifar10.make_cifar10(str(tmp_path / "cifar.tar.gz"), str(tmp_path / "data"))
    data, label = through_caffe(tmp_path / "data" / "cifar10_train_lmdb", len(images))
    np.testing.assert_array_equal(data, images)
    np.testing.assert_array_equal(label, labels)
    assert [key for key, _ in entries(tmp_path / "data" / "cifar10_test_lmdb")] == [b"%05d" % n for n in range(20)]


def test_mean_is_what_compute_image_mean_writes(tmp_path):
    cifar_tarball(tmp_path / "cifar.tar.gz")
    make_cifar10.make_cifar10(str(tmp_path / "cifar.tar.gz"), str(tmp_path))
    command = [tool("compute_image_mean"), "-backend=lmdb", tmp_path / "cifar10_train_lmdb", tmp_path / "theirs"]
    subprocess.run(command, check=True)
    assert (tmp_path / "mean.binaryproto").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_cifar10_from_an_address(tmp_path, monkeypatch, capsys):
    cifar_tarball(tmp_path / "cifar.tar.gz")
    address = (tmp_path / "cifar.tar.gz").as_uri()
    assert main_of(make_cifar10, monkeypatch, "--url", address, "--to", str(tmp_path / "data")) == 0
    assert main_of(make_cifar10, monkeypatch, "--url", "nowhere", "--to", str(tmp_path / "data")) == 1
    assert "exists already" in capsys.readouterr().err  # before anything is fetched
    assert len(entries(tmp_path / "data" / "cifar10_train_lmdb")) == 100


# ---- the digits


def test_digits():
    found = make_digits.read_digits()
    (train, train_labels), (test, test_labels) = found["train"], found["test"]
    assert train.shape == (1437, 1, 28, 28)
    assert test.shape == (360, 1, 28, 28)
    assert train.dtype == test.dtype == np.uint8
    assert train.max() == 255
    for digit in range(10):
        share = np.sum(test_labels == digit) / (np.sum(test_labels == digit) + np.sum(train_labels == digit))
        assert 0.19 < share < 0.21
    assert all(len(set(half)) == 10 for half in np.array_split(train_labels, 20))  # shuffled
    assert train_labels[:8].tolist() == make_digits.read_digits()["train"][1][:8].tolist()
    everything = np.concatenate([train, test]).reshape(-1, 28 * 28)
    assert len(np.unique(everything, axis=0)) == 1797  # no image twice, none in both sets


def test_digits_train_in_stock_caffe_and_are_found_by_the_library(tmp_path, monkeypatch):
    make_digits.make_digits(str(tmp_path / "data"), dataframe=True)
    shutil.copytree(ROOT / "prototxt", tmp_path / "prototxt")
    config = Config(None, conf=str(tmp_path / "prototxt" / "digits_lenet_solver.prototxt"))
    for phase, count in ((TRAIN, 1437), (TEST, 360)):
        source = NetSource(config, config.run_config.net(phase))
        assert source.plan.layers[0].count == count
        assert source.plan.layers[0].tops[0].shape == (1, 28, 28)
    monkeypatch.chdir(tmp_path / "prototxt")  # stock Caffe looks in the working directory only
    solver = stock.caffe.get_solver("digits_lenet_solver.prototxt")
    solver.step(30)
    assert solver.net.blobs["loss"].data < 1.5
    rows = pq.read_table(str(tmp_path / "data" / "digits_test_dataframe")).num_rows
    assert rows == 360


# ---- whole or not at all


def snapshot(folder):
    """What is in a folder, hidden or not: the paths, and the bytes of the files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_nothing_is_replaced_unless_asked(mnist_like, tmp_path):
    folder, _ = mnist_like
    to = tmp_path / "data"
    make_mnist.make_mnist(str(folder), str(to))
    before = snapshot(to)
    shutil.rmtree(to / "mnist_train_lmdb")  # one that is left is enough
    with pytest.raises(ConfigError, match="mnist_test_lmdb exists already"):
        make_mnist.make_mnist(str(folder), str(to), dataframe=True)
    assert sorted(os.listdir(to)) == ["mnist_test_lmdb"]
    make_mnist.make_mnist(str(folder), str(to), overwrite=True)
    assert snapshot(to) == before


def test_a_failure_leaves_everything_as_it_was(tmp_path):
    to = tmp_path / "data"
    cifar_tarball(tmp_path / "good.tar.gz")
    make_cifar10.make_cifar10(str(tmp_path / "good.tar.gz"), str(to))
    before = snapshot(to)
    cifar_tarball(tmp_path / "bad.tar.gz", leave_out=["test_batch.bin"])
    with pytest.raises(DataError, match=r"test_batch\.bin is missing"):
        make_cifar10.make_cifar10(str(tmp_path / "bad.tar.gz"), str(to), overwrite=True)
    with pytest.raises(KeyboardInterrupt), datasets.new_outputs(str(to), ["mean.binaryproto"], overwrite=True) as part:
        (pathlib.Path(part) / "mean.binaryproto").write_bytes(b"half")
        raise KeyboardInterrupt
    assert snapshot(to) == before


# ---- where they lie


def test_places_from_the_environment(mnist_like, tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFEONSPARK_MNIST", str(mnist_like[0]))
    monkeypatch.setenv("CAFFEONSPARK_CIFAR10", str(tmp_path))
    cifar_tarball(tmp_path / "cifar-10-binary.tar.gz")
    for module in (make_mnist, make_cifar10):
        assert main_of(module, monkeypatch, "--to", str(tmp_path / "data")) == 0
    assert len(entries(tmp_path / "data" / "mnist_train_lmdb")) == 50
    assert len(entries(tmp_path / "data" / "cifar10_train_lmdb")) == 100
    for variable in ("CAFFEONSPARK_MNIST", "CAFFEONSPARK_CIFAR10"):
        monkeypatch.delenv(variable)
    beside = ROOT.parent / "shared" / "data"
    assert (dataset_paths.mnist_folder(), dataset_paths.cifar10_folder()) == (beside / "mnist", beside / "cifar10")


# ---- errors are one line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "no IDX file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0", "no IDX file"),
        (idx(numbers(3, 4))[:-1], "the header says 3x4, and 11 bytes follow"),
        (b"\0\0\x08\xff" + b"\xff" * 4 * 255, "0 bytes follow"),
        (gzip.compress(idx(numbers(3, 4)))[:-9], "damaged gzip"),
        (gzip.compress(b"x" * 99)[:12] + b"\xff" * 20, "damaged gzip"),
    ],
    ids=["empty", "of other numbers", "a cut header", "cut", "of 255 dimensions", "a cut gzip", "a broken gzip"],
)
def test_damaged_idx_files(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        datasets.read_idx(str(path))


def test_idx_files_plain_and_zipped(tmp_path):
    array = numbers(2, 3, 4)
    for name, content in (("plain", idx(array)), ("zipped", gzip.compress(idx(array)))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(datasets.read_idx(str(tmp_path / name)), array)


@pytest.mark.parametrize("content", [b"", b"no tarball", b"\x1f\x8b\x08\0" + bytes(100)])
def test_no_tarball(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match="tarball"):
        make_cifar10.make_cifar10(str(tmp_path / "file"), str(tmp_path / "data"))


def test_a_tarball_cut_short(tmp_path):
    cifar_tarball(tmp_path / "whole")
    (tmp_path / "file").write_bytes((tmp_path / "whole").read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged"):
        make_cifar10.make_cifar10(str(tmp_path / "file"), str(tmp_path / "data"))


def test_labels_that_do_not_fit_the_images(mnist_like, tmp_path):
    folder, _ = mnist_like
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(numbers(3)))
    with pytest.raises(DataError, match="test images"):
        make_mnist.make_mnist(str(folder), str(tmp_path / "data"))


def test_a_place_that_cannot_be_written(mnist_like, tmp_path):
    folder, _ = mnist_like
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        make_mnist.make_mnist(str(folder), str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (make_mnist, [], "give --from"),
        (make_mnist, ["--from", "a", "--url", "b"], "give --from"),
        (make_mnist, ["--from", "nowhere"], "nowhere/train-images-idx3-ubyte.gz: No such file"),
        (make_mnist, ["--url", "nowhere"], "nowhere/train-images-idx3-ubyte.gz cannot be fetched"),
        (make_mnist, ["--url", "file:///nowhere"], "cannot be fetched"),
        (make_cifar10, [], "give --from"),
        (make_cifar10, ["--from", "nowhere"], "nowhere: No such file"),
        (make_digits, ["--dataframes"], "unrecognized arguments"),
        (make_digits, ["--overwrite", "--to"], "--to: expected one argument. See --help."),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, module, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAFFEONSPARK_MNIST", "nowhere")
    monkeypatch.setenv("CAFFEONSPARK_CIFAR10", "nowhere")
    to = [] if arguments[-1:] == ["--to"] else ["--to", str(tmp_path / "data")]
    assert main_of(module, monkeypatch, *to, *arguments) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{module.__name__}.py: ")
    assert message in line
    assert not printed.out
    assert not list(tmp_path.rglob("data/*"))
