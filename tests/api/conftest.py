"""What the tests of the API share."""

import pytest

from tests.support import stock
from tests.support.prototxts import ONE_ITERATION


@pytest.fixture
def conf(tmp_path):
    """The solver of a net that is only looked at."""
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("somewhere", 4))
    (tmp_path / "solver.prototxt").write_text(ONE_ITERATION)
    return str(tmp_path / "solver.prototxt")
