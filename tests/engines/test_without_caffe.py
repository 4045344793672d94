"""Nothing but ``engines/caffe`` loads Caffe, and without Caffe everything works that does not compute."""

import os
import pathlib
import subprocess
import sys

import pytest

LIBRARY = pathlib.Path(__file__).parent.parent.parent

EVERY_MODULE = """
import importlib, pkgutil, sys
import caffeonspark
for module in pkgutil.walk_packages(caffeonspark.__path__, "caffeonspark."):
    if not module.name.startswith("caffeonspark.engines.caffe.") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "caffe"))
"""


@pytest.fixture
def hidden(tmp_path):
    """A folder that hides Caffe where it comes first on Python's path."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "caffe.py").write_text('raise ImportError("Caffe is hidden")\n')
    return tmp_path / "hidden"


def python(*words, before=()):
    paths = [*map(str, before), str(LIBRARY), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=120)


def test_importing_everything_else_does_not_load_caffe():
    done = python("-c", EVERY_MODULE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_import_and_help(hidden):
    done = python("-c", "import caffeonspark; caffeonspark.Config", before=[hidden])
    assert done.returncode == 0, done.stderr
    done = python("-m", "caffeonspark", "-help", before=[hidden])
    assert done.returncode == 0, done.stderr
    assert "-engine NAME" in done.stdout


def test_submit_without_a_look(hidden):
    words = ["submit", "--master", "spark://host:7077", "--num-executors", "2", "--dry-run", "--no-check"]
    flags = ["-train", "-conf", "s.prototxt", "-model", "m", "-engine", "own:Engine"]
    done = python("-m", "caffeonspark", *words, "--", *flags, before=[hidden])
    assert done.returncode == 0, done.stderr
    assert "-engine own:Engine" in done.stdout


def test_what_needs_caffe_says_so_in_one_line(hidden):
    code = (
        "from caffeonspark.engines.registry import engine_named\n"
        "from caffeonspark.errors import ConfigError\n"
        "engine = engine_named('caffe')\n"
        "for use in (engine.versions, engine.layer_types, lambda: engine.predictor(None, '')):\n"
        "    try:\n"
        "        use()\n"
        "    except ConfigError as e:\n"
        "        print(e)\n"
    )
    done = python("-c", code, before=[hidden])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        start = "the engine 'caffe' needs Caffe's Python module, which cannot be imported here (Caffe is"
        assert line.startswith(start)
        for word in ("conda-forge", "Debian", "scripts/with-env"):
            assert word in line
