"""What cannot be written to its place is kept in another."""

import os

import pytest

from caffeonspark.errors import StorageError
from caffeonspark.runs.kept import folder_unless_needed, kept


def test_a_model_is_kept_where_it_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrived").write_bytes(b"weights")
    error = kept(StorageError("cannot write hdfs://n/m.caffemodel: quota"), {"hdfs://n/m.caffemodel": "arrived"})
    before, _, place = error.message.rpartition(" as ")
    assert before.startswith("cannot write hdfs://n/m.caffemodel: quota; what was to go there is kept on ")
    assert os.path.dirname(os.path.dirname(place)) == str(tmp_path)
    assert os.path.basename(place) == "m.caffemodel"
    with open(place, "rb") as f:
        assert f.read() == b"weights"


def test_the_next_folder_is_taken_where_one_cannot_be_written(tmp_path, monkeypatch):
    gone, home = tmp_path / "gone", tmp_path / "home"
    for folder in (gone, home):
        folder.mkdir()
    (tmp_path / "arrived").write_bytes(b"weights")
    monkeypatch.chdir(gone)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("os.getcwd", lambda: "/proc")
    assert f"{home}/caffeonspark-kept-" in kept(StorageError("x"), {"m": str(tmp_path / "arrived")}).message
    monkeypatch.setenv("CONTAINER_ID", "container_1")  # what is in a container of YARN's goes with it
    message = kept(StorageError("x"), {"m": str(tmp_path / "arrived")}).message
    place = message.rpartition(" as ")[2]
    assert place.startswith("/var/tmp/")
    os.unlink(place)
    os.rmdir(os.path.dirname(place))


def test_what_is_gone_is_not_promised(tmp_path):
    error = StorageError("x")
    assert kept(error, {"m": str(tmp_path / "gone")}) is error


def test_a_fits_folder_stays_where_a_failed_run_left_a_snapshot():
    with folder_unless_needed(".solverstate") as folder:
        open(f"{folder}/a.solverstate", "w").close()
    assert not os.path.exists(folder)
    with pytest.raises(KeyboardInterrupt), folder_unless_needed(".solverstate") as folder:
        raise KeyboardInterrupt
    assert not os.path.exists(folder)
    with pytest.raises(KeyboardInterrupt), folder_unless_needed(".solverstate") as folder:
        open(f"{folder}/a.solverstate", "w").close()
        raise KeyboardInterrupt
    os.unlink(f"{folder}/a.solverstate")
    os.rmdir(folder)
