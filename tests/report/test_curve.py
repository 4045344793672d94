"""The curve as a picture and as a page."""

import json
import re

from caffeonspark.report.curve import draw_png, static_page
from caffeonspark.report.page import page_html
from tests.support.run_records import end, iteration, rank_losses, restart, saved, start, state_of, validation


def test_pictures_of_every_kind_of_run():
    for records in (
        [start(), iteration(0)],
        [start(), iteration(0, loss=-1), iteration(1, loss=0)],
        [start(5), *(iteration(n) for n in range(5, 2000)), saved(7), saved(9, "best model"), restart(9)],
        [start(), iteration(0), validation(0, loss=[1.0], top=[0.1, 0.2]), end(1, "failed", "boom")],
        [start(), *(iteration(n) for n in range(30)), rank_losses(9, 1.0, None), rank_losses(29, 0.5, 2.0)],
    ):
        assert draw_png(state_of(*records).page()).startswith(b"\x89PNG")


HOSTILE = '</script><script>alert(1)</script>&<!--"\u2028'


def test_nothing_of_a_run_ends_the_pages_data():
    state = state_of(start(model=HOSTILE), iteration(0), validation(0, **{HOSTILE: [0.5]}), end(1, "failed", HOSTILE))
    text = static_page(state.page())
    assert text.count("<script") == text.count("</script>") == 2
    content = re.search(r'<script type="application/json" id="state">(.*?)</script>', text, re.S).group(1)
    assert json.loads(content)["error"] == HOSTILE
    assert "{" not in page_html("0").split("<style>")[0]
