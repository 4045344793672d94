"""``python -m benchmarks links``, with tiny sizes: that it measures, not what."""

import os
import shutil

import pytest

from benchmarks import links, namespaces

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("tc") is None, reason="needs root, ip and tc"),
    pytest.mark.timeout(300),
]


def test_two_machines_with_two_ranks_each():
    try:
        found = links.measure(1.0, (1 << 16, 1 << 20), rounds=1)
    except namespaces.Unavailable as e:
        pytest.skip(str(e))
    assert [name for name, _ in found.rows] == ["64 KB", "1 MB"]
    assert len(found.columns) == len(links.SIDES) + 1
    for _, values in found.rows:
        assert all(value > 0 for value in values)
    large = dict(found.rows)["1 MB"]
    assert large[0] > 0.9 * large[-1]  # nothing is faster than its link
    assert links.bound(1 << 20, 1.0) == pytest.approx(large[-1]) == pytest.approx(8.77, abs=0.01)


def test_links_that_cannot_be_had_are_told(monkeypatch):
    def none(count, gigabits):
        raise namespaces.Unavailable("no links today")

    monkeypatch.setattr(links, "machines", none)
    assert [result.notes for result in links.run()] == [("Not measured: no links today.",)] * 2
