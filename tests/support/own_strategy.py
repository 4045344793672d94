"""A strategy of one's own."""

import contextlib

from caffeonspark import Communicator, Progress, Strategy


class Alone(Strategy):
    """Every rank trains alone, and the model is rank 0's."""

    flags = ("syncInterval",)

    def start(self, weights, state, parts):
        assert isinstance(self.comm, Communicator)
        super().start(weights, state, parts)

    def iterate(self, load):
        at, rate, losses = self.trainer.iteration, self.trainer.rate, []
        self.trainer.step(load, losses.append)
        return Progress([(at, losses[0], rate)], self.wants_stop())

    @contextlib.contextmanager
    def view(self):
        own = [array.copy() for array in self.trainer.weights]
        self.comm.broadcast(self.trainer.weights)
        yield
        for array, mine in zip(self.trainer.weights, own):
            array[...] = mine
