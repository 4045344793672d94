"""The packed environment: complete, relocatable, reproducible, whole or not there."""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from caffeonspark.deploy import pack
from caffeonspark.errors import CaffeOnSparkError, ConfigError, StorageError

ROOT = os.path.dirname(os.path.dirname(sys.executable))
HERE = pytest.mark.skipif("CONDA_PREFIX" in os.environ, reason="a conda environment is packed by conda-pack")


@pytest.mark.slow
@pytest.mark.timeout(900)
@HERE
def test_the_same_environment_elsewhere_gives_the_same_bytes(tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ROOT, other, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    archives = []
    for number, root in enumerate((ROOT, str(other))):
        archives.append(tmp_path / f"{number}.tar.gz")
        subprocess.run([f"{root}/bin/python", "-m", "caffeonspark.cli", "pack", archives[-1]], check=True)
    one, two = (archive.read_bytes() for archive in archives)
    assert one == two
    assert len(one) < 300e6
    shutil.rmtree(other)
    with tarfile.open(archives[0]) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "env")
    assert names[0] == pack.MANIFEST
    assert names[1:] == sorted(names[1:])
    assert not [name for name in names if "/pytest" in name or name.endswith((".h", ".a")) or "/jars/" in name]
    program = (
        "import caffe, caffeonspark, pyspark.sql, sys; "
        "print(caffeonspark.__file__, sys.executable, sys.prefix, caffe.__file__)"
    )
    # from another folder, under a link as YARN makes it, and without this environment's variables
    (tmp_path / "link").symlink_to(tmp_path / "env")
    done = subprocess.run(
        ["link/bin/python", "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(path.startswith(str(tmp_path / "env")) for path in done.stdout.split()), done.stdout


def test_wrong_names_and_places_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="YARN unpacks"):
        pack.main([str(tmp_path / "env.zip")])
    with pytest.raises(ConfigError, match="OUT"):
        pack.main([])
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        pack.main([str(tmp_path / "none" / "env.tar.gz")])


@HERE
def test_an_archive_that_does_not_start_gets_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "_write", lambda part: write_broken(part))
    with pytest.raises(CaffeOnSparkError, match=r"does not start: .*no such module here"):
        pack.pack(str(tmp_path / "env.tar.gz"))
    assert not list(tmp_path.iterdir())


def write_broken(part):
    script = os.path.join(os.path.dirname(part), "python")
    with open(script, "w") as f:
        f.write("#!/bin/sh\necho 'ImportError: no such module here'; exit 1\n")
    os.chmod(script, 0o755)
    with tarfile.open(part, "w:gz") as tar:
        tar.add(script, "bin/python")
    os.unlink(script)
    return {}


def test_another_python_cannot_be_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    with pytest.raises(ConfigError, match="belongs to no environment that can be packed"):
        pack.pack(str(tmp_path / "env.tar.gz"))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path))
    monkeypatch.setitem(sys.modules, "conda_pack", None)
    with pytest.raises(ConfigError, match="pip install conda-pack"):
        pack.pack(str(tmp_path / "env.tar.gz"))
    assert not list(tmp_path.iterdir())
