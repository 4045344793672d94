"""Ranks as threads of this process, over real solvers: what a strategy does, without Spark."""

import contextlib
import threading

from google.protobuf import text_format

from caffeonspark.comm.local import local_group
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.settings import Settings
from caffeonspark.sync.registry import strategy_for
from tests.support import stock


class LocalRank:
    """One rank: its trainer, its strategy, and what they learned."""

    def __init__(self, rank, comm, settings, solver, net, feed, folder):
        solver = text_format.Parse(solver, SolverParameter())
        self.rank, self.folder, self.feed = rank, folder, feed
        self.trainer = CaffeTrainer(solver, text_format.Parse(net, NetParameter()), [], rank, str(folder))
        self.stopping = False
        self.strategy = strategy_for(settings)(self.trainer, comm, settings, lambda: self.stopping)
        self.history = []
        self.stopped = []  # the iterations after which a request to stop was heard

    def load(self):
        inputs = self.trainer.inputs
        inputs["data"][...], inputs["label"][...] = next(self.feed)

    def train(self, until):
        while self.trainer.iteration < until:
            progress = self.strategy.iterate(self.load)
            self.history += progress.history
            if progress.stop:
                self.stopped.append(self.trainer.iteration)

    def weights(self):
        return [array.copy() for array in self.trainer.weights]

    def model(self):
        """The weights of the model, and the losses that come with it."""
        self.history += self.strategy.exchange_losses()
        with self.strategy.view():
            return self.weights()


def in_threads(ranks, work):
    """What ``work(comm)`` returns on each rank of a group, each in a thread; raises what the first raised."""
    found, errors = [None] * ranks, []

    def run(comm):
        try:
            found[comm.rank] = work(comm)
        except BaseException as e:
            errors.append(e)
            comm.abort()

    threads = [threading.Thread(target=run, args=(comm,)) for comm in local_group(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def on_ranks(folder, images, labels, ranks, work, *, solver, layers=stock.LAYERS, batch=10, used=0, **flags):
    """What ``work(LocalRank)`` returns on each of the ranks, whose first ``used`` batches are gone."""

    def run(comm):
        rank = comm.rank
        own = folder / f"rank{rank}"
        own.mkdir(parents=True, exist_ok=True)
        feed = stock.batches(images, labels, ranks, rank, batch)
        for _ in range(used):
            next(feed)
        net = stock.input_net(batch, images.shape[1:], layers)
        one = LocalRank(rank, comm, Settings(**flags), solver, net, feed, own)
        with contextlib.closing(one.trainer):
            return work(one)

    return in_threads(ranks, run)
