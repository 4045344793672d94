"""Somebody in the middle of every connection of a run, hundreds of times."""

import pytest

from tests.support.guard import MODES
from tests.support.middle_ranks import LINKS, attack


@MODES
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("link", LINKS)
def test_three_hundred_faults_at_random_places(link, encrypted):
    """Dropped, flipped, doubled, swapped, reflected, cut, stalled."""
    attack(link, seed=2, count=300, encrypted=encrypted)
