"""How runs are shown: short, whatever they were."""

import math
import re

from caffeonspark.report.display import curve_svg, shown, table
from caffeonspark.report.result import TrainingResult, ValidationResult


def long_run(iterations=300_000):
    result = TrainingResult("file:/m.caffemodel", max_iter=iterations, samples=64, rows=60_000, iteration=iterations)
    result.history = [(at, 2.0 / (1 + at / 1000) + 0.01 * (at % 7), 0.01) for at in range(iterations)]
    result.tests = [
        ValidationResult(at, 0, 1000, at / 100, {"accuracy": [at / iterations], "loss": [0.5], "fc7": [0.25] * 4096})
        for at in range(0, iterations, 1000)
    ]
    return result


def test_a_long_run_is_a_line_and_a_small_picture():
    """It was 16 MB in a cell."""
    result = long_run()
    assert len(repr(result)) < 250 and "\n" not in repr(result)
    assert repr(result).startswith("TrainingResult(iteration 300000 of 300000, epochs 320, loss 0.00")
    page = result._repr_html_()
    assert len(page) < 20_000
    assert page.count("<polyline") == 3  # loss, accuracy and the validation's loss; not 4096 of fc7
    assert "fc7: " not in page
    test = result.tests[-1]
    assert repr(test) == (
        "ValidationResult(iteration=299000, rows=1000: accuracy 0.9967, loss 0.5000, fc7 0.2500 0.2500 0.2500 0.2500 …)"
    )


def test_a_run_that_did_nothing():
    result = TrainingResult("")
    assert repr(result) == "TrainingResult(iteration 0 of 0)"
    assert "<svg" not in result._repr_html_()


def test_a_curve_has_finite_numbers_only():
    points = [(float(at), value) for at, value in enumerate([3.0, math.nan, 2.0, math.inf, 1.0])]
    svg = curve_svg(points, {"loss <b>": points, "accuracy": [(0.0, 0.5), (4.0, 0.5)]})
    assert "nan" not in svg and "inf" not in svg
    assert "validation loss &lt;b&gt;: 1" in svg
    (line, *_) = re.findall(r"polyline points='([^']*)'", svg)
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert len(heights) == 3 and heights == sorted(heights)  # down the page, as the loss falls
    assert curve_svg([(0.0, 1.0)], {}) == ""


def test_tables_cut_and_escape():
    page = table("a & b", [("net", "layer {\n}" * 10_000), ("<x>", 1)])
    assert len(page) < 1000
    assert "a &amp; b" in page and "&lt;x&gt;" in page and "…" in page
    assert shown("one\n  two") == "one two"
