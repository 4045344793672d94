"""Where tools write: folders that are there whole or not at all, and the progress of the jobs that write them."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
import threading
import time
from typing import Any, Iterator, Sequence

from ..causes import explained
from ..errors import ConfigError
from ..storage import Storage, all_or_nothing, join, parent

__all__ = ["check_free", "check_kept", "new_folder", "watched"]

_log = logging.getLogger(__name__)
_SECONDS = 5.0  # between two lines about a job, where there is no terminal


def check_free(storage: Storage, output: str, overwrite: bool) -> None:
    """Raise ConfigError if something is at ``output``, unless it may be overwritten."""
    if not output:
        raise ConfigError("-output is missing: name the place to write to")
    if storage.exists(output) and not overwrite:
        raise ConfigError(f"-output {output} exists already: -overwrite replaces it")


def check_kept(storage: Storage, output: str, read: Sequence[str]) -> None:
    """Raise ConfigError if something that is read is at ``output``, or in it, and would be removed by -overwrite."""
    place = storage.place(output)
    for path in read:
        if (storage.place(path) + "/").startswith(place + "/"):
            raise ConfigError(
                f"-overwrite would remove {path}, which is read: give another place than -output {output}"
            )


@contextlib.contextmanager
def new_folder(storage: Storage, output: str, overwrite: bool) -> Iterator[str]:
    """The name of a new folder to write into; it becomes ``output`` when the block has ended well.

    Raises
    ------
    ConfigError
        If something is there already and ``overwrite`` is not set.
    """
    check_free(storage, output, overwrite)
    output = output.rstrip("/")
    base = output.rpartition("/")[2].rpartition(":")[2]
    with all_or_nothing(storage, parent(output), [base]) as part:
        yield join(part, base)


_OF_GROUPS = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")


@contextlib.contextmanager
def watched(spark: Any, what: str) -> Iterator[None]:
    """Show how far the Spark jobs of the block are; errors of their tasks come out as the library's own."""
    context = spark.sparkContext
    group = f"caffeonspark-{secrets.token_hex(4)}"
    before = {name: context.getLocalProperty(name) for name in _OF_GROUPS}  # the user's
    context.setJobGroup(group, what, interruptOnCancel=True)
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(context.statusTracker(), group, what, done), daemon=True)
    thread.start()
    try:
        with explained():
            yield
    finally:
        done.set()
        thread.join()
        for name, value in before.items():
            context.setLocalProperty(name, value)


def _watch(tracker: Any, group: str, what: str, done: threading.Event) -> None:
    terminal = sys.stderr.isatty()
    shown, said = False, time.monotonic()
    while not done.wait(0.5):
        total = finished = 0
        for job in tracker.getJobIdsForGroup(group):
            info = tracker.getJobInfo(job)
            for stage in info.stageIds if info is not None else ():
                about = tracker.getStageInfo(stage)
                if about is not None:
                    total, finished = total + about.numTasks, finished + about.numCompletedTasks
        if not total or not (terminal or time.monotonic() - said > _SECONDS):
            continue
        shown, said = True, time.monotonic()
        line = f"{what}: {finished} of {total} tasks"
        if terminal:
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        else:
            _log.info(line)
    if shown and terminal:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
