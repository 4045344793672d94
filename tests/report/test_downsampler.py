"""Points for trackers, thinned."""

from caffeonspark.report.downsampler import Downsampler
from tests.support.run_records import iteration


def test_points_are_thinned_and_the_newest_is_there():
    thinned = Downsampler(20.0)
    for number in range(1000):
        thinned.add(iteration(number))
    points = [point for point in thinned.take() if point.name == "train/loss"]
    assert 150 <= len(points) <= 200  # ten seconds' worth at the beginning
    assert points[-1].iteration == 999
    assert all(point.value == 1 / (point.iteration + 1) for point in points)
    thinned.add(iteration(1000))
    assert not thinned.take()
    assert [point.iteration for point in thinned.take(last=True)] == [1000, 1000, 1000]
