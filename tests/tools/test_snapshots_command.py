"""``caffeonspark snapshots FOLDER``."""

import re
import shutil

import pytest

from caffeonspark import Config
from caffeonspark.cli import main
from caffeonspark.formats.checksums import store_model
from caffeonspark.runs.snapshots import SnapshotStore
from caffeonspark.storage import Storage
from caffeonspark.tools.snapshots import saved_in
from tests.runs.test_snapshots import hand_over
from tests.support import caffe_files, stock

WHEN = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def folder(tmp_path):
    """Snapshots of ours and of stock Caffe's, a model, and files that are neither."""
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 snapshot_prefix: "run"'
    )
    model = f"file:{tmp_path}/lenet.caffemodel"
    config = Config(None, conf=str(tmp_path / "solver.prototxt"), model=model, clusterSize=2, sync="average")
    store = SnapshotStore(config.run_config, lambda line: None, "app/1")
    for iteration in (900, 1000):
        hand_over(store, tmp_path, iteration)
    caffe_files.snapshot(tmp_path, hdf5=True)
    caffe_files.snapshot(tmp_path)
    store_model(Storage(), str(tmp_path / "run_iter_900.caffemodel"), model)
    return tmp_path


def test_it_lists_and_verifies(folder, capsys):
    assert main(["snapshots", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    patterns = [
        rf"caffe_iter_3  iteration 3  {WHEN}  can be read \(it has no checksums\)",
        rf"caffe_iter_3\.h5  iteration 3  {WHEN}  can be read \(it has no checksums\)",
        rf"run_iter_900  iteration 900  {WHEN}  whole",
        rf"run_iter_1000  iteration 1000  {WHEN}  whole",
        rf"lenet\.caffemodel  model  {WHEN}  whole",
    ]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns):
        assert re.fullmatch(pattern, line)


def test_what_is_damaged_is_said_and_is_the_exit_status(folder, capsys):
    (folder / "run_iter_900.rank1.solverstate").write_bytes(b"")
    (folder / "run_iter_1000.solverstate").unlink()
    (folder / "lenet.caffemodel").write_bytes((folder / "lenet.caffemodel").read_bytes() + b"\0")
    assert main(["snapshots", f"file:{folder}"]) == 1
    out = capsys.readouterr().out
    assert re.search(
        rf"run_iter_900 .*damaged: file:{folder}/run_iter_900\.rank1\.solverstate is damaged: it has 0", out
    )
    assert re.search(rf"run_iter_1000 .*damaged: file:{folder}/run_iter_1000\.solverstate is missing", out)
    assert re.search(rf"lenet\.caffemodel .*damaged: file:{folder}/lenet\.caffemodel is damaged: its checksum", out)


def test_other_folders(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert main(["snapshots", str(tmp_path / "empty")]) == 0
    assert capsys.readouterr().out == f"no snapshot or model in {tmp_path}/empty\n"
    assert main(["snapshots", f"file:{tmp_path}/nowhere"]) == 1
    assert capsys.readouterr().err == f"caffeonspark: file:{tmp_path}/nowhere is no folder\n"
    assert main(["snapshots"]) == 1
    assert main(["snapshots", "-help"]) == 0
    assert main(["snapshots", "a", "b"]) == 1
    assert capsys.readouterr().err == "caffeonspark: snapshots takes one folder, not a b. See -help.\n"


def test_on_a_hadoop_file_system(spark, folder):
    from caffeonspark.spark.session import storage_of

    shutil.rmtree(folder / "arrive")
    found = saved_in(storage_of(spark), f"viewfs://disk/root{folder}")
    assert [(one.name, one.problem) for one in found if one.checked] == [
        ("run_iter_900", ""),
        ("run_iter_1000", ""),
        ("lenet.caffemodel", ""),
    ]
    assert all(one.when > 1.7e9 for one in found)
