"""The command line: ``caffeonspark FLAGS`` and ``spark-submit … scripts/caffeonspark_main.py FLAGS``.

Every failure is one line on standard error and exit status 1.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, List, Optional, Sequence

from .config import Config
from .errors import CaffeOnSparkError, ConfigError, from_text
from .flags import FLAGS
from .storage import local_path

__all__ = ["main"]

_USAGE = """usage: caffeonspark FLAGS
       spark-submit [spark options] scripts/caffeonspark_main.py FLAGS

Trains Caffe nets on the executors of a Spark cluster, tests them, and extracts features.
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or any(word in ("-help", "--help", "-h") for word in words):
        print(_USAGE + "\n" + FLAGS.help_text())
        return 0 if words else 1
    try:
        values = FLAGS.parse_args(words)
        if not (values.get("train") or values.get("test") or values.get("features")):
            raise ConfigError("nothing to do: give -train, -test or -features")
        _run(values)
        return 0
    except CaffeOnSparkError as e:
        print(f"caffeonspark: {e.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffeonspark: interrupted", file=sys.stderr)
        return 130


def _run(values: Dict[str, Any]) -> None:
    spark = start_spark()
    try:
        quiet_task_failures(spark)
        _do(spark, values)
    except BaseException as e:
        silence_jvm(spark)
        if isinstance(e, CaffeOnSparkError) or not isinstance(e, Exception):
            raise
        raise task_error(e) from e
    finally:
        spark.stop()


def start_spark() -> Any:
    """The session: what spark-submit was told, and quiet unless it was told otherwise."""
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    conf = SparkConf()
    builder = SparkSession.builder.appName(conf.get("spark.app.name", "caffeonspark"))
    for name, value in (("spark.ui.showConsoleProgress", "false"), ("spark.log.level", "WARN")):
        if not conf.contains(name):
            builder = builder.config(name, value)
    return builder.getOrCreate()


def _do(spark: Any, values: Dict[str, Any]) -> None:
    from .caffeonspark import CaffeOnSpark
    from .sources import DataSource

    config = Config(spark, values)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    if config.train:
        train = data.getSource(config, True)
        validation = validation_sources(config)
        if validation:
            cos.trainWithValidation(train, validation)
        else:
            cos.train(train)
    if config.blobs:
        if config.test:
            print("caffeonspark: -features and -test are both given: -features is done", file=sys.stderr)
        save_features(cos, config)
    elif config.test:
        save_means(config, cos.test(data.getSource(config, False)))


def validation_sources(config: Config) -> List[Any]:
    """The test nets to run while training: those the solver gives a test_interval, unless test_iter is 0."""
    from .sources import NetSource

    iterations = list(config.solver.test_iter)
    if not config.solver.test_interval or (iterations and not iterations[0]):
        return []
    return [NetSource(config, net) for net in config.nets.tests]


def save_features(cos: Any, config: Config) -> None:
    from .sources import DataSource

    output = str(config.output)
    frame = cos.features(DataSource(config.spark()).getSource(config, False))
    if config.storage.exists(output):
        raise ConfigError(f"-output {output} exists already: remove it, or name another place")
    target = "file://" + os.path.abspath(local_path(output)) if output.startswith("file:") else output
    frame.write.format(config.outputFormat).save(target)
    if cos.task.skipped.value:
        from .inference import check_skipped

        saved = config.spark().read.format(config.outputFormat).load(target).count()
        for line in check_skipped(cos.task, saved):
            print(line, file=sys.stderr)


def save_means(config: Config, means: Dict[str, List[float]]) -> None:
    """Print the means and write them to ``-output``, one ``name: v1,v2`` line for each blob."""
    text = "".join(f"{name}: {','.join(repr(value) for value in values)}\n" for name, values in means.items())
    print(text, end="", flush=True)
    config.storage.write(str(config.output), text.encode())


# ---- one line instead of Java stacks


def silence_jvm(spark: Any) -> None:
    """Nothing more from the JVM: what Spark has to say while it is stopped early only hides the error."""
    jvm = spark.sparkContext._jvm
    logging = jvm.org.apache.logging.log4j
    logging.core.config.Configurator.setAllLevels("", logging.Level.OFF)
    jvm.java.lang.System.setErr(jvm.java.io.PrintStream("/dev/null"))


def quiet_task_failures(spark: Any) -> None:
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


def task_error(error: Exception) -> CaffeOnSparkError:
    """The library's own error inside an exception that Spark made of a failed task, or what is known else."""
    text = str(error)
    ours = from_text(text)
    if ours is not None:
        return ours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.endswith("Error") or ("Error: " in line and not line.startswith("at ")):
            return CaffeOnSparkError(line)
    return CaffeOnSparkError(f"{type(error).__name__}: {lines[0] if lines else ''}")


if __name__ == "__main__":
    sys.exit(main())
