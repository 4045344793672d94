"""An LMDB that keeps the last of three ranks from beginning for a while: the driver and the others listen and wait.

A file named ``slow`` beside the LMDB's folder holds the seconds; without it, or when it
is removed, nothing is slow.
"""

import dataclasses
import pathlib
import time

from caffeonspark.data.sources.datums import DatumReader, DatumSource

LAST = 2


@dataclasses.dataclass(frozen=True)
class SlowReader(DatumReader):
    def __setstate__(self, state):
        """Comes before everything else that a rank does."""
        from pyspark import TaskContext

        self.__dict__.update(state)
        task = TaskContext.get()
        slow = pathlib.Path(self.path).with_name("slow")
        if task is not None and task.partitionId() == LAST and slow.exists():
            until = time.monotonic() + float(slow.read_text())
            while time.monotonic() < until and slow.exists():
                time.sleep(0.05)


class SlowLMDB(DatumSource):
    def reader(self):
        fast = super().reader()
        return SlowReader(fast.path, fast.image, fast.label)
