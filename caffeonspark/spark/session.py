"""The Spark session of a command line: quiet, and with one line of error instead of Java stacks."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

from ..errors import CaffeOnSparkError, Interrupted, from_spark
from .yarn import check_ended, check_executors, finish_as_failed

__all__ = ["start_spark"]


@contextlib.contextmanager
def start_spark() -> Iterator[Any]:
    """A SparkSession as spark-submit was told to make it, stopped at the end of the block.

    What the block raises comes out as a CaffeOnSparkError, or as it is where it is no Exception. A cluster's manager
    gets to know of a failure that another attempt would repeat.
    """
    spark = _session()
    try:
        _quiet_task_failures(spark)
        yield spark
    except Exception as e:
        error = _explain(spark.sparkContext, e)
        _silence(spark)
        raise error from e
    except BaseException:
        _silence(spark)
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
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    SparkContext._ensure_initialized()
    conf = SparkConf()
    check_executors(SparkContext._jvm, conf)
    builder = SparkSession.builder.appName(conf.get("spark.app.name", "caffeonspark"))
    for name, value in (("spark.ui.showConsoleProgress", "false"), ("spark.log.level", "WARN")):
        if not conf.contains(name):
            builder = builder.config(name, value)
    return builder.getOrCreate()


def _silence(spark: Any) -> None:
    """Nothing more from the JVM: what Spark has to say while it is stopped early only hides the error."""
    jvm = spark.sparkContext._jvm
    logging = jvm.org.apache.logging.log4j
    logging.core.config.Configurator.setAllLevels("", logging.Level.OFF)
    jvm.java.lang.System.setErr(jvm.java.io.PrintStream("/dev/null"))


def _quiet_task_failures(spark: Any) -> None:
    """Keep Spark from logging the stacks of failed tasks: what failed is reported in one line."""
    jvm = spark.sparkContext._jvm
    configurator = jvm.org.apache.logging.log4j.core.config.Configurator
    off = jvm.org.apache.logging.log4j.Level.OFF
    for logger in (
        "org.apache.spark.scheduler.TaskSetManager",
        "org.apache.spark.scheduler.TaskSchedulerImpl",
        "org.apache.spark.scheduler.DAGScheduler",
        "org.apache.spark.executor.Executor",
        "org.apache.spark.sql.execution.datasources.FileFormatWriter",
        "org.apache.spark.util.Utils",
        "org.apache.spark.api.python.PythonRunner",
    ):
        configurator.setLevel(logger, off)
