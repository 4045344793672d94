"""What YARN says and is told: its limits, refusals in one line, attempts of the application, and its final word.

All of it goes through the JVM of the Spark driver, which has YARN's client and the user's credentials.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from ..errors import ConfigError, InfrastructureError
from ..storage import java_message
from .jvm import Jvm, application_attempt, hadoop_configuration, is_stopped, is_stopped_by_driver, setting_in_mb

__all__ = [
    "Limits",
    "attempt_number",
    "check_ended",
    "check_executors",
    "check_request",
    "explain_refusal",
    "finish_as_failed",
    "read_limits",
]

_PATIENCE_MS = "20000"  # for a ResourceManager that does not answer; YARN's own is 15 minutes


# ---- limits


@dataclass(frozen=True)
class Limits:
    """What a YARN cluster gives to one container, in (MB, vcores).

    Attributes
    ----------
    most : its scheduler's limits
    nodes : each running NodeManager's size
    """

    most: Tuple[int, int]
    nodes: Tuple[Tuple[int, int], ...]


def read_limits(configuration: Any, queue: Optional[str] = None) -> Limits:
    """The limits of the cluster that the Hadoop ``configuration`` names.

    Raises
    ------
    ConfigError
        If the queue is none of its queues.
    InfrastructureError
        If its ResourceManager does not answer.
    """
    jvm = Jvm()
    yarn = jvm.classes.org.apache.hadoop.yarn
    own = yarn.conf.YarnConfiguration(configuration)
    own.set("yarn.resourcemanager.connect.max-wait.ms", _PATIENCE_MS)
    own.set("yarn.resourcemanager.connect.retry-interval.ms", "2000")
    own.set("ipc.client.connect.max.retries", "3")
    own.set("ipc.client.connect.retry.interval", "1000")
    client = yarn.client.api.YarnClient.createYarnClient()
    try:
        client.init(own)
        client.start()
        most = client.createApplication().getNewApplicationResponse().getMaximumResourceCapability()
        running = jvm.array(yarn.api.records.NodeState, [yarn.api.records.NodeState.RUNNING])
        reports = client.getNodeReports(running)
        nodes = [_size(reports.get(number).getCapability()) for number in range(reports.size())]
        if queue is not None:
            _check_queue(client, queue)
        return Limits(_size(most), tuple(nodes))
    except ConfigError:
        raise
    except Exception as e:
        address = own.get("yarn.resourcemanager.address")
        raise InfrastructureError(f"YARN's ResourceManager at {address} does not answer: {java_message(e)}") from None
    finally:
        client.stop()


def _size(resource: Any) -> Tuple[int, int]:
    return int(resource.getMemorySize()), int(resource.getVirtualCores())


def _check_queue(client: Any, queue: str) -> None:
    info = client.getQueueInfo(queue)
    if info is None:
        queues = client.getAllQueues()
        names = sorted(str(queues.get(number).getQueueName()) for number in range(queues.size()))
        raise ConfigError(f"--queue {queue}: YARN has no such queue; it has {', '.join(names)}")
    if str(info.getQueueState()) != "RUNNING":
        raise ConfigError(f"--queue {queue}: YARN's queue is {str(info.getQueueState()).lower()}")


def check_request(limits: Limits, what: str, heap: int, overhead: int, cores: int, role: str) -> None:
    """Raise ConfigError unless a container can be had.

    Parameters
    ----------
    limits : the cluster's
    what : whose container, for the message
    heap, overhead : MB
    cores : vcores
    role : "executor" or "driver", as the settings' names begin
    """
    memory = heap + overhead
    asked = f"{what} asks for {memory} MB (--{role}-memory {heap} MB + spark.{role}.memoryOverhead {overhead} MB)"
    lower = f"lower --{role}-memory or spark.{role}.memoryOverhead"
    if memory > limits.most[0]:
        raise ConfigError(
            f"{asked}, and YARN gives a container at most {limits.most[0]} MB (yarn.scheduler.maximum-allocation-mb): "
            f"{lower}"
        )
    if cores > limits.most[1]:
        raise ConfigError(
            f"{what} asks for {cores} vcores (--{role}-cores), and YARN gives a container at most {limits.most[1]} "
            f"(yarn.scheduler.maximum-allocation-vcores): lower --{role}-cores"
            + (", -devices or spark.task.cpus" if role == "executor" else "")
        )
    if limits.nodes and not any(memory <= node[0] for node in limits.nodes):
        largest = max(node[0] for node in limits.nodes)
        raise ConfigError(
            f"{asked}, and the largest NodeManager has {largest} MB (yarn.nodemanager.resource.memory-mb): {lower}"
        )


def check_executors(settings: Any) -> None:
    """Raise ConfigError for executors that YARN would refuse, and end the application for, or not have room for.

    Parameters
    ----------
    settings : SparkConf
    """
    if settings.get("spark.master") != "yarn" or settings.get("spark.submit.deployMode", "client") == "cluster":
        return  # a driver that YARN started has no credentials to ask it with
    heap = setting_in_mb(settings, "spark.executor.memory", "1g")
    factor = float(settings.get("spark.executor.memoryOverheadFactor", "0.1"))
    overhead = setting_in_mb(settings, "spark.executor.memoryOverhead", f"{max(384, int(heap * factor))}m")
    try:
        limits = read_limits(Jvm().classes.org.apache.hadoop.conf.Configuration())
    except InfrastructureError:
        return  # Spark has its own words, and its own patience, for a ResourceManager that does not answer
    check_request(limits, "an executor", heap, overhead, int(settings.get("spark.executor.cores", "1")), "executor")


# ---- refusals


_MEMORY = re.compile(
    r"Required (?P<who>executor|AM) memory \((?P<heap>\d+)[^()]*\).*?above the max threshold \((?P<most>\d+) MB\)"
)
_RESOURCE = re.compile(
    r"Requested resource type=\[(?P<kind>[^\]]+)\].*?Requested resource=<(?P<asked>[^>]*)>.*?"
    r"maximum allowed allocation=<(?P<most>[^>]*)>",
    re.DOTALL,
)
_QUEUE = re.compile(r"submitted by user .*? to (?:unknown|non-leaf) queue[: ]*(?P<queue>[\w.\-]*)")


def explain_refusal(text: str) -> Optional[str]:
    """One line for what YARN or Spark's YARN client refused in ``text``, naming limit and setting; None if nothing."""
    match = _MEMORY.search(text)
    if match:
        role = "executor" if match.group("who") == "executor" else "driver"
        return (
            f"the {role} asks for more memory than YARN gives a container ({match.group('most')} MB: "
            "yarn.scheduler.maximum-allocation-mb or yarn.nodemanager.resource.memory-mb): lower "
            f"--{role}-memory ({match.group('heap')} MB) or spark.{role}.memoryOverhead"
        )
    match = _RESOURCE.search(text)
    if match:
        cores = "cores" in match.group("kind").lower()
        limit = "yarn.scheduler.maximum-allocation-" + ("vcores" if cores else "mb")
        lower = (
            "--executor-cores (or --driver-cores), -devices or spark.task.cpus"
            if cores
            else "--executor-memory, --driver-memory or their spark.*.memoryOverhead"
        )
        asked, most = match.group("asked"), match.group("most")
        return f"YARN refuses a container of <{asked}>: at most <{most}> ({limit}): lower {lower}"
    match = _QUEUE.search(text)
    if match:
        return f"YARN has no queue {match.group('queue') or 'of this name'}: name another with --queue"
    return None


