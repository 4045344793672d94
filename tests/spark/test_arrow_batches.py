"""Sizes of Arrow batches: a setting that is the session's again after a job, and a note where it should be another."""

from types import SimpleNamespace

import pytest

from caffeonspark.spark import arrow_batches
from caffeonspark.spark.arrow_batches import SETTING, limited_arrow_batches, note_large_rows


class Session:
    """The configuration of a session."""

    def __init__(self, **own):
        self.conf = self
        self.values = dict(own)

    def get(self, name, *default):
        return self.values.get(name, *(default or ("10000",)))

    def set(self, name, value):
        self.values[name] = value

    def unset(self, name):
        self.values.pop(name, None)


def frame(size):
    return SimpleNamespace(first=lambda: None if size is None else (b"x" * size, 1))


@pytest.mark.parametrize("own", [None, "10000", "50", "0"])
def test_the_setting_is_what_it_was(own):
    session = Session(**({} if own is None else {SETTING: own}))
    before = dict(session.values)
    with limited_arrow_batches(session, [frame(1 << 20), frame(None)]):
        assert session.values == {SETTING: "7"}  # of 8 MB
    assert session.values == before
    with pytest.raises(ZeroDivisionError), limited_arrow_batches(session, [frame(100)]):
        assert session.values == {SETTING: own if own and int(own) else "10000"}
        raise ZeroDivisionError
    assert session.values == before


@pytest.mark.parametrize("first_out", [0, 1])
def test_jobs_at_the_same_time(first_out):
    """Each has what it needs, whichever ends first."""
    session = Session()
    blocks = [limited_arrow_batches(session, [frame(size)]) for size in (1 << 20, 1 << 21)]
    for block in blocks:
        block.__enter__()
    assert session.values == {SETTING: "3"}
    blocks[first_out].__exit__(None, None, None)
    assert session.values == {SETTING: "37"[first_out]}
    blocks[1 - first_out].__exit__(None, None, None)
    assert session.values == {}
    assert not arrow_batches._limits


def test_large_rows_are_noted_once(monkeypatch):
    lines = []
    monkeypatch.setattr(arrow_batches._log, "warning", lambda text, *args: lines.append(text % args))
    monkeypatch.setattr(arrow_batches, "_noted", set())
    note_large_rows(Session(), 784)
    note_large_rows(Session(**{SETTING: "50"}), 154_587)
    assert not lines
    for _ in range(2):
        note_large_rows(Session(), 154_587)
    (line,) = lines
    assert line == (
        "caffeonspark: a row has about 150 KB, and Spark sends 10000 of them to Python at once: where memory is short, "
        "spark.conf.set('spark.sql.execution.arrow.maxRecordsPerBatch', 54)"
    )
