"""Samples per second, time left, and clocks."""

import pytest

from caffeonspark.report.speed import Speed, clock


def test_speed_leaves_validations_out_and_time_left_does_not():
    speed = Speed()
    speed.start(100.0, 50)
    assert speed.per_second() is None
    assert speed.left(10) is None
    speed.update(160.0, 52, 1.0)  # 59 seconds of loading come only once
    assert speed.per_second() == pytest.approx(2.0)
    assert speed.left(10) == pytest.approx(5.0)
    speed.update(161.0, 54, 2.0)
    speed.update(171.0, 56, 3.0)  # nine seconds of validation
    assert speed.per_second() == pytest.approx(2.0)
    assert speed.left(6) == pytest.approx(12.0)
    speed.start(200.0, 50)
    assert speed.per_second() is None


def test_speed_is_that_of_the_last_seconds():
    speed = Speed()
    speed.start(0.0, 0)
    for second in range(1, 100):
        speed.update(second, 10 * second if second <= 50 else 500 + 2 * (second - 50), second)
    assert speed.per_second() == pytest.approx(2.0)
    assert len(speed._marks) <= 700


def test_clock():
    assert [clock(s) for s in (0.4, 59.6, 61, 3675)] == ["0:00", "1:00", "1:01", "1:01:15"]
