"""Observers that fail, and the result's bounded timing."""

from caffeonspark.report.base import Observer, Observers
from caffeonspark.report.result import RankTiming, TrainingResult


class Broken(Observer):
    closed = False

    def note(self, text):
        raise ValueError("two\nlines")

    def close(self):
        self.closed = True


def test_failing_observers_are_dropped_with_one_note():
    heard, broken = [], [Broken(), Broken()]

    class Listener(Observer):
        def note(self, text):
            heard.append(text)

    observers = Observers([broken[0], Listener(), broken[1]])
    observers.note("hello")
    observers.note("again")
    warning = "warning: Broken failed and is switched off: ValueError: two lines"
    assert sorted(heard) == sorted(["hello", "again", warning, warning])
    assert broken[0].closed and broken[1].closed


def test_long_runs_keep_a_bounded_number_of_paces():
    result = TrainingResult("m")
    for number in range(50_000):
        result.record_timing(0, RankTiming(number, number, 0.0, 0.0))
    paces = result.timings[0]
    assert len(paces) <= 5000
    assert paces[0].iteration == 0
    assert paces[-1].iteration == 49_999
    assert [pace.iteration for pace in paces] == sorted(pace.iteration for pace in paces)
