"""HDF5Data's files, damaged: one line that names the file, on the driver and on executors."""

import os

import h5py
import numpy as np
import pytest

from caffeonspark import Config, ConfigError, DataError
from caffeonspark.data.records import BadRecordPolicy, BadRecords
from caffeonspark.data.sources.registry import make_source
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.prototxt import parse_net

LAYER = 'layer { name: "d" type: "HDF5Data" top: "x" hdf5_data_param { source: "list.txt" batch_size: 2 } }'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.h5"
    (tmp_path / "list.txt").write_text(f"{path}\n")
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(12, dtype=np.float32).reshape(4, 3)
    return path


def opened(folder):
    net = parse_net(LAYER.encode(), str(folder / "net.prototxt"))
    source = make_source(
        Config(None).run_config.for_sources, Net(net, str(folder / "net.prototxt"), TRAIN), net.layer[0]
    )
    source.open()
    return source


@pytest.mark.parametrize(
    ("shape", "found"), [((2, 3), "is 2x3 and was 4x3"), ((4, 2), "is 4x2 and was 4x3"), (None, "is gone")]
)
def test_a_file_that_is_another_one_when_it_is_read(tmp_path, file, shape, found):
    """Rows of another size would be read as numbers of other records."""
    reader = opened(tmp_path).reader()
    with h5py.File(file, "w") as f:
        f["x" if shape else "y"] = np.zeros(shape or (4, 3), np.float32)
    with pytest.raises(DataError, match=rf"a\.h5: dataset 'x' {found} when the run began: .*: start again$"):
        list(reader.read(0, 4, 1, BadRecords("list", BadRecordPolicy())))


@pytest.mark.parametrize("name", ["b.h5", "b c.h5"])
@pytest.mark.parametrize("between", [" ", "\t ", "\n", "\r\n"])
def test_several_files_in_a_list(tmp_path, file, between, name):
    """Caffe takes any white space between names; ours may also have spaces in them, alone on their line."""
    with h5py.File(tmp_path / name, "w") as f:
        f["x"] = np.arange(12, 18, dtype=np.float32).reshape(2, 3)
    (tmp_path / "list.txt").write_bytes(f"{file}{between}{name}\n".encode())
    if " " in name and "\n" not in between:
        with pytest.raises(ConfigError, match=r"list\.txt: b does not exist$"):
            opened(tmp_path)
        return
    reader = opened(tmp_path).reader()
    read = np.concatenate([one.columns[0] for one in reader.read(0, 6, 1, BadRecords("list", BadRecordPolicy()))])
    np.testing.assert_array_equal(read, np.arange(18).reshape(6, 3))


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 1, 3)])
def test_records_that_are_laid_out_in_another_way(tmp_path, file, shape):
    """Caffe gives the blob the shape of the first file's."""
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f["x"] = np.arange(12, 18, dtype=np.float32).reshape(shape)
    (tmp_path / "list.txt").write_text(f"{file}\nb.h5\n")
    source = opened(tmp_path)
    assert [top.shape for top in source.tops] == [(3,)]
    for start, step in ((0, 1), (1, 2)):
        records = source.reader().read(start, 6, step, BadRecords("list", BadRecordPolicy()))
        read = np.concatenate([one.columns[0] for one in records])
        np.testing.assert_array_equal(read, np.arange(18).reshape(6, 3)[start::step])


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.zeros((2, 4), np.float32), r"a record of dataset 'x' is 4, and in the files before 3"),
        (np.zeros((2, 3, 2), np.float32), r"a record of dataset 'x' is 3x2, and in the files before 3"),
        (np.zeros(2, np.float32), r"a record of dataset 'x' is a single value, and in the files before 3"),
        (np.zeros((2, 3), np.complex64), r"dataset 'x' holds complex64, not numbers"),
        (np.array([[b"1", b"2", b"3"]]), r"dataset 'x' holds \|S1, not numbers"),
    ],
)
def test_records_that_do_not_fit(tmp_path, file, x, problem):
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f["x"] = x
    (tmp_path / "list.txt").write_text(f"{file}\nb.h5\n")
    with pytest.raises(DataError, match=rf"layer 'd': {tmp_path}/b\.h5: {problem}$"):
        opened(tmp_path)


def test_a_list_of_files_that_are_not_there(tmp_path, file):
    (tmp_path / "list.txt").write_text("no such file.h5\n")
    with pytest.raises(ConfigError, match=r"list\.txt: no such file\.h5 does not exist$"):
        opened(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path, file):
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match=r"a\.h5 cannot be opened as HDF5: it is a pipe$"):
        opened(tmp_path)


def damage(path):
    """Make the list of what is in it unreadable."""
    content = path.read_bytes()
    assert content.count(b"SNOD") == 1
    path.write_bytes(content.replace(b"SNOD", b"NODS"))


def test_on_the_driver(file):
    assert opened(file.parent).count() == 4
    damage(file)
    with pytest.raises(DataError, match=r"layer 'd': .*/a\.h5 is no HDF5Data file of Caffe's, or it is damaged"):
        opened(file.parent)


def test_a_group_is_no_list_of_records(file):
    with h5py.File(file, "w") as f:
        f.create_group("x")
    with pytest.raises(DataError, match=r"/a\.h5 is no HDF5Data file of Caffe's, or it is damaged"):
        opened(file.parent)


def test_on_executors(file):
    reader = opened(file.parent).reader()
    bad = BadRecords("a list", BadRecordPolicy())
    (records,) = reader.read(0, 4, 1, bad)
    np.testing.assert_array_equal(records.columns[0], np.arange(12, dtype=np.float32).reshape(4, 3))
    damage(file)
    with pytest.raises(DataError, match=r"/a\.h5 is no HDF5Data file of Caffe's, or it is damaged"):
        list(reader.read(0, 4, 1, bad))
