"""Nets as estimators take them: in any form, and with columns of a DataFrame for their data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from pyspark.sql import DataFrame

from ..data.sources.frames import check_frame
from ..errors import ConfigError
from ..nets.columns import check_trains, data_of, nets_to_test, reading
from ..nets.inline import given_text
from ..nets.net import SolverNets
from .filling import Columns, Look

__all__ = ["DEFAULT_BATCH_SIZE", "FedNets", "fed", "given_text"]

#: Where neither the estimator nor the net says how many rows a batch has.
DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True)
class FedNets:
    """Nets whose data are columns.

    Attributes
    ----------
    nets : the nets, each with one layer that reads; there is a TEST net
    features : the blobs of the TRAIN net that features fill
    labels : the blobs of the TRAIN net that labels fill; none for a net that learns without
    """

    nets: SolverNets
    features: Tuple[str, ...]
    labels: Tuple[str, ...]


def fed(
    nets: SolverNets, dataset: DataFrame, features: Sequence[str], label: str, weight: str, batch_size: Optional[int]
) -> FedNets:
    """The nets, their data from columns of a DataFrame.

    Input layers and bottoms that no layer makes are filled, and what the net's own data layers read is replaced; these
    keep their tops, transformations and batch sizes. A blob's shape is what the net states, or else that of the
    DataFrame's first row without nulls, for which there is a job.

    Parameters
    ----------
    nets : of a solver. Where it has no TEST net with data, one is made of what it has for TEST, or of the TRAIN net
    dataset : the rows to train on
    features : the columns of the blobs that are no labels. Columns that have a blob's name, or the name that a CoSData
        layer gives its column, fill that blob, the others what is left, in order; several columns of numbers fill one
        blob, one behind the other; blobs that are left then take the columns of their own names
    label : the column of the blob that losses compare the scores with; "" for none. Of several such blobs, those that
        have columns of their own names take these, and so does one where no column is named
    weight : the column of sample weights, which becomes the top ``sample_weight`` of the TRAIN net; "" for none
    batch_size : rows a batch on a rank; None for what the net states, or ``DEFAULT_BATCH_SIZE``

    Raises
    ------
    ConfigError, DataError
        For a net without a loss, columns that are not there or cannot fill their blobs, and rows that give no shape.
    """
    check_frame(dataset)
    check_trains(nets.train)
    columns = Columns(dataset, features, label, weight)
    train = data_of(nets.train)
    if not any(not blob.is_label for blob in train.blobs):
        raise ConfigError(f"{nets.train.path}: no layer of the TRAIN net takes data but labels")
    every = [train, *(data_of(net, train) for net in nets_to_test(nets))]
    filled = [columns.of(data) for data in every]
    look = Look(dataset, [one for each in filled for one in each])
    size = batch_size or train.batch_size or DEFAULT_BATCH_SIZE
    made = []
    for data, each in zip(every, filled):
        blobs = [one.settled(data.rest, look) for one in each]
        if data is train and weight:
            blobs = columns.weighed(data, blobs)
        keeps = bool(nets.tests) and data is not train and data.reads and data.batch_size > 0
        made.append(reading(data, blobs, data.batch_size if keeps else size))
    return FedNets(
        SolverNets(made[0], tuple(made[1:])),
        tuple(blob.name for blob in train.blobs if not blob.is_label),
        tuple(blob.name for blob in train.blobs if blob.is_label),
    )
