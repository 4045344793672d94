"""What a run reads is no place for what it writes."""

import os
from dataclasses import replace

import pytest

from caffeonspark import Config, ConfigError, StorageError
from caffeonspark.nets.prototxt import Files
from caffeonspark.plans.inputs import check_no_input
from caffeonspark.storage import Storage
from tests.support import stock


@pytest.fixture
def config(tmp_path):
    (tmp_path / "list.txt").write_text("a.h5\n")
    (tmp_path / "mean.binaryproto").write_bytes(b"only its place counts")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN } '
        'hdf5_data_param { source: "list.txt" batch_size: 2 } }\n'
        'layer { name: "t" type: "Data" top: "data" top: "label" include { phase: TEST } '
        'transform_param { mean_file: "mean.binaryproto" } data_param { source: "lmdb" batch_size: 2 } }\n'
        + stock.LAYERS
    )
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    return Config(None, conf=str(tmp_path / "solver.prototxt"), model=f"file:{tmp_path}/m.caffemodel").run_config


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("solver.prototxt", "the solver"),
        ("net.prototxt", "the net"),
        ("list.txt", "the data of layer 'd'"),
        ("mean.binaryproto", "the mean image of layer 't'"),
    ],
)
def test_what_is_read_is_not_replaced(config, tmp_path, monkeypatch, name, what):
    os.symlink(tmp_path, tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    for uri in (f"file:{tmp_path}/{name}", f"{tmp_path}/link/{name}", name):
        with pytest.raises(ConfigError, match=rf"^-model {uri} would replace {what} of this run: name another place$"):
            check_no_input(config, uri, "-model")


def test_other_places_are_free(config, tmp_path):
    (tmp_path / "other").mkdir()
    for name in ("m.caffemodel", "other/net.prototxt", "lmdb"):
        check_no_input(config, f"file:{tmp_path}/{name}", "-model")


@pytest.mark.parametrize("uri", ["file:m.caffemodel", "m.caffemodel", "hdfs://here:8020/m", "s3a://bucket/m"])
def test_other_file_systems_are_not_asked(config, tmp_path, uri):
    """A fit of a DataFrame reads no such source, nor does -test that of the TRAIN phase: they may be gone."""
    asked = []

    class Hadoop:
        def default_is_local(self):
            return True

        def exists(self, path):
            asked.append(path)
            raise StorageError(f"{path}: nobody answers")

        def qualified(self, path):
            return path

    net = (tmp_path / "net.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(net.replace('"lmdb"', '"hdfs://gone:8020/lmdb"'))
    storage = Storage(Hadoop())
    nets = Config(None, conf=str(tmp_path / "solver.prototxt")).run_config.nets
    check_no_input(
        replace(config, nets=nets, storage=storage, files=Files(storage.read, storage.exists)), uri, "-model"
    )
    assert not asked


def test_one_that_cannot_be_asked_is_not_replaced(config, tmp_path):
    """Without Spark nothing but local files can be."""
    net = (tmp_path / "net.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(net.replace('"lmdb"', '"hdfs://here/lmdb"'))
    nets = Config(None, conf=str(tmp_path / "solver.prototxt")).run_config.nets
    check_no_input(replace(config, nets=nets), f"file:{tmp_path}/m.caffemodel", "-model")


def test_a_solver_that_is_text_has_no_file(tmp_path):
    (tmp_path / "net.prototxt").write_text(stock.input_net(2))
    text = f'net: "{tmp_path}/net.prototxt"\nmax_iter: 1\n'
    check_no_input(Config(None, conf=text).run_config, f"file:{tmp_path}/m.caffemodel", "-model")
