"""The local disk: names that cannot be written are found without harm, and files are there lastingly."""

import os
import subprocess

import pytest

from caffeonspark.errors import StorageError
from caffeonspark.storage import Storage, whole_file


@pytest.fixture
def storage():
    return Storage()


def test_a_folder_is_no_place_for_a_file(storage, tmp_path):
    (tmp_path / "m").mkdir()
    for uri in (f"file:{tmp_path}/m", f"file:{tmp_path}/m/"):
        with pytest.raises(StorageError, match=r"cannot be written to: \S+/m/? is a folder: name a file in it"):
            storage.check_writable(uri)
    assert os.listdir(tmp_path) == ["m"] and not os.listdir(tmp_path / "m")


def test_checking_leaves_what_is_there(storage, tmp_path):
    place = tmp_path / "m"
    place.write_text("old")
    before = place.stat()
    storage.check_writable(f"file:{place}")
    assert place.read_text() == "old" and os.listdir(tmp_path) == ["m"]
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_name_that_cannot_be(storage, tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        storage.check_writable(f"file:{tmp_path}/{'x' * 256}")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a pipe"), (lambda path: path.symlink_to("/dev/null"), "a device")]
)
def test_what_is_no_file_is_neither_read_nor_replaced(storage, tmp_path, make, kind):
    """Reading a pipe waits for ever where nobody writes, and a device that is replaced is missed by all."""
    place = tmp_path / "m"
    make(place)
    uri = f"file:{place}"
    for work in (storage.read, lambda uri: storage.fetch(uri, str(tmp_path / "copy"))):
        with pytest.raises(StorageError, match=rf"m is {kind}, and files are read more than once: write its content"):
            work(uri)
    with pytest.raises(StorageError, match=rf"cannot be written to: \S+/m is {kind}: name a file$"):
        storage.check_writable(uri)
    with pytest.raises(StorageError, match=rf"^\S+/m is {kind}: name a file$"):
        storage.write(uri, b"content")
    assert not place.is_file()


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_names_of_any_length_that_can_be(storage, tmp_path, name):
    place = f"file:{tmp_path}/{name}"
    storage.check_writable(place)
    storage.write(place, b"1")
    storage.check_writable(place)
    assert storage.read(place) == b"1" and os.listdir(tmp_path) == [name]


def test_a_file_that_only_its_owner_may_replace(storage, tmp_path):
    """In a sticky folder, where everybody may write, somebody else's file."""
    if os.geteuid():
        pytest.skip("needs root, to be somebody else")
    folder = tmp_path / "sticky"
    folder.mkdir()
    for path in (*folder.parents, folder):
        if path.stat().st_uid == 0 and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o755)
    (folder / "m").write_text("somebody's")
    folder.chmod(0o1777)
    os.seteuid(65534)
    try:
        with pytest.raises(
            StorageError, match=r"m, which is there, cannot be replaced: in this sticky folder only its owner may"
        ):
            storage.check_writable(f"file:{folder}/m")
        storage.check_writable(f"file:{folder}/other")
    finally:
        os.seteuid(0)
    assert (folder / "m").read_text() == "somebody's" and os.listdir(folder) == ["m"]


def test_of_several_who_create_one_succeeds(storage, tmp_path):
    place = f"file:{tmp_path}/new/m"
    assert storage.create(place, b"1")
    assert not storage.create(place, b"2")
    assert storage.read(place) == b"1"
    assert storage.modified(place) == (tmp_path / "new/m").stat().st_mtime
    assert storage.modified(f"{place}x") is None
    storage.remove(place)
    storage.remove(place)
    (tmp_path / "new/d").mkdir()
    with pytest.raises(StorageError, match=r"cannot remove \S+/new/d"):
        storage.remove(f"file:{tmp_path}/new/d")


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_next_file(tmp_path, monkeypatch):
    done = []
    replace, fsync, made = os.replace, os.fsync, os.makedirs
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), done.append(("name", b))))
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), done.append(("disk", os.readlink(f"/proc/self/fd/{fd}")))))
    monkeypatch.setattr(os, "makedirs", lambda path, **more: (made(path, **more), done.append(("folder", path))))
    Storage().write(f"file:{tmp_path}/a/b/m", b"1")
    folder = f"{tmp_path}/a/b"
    assert done[:4] == [
        ("folder", f"{tmp_path}/a"),
        ("disk", f"{tmp_path}"),
        ("folder", folder),
        ("disk", f"{tmp_path}/a"),
    ]
    kind, temporary = done[4]
    assert kind == "disk" and temporary.startswith(f"{folder}/.m.")
    assert done[5:] == [("name", f"{folder}/m"), ("disk", folder)]
    done.clear()
    with whole_file(f"{folder}/m") as part, open(part, "w") as f:
        f.write("2")
    assert [kind for kind, _ in done] == ["disk", "name", "disk"]


def test_a_file_that_nothing_may_replace(storage, tmp_path):
    """One that is mounted by itself, as containers have them."""
    (tmp_path / "m").write_text("mounted")
    mount = ["mount", "--bind", tmp_path / "m", tmp_path / "m"]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(StorageError, match=r"m, which is there, cannot be replaced: "):
            storage.check_writable(f"file:{tmp_path}/m")
    finally:
        subprocess.run(["umount", tmp_path / "m"], check=True)
    storage.check_writable(f"file:{tmp_path}/m")
    assert os.listdir(tmp_path) == ["m"]


def test_checking_a_place_never_touches_what_another_puts_there(storage, tmp_path, monkeypatch):
    """Neither a file of this name that comes meanwhile, nor the name of one that is there."""
    seen = []
    for name in ("rename", "replace", "unlink", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, **k: (real(*a, **k), seen.append(str(a[-1])))[0])
    storage.check_writable(f"file:{tmp_path}/m")
    (tmp_path / "m").write_text("came")
    storage.check_writable(f"file:{tmp_path}/m")
    assert seen and f"{tmp_path}/m" not in seen
    assert (tmp_path / "m").read_text() == "came"
