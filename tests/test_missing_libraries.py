"""A library that is not installed is named, with how to install it, and never taken for bad data."""

import io
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.decode import decode_image
from caffeonspark.data.pool import PooledBatches, drop_bad_images
from caffeonspark.data.records import BadRecordPolicy, BadRecords
from caffeonspark.data.sources.sequence_file import parse_key
from caffeonspark.errors import ConfigError
from caffeonspark.nets.net import TRAIN
from caffeonspark.plans.net_source import NetSource
from tests.data.test_bad_records import good_entries, image_store
from tests.support import stock
from tests.support.paths import ROOT

JAVA_KEY = b"\xac\xed\x00\x05" + bytes(20)
SEQUENCE = r"javaobj-py3 on every executor \(.*javaobj.*\): pip install 'caffeonspark\[sequence\]'$"
PILLOW = r"Pillow, which cannot be imported here \(.*PIL.*\): pip install pillow$"


def image_file(kind, **options):
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(out, kind, **options)
    return out.getvalue()


def write_net(folder, layer):
    (folder / "net.prototxt").write_text(f'{layer} layer {{ name: "s" type: "Silence" bottom: "data" }}')
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1 base_lr: 0.1 lr_policy: "fixed"')
    return str(folder / "solver.prototxt")


# ---- javaobj


def test_java_keys_ask_for_javaobj(monkeypatch):
    monkeypatch.setitem(sys.modules, "javaobj.v2", None)
    with pytest.raises(ConfigError, match=SEQUENCE):
        parse_key(JAVA_KEY)
    assert parse_key('["a", "1"]')[:2] == parse_key(b'["a", "1"]')[:2] == ("a", "1")


def test_the_first_java_key_of_a_file_asks_for_javaobj(spark, tmp_path, monkeypatch):
    shadow = tmp_path / "shadow" / "javaobj"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('no javaobj on this machine')")
    pairs = spark.sparkContext.parallelize([(bytearray(JAVA_KEY), bytearray(12))] * 3, 1)
    pairs.saveAsSequenceFile(f"file:{tmp_path}/seq")
    conf = write_net(
        tmp_path,
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "SequenceFile" '
        f'memory_data_param {{ source: "file:{tmp_path}/seq" batch_size: 4 channels: 1 height: 3 width: 4 }} }}',
    )
    config = Config(spark, conf=conf, model=f"file:{tmp_path}/m.caffemodel", badRecords="skip")
    # the environment of workers that are started from here on
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", f"{shadow.parent}:{ROOT}")
    with pytest.raises(ConfigError, match=r"layer 'data': SequenceFile .*no javaobj on this machine.*\[sequence\]'$"):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))


# ---- Pillow


@pytest.mark.parametrize(
    "data", [image_file("PNG"), image_file("JPEG", exif=b"Exif\0\0")], ids=["image", "orientation"]
)
def test_images_ask_for_pillow(monkeypatch, data):
    decode_image(data, 3)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=PILLOW):
        decode_image(data, 3)


@pytest.mark.parametrize("helpers", [0, 2])
def test_checking_images_asks_for_pillow(tmp_path, monkeypatch, helpers):
    store = image_store(tmp_path, good_entries(5))
    bad = BadRecords("the source", BadRecordPolicy(skip=True, maximum=1.0))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=PILLOW):
        drop_bad_images(store, bad, helpers)
    assert not bad.total


def test_decoding_ahead_asks_for_pillow(tmp_path, monkeypatch):
    store = image_store(tmp_path, good_entries(5))
    monkeypatch.setitem(sys.modules, "PIL", None)
    pool = PooledBatches(Batches(store, 4, BatchRandom(5, 0, 0), shuffle=False, name="the source"), 1)
    with pytest.raises(ConfigError, match=PILLOW):
        pool.load([np.empty((4, 1, 6, 6), np.float32), np.empty(4, np.float32)])
    pool.close()


# ---- h5py


def test_hdf5_layers_ask_for_h5py(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["data"] = np.zeros((3, 2), np.float32)
    (tmp_path / "list.txt").write_text("data.h5")
    layer = 'layer { name: "data" type: "HDF5Data" top: "data" hdf5_data_param { source: "list.txt" batch_size: 2 } }'
    config = Config(None, conf=write_net(tmp_path, layer))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"h5py.*: pip install"):
        assert NetSource(config, config.run_config.net(TRAIN)).plan


def test_snapshots_in_hdf5_ask_for_h5py_before_training(spark, tmp_path, small_lmdb, monkeypatch):
    conf = write_net(
        tmp_path,
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f'data_param {{ source: "{small_lmdb}" backend: LMDB batch_size: 4 }} }}',
    )
    with open(conf, "a") as f:
        f.write(" snapshot: 1 snapshot_format: HDF5")
    config = Config(spark, conf=conf, model=f"file:{tmp_path}/m.caffemodel")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"snapshot_format.*h5py.*: pip install 'caffeonspark\[hdf5\]'$"):
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))


WITHOUT_SPARK = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *about: None if name.startswith("pyspark") else find(name, *about)
from caffeonspark.cli import main
sys.exit(main(sys.argv[1:]))
"""
FLAGS = ["-train", "-conf", "solver.prototxt", "-model", "file:m.caffemodel"]


@pytest.mark.parametrize(
    "words",
    [
        FLAGS,
        ["LMDB2DataFrame", "-imageRoot", "lmdb", "-output", "out"],
        ["submit", "--dry-run", "--master", "spark://h:1", "--num-executors", "2", "--", *FLAGS],
    ],
)
def test_every_command_asks_for_pyspark(words, tmp_path):
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9')
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SPARK, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == "caffeonspark: what a job needs is not installed in this Python: pip install pyspark"
