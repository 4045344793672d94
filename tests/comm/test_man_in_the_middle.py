"""Somebody in the middle of a connection, who damages what travels. tests/attacks has the same at length."""

import pytest

from tests.support.guard import MODES
from tests.support.middle import Fault
from tests.support.middle_ranks import LINKS, RIGHT, WRONG, attack, rank_and_driver_with, ranks_with


@MODES
@pytest.mark.parametrize("link", LINKS)
def test_what_was_damaged_is_never_taken(link, encrypted):
    attack(link, seed=1, count=7, encrypted=encrypted)


def test_the_error_names_both_ends():
    found, middle = ranks_with(Fault("flip", "there", 300_000, 1))
    assert middle.applied
    assert found[0].startswith("found: message 8 of what rank 1 on 127.0.0.1 sent arrived damaged: bytes were changed")
    found, middle = rank_and_driver_with(Fault("flip", "there", 30_000, 1))
    assert found[0].startswith("found: lost what it sent arrived damaged: bytes of message 2")


def test_without_checksums_it_would_be_taken():
    """What they are for: the same bit flipped, and swapped bytes."""
    for fault in (Fault("flip", "there", 300_000, 1), Fault("swap", "there", 300_000, 4)):
        found, _ = ranks_with(fault, checksum=False)
        assert any(one.startswith(WRONG) for one in found), found
    assert ranks_with(None, checksum=False)[0] == [RIGHT, RIGHT]
