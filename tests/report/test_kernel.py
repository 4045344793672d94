"""What a real kernel shows of runs and errors, and tells of interruptions; without Spark."""

import pytest

pytest.importorskip("ipykernel")
from tests.support.kernel import Kernel

RUNS = """
import threading
from caffeonspark.report.notebook import Notebook, board_of_cell, call_when_a_cell_is_interrupted, notebook_shell
from caffeonspark.report.result import RankTiming, TrainingResult

def run(name):
    one, result = Notebook(board_of_cell(notebook_shell()), name), TrainingResult("m", 30, 20)
    one.started(result, "2 ranks")
    for at in range(30):
        result.iteration = at + 1
        result.history.append((at, 1 / (at + 1), 0.01))
        one.progress(result, 0, RankTiming(at + 1, 0.1 * at, 0.0, 0.0), result.history[-1:])
    one.finished(result)
    one.close()

threads = [threading.Thread(target=run, args=(f"fit {number}",)) for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    one = Kernel(tmp_path_factory.mktemp("notebook"))
    yield one
    one.close()


def test_runs_in_threads_are_one_picture_below_their_cell(kernel):
    ((kind, content),) = kernel.run(RUNS)
    assert kind == "display_data"
    assert sorted(content["data"]["text/plain"].splitlines()) == [f"fit {n}: 30/30, loss 0.03333, 0 s" for n in (0, 1)]
    assert content["data"]["text/html"].count("<progress value='30' max='30'>") == 2


def test_an_error_in_a_cell(kernel):
    code = 'from caffeonspark import Config\n\ndef mine():\n    Config(None, conf="nothing.prototxt")\n\nmine()'
    ((kind, content),) = kernel.run(code)
    assert (kind, content["ename"]) == ("error", "ConfigError")
    *lines, last = content["traceback"]
    assert [line.strip() for line in lines[2::2]] == ["mine()", 'Config(None, conf="nothing.prototxt")']
    assert last == "ConfigError: the solver (-conf) nothing.prototxt does not exist"


def test_an_interrupted_cell_is_told(kernel):
    kernel.run("import time\ntold = []\ncall_when_a_cell_is_interrupted(lambda: told.append(1))")
    outputs = kernel.run("print('begun', flush=True)\ntime.sleep(60)", interrupt_when=bool)
    assert [content["ename"] for kind, content in outputs if kind == "error"] == ["KeyboardInterrupt"]
    ((_, content),) = kernel.run("print(told)")
    assert content["text"] == "[1]\n"
