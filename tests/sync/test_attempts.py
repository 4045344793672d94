"""Ranks that meet now and then, as processes with all that a run has but Spark."""

import numpy as np
import pytest

from tests.runs import test_kernels as kernels


class Told(kernels.Notes):
    """The ranks' own losses, by the iteration at which they were told."""

    def __init__(self):
        super().__init__()
        self.losses = {}

    def rank_losses(self, result, iteration, losses):
        self.losses[iteration] = losses


@pytest.mark.long
@pytest.mark.parametrize("flags", [{"sync": "average", "averageHistory": True}, {"sync": "elastic"}])
def test_an_attempt(tmp_path, small_lmdb, monkeypatch, flags):
    monkeypatch.setattr(kernels, "Notes", Told)
    settings = "max_iter: 27 snapshot: 13 test_interval: 20"
    found = kernels.Trained(tmp_path, small_lmdb, [{}, {}], settings, stallTimeout=600, **flags)
    assert [at for at, _, _ in found.result.history] == list(range(27))
    assert [(test.iteration, test.rows) for test in found.result.tests] == [(0, 60), (20, 60)]
    told = found.notes.losses
    assert max(told) == 19 and all(len(losses) == 2 for losses in told.values())
    means = [loss for at, loss, _ in found.result.history if at < 20]
    assert len(told) > 1 or np.mean(told[19]) == pytest.approx(np.mean(means), rel=1e-4)
    kinds = [(kind, at) for kind, at, _ in found.files]
    for at in (13, 26):
        # each rank's own weights, and rank 1's history
        assert [kind for kind, its in kinds if its == at].count("snapshot part") == 3
    assert ("model", 27) in kinds and ("snapshot state", 27) in kinds
