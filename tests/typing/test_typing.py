"""Editors and type checkers complete flags and find typing mistakes: pyright and jedi on real code."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from caffeonspark import CaffeEstimator, Config, ConfigError
from caffeonspark.ml.tables import PARAMS_OF
from caffeonspark.settings import FLAGS
from tests.support.host import host_python, without_ours
from tests.support.paths import ROOT

SAMPLE = pathlib.Path(__file__).with_name("sample.py")
ESTIMATOR_FLAGS = {*PARAMS_OF["CaffeEstimator"]}
CLASSIFIER_PARAMS = {*PARAMS_OF["CaffeClassifier"]}


def test_the_stub_is_made_from_the_settings():
    command = [sys.executable, ROOT / "scripts" / "make_stubs.py", "--check"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_dir_lists_flags_and_aliases():
    assert {*FLAGS, *FLAGS.aliases, "ranks", "solver", "run_config"} <= set(dir(Config()))


def test_mistakes_at_run_time():
    config = Config()
    for wrong, near in (("clusterSise", "clusterSize"), ("protofile", "protoFile")):
        with pytest.raises(AttributeError, match=f"Config has no setting '{wrong}'. Did you mean '{near}'"):
            getattr(config, wrong)
    with pytest.raises(ConfigError, match=r"unknown flag clusterSise\. Did you mean 'clusterSize'"):
        config.clusterSise = 2
    with pytest.raises(ConfigError, match=r"unknown flag clusterSise\. Did you mean 'clusterSize'"):
        Config(clusterSise=2)
    with pytest.raises(
        ConfigError, match=r"CaffeEstimator has no parameter 'clusterSise'\. Did you mean 'clusterSize'"
    ):
        CaffeEstimator(clusterSise=2)
    with pytest.raises(TypeError, match="positional argument"):
        CaffeEstimator("solver.prototxt")


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """A folder with pyright and jedi in an environment of their own."""
    folder = tmp_path_factory.mktemp("editors") / "venv"
    subprocess.run([host_python(), "-m", "venv", folder], env=without_ours(), check=True)
    command = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "pyright", "jedi"]
    for words in (command, [folder / "bin" / "pyright", "--version"]):  # at its first start it installs the rest of it
        done = subprocess.run(words, env=without_ours(), capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pyright and jedi cannot be installed here: {(done.stderr or done.stdout).strip()[-300:]}")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pyright_finds_each_mistake_and_nothing_else(venv, tmp_path):
    (tmp_path / "sample.py").write_text(SAMPLE.read_text())
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)], "pythonVersion": "3.9"}))
    command = [venv / "bin" / "pyright", "--outputjson", "--pythonpath", sys.executable, "sample.py"]
    done = subprocess.run(command, cwd=tmp_path, env=without_ours(), capture_output=True, text=True)
    found = {}
    for about in json.loads(done.stdout)["generalDiagnostics"]:
        found.setdefault(about["range"]["start"]["line"], []).append(about["message"])
    wrong = dict(enumerate(re.findall(r"^.*?(?:# wrong: (.*))?$", SAMPLE.read_text(), re.M)))
    assert set(found) == {line for line, message in wrong.items() if message}, found
    for line, messages in found.items():
        assert wrong[line] in " ".join(messages)


COMPLETIONS = """
import json, sys
import jedi
found = []
for code in json.loads(sys.argv[2]):
    lines = code.split("\\n")
    script = jedi.Script(code, project=jedi.Project(sys.argv[1], added_sys_path=json.loads(sys.argv[3])))
    found.append([one.name for one in script.complete(len(lines), len(lines[-1]))])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jedi_completes_flags(venv):
    codes = {
        "from caffeonspark import Config\nConfig(None, ": {f"{name}=" for name in [*FLAGS, *FLAGS.aliases]},
        "from caffeonspark import Config\nconfig = Config()\nconfig.": {*FLAGS, *FLAGS.aliases, "ranks", "run_config"},
        "from caffeonspark import CaffeEstimator\nCaffeEstimator(": {f"{name}=" for name in ESTIMATOR_FLAGS},
        "from caffeonspark import CaffeEstimator\nCaffeEstimator().": {*ESTIMATOR_FLAGS, "fit", "setParams"},
        "from caffeonspark import CaffeClassifier\nCaffeClassifier(": {f"{name}=" for name in CLASSIFIER_PARAMS},
        "from caffeonspark import CaffeClassifier\nCaffeClassifier().set": {"setMaxIter", "setStepSize", "setParams"},
        "from caffeonspark import Ca": {"CaffeOnSpark", "CaffeEstimator", "CaffeModel", "CaffeClassifier"},
    }
    path = [entry for entry in sys.path if entry.endswith("-packages")]
    command = [venv / "bin" / "python", "-c", COMPLETIONS, ROOT, json.dumps([*codes]), json.dumps(path)]
    done = subprocess.run(command, env=without_ours(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (code, expected), names in zip(codes.items(), json.loads(done.stdout)):
        assert expected <= set(names), code
