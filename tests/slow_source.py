"""An LMDB whose last range takes a while to read, so that the other ranks listen and wait meanwhile.

A file named ``slow`` beside the LMDB's folder holds the seconds; without it nothing is slow.
"""

import dataclasses
import pathlib
import time

from caffeonspark.data.lmdb import LMDBReader, LMDBSource


@dataclasses.dataclass(frozen=True)
class SlowReader(LMDBReader):
    count: int = 0

    def read(self, start, stop, step, bad):
        slow = pathlib.Path(self.path).with_name("slow")
        if stop == self.count and slow.exists():
            time.sleep(float(slow.read_text()))
        return super().read(start, stop, step, bad)


class SlowLMDB(LMDBSource):
    def reader(self):
        fast = super().reader()
        return SlowReader(fast.path, fast.image, fast.label, self.count())
