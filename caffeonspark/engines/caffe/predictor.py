"""A pycaffe net for validation and inference."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence, Tuple

import numpy as np

from ...plans.indices import IndexedBottom
from ..base import Predictor
from .arrivals import check_arrivals
from .pycaffe import caffe, prototxt
from .python_layers import check_modules, explained

__all__ = ["CaffePredictor", "load_net"]


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays of blobs, each made when it is asked for: a net may have hundreds, and a pass needs a few."""

    def __init__(self, blobs: Mapping[str, Any]) -> None:
        self._blobs = blobs

    def __getitem__(self, name: str) -> np.ndarray:
        array: np.ndarray = self._blobs[name].data
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)


class CaffePredictor(Predictor):
    """A TEST-phase net; made by ``load_net`` or ``CaffeTrainer.test_net``."""

    def __init__(self, net: Any, message: Any) -> None:
        self._net = net
        self._message = message

    @property
    def blobs(self) -> Mapping[str, np.ndarray]:
        return _Arrays(self._net.blobs)

    def reshape(self, shapes: Mapping[str, Tuple[int, ...]]) -> None:
        changed = False
        for name, shape in shapes.items():
            blob = self._net.blobs[name]
            if tuple(blob.data.shape) != shape:
                blob.reshape(*shape)
                changed = True
        if changed:
            self._net.reshape()

    def forward(self) -> None:
        try:
            self._net.forward()
        except (Exception, SystemExit) as e:
            found = explained(e, self._message)
            if found is e:
                raise
            raise found from e

    def check_indices(self, indexed: Sequence[IndexedBottom]) -> None:
        check_arrivals(self._net, self._message, indexed)


def load_net(net: Any, weights: str) -> CaffePredictor:
    """A net with the weights in a .caffemodel or .caffemodel.h5."""
    check_modules(net)
    with prototxt(net) as path:
        built = caffe.Net(path, caffe.TEST)
    built.copy_from(weights)
    return CaffePredictor(built, net)
