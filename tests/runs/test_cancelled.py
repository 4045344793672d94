"""A cancelled job and a stopped application are interruptions, in whatever words Spark has for them."""

import threading

import pytest

from caffeonspark import errors
from caffeonspark.errors import CaffeOnSparkError, InfrastructureError, Interrupted, InterruptedByKeyboard
from caffeonspark.runs.cancelled import one_interruption_ends_all, why_cancelled
from caffeonspark.runs.failures import stage_error


class Context:
    """As much of a SparkContext as is asked."""

    master = "local"

    def __init__(self, stopped=False):
        self._jsc = None if stopped else self
        self._stopped = stopped

    def sc(self):
        return self

    def isStopped(self):  # noqa: N802
        return self._stopped


@pytest.mark.parametrize(
    "text",
    [
        "org.apache.spark.SparkException: Job 3 cancelled as part of cancellation of all jobs\n\tat org.apache",
        "Job 3 cancelled part of cancelled job group mine",
        "Job 12 cancelled because Stage 5 was cancelled",
        "org.apache.spark.SparkException: [SPARK_JOB_CANCELLED] Job 0 cancelled killed via the Web UI SQLSTATE: XXKDA",
        "Job 1 cancelled because SparkContext was shut down",
    ],
)
def test_spark_says_that_a_job_was_cancelled(text):
    why = why_cancelled(Context(), Exception(f"An error occurred while calling o1.collect.\n: {text}"))
    assert "cancelled" in why and "\n" not in why and "org.apache" not in why


@pytest.mark.parametrize(
    "text",
    [
        "Job aborted due to stage failure: Could not recover from a failed barrier ResultStage.",
        "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: worker lost",
        "the order of job 3 was cancelled by the customer",
    ],
)
def test_lost_executors_are_not_cancelled(text):
    assert why_cancelled(Context(), Exception(text)) == ""
    raised = type("Py4JJavaError", (Exception,), {"__module__": "py4j.protocol"})
    assert isinstance(stage_error(raised(text), "rank 0"), InfrastructureError)


def test_a_stopped_application_counts_whatever_broke():
    assert why_cancelled(Context(stopped=True), AttributeError("'NoneType' has no attribute 'sc'"))
    assert why_cancelled(Context(), None) == ""


def test_what_waits_behind_an_interrupted_run_in_a_pools_thread_does_not_begin():
    began = []

    def fits():
        for number in range(4):
            try:
                with one_interruption_ends_all():
                    began.append(number)
                    if number == 1:
                        raise Interrupted("cancelled")
            except Interrupted:
                continue

    thread = threading.Thread(target=fits)
    thread.start()
    thread.join()
    assert began == [0, 1]
    with one_interruption_ends_all():  # another thread's
        began.append("main")
    with pytest.raises(Interrupted), one_interruption_ends_all():
        raise Interrupted("x")
    with one_interruption_ends_all():  # a person's next call
        began.append("again")
    assert began[2:] == ["main", "again"]


def test_ctrl_c_is_a_keyboard_interrupt_too():
    error = InterruptedByKeyboard("stopped by SIGINT: no snapshot was saved")
    assert isinstance(error, (Interrupted)) and isinstance(error, KeyboardInterrupt)
    assert isinstance(error, CaffeOnSparkError) and isinstance(error, Exception)
    assert error.message == str(error) == "stopped by SIGINT: no snapshot was saved"
    assert type(errors.from_wire(errors.to_wire(error))) is InterruptedByKeyboard
    with pytest.raises(KeyboardInterrupt):
        raise error
