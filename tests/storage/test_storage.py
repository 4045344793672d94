"""Files on the local disk and on a Hadoop file system: whole or not there, and errors that say which file."""

import os

import pytest

from caffeonspark.errors import StorageError
from caffeonspark.storage import Storage, join, local_path, parent


@pytest.fixture(params=["", "file:", "file://", "viewfs://disk/root"])
def place(request, spark, tmp_path):
    """(Storage, the folder's URI, the folder)."""
    return Storage(spark), f"{request.param}{tmp_path}", tmp_path


def test_write_read_replace_remove(place):
    storage, uri, folder = place
    target = f"{uri}/a/b/model"
    assert not storage.exists(target)
    storage.write(target, b"one")
    storage.write(target, b"two" * 1000)
    assert storage.read(target) == (folder / "a/b/model").read_bytes() == b"two" * 1000
    assert [name for name in os.listdir(folder / "a/b") if not name.endswith(".crc")] == ["model"]
    assert storage.is_folder(f"{uri}/a/b")
    assert not storage.is_folder(target)
    assert [name for name in storage.names(f"{uri}/a/b") if not name.endswith(".crc")] == ["model"]
    storage.rename(target, f"{uri}/a/other")
    assert storage.read(f"{uri}/a/other") == b"two" * 1000
    storage.remove(f"{uri}/a/other")
    storage.remove(f"{uri}/a/other")
    assert not storage.exists(f"{uri}/a/other")
    storage.remove_folder(f"{uri}/a")
    assert not (folder / "a").exists()
    assert storage.names(f"{uri}/a") == []


def test_what_cannot_be_read_or_written(place):
    storage, uri, folder = place
    with pytest.raises(StorageError, match=r"nowhere: No such file or directory"):
        storage.read(f"{uri}/nowhere")
    (folder / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/model"):
        storage.write(f"{uri}/file/model", b"x")
    with pytest.raises(StorageError, match=r"the place of .*file/model cannot be written to"):
        storage.check_writable(f"{uri}/file/model")
    storage.check_writable(f"{uri}/new/model")
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name.endswith((".part", ".probe"))]


def test_a_file_system_nobody_knows(spark):
    with pytest.raises(StorageError, match=r'nofs://host/x: No FileSystem for scheme "nofs"'):
        Storage(spark).exists("nofs://host/x")
    with pytest.raises(StorageError, match=r"only local files can be used without a SparkSession"):
        Storage(None).read("hdfs://host/x")


@pytest.mark.parametrize(
    ("uri", "local", "folder"),
    [
        ("file:a", "a", "file:"),
        ("file:a/b", "a/b", "file:a"),
        ("file:/a/b", "/a/b", "file:/a"),
        ("file:///a/b", "/a/b", "file:///a"),
        ("file://host/a/b", "/a/b", "file://host/a"),
        ("a/b", "a/b", "a"),
        ("hdfs://host/a/b", "hdfs://host/a/b", "hdfs://host/a"),
        ("a:b/c", "a:b/c", "a:b"),
    ],
)
def test_parts_of_uris(uri, local, folder):
    assert local_path(uri) == local
    assert parent(uri) == folder
    assert join(folder, "x") in (f"{folder}/x", f"{folder}x")
