"""The driver's JVM, and the parts of Spark that PySpark has no names for: only this module reaches for them.

What takes a ``context`` takes a SparkContext.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..causes import JVM_GONE
from ..errors import InfrastructureError, Interrupted
from ..storage import HadoopFiles

__all__ = [
    "Jvm",
    "application_attempt",
    "end_jvm",
    "exchanges_rows",
    "executors_of_group",
    "hadoop_configuration",
    "hadoop_files",
    "has_native_hadoop",
    "hide_in_event_log",
    "hides",
    "is_stopped",
    "is_stopped_by_driver",
    "jvm_needed",
    "jvm_runs",
    "replace_executors",
    "setting_in_mb",
    "signals_are_for_python",
    "silence",
    "silence_loggers",
    "task_slots",
    "tasks_of_group",
    "waits_for_python",
]


_SECRET_NAMES = "(?i)secret|password|token|access[.]?key"  # Spark's default for spark.redaction.regex


class Jvm:
    """The JVM of this process, which is started where none runs yet.

    Attributes
    ----------
    classes : its classes by their full names, ``jvm.classes.java.lang.System``
    gateway : py4j's gateway to it
    """

    def __init__(self) -> None:
        from pyspark import SparkContext

        SparkContext._ensure_initialized()
        self.classes: Any = SparkContext._jvm
        self.gateway: Any = SparkContext._gateway

    def array(self, kind: Any, values: Sequence[Any]) -> Any:
        """A Java array of objects of the class ``kind``."""
        array = self.gateway.new_array(kind, len(values))
        for number, value in enumerate(values):
            array[number] = value
        return array


def end_jvm() -> None:
    """End the JVM that PySpark started, and wait until it is gone; a session made later starts another."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(30)
    SparkContext._gateway = SparkContext._jvm = None


def jvm_runs() -> bool:
    """Whether the JVM of this process is there."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    if gateway is None:
        return False
    process = gateway.__dict__.get("proc")
    if process is not None:
        return process.poll() is None
    at = gateway.__dict__.get("java_parameters") or gateway.gateway_parameters  # spark-submit's, which started us
    try:
        socket.create_connection((at.address, at.port), 2).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def jvm_needed(then: str = "") -> Iterator[None]:
    """A block that fails for want of the JVM ends with one line that says so, and ``then``.

    py4j and PySpark print nothing of it meanwhile, nor later where the JVM is gone: they raise the same as well.

    Raises
    ------
    InfrastructureError
    """
    quiet = _Py4jTracebacks()
    loggers = [logging.getLogger(name) for name in (None, "py4j.java_gateway", "py4j.clientserver")]
    for logger in loggers:
        logger.addFilter(quiet)
    _quiet_accumulators()
    try:
        yield
    except Exception as e:
        if isinstance(e, Interrupted) or jvm_runs():
            raise
        raise InfrastructureError(f"{JVM_GONE}{then and ': '}{then}") from e
    finally:
        for logger in loggers if jvm_runs() else ():
            logger.removeFilter(quiet)


def _quiet_accumulators() -> None:
    """PySpark's own server, which the JVM sends accumulators to, does not print that the JVM is gone."""
    from pyspark import SparkContext

    server: Any = getattr(SparkContext._active_spark_context, "_accumulatorServer", None)
    if server is None or "handle_error" in vars(server):
        return
    report = server.handle_error

    def handle_error(request: Any, address: Any) -> None:
        time.sleep(0.5)  # a process closes its connections before it is gone
        if jvm_runs():
            report(request, address)

    server.handle_error = handle_error


class _Py4jTracebacks(logging.Filter):
    """Refuses what py4j logs in addition to raising it, or where it only lets go of an object in a JVM that is gone."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.module not in ("java_gateway", "clientserver")


# ---- Hadoop


def hadoop_configuration(context: Any) -> Any:
    """The Hadoop Configuration of an application, in the JVM."""
    return context._jsc.hadoopConfiguration()


def hadoop_files(context: Any) -> HadoopFiles:
    """The file systems that an application reaches, with its credentials."""
    jvm = Jvm()
    return HadoopFiles(jvm.classes, jvm.gateway, hadoop_configuration(context))


def has_native_hadoop() -> bool:
    """Whether Hadoop's native library is loaded on the driver."""
    return bool(Jvm().classes.org.apache.hadoop.util.NativeCodeLoader.isNativeCodeLoaded())


# ---- the application


def is_stopped(context: Any) -> bool:
    """Whether the application was stopped, by Spark, which Python is not told of, or by somebody's ``stop()``."""
    java = context._jsc  # another thread may stop it meanwhile
    return java is None or bool(java.sc().isStopped())


def is_stopped_by_driver(context: Any) -> bool:
    """Whether somebody stopped the application from Python."""
    return context._jsc is None


def application_attempt(context: Any) -> Optional[str]:
    """The cluster manager's name for this attempt of the application; None where it makes no second one."""
    attempt = context._jsc.sc().applicationAttemptId()
    return str(attempt.get()) if attempt.isDefined() else None


def setting_in_mb(settings: Any, name: str, default: str) -> int:
    """A size among the settings of a SparkConf, in MB; ``default`` is written as Spark's sizes are (``1g``)."""
    return int(settings._jconf.getSizeAsMb(name, default))


def hide_in_event_log(context: Any, name: str) -> None:
    """Have Spark write no values of a local property into its event log.

    It hides those of secret names (spark.redaction.regex) only where the application has a setting of that name too.
    """
    context._jsc.sc().conf().set(name, "differs from job to job")


