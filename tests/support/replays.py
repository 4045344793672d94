"""Ranks that meet every few iterations, replayed in one process: plain pycaffe solvers in turn, and numpy."""

import contextlib
import tempfile

import numpy as np
from caffe.proto import caffe_pb2

from tests.support import stock


def flat(arrays):
    return np.concatenate([array.reshape(-1) for array in arrays])


def cut(values, like):
    ends = np.cumsum([array.size for array in like])
    return [part.reshape(array.shape) for part, array in zip(np.split(values, ends), like)]


def mean(parts):
    """Over the ranks, as ``Communicator.all_reduce`` makes it."""
    return stock.documented_sum(parts) * np.float32(1 / len(parts)) if len(parts) > 1 else parts[0]


class Replay(contextlib.ExitStack):
    """The ranks' solvers, one loss blob each and no iter_size.

    Attributes
    ----------
    solvers : one for each rank
    losses : of each iteration, the mean over the ranks
    rank_losses : where they met, by iteration: each rank's own since then
    """

    def __init__(self, settings, images, labels, ranks, layers=stock.LAYERS, batch=10):
        super().__init__()
        folder = self.enter_context(tempfile.TemporaryDirectory())
        net = stock.input_net(batch, images.shape[1:], layers)
        prefixes = [f'snapshot_prefix: "{folder}/rank{rank}"' for rank in range(ranks)]
        self.solvers = [stock.make_solver(f"{settings} {prefix}", net) for prefix in prefixes]
        self.prefix = f"{folder}/rank"
        self.write([stock.weights(self.solvers[0].net)] * ranks)
        self.feeds = [stock.batches(images, labels, ranks, rank, batch) for rank in range(ranks)]
        self.pending = [[] for _ in range(ranks)]
        self.losses, self.rank_losses = [], {}

    def weights(self):
        """Of each rank."""
        return [stock.weights(solver.net) for solver in self.solvers]

    def write(self, weights):
        for solver, arrays in zip(self.solvers, weights):
            for blob, array in zip(stock.parameters(solver.net), arrays):
                blob.data[...] = array

    def run(self, iterations, interval, meet):
        """``meet(self)`` is called where the ranks meet."""
        for iteration in range(1, iterations + 1):
            for solver, feed, own in zip(self.solvers, self.feeds, self.pending):
                stock.load(solver.net, next(feed))
                solver.step(1)
                own.append(float(solver.net.blobs["loss"].data))
            if iteration % interval == 0:
                meet(self)
        if self.pending[0]:
            self.losses += [float(loss) for loss in mean([np.float32(own) for own in self.pending])]

    def exchange(self, parts):
        """The mean over the ranks of the arrays that each has; losses and votes travel behind them."""
        ranks = len(self.solvers)
        apart = np.diag([np.mean(own) for own in self.pending]) if ranks > 1 else np.zeros((1, 0))
        stats = [np.float32([*own, 0, *apart[rank]]) for rank, own in enumerate(self.pending)]
        found = mean([np.append(flat(arrays), own) for arrays, own in zip(parts, stats)])
        count = len(self.pending[0])
        tail = found[-len(stats[0]) :]
        self.losses += [float(loss) for loss in tail[:count]]
        if ranks > 1:
            self.rank_losses[self.solvers[0].iter] = [np.mean(own) for own in self.pending]
        self.pending = [[] for _ in range(ranks)]
        return cut(found[: -len(stats[0])], parts[0])

    def average_history(self):
        """By way of Caffe's own files."""
        states = []
        for solver in self.solvers:
            solver.snapshot()
        for rank, solver in enumerate(self.solvers):
            with open(f"{self.prefix}{rank}_iter_{solver.iter}.solverstate", "rb") as f:
                states.append(caffe_pb2.SolverState.FromString(f.read()))
        histories = [np.float32([value for blob in state.history for value in blob.data]) for state in states]
        for rank, (solver, state) in enumerate(zip(self.solvers, states)):
            at, both = 0, mean(histories)
            for blob in state.history:
                size = len(blob.data)
                blob.data[:] = both[at : at + size]
                at += size
            path = f"{self.prefix}{rank}.solverstate"
            with open(path, "wb") as f:
                f.write(state.SerializeToString())
            solver.restore(path)


def averaging(settings, images, labels, ranks, interval, iterations, layers=stock.LAYERS, history=False):
    """The replay, and the model: the mean of the weights."""

    def meet(replay):
        replay.write([replay.exchange(replay.weights())] * ranks)
        if history:
            replay.average_history()

    replay = Replay(settings, images, labels, ranks, layers)
    replay.run(iterations, interval, meet)
    weights = replay.weights()
    return replay, cut(mean([flat(own) for own in weights]), weights[0]) if iterations % interval else weights[0]


def elastic(settings, images, labels, ranks, interval, iterations, alpha, layers=stock.LAYERS):
    """The replay, and the model: the centre."""
    replay = Replay(settings, images, labels, ranks, layers)
    centre = replay.weights()[0]
    alpha, beta = np.float32(alpha), np.float32(alpha * ranks)

    def meet(replay):
        away = [[mine - its for mine, its in zip(own, centre)] for own in replay.weights()]
        moved = [
            [mine - alpha * far for mine, far in zip(own, distances)] for own, distances in zip(replay.weights(), away)
        ]
        replay.write(moved)
        centre[:] = [its + beta * far for its, far in zip(centre, replay.exchange(away))]

    replay.run(iterations, interval, meet)
    return replay, centre
