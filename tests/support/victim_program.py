"""A driver program for tests that kill parts of it: trains once for each line it reads, and says how far it is.

Runs apart from pytest, with a Spark application of its own, because its executors are killed.
"""

import json
import pathlib
import sys

from pyspark.sql import SparkSession

from caffeonspark.api.config import Config
from caffeonspark.api.sources import DataSource
from caffeonspark.errors import CaffeOnSparkError
from caffeonspark.report import observers_for, read_metrics
from caffeonspark.report.base import Observer, Observers
from caffeonspark.runs.run import train


def say(**event):
    print(json.dumps(event), flush=True)


class Talker(Observer):
    """Says everything on standard output."""

    def note(self, text):
        say(note=text)

    def doing(self, result, what):
        say(doing=what)

    def progress(self, result, rank, pace, new):
        if rank == 0:
            say(iteration=result.iteration)

    def tested(self, result, test):
        say(test=test.iteration)

    def finished(self, result):
        say(finished=result.iteration, restarts=result.restarts, stopped=result.stopped, losses=len(result.history))


def same_as_the_metrics(result):
    """Whether the metrics file holds the run's iterations, each once."""
    path = result.model.replace("file:", "").replace(".caffemodel", ".metrics.jsonl")
    records = [record for record in read_metrics(path) if record["event"] == "iteration"]
    first = result.history[0][0]
    if [record["iteration"] for record in records] != list(range(result.max_iter)):
        return False
    found = [(record["iteration"], record["loss"], record["lr"]) for record in records[first:]]
    return found == result.history


def main():
    master = sys.argv[1]
    builder = SparkSession.builder.master(master).appName("caffeonspark victim")
    for name, value in (
        ("spark.ui.enabled", "false"),
        ("spark.ui.showConsoleProgress", "false"),
        ("spark.log.level", "OFF"),
        ("spark.executorEnv.OMP_NUM_THREADS", "1"),
        ("spark.executorEnv.OPENBLAS_NUM_THREADS", "1"),
    ):
        builder = builder.config(name, value)
    for setting in sys.argv[2:]:
        name, _, value = setting.partition("=")
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    say(ready=spark.sparkContext.applicationId)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            config = Config(spark, order["flags"])
            data = DataSource(spark)
            validation = [data.getSource(config, False)] if order.get("validate") else []
            config.quiet = True
            observer = Observers([Talker(), observers_for(config.run_config)])
            result = train(config.run_config, data.getSource(config, True), validation, observer)
            say(recorded=same_as_the_metrics(result))
        except CaffeOnSparkError as e:
            say(error=e.message, kind=type(e).__name__, report=e.report)
        except BaseException as e:
            say(error=f"{type(e).__name__}: {e}", kind="unexpected")
        say(over=True, model=pathlib.Path(str(order["flags"]["model"]).replace("file:", "")).exists())
    spark.stop()


if __name__ == "__main__":
    main()
