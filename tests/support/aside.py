"""Strategies of ranks on several machines that exchange one way all the time, and rank or helper killed meanwhile."""

import os
import pathlib
import signal

from caffeonspark.sync.all_reduce import AllReduce
from tests.support import stock

KILL = "TESTS_KILLED_ASIDE"  # who: "rank" or "helper", and a file's path: it says that it was killed already
#: 2.2 MB of gradients, most of them of the second layer; two buckets.
LAYERS = stock.LAYERS.replace("num_output: 150", "num_output: 4000")


class Pumped(AllReduce):
    """Buckets make progress between layers."""

    aside = (False,)

    def __init__(self, trainer, comm, *args):
        super().__init__(trainer, comm, *args)
        assert comm.helps
        assert len(self._buckets) == 2


class Late(Pumped):
    """All of them are exchanged at the end."""

    def _layer_done(self, final):
        pass


class Helped(Pumped):
    """Helper processes exchange them. Once, rank 1 or its helper is killed when one has left, and is on its way."""

    aside = (True,)

    def _layer_done(self, final):
        super()._layer_done(final)
        who, _, marker = os.environ.get(KILL, "").partition(" ")
        if who and self.comm.rank == 1 and self.trainer.iteration == 17 and len(self._pending) == 1:
            try:
                pathlib.Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid() if who == "rank" else self.comm._helper.pid, signal.SIGKILL)


class Chosen(AllReduce):
    """The default, which has to have had the choice."""

    def _layer_done(self, final):
        super()._layer_done(final)
        assert self.trainer.iteration >= 8 or self._trial.way == bool(self.trainer.iteration % 2)
