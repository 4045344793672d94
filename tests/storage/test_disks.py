"""Disks without room are named, with the setting that chooses another one; nothing is left cut short."""

import errno
import os
import resource
import signal
import subprocess
import tempfile

import pytest

from caffeonspark.errors import StorageError
from caffeonspark.process import run_in_child
from caffeonspark.storage import Storage, check_room, naming_full_disks, reserved, temporary_folder


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named(number):
    with pytest.raises(StorageError) as e, naming_full_disks("/tmp", "spark.local.dir"):
        raise OSError(number, os.strerror(number))
    assert e.value.message.startswith("the disk of /tmp is full, or a limit is reached (")
    assert "set spark.local.dir to a larger one" in e.value.message and os.strerror(number) in e.value.message


def test_other_errors_are_left_alone():
    with pytest.raises(PermissionError), naming_full_disks("/tmp", "x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(StorageError, match="already ours"), naming_full_disks("/tmp", "x"):
        raise StorageError("already ours")


def test_no_room_for_any_temporary_file(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    with pytest.raises(StorageError, match=r"the disk of /proc/nowhere is full.*set TMPDIR"):
        temporary_folder()


def test_room_is_checked_beforehand(tmp_path):
    check_room(str(tmp_path), 1000, "the model", "TMPDIR")
    with pytest.raises(StorageError, match=r"the model takes \d{9,} MB in \S+, and \d+ MB are free: .*set TMPDIR"):
        check_room(str(tmp_path), 1 << 60, "the model", "TMPDIR")


def test_what_comes_out_shorter_is_removed(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(OSError, match="No space left"), reserved((str(path), 100)):
        path.write_bytes(b"x" * 99)
    assert not path.exists()
    with reserved((str(path), 100)):
        path.write_bytes(b"x" * 100)
    assert path.stat().st_size == 100


def limited(send, work, size):
    """``work`` in a process whose files can have so many bytes; the error's text, or "" """
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        work()
    except (OSError, StorageError) as e:
        send(f"{type(e).__name__} {e}".encode())


def test_a_limit_on_files_is_met_before_native_code_writes(tmp_path):
    path = tmp_path / "model"

    def work():
        with reserved((str(path), 1 << 20)):
            raise AssertionError("native code would end the process here")

    output, errors, status = run_in_child(lambda send: limited(send, work, 1 << 16), 20)
    assert output.startswith(b"OSError [Errno 27]"), errors
    assert status == 0 and not path.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode
    ):
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_what_was_there(small_disk):
    storage, place = Storage(), f"file:{small_disk}/m.caffemodel"
    storage.write(place, b"old")
    with pytest.raises(StorageError, match=r"cannot write \S+/m.caffemodel: No space left on device"):
        storage.write(place, b"x" * (2 << 20))
    assert storage.read(place) == b"old"
    assert os.listdir(small_disk) == ["m.caffemodel"]
    with pytest.raises(OSError, match="No space left"), reserved((f"{small_disk}/new", 2 << 20)):
        raise AssertionError
    assert os.listdir(small_disk) == ["m.caffemodel"]
