"""``-compress``: of what ranks exchange, gradients alone are rounded."""

from types import SimpleNamespace

import numpy as np
import pytest

from caffeonspark.comm.local import LocalCommunicator, local_group
from caffeonspark.comm.shared_memory import share_memory
from caffeonspark.errors import ConfigError
from caffeonspark.settings import Settings
from caffeonspark.sync.all_reduce import AllReduce
from caffeonspark.sync.registry import strategy_for
from tests.support.exchanging import in_threads, tcp_group_on

HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]
EXACT = np.float32(1 + 2.0**-20)  # which 16 bits do not hold


class Trainer:
    """What the strategy sees of one."""

    def __init__(self, rank):
        self.gradients = [np.full((300, 100), EXACT, np.float32), np.full(3, EXACT, np.float32)]
        self.statistics = [np.full(5, EXACT, np.float32)]
        self.weights = [np.full(7, EXACT if rank == 0 else 0, np.float32)]
        self.iteration, self.rate = 0, 0.1
        self.final_order = [[1], [0]]

    def normalize_over(self, size, total):
        pass

    def step(self, load, exchange):
        exchange(float(EXACT))


def strategies(group, compress):
    settings = Settings(compress=compress)
    trainers = [Trainer(rank) for rank in range(len(group))]
    made = in_threads(len(group), lambda rank: AllReduce(trainers[rank], group[rank], settings, lambda: False))
    return made, trainers


@pytest.mark.parametrize("compress", ["none", "bf16"])
def test_gradients_alone_are_rounded(compress):
    tcp = tcp_group_on(HOSTS, compressed=compress != "none")
    group = in_threads(4, lambda rank: share_memory(tcp[rank]))
    made, trainers = strategies(group, compress)
    in_threads(4, lambda rank: made[rank].start([], None, None))
    progress = in_threads(4, lambda rank: made[rank].iterate(lambda: None))
    expected = np.float32(1) if compress == "bf16" else EXACT
    for trainer, told in zip(trainers, progress):
        assert all((array == expected).all() for array in trainer.gradients)
        assert all((array == EXACT).all() for array in [*trainer.statistics, *trainer.weights])
        assert told.history[0][1] == EXACT and not told.stop
    for comm in group:
        comm.close()


def test_in_one_process_there_is_nothing_to_compress():
    group = local_group(2, HOSTS[:2])
    assert isinstance(group[0], LocalCommunicator)
    made, trainers = strategies(group, "bf16")
    in_threads(2, lambda rank: made[rank].iterate(lambda: None))
    assert all((array == EXACT).all() for array in trainers[0].gradients)


@pytest.mark.parametrize(
    ("settings", "solver"),
    [({"sync": "average"}, "SGD"), ({"sync": "elastic"}, "SGD"), ({"fullBatch": True}, "SGD"), ({}, "LBFGS")],
)
def test_weights_are_never_compressed(settings, solver):
    with pytest.raises(ConfigError, match="-compress belongs to -sync all_reduce"):
        strategy_for(Settings(compress="bf16", **settings), solver)


def test_what_it_takes_of_memory():
    plan = SimpleNamespace(parameters=1_000_000)
    assert AllReduce.memory(plan, Settings(), 4) == 0
    assert AllReduce.memory(plan, Settings(compress="bf16"), 1) == 0
    assert AllReduce.memory(plan, Settings(compress="bf16"), 4) == pytest.approx(4.0)
