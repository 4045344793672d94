"""``caffeonspark doctor FLAGS``: a short job that looks at a cluster as training would use it."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from typing import TYPE_CHECKING, Iterator, List, Sequence

from ..causes import explained
from ..flags import FlagTable
from ..launchers.spark_barrier import rank_of_task, with_secret
from ..runs.encryption import asked_for, check_encryption
from ..runs.preflight import check_cluster, check_driver
from ..settings import FLAGS
from ..spark.library_zip import ship_library
from ..spark.workers import Workers, worker_environment
from .diagnosis import RankFound, Section, diagnose, found_by_ranks
from .examination import Question, examine, library_versions

if TYPE_CHECKING:
    import pyarrow as pa

    from ..plans.run_config import RunConfig

__all__ = ["examine_cluster", "look_at", "main", "report"]

_log = logging.getLogger(__name__)

_USAGE = """usage: caffeonspark doctor FLAGS
       spark-submit [spark options] scripts/caffeonspark_main.py doctor FLAGS

Runs a short job on the cluster, which trains nothing: it looks at the executors as training with the same
flags would use them, and prints their software, processors, BLAS kernels and threads, how long they take for a fixed
net, how fast they reach each other, and the room on their disks. Lines that begin with "change:" say what to change.
"""
_NAMES = ("clusterSize", "devices", "engine", "blasKernel", "port", "interface", "checksum", "encrypt")
_FLAGS = FlagTable(("Flags, as for training", [FLAGS[name] for name in _NAMES]))


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status. Raises CaffeOnSparkError."""
    if any(word in ("-help", "--help", "-h") for word in argv):
        print(f"{_USAGE}\n{_FLAGS.help_text()}")
        return 0
    values = _FLAGS.parse_args(argv)
    from ..api.config import Config
    from ..spark.session import start_spark

    with start_spark() as spark:
        config = Config(spark, values).run_config
        print(f"{config.describe_cluster()}, master {spark.sparkContext.master}", flush=True)
        print("\n".join(report(look_at(config))), flush=True)
    return 0


def look_at(config: RunConfig) -> List[Section]:
    """What there is to say of the cluster. Raises CaffeOnSparkError where training could not run on it."""
    return diagnose(examine_cluster(config), library_versions(), config.settings.blasKernel)


def examine_cluster(config: RunConfig) -> List[RankFound]:
    """What as many ranks find as training would have, in rank order. Raises CaffeOnSparkError."""
    check_driver(config)
    check_encryption(config, _say)
    check_cluster(config, _say, threading.Event())
    spark, context = config.spark, config.spark.sparkContext
    ship_library(context)
    question = Question(config.settings.for_ranks, os.urandom(16), bool(asked_for(config)))

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyspark import BarrierTaskContext

        rank, hosts, secret = rank_of_task()
        found = examine(question, secret, rank, hosts, BarrierTaskContext.get().allGather)
        yield pa.RecordBatch.from_arrays([pa.array([rank]), pa.array([json.dumps(found)])], ["rank", "found"])

    rows = spark.range(0, config.ranks, 1, config.ranks)
    with explained(), with_secret(context, secrets.token_bytes(32)):
        with worker_environment(context, Workers(config.settings.blasKernel, context.applicationId).environment):
            stage = rows.mapInArrow(task, "rank long, found string", barrier=True)
        answers = stage.collect()
    return found_by_ranks([json.loads(row.found) for row in sorted(answers, key=lambda row: int(row.rank))])


def _say(line: str) -> None:
    _log.info("caffeonspark: %s", line)


def report(sections: Sequence[Section]) -> List[str]:
    """The lines to print."""
    lines: List[str] = []
    for section in sections:
        lines += ["", section.title, *(f"  {line}" for line in section.lines)]
        lines += [f"  change: {line}" for line in section.changes]
    count = sum(len(section.changes) for section in sections)
    things = f"{count} {'thing' if count == 1 else 'things'} to change, marked above"
    return [*lines, "", things if count else "nothing to change"]
