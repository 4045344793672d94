"""Fits in threads that together need more slots than there are, on real executors."""

import logging
import re
import threading

import pytest

from caffeonspark import CaffeEstimator
from caffeonspark.errors import Interrupted
from tests.runs.test_places import SOLVER, in_thread, wait_for
from tests.support import stock
from tests.support.prototxts import COS_LAYER, rows_of


@pytest.fixture
def estimator(tmp_path):
    (tmp_path / "net.prototxt").write_text(COS_LAYER.format(batch=16, source="", scale=stock.SCALE) + stock.LAYERS)

    def make(ranks, iterations=10):
        path = tmp_path / f"solver_{iterations}.prototxt"
        path.write_text('net: "net.prototxt" ' + SOLVER.format(rate=0.05, iterations=iterations, more=""))
        return CaffeEstimator(conf=str(path), clusterSize=ranks)

    return make


@pytest.fixture
def frame(spark, small_images):
    rows = rows_of(*small_images)[:192]
    return spark.createDataFrame(rows, "id string, data binary, label int").repartition(3).cache()


@pytest.fixture
def lines():
    """What runs say, as it is said."""
    heard = []

    class Heard(logging.Handler):
        def emit(self, record):
            heard.extend(record.getMessage().splitlines())

    logger, handler = logging.getLogger("caffeonspark.report"), Heard()
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


def test_fits_that_need_more_slots_than_there_are_wait_for_each_other(estimator, frame, lines):
    models, began = {}, threading.Event()

    def fit(name, ranks, iterations=10):
        models[name] = estimator(ranks, iterations).fit(frame)

    first, errors = in_thread(lambda: (began.set(), fit("first", 3, 1500)))  # until the others have come
    assert began.wait(10)
    wait_for(lambda: any("waiting for Spark" in line for line in lines) or errors)
    others = [in_thread(lambda number=number: fit(number, 3 - number)) for number in range(2)]
    for thread, failed in [(first, errors), *others]:
        thread.join(120)
        assert not thread.is_alive() and not failed
    assert sorted(model.summary.totalIterations for model in models.values()) == [10, 10, 1500]
    waits = [line for line in lines if "task slots" in line]
    wait = r"\[(CaffeModel_\w+)\] waiting for [23] of the cluster's 4 task slots: (CaffeModel_\w+) has 3"
    assert re.match(wait, waits[0]), lines
    waited, had = re.match(wait, waits[0]).groups()
    assert waited != had and len(waits) == 2
    assert [name for name in (waited, had) if any(line.startswith(f"[{name}] iteration 1") for line in lines)]


def test_an_interruption_ends_the_fits_that_wait(spark, estimator, frame, lines):
    fits = [in_thread(lambda: estimator(4, 1_000_000).fit(frame))]
    try:
        wait_for(lambda: any(" of 1000000: loss" in line for line in lines) or fits[0][1])
        fits.append(in_thread(lambda: estimator(4, 1_000_000).fit(frame)))
        wait_for(lambda: any("task slots" in line for line in lines) or fits[1][1])
    finally:
        spark.sparkContext.cancelAllJobs()
        for thread, _ in fits:
            thread.join(30)
            assert not thread.is_alive(), [errors for _, errors in fits]
    (one,), (two,) = (errors for _, errors in fits)
    assert isinstance(one, Interrupted) and one.message.startswith("stopped by Spark (Job ")
    assert two.message == "stopped while it waited for task slots"
