"""The data of a phase: ``DataSource(spark).getSource(config, isTraining)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ..nets.net import TEST, TRAIN
from ..plans.net_source import NetSource
from ..spark.session import session_of
from .config import Config

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["DataSource"]


class DataSource:
    """Makes the sources a configuration names.

    Parameters
    ----------
    spark : SparkSession or SparkContext
    """

    def __init__(self, spark: Any) -> None:
        self._spark = session_of(spark)

    def getSource(self, conf: Config, isTraining: bool, dataframe: Optional[DataFrame] = None) -> NetSource:
        """The data of the TRAIN or the TEST phase.

        Parameters
        ----------
        conf : Config
        isTraining : bool
        dataframe : a DataFrame to use instead of what the data layer names: with the columns of its tops for
            CoSData, with the columns of ImageDataFrame (``data``, ``label``, …) for image layers

        Raises
        ------
        ConfigError
            If the net has no data layer in the phase, or one that cannot be used.

        The solver and its nets are read again if their files have changed since.
        """
        conf.refresh()
        return NetSource(conf, conf.run_config.net(TRAIN if isTraining else TEST), dataframe)
