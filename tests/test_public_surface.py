"""Public names, loaded when they are used: what importing and the command line cost, and what they do not load."""

import ast
import os
import resource
import subprocess
import sys

import pytest

import caffeonspark
from tests.support.paths import ROOT

HEAVY = "pyspark", "py4j", "caffe", "numpy", "pandas", "pyarrow", "google.protobuf", "PIL", "lmdb", "tqdm", "h5py"


def python(*words, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    return subprocess.run(
        [sys.executable, *words], env=env, capture_output=True, timeout=120, check=False, **{"text": True, **options}
    )


def loaded_by(code):
    """Which of the heavy modules Python code loads."""
    done = python("-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n', file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    return set(HEAVY) & set(done.stderr.split())


def test_every_name_is_there_and_is_said_to_type_checkers():
    tree = ast.parse((ROOT / "caffeonspark" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname == alias.name  # else they take it for private
            told[alias.name] = node.module
    assert told == {**caffeonspark._PLACES, **dict.fromkeys(caffeonspark._MODULES)}
    assert {*told, "__version__"} == set(caffeonspark.__all__) <= set(dir(caffeonspark))
    for name in caffeonspark.__all__:
        assert getattr(caffeonspark, name) is not None
    with pytest.raises(AttributeError, match="module 'caffeonspark' has no attribute 'Confg'"):
        _ = caffeonspark.Confg


@pytest.mark.parametrize(
    "code", ["import caffeonspark", "import caffeonspark.comm", "from caffeonspark import DataError"]
)
def test_importing_loads_nothing_heavy(code):
    assert loaded_by(code) == set()


def test_the_channel_needs_numpy_only():
    assert loaded_by("from caffeonspark.comm import tcp, local, encryption, handshake, addresses") <= {"numpy"}


@pytest.mark.parametrize("words", [["-help"], ["LMDB2DataFrame", "-help"]])
def test_help_loads_nothing_heavy(words):
    assert loaded_by(f"from caffeonspark.cli import main; assert main({words!r}) == 0") == set()


IMPORT, HELP = ["-c", "import caffeonspark"], ["-m", "caffeonspark", "-help"]


@pytest.mark.parametrize(("words", "most"), [(IMPORT, 0.9), (HELP, 1.5)])
def test_cpu_time(words, most):
    """Seconds, best of three; three times what they took where they were set, for slower machines."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python(*words).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < most


@pytest.mark.parametrize("module", ["caffeonspark", "caffeonspark.cli"])
def test_as_a_module(module):
    """The second is what the environment's ``caffeonspark`` runs (scripts/environment/build.py)."""
    told = python("-m", module, "-help")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("usage: caffeonspark FLAGS")
    told = python("-m", module, "-trian")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "caffeonspark: unknown flag -trian. Did you mean 'train'?\n"
    told = python("-m", module, "LMDB2DataFram")
    assert told.stderr == "caffeonspark: no command is called 'LMDB2DataFram'. Did you mean 'LMDB2DataFrame'?\n"
    told = python("-m", module, "train", "-conf", "solver.prototxt")
    assert told.stderr == "caffeonspark: 'train' is a flag: write it with a dash, -train\n"


# ---- log lines

SAY = """
import logging
from caffeonspark import Config
config = Config(quiet={quiet})
log = logging.getLogger("caffeonspark.report.terminal")
log.info("a note")
log.warning("warning: 100%")
"""


@pytest.mark.parametrize(
    ("before", "lines"),
    [
        ("", ["a note", "warning: 100%"]),
        ("import logging; logging.basicConfig()", ["WARNING:caffeonspark.report.terminal:warning: 100%"]),
        (
            "import logging; logging.basicConfig(level='INFO', format='%(levelname)s %(message)s')",
            ["INFO a note", "WARNING warning: 100%"],
        ),
        ("import logging; logging.getLogger('caffeonspark').addHandler(logging.NullHandler())", []),
        ("import logging; logging.getLogger('caffeonspark').setLevel('WARNING')", ["warning: 100%"]),
    ],
)
def test_a_program_says_where_lines_go(before, lines):
    done = python("-c", before + SAY.format(quiet=False))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == lines


def test_the_command_line_shows_lines_whatever_is_configured():
    code = """
import logging
logging.basicConfig(format="twice %(message)s")
from caffeonspark import log
log.show(logging.WARNING)
log.show(logging.WARNING)
"""
    done = python("-c", code + SAY.format(quiet=True))
    assert done.stderr.splitlines() == ["warning: 100%"]


def test_lines_stand_above_a_bar():
    code = """
import logging
from caffeonspark import log
log.show()
from tqdm import tqdm
bar = tqdm(total=5, bar_format="{n}/{total}")
bar.update(1)
logging.getLogger("caffeonspark.x").info("a note")
bar.close()
"""
    shown = python("-c", code, text=False).stderr  # text would have \n for \r
    assert b"\ra note\n" in shown  # at the beginning of a line, which is the bar's no more
    assert shown.rstrip().endswith(b"1/5")
