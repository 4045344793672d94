"""Files on the local disk and on a Hadoop file system: whole or not there, and errors that say which file."""

import os

import pytest

from caffeonspark.errors import ConfigError, StorageError
from caffeonspark.spark.jvm import hadoop_files
from caffeonspark.spark.session import storage_of
from caffeonspark.storage import LocalFiles, Storage, all_or_nothing, find_file, join, local_path, parent, whole_file


@pytest.fixture(params=["", "file:", "file://", "viewfs://disk/root"])
def place(request, spark, tmp_path):
    """(Storage, the folder's URI, the folder)."""
    return storage_of(spark), f"{request.param}{tmp_path}", tmp_path


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
        storage_of(spark).exists("nofs://host/x")
    with pytest.raises(StorageError, match=r"only local files can be used without a SparkSession"):
        storage_of(None).read("hdfs://host/x")


@pytest.fixture(params=["local", "hadoop"])
def files(request, spark, tmp_path):
    """(a file system, the folder's URI in it, the folder); Hadoop's client writes to the same disk."""
    if request.param == "local":
        return LocalFiles(), f"file:{tmp_path}", tmp_path
    return hadoop_files(spark.sparkContext), f"viewfs://disk/root{tmp_path}", tmp_path


def test_both_file_systems_do_the_same(files):
    system, uri, folder = files
    (folder / "source").write_bytes(b"one")
    system.make_folder(f"{uri}/a/b")
    system.make_folder(f"{uri}/a/b")
    assert system.is_folder(f"{uri}/a/b")
    assert system.names(f"{uri}/a") == ["b"]
    system.store(str(folder / "source"), f"{uri}/a/b/file")
    system.fetch(f"{uri}/a/b/file", str(folder / "copy"))
    assert (folder / "copy").read_bytes() == system.read(f"{uri}/a/b/file") == b"one"
    system.rename(f"{uri}/a/b", f"{uri}/a/c")
    assert not system.exists(f"{uri}/a/b")
    assert system.read(f"{uri}/a/c/file") == b"one"
    (folder / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/b"):
        system.make_folder(f"{uri}/file/b")
    with pytest.raises(StorageError, match=r"cannot write .*/d"):
        system.rename(f"{uri}/nowhere", f"{uri}/d")
    with pytest.raises(StorageError, match=r"nowhere: No such file or directory"):
        system.fetch(f"{uri}/nowhere", str(folder / "copy"))


class NamedFiles(LocalFiles):
    """Stands for Hadoop's side: tells what it is asked."""

    def __init__(self, default_is_local):
        self.default_is_local = lambda: default_is_local
        self.asked = []

    def exists(self, uri):
        self.asked.append(uri)
        return True


def test_the_uri_chooses_the_file_system(tmp_path):
    for default_is_local in (True, False):
        hadoop = NamedFiles(default_is_local)
        storage = Storage(hadoop)
        for uri in ("hdfs://host/x", "s3a://bucket/x", f"file:{tmp_path}", str(tmp_path)):
            assert storage.exists(uri)
        assert hadoop.asked == ["hdfs://host/x", "s3a://bucket/x", *([] if default_is_local else [str(tmp_path)])]
        assert storage.on_local_disk(str(tmp_path)) == default_is_local
        assert storage.on_local_disk("FILE:x")
        assert not storage.on_local_disk("hdfs:/x")


def test_the_default_file_system(spark, tmp_path):
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    storage, before = storage_of(spark), hadoop.get("fs.defaultFS")
    assert storage.on_local_disk("a")
    (tmp_path / "a").write_bytes(b"here")
    hadoop.set("fs.defaultFS", "viewfs://disk/")
    try:
        assert not storage.on_local_disk("a")
        assert storage.read(f"/root{tmp_path}/a") == b"here"
        assert find_file(storage, f"/root{tmp_path}/a", "the model") == f"/root{tmp_path}/a"
        assert find_file(storage, f"{tmp_path}/a", "the model") == f"file:{tmp_path}/a"
    finally:
        hadoop.set("fs.defaultFS", before)


def test_find_file(tmp_path):
    (tmp_path / "a").write_text("")
    assert find_file(Storage(), f"{tmp_path}/a", "the model") == f"{tmp_path}/a"
    assert find_file(Storage(), f"file:{tmp_path}/a", "the model") == f"file:{tmp_path}/a"
    with pytest.raises(ConfigError, match=rf"^the model \(-model\) {tmp_path}/b does not exist$"):
        find_file(Storage(), f"{tmp_path}/b", "the model (-model)")
    with pytest.raises(ConfigError, match=rf"^the model \(-model\) {tmp_path} is a folder: name the file$"):
        find_file(Storage(), str(tmp_path), "the model (-model)")


def test_outputs_come_together_or_not_at_all(place):
    storage, uri, folder = place
    with all_or_nothing(storage, f"{uri}/out", ["a", "b"]) as part:
        storage.write(f"{part}/a/x", b"1")
        storage.write(f"{part}/b", b"2")
        assert not storage.exists(f"{uri}/out/a")
    assert storage.read(f"{uri}/out/a/x") == b"1"
    with pytest.raises(KeyboardInterrupt), all_or_nothing(storage, f"{uri}/out", ["a", "b"]) as part:
        storage.write(f"{part}/a", b"3")
        raise KeyboardInterrupt
    assert storage.read(f"{uri}/out/a/x") == b"1"
    with all_or_nothing(storage, f"{uri}/out", ["a"]) as part:
        storage.write(f"{part}/a", b"3")
    assert (folder / "out" / "a").read_bytes() == b"3"
    assert storage.read(f"{uri}/out/b") == b"2"
    assert [name for name in sorted(os.listdir(folder / "out")) if not name.endswith(".crc")] == ["a", "b"]


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(str(path)) as part:
        with open(part, "w") as f:
            f.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with whole_file(str(path)) as part, open(part, "w") as f:
        f.write("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


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


def test_of_several_who_create_a_file_one_succeeds(place):
    storage, uri, folder = place
    target = f"{uri}/new/lease"
    assert storage.create(target, b"one")
    assert not storage.create(target, b"two")
    assert storage.read(target) == b"one"
    assert abs(storage.modified(target) - (folder / "new/lease").stat().st_mtime) < 1
    assert storage.modified(f"{uri}/new/other") is None


def test_whether_a_name_can_be_written_is_seen_without_writing(place):
    storage, uri, folder = place
    (folder / "new").mkdir()
    with pytest.raises(StorageError, match=r"new/? cannot be written to: \S*/new is a folder: name a file in it"):
        storage.check_writable(f"{uri}/new")
    storage.write(f"{uri}/model", b"old")
    storage.check_writable(f"{uri}/model")
    assert storage.read(f"{uri}/model") == b"old"
    assert sorted(name for name in os.listdir(folder) if not name.endswith(".crc")) == ["model", "new"]


def test_leases_on_every_storage(place):
    from caffeonspark.runs.lease import Lease

    storage, uri, folder = place
    with Lease(storage, f"{uri}/m", "app", 1, "-model"):
        with pytest.raises(ConfigError, match=r"/m is in use by another run \(application app, process"):
            Lease(storage, f"{uri}/m", "app", 1, "-model").__enter__()
        with Lease(storage, f"{uri}/m", "app", 2, "-model") as later:
            later._renew()
            later.check()
    assert not [name for name in os.listdir(folder) if not name.endswith(".crc")]
