"""A Python layer that makes data: the same numbers in stock Caffe and in every rank that is told to have them."""

import os

import caffe
import numpy as np


class Numbers(caffe.Layer):
    """Tops: (4, 6) numbers that depend on how often it ran and on its rank, and (4,) classes."""

    def setup(self, bottom, top):
        self.rank = int(os.environ.get("CAFFEONSPARK_RANK", "0"))
        self.ranks = int(os.environ.get("CAFFEONSPARK_RANKS", "1"))
        self.done = 0
        top[0].reshape(4, 6)
        if len(top) > 1:
            top[1].reshape(4)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        numbers = np.random.RandomState([self.rank, self.done])
        top[0].data[...] = numbers.uniform(-1, 1, (4, 6))
        if len(top) > 1:
            top[1].data[...] = numbers.randint(0, 3, 4)
        self.done += 1

    def backward(self, top, propagate_down, bottom):
        pass