def hides(context: Any, name: str) -> bool:
    """Whether Spark hides the value of a setting of this name wherever it shows settings."""
    expression = str(context.getConf().get("spark.redaction.regex", _SECRET_NAMES))
    return bool(Jvm().classes.java.util.regex.Pattern.compile(expression).matcher(name).find())


# ---- executors and their tasks


def task_slots(context: Any) -> int:
    """How many tasks the registered executors can run at once."""
    scheduler = context._jsc.sc()
    return int(scheduler.maxNumConcurrentTasks(scheduler.resourceProfileManager().defaultResourceProfile()))


def executors_of_group(context: Any, group: str) -> Dict[int, str]:
    """By partition, the executors that run tasks of a job group, as far as Spark's status store knows."""
    return {partition: executor for partition, (executor, _) in tasks_of_group(context, group).items()}


def tasks_of_group(context: Any, group: str) -> Dict[int, Tuple[str, int]]:
    """By partition, (executor, id) of the tasks of a job group that run, as far as Spark's status store knows."""
    tracker = context.statusTracker()
    store = context._jsc.sc().statusStore()
    found: Dict[int, Tuple[str, int]] = {}
    for job in tracker.getJobIdsForGroup(group):
        info = tracker.getJobInfo(job)
        for stage in info.stageIds if info is not None else ():
            tasks = store.taskList(stage, 0, 2**31 - 1)
            for number in range(tasks.size()):
                task = tasks.apply(number)
                if task.status() == "RUNNING":
                    found[int(task.index())] = str(task.executorId()), int(task.taskId())
    return found


def waits_for_python(context: Any, executor: str, task: int) -> str:
    """What a task waits for: "a process" that the executor's ``pyspark.daemon`` does not fork, "its process" that has
    the task and says nothing, or "" for anything else, such as files that are fetched. Asks the executor for the stacks
    of its threads, for which one that is frozen lets wait two minutes."""
    dump = context._jsc.sc().getExecutorThreadDump(executor)
    if not dump.isDefined():
        return ""
    stacks = {str(thread.threadName()): str(thread.stackTrace().toString()) for thread in dump.get()}
    if any("PythonWorkerFactory.startDaemon" in stack for stack in stacks.values()):
        return ""  # Python itself is being started
    mine = "".join(stack for name, stack in stacks.items() if f"TID {task})" in name)
    if "PythonWorkerFactory.create" in mine:
        return "a process"
    return "its process" if "PythonRunner$ReaderIterator." in mine else ""


def replace_executors(context: Any, executors: Sequence[str]) -> None:
    """Have the cluster manager end these executors and give others for them, where it can."""
    scheduler = context._jsc.sc()
    for executor in executors:
        scheduler.killAndReplaceExecutor(executor)


# ---- DataFrames


def exchanges_rows(frame: Any) -> bool:
    """Whether a DataFrame's physical plan exchanges rows between partitions; what is persisted is a leaf of it."""
    return _exchanges(frame._jdf.queryExecution().executedPlan())


def _exchanges(plan: Any) -> bool:
    name = str(plan.nodeName())
    if name == "AdaptiveSparkPlan":
        return _exchanges(plan.initialPlan())
    children = plan.children()
    return "Exchange" in name or "Join" in name or any(_exchanges(children.apply(k)) for k in range(children.size()))


# ---- what the JVM says


def silence_loggers(names: List[str]) -> None:
    """Nothing more from these loggers."""
    logging = Jvm().classes.org.apache.logging.log4j
    for name in names:
        logging.core.config.Configurator.setLevel(name, logging.Level.OFF)


def silence() -> None:
    """Nothing more from the JVM, neither by its loggers nor on its standard error."""
    classes = Jvm().classes
    logging = classes.org.apache.logging.log4j
    logging.core.config.Configurator.setAllLevels("", logging.Level.OFF)
    classes.java.lang.System.setErr(classes.java.io.PrintStream("/dev/null"))


# ---- signals


class _Relay:
    """A Java signal handler that sends the signal on to this process."""

    def handle(self, signal: Any) -> None:
        os.kill(os.getpid(), signal.getNumber())

    class Java:
        implements = ["sun.misc.SignalHandler"]  # noqa: RUF012, py4j's convention


@contextlib.contextmanager
def signals_are_for_python() -> Iterator[None]:
    """Meanwhile, Ctrl-C, SIGTERM and SIGHUP do not end the JVM, which would stop Spark at once.

    Under spark-submit the JVM is in the terminal's foreground, so Ctrl-C reaches both; the JVM ignores it. SIGTERM is
    sent to spark-submit, which is the JVM; it goes on to Python, and so does SIGHUP, which comes of a terminal that is
    closed, unless it is ignored (nohup).
    """
    from pyspark.java_gateway import ensure_callback_server_started

    jvm = Jvm()
    misc = jvm.classes.sun.misc
    before = {}
    with contextlib.suppress(Exception):  # a JVM that was told to leave signals alone (-Xrs)
        before["INT"] = misc.Signal.handle(misc.Signal("INT"), misc.SignalHandler.SIG_IGN)
        ensure_callback_server_started(jvm.gateway)
        for name in ("TERM", "HUP"):
            if signal.getsignal(getattr(signal, f"SIG{name}")) != signal.SIG_IGN:
                before[name] = misc.Signal.handle(misc.Signal(name), _Relay())
    try:
        yield
    finally:
        for name, handler in before.items():
            with contextlib.suppress(Exception):  # the JVM may be gone
                misc.Signal.handle(misc.Signal(name), handler)
