"""What is in the list of an ImageData layer that cannot be used, and what says so."""

import codecs
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from caffeonspark import Config, ConfigError, NetSource
from caffeonspark.data.records import BadRecords
from caffeonspark.nets.net import TRAIN


def source_of(folder, lines, batch=1, sizes=((8, 8),), mark=b"", root=None):
    for number, size in enumerate(sizes):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(folder / f"{number} a.png")
    (folder / "list.txt").write_bytes(mark + lines.encode())
    root = f'root_folder: "{folder}/"' if root is None else root
    (folder / "net.prototxt").write_text(
        'layer { name: "d" type: "ImageData" top: "data" top: "label" '
        f'image_data_param {{ source: "list.txt" {root} batch_size: {batch} }} }}'
    )
    (folder / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    config = Config(None, conf=str(folder / "solver.prototxt"))
    return NetSource(config, config.run_config.net(TRAIN))


SEVERAL = "several labels, and fractions, need CoSData over a DataFrame, or HDF5Data"


@pytest.mark.parametrize("labels", ["0 1", "1 0 1", "0.5 1", "0 -1"])
def test_several_labels(labels, tmp_path):
    with pytest.raises(ConfigError, match=rf"layer 'd': .*list.txt: a line has several labels; {SEVERAL}$"):
        _ = source_of(tmp_path, f"0 a.png {labels}\n").plan


@pytest.mark.parametrize("labels", ["0.5", "0 0.5", "1e-3"])
def test_labels_that_are_fractions(labels, tmp_path):
    with pytest.raises(ConfigError, match=rf"list.txt:1: a line is a path, a space and a whole number, .*; {SEVERAL}$"):
        _ = source_of(tmp_path, f"0 a.png {labels}\n").plan


@pytest.mark.parametrize("label", ["1_0", "٣", "0x3", "1.", "--1"])
def test_labels_that_only_python_takes(label, tmp_path):
    with pytest.raises(ConfigError, match=r"list.txt:1: a line is a path, a space and a whole number, not '0 a.png "):
        _ = source_of(tmp_path, f"0 a.png {label}\n").plan


def test_a_byte_order_mark(tmp_path):
    plan = source_of(tmp_path, "0 a.png 3\r\n", mark=codecs.BOM_UTF8).plan
    assert plan.layers[0].reader.paths == ("0 a.png",)


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\u0085b.png", "a\x0bb.png", "a\x1cb.png"])
def test_names_with_what_only_python_takes_for_the_end_of_a_line(name, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    plan = source_of(tmp_path, f"{name} 3\r\n0 a.png 4\r\n").plan
    assert plan.layers[0].reader.paths == (name, "0 a.png")
    assert plan.layers[0].reader.labels.tolist() == [3, 4]


def read(plan):
    """The ids of the records that can be read, and what happened to the others."""
    layer = plan.layers[0]
    bad = BadRecords(layer.description, replace(layer.bad, skip=True))
    return [name for records in layer.reader.read(0, layer.count, 1, bad) for name in records.ids], bad.total


@pytest.mark.parametrize("place", ["working directory", "net's folder", "both"])
def test_relative_paths_without_a_root(place, tmp_path, monkeypatch):
    """Executors have other working directories than the driver."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        if place in ("both", {"here": "working directory", "there": "net's folder"}[folder.name]):
            (folder / "sub").mkdir()
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "sub" / "a.png")
    monkeypatch.chdir(here)
    plan = source_of(there, "sub/a.png 3\n", root="").plan
    monkeypatch.chdir("/")
    assert read(plan) == (["sub/a.png"], 0)
    assert plan.layers[0].reader.root == (f"{there}/" if place == "net's folder" else f"{here}/")


def test_absolute_paths_without_a_root(tmp_path):
    plan = source_of(tmp_path, f"{tmp_path}/0 a.png 3\n", root="").plan
    assert read(plan) == ([f"{tmp_path}/0 a.png"], 0)


def test_a_root_that_is_the_beginning_of_names(tmp_path):
    """Caffe puts it before the paths, whatever it is."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo_1.png")
    plan = source_of(tmp_path, "o_1.png 3\n", root=f'root_folder: "{tmp_path}/phot"').plan
    assert read(plan) == (["o_1.png"], 0)
    with pytest.raises(ConfigError, match=rf"root_folder {tmp_path}/fot does not exist$"):
        _ = source_of(tmp_path, "o_1.png 3\n", root=f'root_folder: "{tmp_path}/fot"').plan


def test_images_of_several_sizes(tmp_path):
    """A batch of several has one size, as in stock Caffe; the error says what to do."""
    plan = source_of(tmp_path, "0 a.png 0\n1 a.png 1\n", batch=2, sizes=((8, 8), (8, 9))).plan
    layer = plan.layers[0]
    bad = BadRecords(layer.description, layer.bad)
    (records,) = layer.reader.read(0, 2, 1, bad)
    top = layer.tops[0]
    top.check(records.columns[0][0])
    with pytest.raises(
        Exception, match=r"the image is 8x9 and does not fill the blob's 3x8x8; -resize would resize it"
    ):
        top.check(records.columns[0][1])