# ---- this application


def attempt_number(context: Any) -> int:
    """Which attempt of its YARN application this driver is, from 1; 1 for drivers that YARN does not start again."""
    digits = re.search(r"(\d+)$", application_attempt(context) or "")
    return int(digits.group(1)) if digits else 1


def check_ended(context: Any) -> None:
    """Raise ConfigError or InfrastructureError, with YARN's reason, where YARN ended the application by itself."""
    if context.master != "yarn" or is_stopped_by_driver(context) or not is_stopped(context):
        return
    yarn = Jvm().classes.org.apache.hadoop.yarn
    client = yarn.client.api.YarnClient.createYarnClient()
    try:
        client.init(yarn.conf.YarnConfiguration(hadoop_configuration(context)))
        client.start()
        identity = yarn.api.records.ApplicationId.fromString(context.applicationId)
        text = str(client.getApplicationReport(identity).getDiagnostics() or "")
    except Exception as e:
        text = java_message(e)
    finally:
        client.stop()
    refusal = explain_refusal(text)
    if refusal:
        raise ConfigError(refusal)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raise InfrastructureError(f"YARN ended the application: {lines[0] if lines else 'it gives no reason'}")


def finish_as_failed(context: Any, message: str) -> None:
    """Tell YARN that the application failed, and why, where this driver is its application master.

    YARN starts a master again that ends without this word. Another attempt does not help where a setting or the data
    is wrong, and the reason belongs into the application's diagnostics.
    """
    if context.getConf().get("spark.submit.deployMode", "client") != "cluster" or context.master != "yarn":
        return
    classes = Jvm().classes
    if classes.org.apache.spark.util.ShutdownHookManager.inShutdown():
        return  # the master is being killed, and may be worth another attempt
    try:
        companion = getattr(getattr(classes.org.apache.spark.deploy.yarn, "ApplicationMaster$"), "MODULE$")
        master = getattr(companion, "org$apache$spark$deploy$yarn$ApplicationMaster$$master")()
        master.unregister(classes.org.apache.hadoop.yarn.api.records.FinalApplicationStatus.FAILED, message)
        staging = os.environ.get("SPARK_YARN_STAGING_DIR")
        if staging and context.getConf().get("spark.yarn.preserve.staging.files", "false") != "true":
            path = classes.org.apache.hadoop.fs.Path(staging)  # Spark removes it after the last attempt only
            path.getFileSystem(hadoop_configuration(context)).delete(path, True)
    except Exception:  # inner parts of Spark, which another version may not have: YARN then tries again, and says less
        return
