"""A real notebook kernel: what its cells show of fits, errors and interruptions."""

import re

import pytest

from tests.support import stock
from tests.support.prototxts import COS_LAYER

pytest.importorskip("ipykernel")
from tests.support.kernel import Kernel

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(600)]

SETUP = """
import numpy as np
from pyspark.sql import SparkSession
from caffeonspark import CaffeEstimator

spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setLogLevel("OFF")
rng = np.random.default_rng(7)
rows = [(f"id{i}", rng.integers(0, 200, 144).astype(np.uint8).tobytes(), i % 10) for i in range(200)]
frame = spark.createDataFrame(rows, "id string, data binary, label int").repartition(2).cache()
frame.count()

def estimator(iterations, ranks=2, **flags):
    with open(f"solver{iterations}.prototxt", "w") as f:
        f.write('net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" random_seed: 1 max_iter: %d' % iterations)
    return CaffeEstimator(conf=f"solver{iterations}.prototxt", clusterSize=ranks, **flags)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "net.prototxt").write_text(COS_LAYER.format(batch=16, source="", scale=stock.SCALE) + stock.LAYERS)
    one = Kernel(folder)
    errors = [content for kind, content in one.run(SETUP) if kind == "error"]
    assert not errors
    yield one
    one.run("spark.stop()")
    one.close()


def text_of(outputs):
    return "".join(content["text"] for kind, content in outputs if kind == "stream")


def test_a_fit_is_one_picture_and_a_summary_a_small_one(kernel):
    outputs = kernel.run("model = estimator(40).fit(frame)")
    ((kind, content),) = outputs  # no lines
    assert kind == "display_data"
    page = content["data"]["text/html"]
    assert "<progress value='40' max='40'>" in page and "<svg" in page and len(page) < 20_000
    assert re.search(r"CaffeModel_\w+: 40/40, loss [\d.]+, \d+ s$", content["data"]["text/plain"])
    ((_, shown),) = kernel.run("model.summary")
    assert len(shown["data"]["text/html"]) < 20_000 and len(shown["data"]["text/plain"]) < 250
    ((_, shown),) = kernel.run("model")
    assert shown["data"]["text/plain"].startswith("CaffeModel: uid=CaffeEstimator_")
    ((_, shown),) = kernel.run("estimator(40)")
    assert "clusterSize" in shown["data"]["text/html"]


def test_an_error_is_one_line_below_the_cells_own(kernel):
    outputs = kernel.run("def mine():\n    return estimator(40, features=['ip9']).fit(frame)\n\nmine()")
    ((kind, content),) = [one for one in outputs if one[0] != "display_data"]
    assert kind == "error"
    assert content["traceback"][-1].startswith("ConfigError: ") and "'ip9'" in content["traceback"][-1]
    text = "\n".join(content["traceback"])
    assert "estimator(40, features=['ip9']).fit(frame)" in text
    assert "site-packages" not in text and "dist-packages" not in text and "caffeonspark/" not in text
    assert len(content["traceback"]) < 8


def test_interrupting_a_fit(kernel):
    outputs = kernel.run(
        "estimator(1000000).fit(frame)",
        interrupt_when=lambda outputs: any("/1000000, loss" in str(content) for _, content in outputs),
    )
    (error,) = [content for kind, content in outputs if kind == "error"]
    assert error["ename"] == "InterruptedByKeyboard" and len(error["traceback"]) < 8
    assert error["traceback"][-1].startswith("InterruptedByKeyboard: stopped by SIGINT at iteration ")
    assert "Traceback" not in text_of(outputs)


def test_interrupting_fits_in_a_pool_stops_them_all(kernel):
    """They trained on: a kernel takes away the handler by which PySpark cancels all jobs."""
    code = """
from multiprocessing.pool import ThreadPool
ended = []

def fit(number):
    try:
        estimator(1000000).fit(frame)
    except BaseException as e:
        ended.append(f"{type(e).__name__}: {e}")
        raise

for one in ThreadPool(2).imap_unordered(fit, range(4)):
    pass
"""
    outputs = kernel.run(
        code, interrupt_when=lambda outputs: any("task slots: CaffeModel_" in str(content) for _, content in outputs)
    )
    assert [content["ename"] for kind, content in outputs if kind == "error"] == ["KeyboardInterrupt"]
    outputs = kernel.run(
        "import time\nbegun = time.monotonic()\n"
        "while len(ended) < 4 and time.monotonic() - begun < 60:\n    time.sleep(0.1)\nprint(sorted(ended))"
    )
    lines = text_of(outputs)
    assert lines.count("Interrupted: ") == 4, lines
    assert "stopped while it waited for task slots" in lines and "Traceback" not in lines
