"""Rows to the entries of an LMDB."""

import pytest

from caffeonspark.errors import DataError
from caffeonspark.nets.schema import Datum
from caffeonspark.tools.writers import _entry

ROW = {"label": "3", "channels": 1, "height": 1, "width": 2, "encoded": False, "content": b"ab"}


@pytest.mark.parametrize("key", [b"cat/1.png", "äö".encode(), b"\xff\x00\xfe"])
def test_keys_are_the_bytes_of_the_id(key):
    found, value = _entry(7, {"id": bytearray(key), **ROW})
    assert found == key
    assert Datum.FromString(value).label == 3
    assert _entry(7, {"id": None, **ROW})[0] == b"00000007"


def test_a_key_that_is_no_text_is_named():
    with pytest.raises(DataError, match=r"row '\\xff1': label 'x' is no whole number"):
        _entry(7, {"id": b"\xff1", **ROW, "label": "x"})
