"""Ranks whose processors round differently: processes with different kernels of OpenBLAS."""

import numpy as np
import pytest

from caffeonspark.comm.local import local_group
from caffeonspark.engines.blas import facts
from caffeonspark.errors import TrainingError
from caffeonspark.sync.all_reduce import AllReduce
from caffeonspark.sync.averaging import Averaging
from caffeonspark.sync.settlement import MOST_DRIFT, settlement_for
from tests.support import stock
from tests.support.local_ranks import in_threads
from tests.support.mixed_ranks import on_kernels
from tests.support.training import RULES

FIXED = ' lr_policy: "fixed" random_seed: 3'
kernels = pytest.mark.skipif("Haswell" not in facts()["kernels"], reason="no OpenBLAS with kernels to choose from here")


@kernels
@pytest.mark.parametrize("rule", ["SGD", "AdaDelta"])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_ranks_have_one_model_and_one_history(rule, form, tmp_path):
    solver = f"{RULES[rule]} {FIXED} snapshot_format: {form}"
    first, second = on_kernels(tmp_path, ("Haswell", "Prescott"), solver, stock.LAYERS, 230)
    assert (first["kernel"], second["kernel"]) == ("Haswell", "Prescott")
    assert first["settlement"] and second["settlement"]
    assert 0 < first["drift"] < MOST_DRIFT * 100 / 20  # far from what is taken for a defect
    assert first["settled"] == second["settled"] and len(first["settled"]) == 2  # weights and history, to the bit
    assert first["model"] == second["model"] and first["losses"] == second["losses"]
    assert first["losses"][-1] < first["losses"][0] / 5
    assert first["files"] == second["files"] == []


@kernels
def test_equal_ranks_are_left_alone(tmp_path):
    first, second = on_kernels(tmp_path, ("Haswell", "Haswell"), RULES["SGD"] + FIXED, stock.LAYERS, 20)
    assert not first["settlement"] and not second["settlement"]
    assert first["model"] == second["model"]


@kernels
def test_a_defect_is_still_found(tmp_path):
    """A thousandth more in one layer of one rank, once."""
    with pytest.raises(TrainingError, match="rank 1 of 2 came to other weights than rank 0 by iteration 100") as error:
        on_kernels(tmp_path, ("Haswell", "Prescott"), RULES["SGD"] + FIXED, stock.LAYERS, 120, spoil=(1, 50))
    assert "after 100 iterations, where different processors explain" in str(error.value)


class Weights:
    """What a settlement sees of a trainer, without files."""

    def __init__(self, *arrays):
        self.weights = [np.float32(array) for array in arrays]
        self.gradients = self.statistics = []
        self.iteration = 0

    def normalize_over(self, ranks, sum_over_ranks):
        pass


@pytest.mark.parametrize("apart", [np.nan, np.inf, 1.1])
def test_what_is_no_rounding_is_an_error(apart):
    """Also the first rank's."""

    def run(comm):
        trainer = Weights([1, 2], [3])
        strategy = AllReduce(trainer, comm, None, None)
        settlement = settlement_for(strategy, trainer, comm, str(comm.rank))
        if comm.rank == 0:
            trainer.weights[1] *= np.float32(apart)
        trainer.iteration = 1
        with pytest.raises(TrainingError) as e:
            settlement.settle()
        return str(e.value)

    errors = in_threads(2, run)
    assert errors[0] == errors[1] and "rank 1 of 2 came to other weights" in errors[0]


def test_who_settles():
    (alone,) = local_group(1)
    trainer = Weights([1])
    assert settlement_for(AllReduce(trainer, alone, None, None), trainer, alone, "a") is None
    assert AllReduce.lockstep and not Averaging.lockstep  # weights are made equal there by what it does
