"""Checking what arrives at layers that index their memory by it, before they run."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any, Dict, List, Sequence

import numpy as np

from ...errors import DataError
from ...plans.indices import IndexedBottom
from .pycaffe import places_of_layers

__all__ = ["check_arrivals"]


def check_arrivals(net: Any, message: Any, indexed: Sequence[IndexedBottom]) -> None:
    """Make every forward pass of ``net`` raise DataError before a layer reads an index out of range.

    Parameters
    ----------
    net : the pycaffe net
    message : the NetParameter it was built from
    indexed : the bottoms to check
    """
    if not indexed:
        return
    places = places_of_layers(net, message)
    checks: Dict[int, List[IndexedBottom]] = {}
    for one in indexed:
        checks.setdefault(places[one.layer], []).append(one)
    there = weakref.ref(net)  # Caffe keeps its callbacks for ever

    def check(place: int) -> None:
        if place in checks:
            # the blobs by number: names do not tell what Caffe's own Split layers, and layers in place, made of them
            running: Any = there()
            blobs = [running._blobs[number] for number in running._bottom_ids(place)]
            for one in checks[place]:
                _check(one, blobs[one.bottom].data, blobs[0].data.shape[0] if one.of_batch else one.takes.count)

    net.before_forward(check)


def _check(one: IndexedBottom, values: np.ndarray, count: int) -> None:
    takes = one.takes if count == one.takes.count else replace(one.takes, count=count)
    bad = takes.wrong(values)
    if bad.any():
        number = int(np.argmax(bad))
        value = float(values.reshape(-1)[number])
        raise DataError(
            f"bottom '{one.blob}' holds {value:g} (value {number + 1} of the batch's {values.size}); {takes.allowed}. "
            "It came through layers that change values, so the record is not known"
        )
