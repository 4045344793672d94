"""Gradients that are exchanged in parts, so that some travel while others are still computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence

__all__ = ["LEAST", "Bucket", "make_buckets"]

#: Bytes from which on a bucket is exchanged by itself: fewer take as long as their messages take to come and go.
LEAST = 1 << 20


@dataclass(frozen=True)
class Bucket:
    """Gradients that are exchanged together.

    Attributes
    ----------
    numbers : of the gradients, ascending, as they are concatenated
    ready : how many groups of the order are final when all of them are
    """

    numbers: Sequence[int]
    ready: int


def make_buckets(order: Sequence[Sequence[int]], sizes: Sequence[int], least: int) -> List[Bucket]:
    """The buckets, in the order in which they are exchanged: a function of the net alone.

    Groups that become final one after another are put together until they have ``least`` bytes. The first layer's are
    in the last bucket, and so is what is left: behind it there is no computing that it could travel beside. So a net of
    less than ``least`` bytes has one bucket, which is what ranks on one machine exchange.

    Parameters
    ----------
    order : ``Trainer.final_order``
    sizes : bytes of each gradient
    least : LEAST
    """
    buckets: List[Bucket] = []
    numbers: List[int] = []
    for ready, group in enumerate(order, 1):
        numbers += group
        if ready < len(order) and sum(sizes[number] for number in numbers) >= least:
            buckets.append(Bucket(sorted(numbers), ready))
            numbers = []
    return [*buckets, Bucket(sorted(numbers), len(order))]
