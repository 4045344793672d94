"""An LMDB with a record that ends the process that uses it."""

import dataclasses
import os
import signal

from caffeonspark import NumberTop
from caffeonspark.data.sources.datums import DatumSource

POISON = 251  # the value of its first pixel


@dataclasses.dataclass(frozen=True)
class PoisonTop(NumberTop):
    def fill(self, column, out, draws):
        if (column[:, 0, 0, 0] == POISON).any():
            os.kill(os.getpid(), signal.SIGKILL)
        super().fill(column, out, draws)


class PoisonLMDB(DatumSource):
    def open(self):
        super().open()
        image, *label = self.tops
        self.tops = (PoisonTop(image.name, image.shape, dtype=image.dtype, transform=image.transform), *label)
