"""Checksums beside models: sha256sum's own format, and what becomes of a file that is not what was saved."""

import json
import subprocess

import pytest

from caffeonspark.errors import DataError
from caffeonspark.formats.checksums import read_checked, store_model, sum_of, write_model
from caffeonspark.storage import Storage

STORAGE = Storage()


@pytest.fixture(params=["store", "write"])
def saved(request, tmp_path):
    """A model with its checksum."""
    path = tmp_path / "m.caffemodel"
    if request.param == "store":
        (tmp_path / "local").write_bytes(b"weights")
        store_model(STORAGE, str(tmp_path / "local"), f"file:{path}")
    else:
        write_model(STORAGE, f"file:{path}", b"weights")
    return path


def test_sha256sum_checks_it(saved):
    checked = subprocess.run(
        ["sha256sum", "-c", "m.caffemodel.sha256"], cwd=saved.parent, stdout=subprocess.PIPE, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, "m.caffemodel: OK\n")
    assert read_checked(STORAGE, f"file:{saved}") == b"weights"
    written = subprocess.run(["sha256sum", str(saved)], stdout=subprocess.PIPE, check=True).stdout
    saved.with_name("m.caffemodel.sha256").write_bytes(written)  # with its path
    assert read_checked(STORAGE, str(saved)) == b"weights"


def test_a_changed_bit_is_found(saved):
    for at in range(7):
        content = bytearray(b"weights")
        content[at] ^= 1
        saved.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{saved} is damaged: .*remove {saved}\.sha256\)$"):
            read_checked(STORAGE, str(saved))
    saved.with_name("m.caffemodel.sha256").unlink()
    assert read_checked(STORAGE, str(saved)) == bytes(content)  # stock Caffe's have none


def test_a_new_model_has_a_new_checksum(saved):
    write_model(STORAGE, str(saved), b"others")
    assert read_checked(STORAGE, str(saved)) == b"others"


def test_a_model_without_its_checksum_is_never_beside_an_older_ones(saved, monkeypatch):
    """Whenever the driver is lost: the checksum goes first and comes last."""
    seen = []

    def spy(name, real):
        def call(*args):
            seen.append((name, sorted(path.suffix for path in saved.parent.glob("m.*"))))
            return real(*args)

        monkeypatch.setattr(STORAGE, name, call)

    for name in ("remove", "write"):
        spy(name, getattr(STORAGE, name))
    write_model(STORAGE, str(saved), b"others")
    assert seen == [
        ("remove", [".caffemodel", ".sha256"]),
        ("write", [".caffemodel"]),
        ("write", [".caffemodel"]),
    ]


def test_a_snapshots_weights_are_checked_where_they_are_named(tmp_path):
    path = tmp_path / "run_iter_3.caffemodel"
    path.write_bytes(b"weights")
    about = {"files": {path.name: sum_of(str(path))}}
    (tmp_path / "run_iter_3.solverstate.json").write_text(json.dumps(about))
    assert read_checked(STORAGE, str(path)) == b"weights"
    path.write_bytes(b"weight")
    with pytest.raises(DataError, match=r"it has 6 bytes, and had 7 when it was saved .*remove \S*solverstate\.json"):
        read_checked(STORAGE, str(path))
    (tmp_path / "run_iter_3.solverstate.json").write_text("{")
    assert read_checked(STORAGE, str(path)) == b"weight"


def test_a_checksum_of_something_else(saved):
    saved.with_name("m.caffemodel.sha256").write_text("")
    with pytest.raises(DataError, match=r"m\.caffemodel\.sha256 has no checksum of m\.caffemodel: remove it"):
        read_checked(STORAGE, str(saved))
