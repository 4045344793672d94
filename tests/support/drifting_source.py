"""An LMDB that makes rank 1 compute something else from the fifth iteration on, as a defective machine might."""

import dataclasses

from caffeonspark.data.sources.datums import DatumReader, DatumSource


@dataclasses.dataclass(frozen=True)
class DriftingReader(DatumReader):
    def __setstate__(self, state):
        """Comes before everything else that a rank does."""
        from pyspark import TaskContext

        self.__dict__.update(state)
        task = TaskContext.get()
        if task is not None and task.partitionId() == 1:
            drift()


def drift():
    from caffeonspark.engines.caffe.trainer import CaffeTrainer

    step = CaffeTrainer.step

    def wrong(self, load, exchange):
        step(self, load, exchange)
        if self.iteration == 5:
            self.weights[0].reshape(-1)[0] += 1e-7
            CaffeTrainer.step = step  # the worker may serve other tests

    CaffeTrainer.step = wrong


class DriftingLMDB(DatumSource):
    def reader(self):
        good = super().reader()
        return DriftingReader(good.path, good.image, good.label)
