"""Python as this machine has it, outside of the environment that the tests run in."""

import os
import pathlib
import subprocess
import sys

import pytest


def without_ours(path=None):
    """This process's environment without what scripts/with-env put into it."""
    ours = ("PYTHONPATH", "PYTHONHOME", "SPARK_HOME", "PYSPARK_PYTHON", "JAVA_HOME", "LD_LIBRARY_PATH")
    found = {name: value for name, value in os.environ.items() if name not in ours}
    return {**found, "PATH": path or found["PATH"]}


def host_python():
    """A Python of this machine that makes virtual environments; skips where there is none."""
    inside = pathlib.Path(sys.executable).resolve().parent
    for folder in os.environ["PATH"].split(os.pathsep):
        python = pathlib.Path(folder, "python3")
        if python.exists() and python.resolve().parent != inside:
            check = "import sys, ensurepip; sys.exit(sys.version_info < (3, 8))"
            if subprocess.run([python, "-c", check], env=without_ours(), capture_output=True).returncode == 0:
                return python
    return pytest.skip("this machine has no other Python 3.8 or newer with ensurepip")
