"""Spark sessions: what is made of a user's, and the one of a command line, quiet and without Java stacks."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, Optional

from ..causes import STOPPED, cause_of, explained
from ..errors import CaffeOnSparkError, ConfigError, InfrastructureError, Interrupted
from ..storage import Storage
from .jvm import Jvm, hadoop_files, is_stopped, jvm_needed, jvm_runs, silence, silence_loggers
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


#: What to say of a session without a JVM of the driver's own.
_CONNECT = (
    "this is a Spark Connect session, and ranks are started by the driver's own JVM: make a SparkSession with a master "
    "instead of a remote"
)


def session_of(spark: Any) -> Any:
    """The SparkSession of a SparkSession or SparkContext. Raises ConfigError for anything else, and what is stopped."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if ".connect." in type(spark).__module__:
        raise ConfigError(_CONNECT)
    if not isinstance(spark, (SparkContext, SparkSession)):
        raise ConfigError(f"a SparkSession or SparkContext is needed, not {type(spark).__name__}")
    context = spark if isinstance(spark, SparkContext) else spark.sparkContext
    with explained():
        if is_stopped(context):
            raise ConfigError(STOPPED)
        return SparkSession(spark) if isinstance(spark, SparkContext) else spark


def storage_of(spark: Optional[Any]) -> Storage:
    """The files that a SparkSession reaches; without one, local files only."""
    return Storage(None if spark is None else hadoop_files(spark.sparkContext))


@contextlib.contextmanager
def start_spark() -> Iterator[Any]:
    """A SparkSession as spark-submit was told to make it, stopped at the end of the block.

    What the block raises comes out as a CaffeOnSparkError, or as it is where it is no Exception. A cluster's manager
    gets to know of a failure that another attempt would repeat.
    """
    try:
        spark = _session()
    except (CaffeOnSparkError, ImportError):  # whoever called this tells what is missing
        raise
    except Exception as e:
        cause = cause_of(e)
        kind = InfrastructureError if isinstance(cause, InfrastructureError) else ConfigError
        raise kind(f"Spark does not start: {cause.message}") from e
    with jvm_needed():
        try:
            silence_loggers(_LOGGERS_OF_TASK_FAILURES)  # what failed is reported in one line
            yield spark
        except Exception as e:
            error = _explain(spark.sparkContext, e) if jvm_runs() else cause_of(e)
            _silence()
            raise error from e
        except BaseException:
            _silence()
            raise
        finally:
            if jvm_runs():
                spark.stop()


def _silence() -> None:
    """What Spark has to say while it is stopped early only hides the error."""
    if jvm_runs():
        silence()


def _explain(context: Any, failure: Exception) -> CaffeOnSparkError:
    """The error to end with; YARN is told of it where it should not start this driver again."""
    try:
        check_ended(context)
    except CaffeOnSparkError as e:
        return e
    error = cause_of(failure)
    if not error.retryable and not isinstance(error, Interrupted):
        finish_as_failed(context, error.message)
    return error


def _session() -> Any:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    remote = os.environ.get("SPARK_REMOTE")
    if remote:
        raise ConfigError(f"SPARK_REMOTE is {remote}: {_CONNECT}")
    Jvm()  # a SparkConf has the settings of spark-submit only where there is one
    conf = SparkConf()
    for name, none in (("spark.remote", ""), ("spark.api.mode", "classic")):
        if conf.get(name, none) != none:
            raise ConfigError(f"{name} is {conf.get(name)}: {_CONNECT}")
    check_executors(conf)
    builder = SparkSession.builder.appName(conf.get("spark.app.name", "caffeonspark"))
    for name, value in (("spark.ui.showConsoleProgress", "false"), ("spark.log.level", "WARN")):
        if not conf.contains(name):
            builder = builder.config(name, value)
    return builder.getOrCreate()
