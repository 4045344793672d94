"""The library's front: train, validate, test and extract features on a Spark cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Union

from ..causes import explained
from ..errors import ConfigError
from ..inference.features import features, mean_outputs
from ..inference.tasks import Task
from ..plans.net_source import NetSource
from ..report import Observer, observers_for
from ..report.result import TrainingResult
from ..runs.run import train
from ..spark.session import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CaffeOnSpark"]


class CaffeOnSpark:
    """Runs Caffe nets on a Spark cluster.

    Parameters
    ----------
    spark : SparkSession or SparkContext
    observers : informed of each training, in addition to those that flags ask for

    Raises
    ------
    ConfigError
        Where ``observers`` is no list of Observers.
    """

    def __init__(self, spark: Any, observers: Sequence[Observer] = ()) -> None:
        self._spark = session_of(spark)
        if not isinstance(observers, (list, tuple)):
            raise ConfigError(f"observers: give a list of them, observers=[…], not {observers!r}")
        self._observers = list(observers)
        for one in self._observers:
            if not isinstance(one, Observer):
                raise ConfigError(f"observers: {one!r} is no instance of a subclass of caffeonspark.Observer")
        #: What the newest training did.
        self.result: Optional[TrainingResult] = None
        #: The newest feature extraction; its ``skipped.value`` tells what was skipped once the DataFrame was used.
        self.task: Optional[Task] = None

    def train(self, source: NetSource) -> TrainingResult:
        """Train the net of ``source``'s solver on its data, and save the model to ``-model``.

        With ``-dryRun`` everything is checked that can be before ranks start, and nothing is trained.
        """
        return self._train(source, [])

    def _train(self, source: NetSource, validation: Sequence[NetSource]) -> TrainingResult:
        config = source.config
        observers = observers_for(config.run_config, own=self._observers)
        self.result = train(config.run_config, source, validation, observers)
        return self.result

    def trainWithValidation(
        self, train_source: NetSource, validation_source: Union[NetSource, Sequence[NetSource]]
    ) -> DataFrame:
        """Train, and run the test net at every ``test_interval``.

        Returns
        -------
        DataFrame
            One row for each validation of the first test net: an ``array<float>`` for each output blob in Caffe's
            order, which is by name, as CaffeOnSpark has them; then ``iteration`` (long), ``epoch`` (double, how often
            the training records were gone through), ``seconds`` since the start (double) and ``rows`` (long, how many
            it covered). ``trainingCurve`` has the loss.
        """
        sources = [validation_source] if isinstance(validation_source, NetSource) else list(validation_source)
        self._train(train_source, sources)
        return self._curve(sources[0].plan.outputs)

    def _curve(self, outputs: Sequence[str]) -> DataFrame:
        from pyspark.sql import types as T

        assert self.result is not None
        schema = T.StructType(
            [
                *[T.StructField(name, T.ArrayType(T.FloatType(), False), False) for name in outputs],
                T.StructField("iteration", T.LongType(), False),
                T.StructField("epoch", T.DoubleType(), False),
                T.StructField("seconds", T.DoubleType(), False),
                T.StructField("rows", T.LongType(), False),
            ]
        )
        rows: List[Any] = [
            (
                *[test.outputs[name] for name in outputs],
                test.iteration,
                self.result.epoch(test.iteration),
                test.seconds,
                test.rows,
            )
            for test in self.result.tests
            if test.net == 0
        ]
        return self._spark.createDataFrame(rows, schema)

    def trainingCurve(self) -> DataFrame:
        """The newest training's loss: a DataFrame of ``iteration`` (long), ``epoch``, ``loss`` and ``lr`` (double)."""
        result = self.result
        if result is None:
            raise ConfigError("nothing was trained yet")
        rows = [(at, result.epoch(at), loss, rate) for at, loss, rate in result.history]
        frame: DataFrame = self._spark.createDataFrame(rows, "iteration long, epoch double, loss double, lr double")
        return frame

    def test(self, source: NetSource) -> Dict[str, List[float]]:
        """The mean of each output blob of the TEST net over every record, with the model of ``-model``."""
        with explained():
            return mean_outputs(source)

    def features(self, source: NetSource) -> DataFrame:
        """The blobs of ``-features`` and ``-label`` for every record, with the model of ``-model``.

        Returns
        -------
        DataFrame
            ``SampleID`` (string) and an ``array<float>`` for each blob, in the order of the flag. A blob that does not
            grow with the batch (a loss, an accuracy) has the value of its record's batch. Computed when used.
        """
        blobs = source.run_config.settings.blobs
        if not blobs:
            raise ConfigError("-features is missing: name the blobs to extract")
        with explained():
            frame, self.task = features(source, blobs)
        return frame
