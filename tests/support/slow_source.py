"""An LMDB that keeps the last rank from beginning for a while, so that the driver and the other ranks listen and wait.

A file named ``slow`` beside the LMDB's folder holds the seconds; without it nothing is slow.
"""

import dataclasses
import pathlib
import time

from caffeonspark.data.sources.lmdb import LMDBReader, LMDBSource


@dataclasses.dataclass(frozen=True)
class SlowReader(LMDBReader):
    last: int = 0

    def __setstate__(self, state):
        """Comes before everything else that a rank does."""
        from pyspark import TaskContext

        self.__dict__.update(state)
        task = TaskContext.get()
        slow = pathlib.Path(self.path).with_name("slow")
        if task is not None and task.partitionId() == self.last and slow.exists():
            time.sleep(float(slow.read_text()))


class SlowLMDB(LMDBSource):
    def reader(self):
        fast = super().reader()
        return SlowReader(fast.path, fast.image, fast.label, self.config.ranks - 1)
