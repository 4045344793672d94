"""An LMDB whose last range takes a while to read, so that the other ranks listen and wait meanwhile."""

import dataclasses
import time

from caffeonspark.data.lmdb import LMDBReader, LMDBSource

SECONDS = 7.0


@dataclasses.dataclass(frozen=True)
class SlowReader(LMDBReader):
    count: int = 0

    def read(self, start, stop, step, bad):
        if stop == self.count:
            time.sleep(SECONDS)
        return super().read(start, stop, step, bad)


class SlowLMDB(LMDBSource):
    def reader(self):
        fast = super().reader()
        return SlowReader(fast.path, fast.image, fast.label, self.count())
