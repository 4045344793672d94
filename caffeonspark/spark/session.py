"""Spark sessions: what is made of a user's, and the one of a command line, quiet and without Java stacks."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional

from ..errors import CaffeOnSparkError, ConfigError, Interrupted, from_spark
from ..storage import Storage
from .jvm import Jvm, hadoop_files, silence, silence_loggers
from .yarn import check_ended, check_executors, finish_as_failed

__all__ = ["session_of", "start_spark", "storage_of"]

_LOGGERS_OF_TASK_FAILURES = [
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.scheduler.TaskSchedulerImpl",
    "org.apache.spark.scheduler.DAGScheduler",
    "org.apache.spark.executor.Executor",
    "org.apache.spark.sql.execution.datasources.FileFormatWriter",
    "org.apache.spark.util.Utils",
    "org.apache.spark.api.python.PythonRunner",
]


def session_of(spark: Any) -> Any:
    """The SparkSession of a SparkSession or SparkContext. Raises ConfigError for anything else."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if isinstance(spark, SparkContext):
        return SparkSession(spark)
    if isinstance(spark, SparkSession):
        return spark
    raise ConfigError(f"a SparkSession or SparkContext is needed, not {type(spark).__name__}")


def storage_of(spark: Optional[Any]) -> Storage:
    """The files that a SparkSession reaches; without one, local files only."""
    return Storage(None if spark is None else hadoop_files(spark.sparkContext))


@contextlib.contextmanager
def start_spark() -> Iterator[Any]:
    """A SparkSession as spark-submit was told to make it, stopped at the end of the block.

    What the block raises comes out as a CaffeOnSparkError, or as it is where it is no Exception. A cluster's manager
    gets to know of a failure that another attempt would repeat.
    """
    spark = _session()
    try:
        silence_loggers(_LOGGERS_OF_TASK_FAILURES)  # what failed is reported in one line
        yield spark
    except Exception as e:
        error = _explain(spark.sparkContext, e)
        silence()  # what Spark has to say while it is stopped early only hides the error
        raise error from e
    except BaseException:
        silence()
        raise
    finally:
        spark.stop()


def _explain(context: Any, failure: Exception) -> CaffeOnSparkError:
    """The error to end with; YARN is told of it where it should not start this driver anew."""
    try:
        check_ended(context)
    except CaffeOnSparkError as e:
        return e
    error = failure if isinstance(failure, CaffeOnSparkError) else from_spark(failure)
    if not error.retryable and not isinstance(error, Interrupted):
        finish_as_failed(context, error.message)
    return error


def _session() -> Any:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    Jvm()  # a SparkConf has the settings of spark-submit only where there is one
    conf = SparkConf()
    check_executors(conf)
    builder = SparkSession.builder.appName(conf.get("spark.app.name", "caffeonspark"))
    for name, value in (("spark.ui.showConsoleProgress", "false"), ("spark.log.level", "WARN")):
        if not conf.contains(name):
            builder = builder.config(name, value)
    return builder.getOrCreate()
