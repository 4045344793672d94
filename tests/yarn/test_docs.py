"""The commands of docs/yarn.md, as they stand there."""

import re

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_from_nothing_to_a_finished_job(hadoop, page):
    assert all(line.startswith("export ") for line in page.variables)
    assert len(page.commands) <= 8
    accuracy = float(re.search(r"accuracy: ([\d.]+)", page.run(page.running)).group(1))
    print(f"accuracy {accuracy}")
    assert accuracy >= 0.97
    assert {"lenet.caffemodel", "digits_lenet_iter_1000.solverstate"} <= hadoop.names(page.job)
