"""The archive of the library that executors run."""

import os
import stat

import pytest

from caffeonspark.spark import library_zip


class FakeContext:
    """An application that keeps a copy of a file, as Spark does for the driver."""

    def __init__(self, name, root):
        self.applicationId, self.root, self.added = name, root, []

    def addPyFile(self, path):  # noqa: N802
        copy = self.root / os.path.basename(path)
        copy.write_bytes(open(path, "rb").read())
        copy.chmod(0o777)
        self.added.append(path)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_nobody_else_may_write_what_executors_run(tmp_path, monkeypatch, umask):
    from pyspark import SparkFiles

    monkeypatch.setattr(SparkFiles, "getRootDirectory", lambda: str(tmp_path))
    context = FakeContext(f"application {umask}", tmp_path)
    before = os.umask(umask)
    try:
        library_zip.ship_library(context)
    finally:
        os.umask(before)
    (path,) = context.added
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / os.path.basename(path)).st_mode) == 0o600
    assert open(path, "rb").read() == library_zip._archive()


def test_a_file_that_lay_there_before_is_not_written_through(tmp_path):
    other = tmp_path / "other"
    other.write_text("somebody else's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "name.zip").symlink_to(other)
    path = library_zip._write_private(str(tmp_path / "folder"), "name.zip", b"content")
    assert other.read_text() == "somebody else's"
    assert open(path, "rb").read() == b"content"
    assert not os.path.islink(path)
