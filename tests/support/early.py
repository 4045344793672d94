"""Strategies of ranks on one machine that exchange in buckets over TCP, as ranks of several machines do."""

import os
import pathlib
import signal

from caffeonspark.comm.tcp import TCPCommunicator
from caffeonspark.sync.all_reduce import AllReduce

KILL = "TESTS_KILLED_IN_A_BUCKET"  # a file's path: it says that a rank was killed already


class Early(AllReduce):
    """Buckets travel while backward runs. Once, rank 1 is killed when one has left, and is on its way."""

    least = 1024

    def __init__(self, trainer, comm, *args):
        over_tcp = TCPCommunicator(comm.rank, comm.size, comm._links, comm._order, comm.stall_timeout, overlaps=True)
        super().__init__(trainer, over_tcp, *args)
        assert len(self._buckets) == 3

    def _layer_done(self, final):
        super()._layer_done(final)
        marker = os.environ.get(KILL)
        if marker and self.comm.rank == 1 and self.trainer.iteration == 27 and len(self._pending) == 1:
            try:
                pathlib.Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class Late(Early):
    """The same buckets when all gradients are ready."""

    def _layer_done(self, final):
        pass
