"""Runs in threads wait for each other's task slots, in the order in which they came."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from caffeonspark.errors import Interrupted, InterruptedByKeyboard
from caffeonspark.report.base import Observer
from caffeonspark.runs import on_spark, run, slots
from caffeonspark.runs.slots import claimed_slots, interrupt_all


class Context:
    """As much of a SparkContext as is asked: an application with so many slots."""

    master = "local"

    def __init__(self, slots, application="app"):
        self.slots, self.applicationId, self.stopped = slots, application, False

    @property
    def _jsc(self):
        return None if self.stopped else self

    def sc(self):
        return self

    def isStopped(self):  # noqa: N802
        return False


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(slots, "task_slots", lambda context: context.slots)
    monkeypatch.setattr(slots, "check_promised", lambda config: None)
    monkeypatch.setattr(slots, "_LOOK", 0.01)
    monkeypatch.setattr(slots, "_QUIET", 0.0)
    yield
    assert slots._claims == []


class Run:
    """A run in a thread of its own, which has its slots until ``end``."""

    def __init__(self, context, ranks, name, error=None):
        config = SimpleNamespace(
            spark=SimpleNamespace(sparkContext=context), ranks=ranks, model_uri="file:/tmp/m.caffemodel"
        )
        self.said, self.began, self.may_end, self.stop = [], threading.Event(), threading.Event(), threading.Event()
        self.error = error
        self.raised = None

        def work():
            try:
                with claimed_slots(config, name, self.said.append, self.stop):
                    self.began.set()
                    assert self.may_end.wait(10)
                    if self.error is not None:
                        raise self.error
            except BaseException as e:
                self.raised = e

        self.thread = threading.Thread(target=work)
        self.thread.start()
        if not self.began.wait(0.1):
            self.wait_until(lambda: self.said or not self.thread.is_alive())

    @staticmethod
    def wait_until(condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self):
        self.may_end.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_what_fits_runs_at_once():
    context = Context(4)
    one, two = Run(context, 2, "one"), Run(context, 2, "two")
    assert one.began.is_set() and two.began.is_set() and one.said == two.said == []
    one.end()
    two.end()


def test_first_come_first_served_and_a_large_one_is_not_passed_for_ever():
    """Spark starts what fits: the small ones before the large one, for as long as there are any."""
    context = Context(4)
    small, large, later = Run(context, 2, "small"), Run(context, 4, "large"), Run(context, 2, "later")
    assert small.began.is_set() and not large.began.is_set() and not later.began.is_set()
    assert large.said == ["waiting for 4 of the cluster's 4 task slots: small has 2"]
    assert later.said == ["waiting for 2 of the cluster's 4 task slots: small has 2; before it waits large"]
    small.end()
    assert large.began.wait(5) and not later.began.is_set()
    large.end()
    assert later.began.wait(5)
    later.end()
    assert len(large.said) == len(later.said) == 1


@pytest.mark.parametrize("error", [ValueError("x"), Interrupted("stopped"), SystemExit(1)])
def test_slots_are_free_again_however_a_run_ends(error):
    context = Context(2)
    one = Run(context, 2, "one", error)
    two = Run(context, 2, "two")
    one.end()
    assert one.raised is error
    assert two.began.wait(5)
    two.end()
    assert two.raised is None


def test_one_that_is_too_large_is_left_to_those_who_check_the_cluster():
    run = Run(Context(1), 3, "three")
    assert run.began.is_set()
    run.end()


def test_executors_that_come_are_seen():
    context = Context(2)
    one, two = Run(context, 2, "one"), Run(context, 2, "two")
    context.slots = 4
    assert two.began.wait(5)
    one.end()
    two.end()


def test_other_applications_have_slots_of_their_own():
    one, two = Run(Context(2), 2, "one"), Run(Context(2, "another"), 2, "two")
    assert two.began.is_set()
    one.end()
    two.end()


def test_a_waiting_run_can_be_interrupted():
    context = Context(2)
    one, two, three = Run(context, 2, "one"), Run(context, 2, "two"), Run(context, 2, "three")
    two.stop.set()
    two.thread.join(5)
    assert str(two.raised) == "stopped while it waited for task slots" and isinstance(two.raised, Interrupted)
    one.end()
    assert three.began.wait(5)
    three.end()


def test_a_stopped_application_ends_the_wait():
    context = Context(2)
    one, two = Run(context, 2, "one"), Run(context, 2, "two")
    context.stopped = True
    two.thread.join(5)
    assert str(two.raised) == "stopped by the end of its SparkContext while it waited for task slots"
    one.end()


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), Interrupted("stopped by Spark (Job 3 cancelled as part of cancellation of all jobs)")],
)
def test_ctrl_c_ends_those_that_wait_and_those_that_run(error):
    context = Context(4)
    one, other, waiting = Run(context, 2, "one", error), Run(context, 2, "other"), Run(context, 2, "waiting")
    one.end()
    waiting.thread.join(5)
    assert isinstance(waiting.raised, Interrupted)
    assert other.stop.is_set()
    other.end()


def test_one_cancelled_job_does_not_end_others():
    context = Context(4)
    one = Run(context, 2, "one", Interrupted("stopped by Spark (Job 3 cancelled because killed via the Web UI)"))
    other = Run(context, 4, "other")
    one.end()
    assert other.began.wait(5) and not other.stop.is_set()
    other.end()


def test_ctrl_c_at_one_that_waits_in_the_main_thread():
    context = Context(2)
    one = Run(context, 2, "one")
    config = SimpleNamespace(spark=SimpleNamespace(sparkContext=context), ranks=1, model_uri="file:/tmp/m.caffemodel")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        with pytest.raises(
            InterruptedByKeyboard, match=r"^stopped by SIGINT while it waited for task slots$"
        ), claimed_slots(config, "", print, threading.Event()):
            pass
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert one.stop.is_set()
    one.end()


def test_a_run_claims_once():
    """A fit that has its slots looks at rows, and trains in the same thread."""
    context = Context(2)
    config = SimpleNamespace(spark=SimpleNamespace(sparkContext=context), ranks=2, model_uri="file:/tmp/m.caffemodel")
    stops = [threading.Event() for _ in range(3)]
    with claimed_slots(config, "", print, stops[0]):
        with claimed_slots(config, "", print, stops[1]):
            assert [claim.name for claim in slots._claims] == ["m.caffemodel"]
            interrupt_all()
        with claimed_slots(config, "", print, stops[2]):
            pass
    assert all(stop.is_set() for stop in stops)
    assert slots._claims == []
    interrupt_all()


def test_a_run_has_its_slots_through_all_its_attempts(monkeypatch):
    """A run that is started again did lose them to one that came later."""
    context, later, seen = Context(2), [], []
    config = SimpleNamespace(
        spark=SimpleNamespace(sparkContext=context),
        ranks=2,
        model_uri="file:/tmp/m.caffemodel",
        storage=SimpleNamespace(check_writable=lambda uri: None),
        settings=SimpleNamespace(blasKernel="", dryRun=False),
        describe_cluster=lambda: "2 ranks",
    )

    class Attempts:
        def __init__(self, *args):
            pass

        def go(self):
            for _ in range(2):
                later.append(Run(context, 2, "later"))
                seen.append(later[0].began.is_set())

    for name in ("check_no_input", "check_setting", "check_settings", "prepare"):
        monkeypatch.setattr(run, name, lambda *args: None)
    for name in ("check_driver", "check_encryption"):
        monkeypatch.setattr(on_spark, name, lambda *args: None)
    monkeypatch.setattr(run, "_Run", Attempts)
    run.train(config, None, [], Observer(), hand_over=print, name="first")
    assert seen == [False, False]
    assert later[0].said == ["waiting for 2 of the cluster's 2 task slots: first has 2"]
    for one in later:
        assert one.began.wait(5)
        one.end()
