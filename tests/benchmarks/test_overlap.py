"""The benchmark of what is hidden of an exchange."""

import pytest

from benchmarks import overlap
from benchmarks.namespaces import Unavailable

LAYERS = ((100_000, 0.5), (1_200_000, 0.4), (2_000_000, 0.1))


def test_what_is_hidden():
    # backward 100 ms, of which 90 behind the last layer; at the end the exchange takes 50, early 20 of it are left
    found = overlap.hidden(LAYERS, 100, [150, 150, 150], [120, 150, 100], "a net")
    assert (found.median, found.low, found.high) == (0.6, 0.0, 1.0)
    # an exchange longer than what is behind: 400 ms against 90
    assert overlap.hidden(LAYERS, 100, [500], [455], "a net").median == pytest.approx(0.5)


def test_nets_have_their_whole_backward_pass():
    for work in overlap.NETS.values():
        assert sum(share for _, share in work.layers) == pytest.approx(1, abs=1e-9)
    assert sum(size for size, _ in overlap.NETS["CaffeNet"].layers) == 4 * 60_965_224


@pytest.mark.parametrize("busy", [False, True])
def test_overlap(busy):
    """On two machines, if there are such here: one round of a small net."""
    work = overlap.Work(LAYERS, {1: 0.05}, iterations=2, busy=busy)
    found = overlap.measure(1, {"a net": work}, 1)
    if found.notes:
        assert found.notes[0].startswith("Not measured: ")
        return
    ((name, (backward, late, pumped, helped)),) = found.rows
    assert (name, backward) == ("a net", 50.0)
    # 3.3 MB take 26 ms at 1 Gbit/s; the last layer's cannot be hidden
    assert late > 50 + 20 and pumped > 50 and helped > 50
    assert [one.name for one in found.ratios] == [
        "a net: hidden between layers",
        "a net: hidden by helpers",
        "a net: between layers / at the end",
        "a net: by helpers / at the end",
    ]


def test_without_namespaces_it_says_so(monkeypatch):
    def none(count, gigabits):
        raise Unavailable("there is no ip")

    monkeypatch.setattr(overlap, "machines", none)
    found = overlap.measure(10, overlap.NETS, 1)
    assert not found.rows and found.notes == ("Not measured: there is no ip.",)
