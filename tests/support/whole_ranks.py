"""Ranks as threads of this process that go through all their records in an iteration, without Spark."""

import contextlib

import numpy as np
from google.protobuf import text_format

from caffeonspark import NumberTop
from caffeonspark.data.batches import BatchRandom, Blocks
from caffeonspark.data.records import Records
from caffeonspark.data.store import RecordStore
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.settings import Settings
from caffeonspark.sync.registry import strategy_for
from tests.support.local_ranks import in_threads


def inputs_of(columns, batch):
    """Input layers for columns of numbers, by name."""
    layers = []
    for name, values in columns.items():
        dims = " ".join(f"dim: {n}" for n in (batch, *values.shape[1:]))
        layers.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n')
    return "".join(layers)


class WholeRank:
    """One rank, over the records that it is given."""

    def __init__(self, comm, settings, solver, layers, columns, batch, folder):
        self.rank = comm.rank
        self.param = text_format.Parse(solver, SolverParameter())
        kind = strategy_for(settings, self.param.type)
        net = text_format.Parse(inputs_of(columns, batch) + layers, NetParameter())
        self.trainer = CaffeTrainer(kind.engine_solver(self.param), net, [], comm.rank, str(folder))
        tops = [NumberTop(name, values.shape[1:]) for name, values in columns.items()]
        self.store = RecordStore(tops, str(folder))
        count = len(next(iter(columns.values())))
        ids = [str(number) for number in range(count)]
        self.store.append(Records(ids, list(columns.values()), np.arange(count)))
        self.store.finish()
        self.feed = Blocks(self.store, batch, BatchRandom(0, comm.rank, 0), "the data")
        self.stopping = False
        self.strategy = kind(self.trainer, comm, settings, lambda: self.stopping)
        self.strategy.begin(self.feed.sizes, self.param)
        self.history, self.passes, self.ended = [], [], ""

    def load(self):
        self.trainer.reshape(self.feed.shapes())
        inputs = self.trainer.inputs
        self.feed.load([inputs[top.name] for top in self.store.tops])

    def train(self, until):
        while self.trainer.iteration < until and not self.ended:
            progress = self.strategy.iterate(self.load)
            self.history += progress.history
            self.passes.append(progress.passes)
            self.ended = progress.ended

    def weights(self):
        return [array.copy() for array in self.trainer.weights]

    def close(self):
        self.trainer.close()
        self.store.close()


def on_whole_ranks(folder, shares, work, *, solver, layers, batch=10, **flags):
    """What ``work(WholeRank)`` returns on each rank; ``shares`` are their records: columns by name."""

    def run(comm):
        own = folder / f"rank{comm.rank}"
        own.mkdir(parents=True, exist_ok=True)
        rank = WholeRank(comm, Settings(**flags), solver, layers, shares[comm.rank], batch, own)
        with contextlib.closing(rank):
            rank.strategy.start([], None, None)
            return work(rank)

    return in_threads(len(shares), run)


def shares_of(columns, counts):
    """So many records for each rank, one after the other."""
    ends = np.cumsum(counts)
    return [{name: values[end - count : end] for name, values in columns.items()} for end, count in zip(ends, counts)]
