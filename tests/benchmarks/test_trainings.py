"""What the benchmarks of modes make of a training's metrics file."""

import json

import pytest

from benchmarks import autoencoder, modes, trainings

RECORDS = [
    {"event": "start", "iteration": 0},
    {"event": "validation", "iteration": 10, "outputs": {"accuracy": [0.4]}},
    {"event": "pace", "rank": 0, "iteration": 20, "training": 4.0, "waited": 1.0, "loading": 0.0},
    {"event": "pace", "rank": 1, "iteration": 20, "training": 4.0, "waited": 3.0, "loading": 0.0},
    {"event": "validation", "iteration": 30, "outputs": {"accuracy": [0.9]}},
    {"event": "pace", "rank": 0, "iteration": 40, "training": 10.0, "waited": 4.0, "loading": 0.0},
    {"event": "pace", "rank": 1, "iteration": 40, "training": 10.0, "waited": 2.0, "loading": 0.0},
    {"event": "end", "outcome": "stopped"},
]


@pytest.fixture
def told():
    return trainings.Training(tuple(RECORDS))


def test_seconds_are_those_in_iterations(told):
    assert [told.seconds_at(at) for at in (0, 10, 20, 30, 40, 99)] == [0.0, 2.0, 4.0, 7.0, 10.0, 10.0]


def test_the_share_of_waiting_is_of_all_ranks(told):
    assert told.waiting_share() == pytest.approx(6 / 20)
    assert trainings.Training(()).waiting_share() == 0.0


def test_when_an_accuracy_was_reached(told):
    assert modes.reached(told, 0.5) == (30, 0.9)
    assert modes.reached(told, 0.4) == (10, 0.4)
    assert modes.reached(told, 0.95) is None


def test_a_file_that_grows(tmp_path, told):
    path = tmp_path / "m.jsonl"
    assert trainings.read(path).records == ()
    path.write_text("".join(json.dumps(one) + "\n" for one in RECORDS) + '{"event": "no')
    assert trainings.read(path) == told


def test_what_a_rank_sends():
    """2 (N - 1) / N of all numbers, each of 4 bytes."""
    assert modes.sent(1_000_000, 2, 1) == pytest.approx(4.0)
    assert modes.sent(1_000_000, 4, 10) == pytest.approx(60.0)
    assert modes.sent(1_000_000, 1, 10) == 0.0


def test_the_sides_of_a_grid():
    assert modes.sides(1) == [("one rank", {}, 0)]
    names = [name for name, _, _ in modes.sides(4)]
    assert names[0] == "4 ranks, all_reduce"
    assert [name for name in names if "average" in name] == [f"4 ranks, average, T = {T}" for T in modes.INTERVALS]
    assert names[-1] == "4 ranks, elastic, T = 10"
    for _, flags, interval in modes.sides(2)[1:]:
        assert flags["syncInterval"] == interval


def test_the_figure(tmp_path):
    path = tmp_path / "images" / "autoencoder.png"
    autoencoder.draw({"one": [(0.0, 90.0), (1.0, 60.0)], "other": [(0.0, 90.0)]}, path)
    assert path.read_bytes().startswith(b"\x89PNG")
