"""Stock Caffe's own programs that bring old files up to date: what ``nets/upgrade.py`` is compared with."""

import os
import pathlib
import shutil
import subprocess

from tests.support import stock  # noqa: F401  loads Caffe


def find(name):
    """The path of a program of Caffe's; None where the installed Caffe has none."""
    found = shutil.which(name)
    if found is None and shutil.which("caffe"):  # a wrapper, beside which Debian's programs are in usr/bin
        beside = pathlib.Path(shutil.which("caffe")).resolve().parent.parent / "usr" / "bin" / name
        found = str(beside) if beside.exists() else None
    return found


def _folders():
    """Where the libraries lie that Caffe in this process uses."""
    with open("/proc/self/maps") as f:
        paths = [line.split()[-1] for line in f if ".so" in line]
    return ":".join(dict.fromkeys(os.path.dirname(path) for path in paths if path.startswith("/")))


def run(name, source, output):
    """(whether the program took the file, what it wrote, its log)"""
    done = subprocess.run(
        [find(name), str(source), str(output)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "LD_LIBRARY_PATH": _folders(), "GLOG_logtostderr": "1", "GLOG_minloglevel": "0"},
    )
    assert done.returncode != 127, done.stderr
    wrote = pathlib.Path(output).read_bytes() if pathlib.Path(output).exists() else None
    return done.returncode >= 0, wrote, done.stderr  # CHECK failures abort; a warning makes the status 1
