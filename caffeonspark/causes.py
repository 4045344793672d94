"""What a failure of Spark means: one of this library's errors, with the true cause in one line.

Spark wraps what went wrong in layers of Java and Python. Here they are read: the class says whether the data, the
configuration or what is under the job is at fault, and with that whether another attempt can help.
"""

from __future__ import annotations

import contextlib
import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from .errors import CaffeOnSparkError, ConfigError, DataError, InfrastructureError, Interrupted, from_text

__all__ = ["ENVIRONMENT", "JVM_GONE", "STOPPED", "cause_of", "explained", "is_gone"]

#: What mends executors that run other software than the driver.
ENVIRONMENT = (
    "Give every executor the driver's environment: installed at the same path, or shipped with --archives and named by "
    "PYSPARK_PYTHON (spark.pyspark.python)"
)

#: What to say of a session that is none any more.
STOPPED = "the Spark application was stopped: make a new SparkSession, and make what depends on it again"
#: What to say where the JVM does not answer.
JVM_GONE = "Spark's JVM on the driver does not answer: it was killed, or ran out of memory (spark.driver.memory)"


@contextlib.contextmanager
def explained(where: str = "") -> Iterator[None]:
    """What Spark raises in the block comes out as one of this library's errors, which begins with ``where``."""
    try:
        yield
    except CaffeOnSparkError:
        raise
    except Exception as e:
        if not (is_gone(e) or type(e).__module__.startswith(_SPARKS)):
            raise
        cause = cause_of(e)
        raise (type(cause)(f"{where}: {cause.message}") if where else cause) from e


def is_gone(error: BaseException) -> bool:
    """Whether a call of Spark says that the application was stopped, or that its JVM has ended."""
    return _is_stopped(error) or _is_without_jvm(error)


def _is_stopped(error: BaseException) -> bool:
    none = isinstance(error, AttributeError) and str(error).startswith("'NoneType' object has no attribute")
    return none and _raised_in(error, "pyspark")  # a SparkContext that was stopped has nothing left to call


def _is_without_jvm(error: BaseException) -> bool:
    if type(error).__name__ == "Py4JNetworkError" or (isinstance(error, OSError) and _raised_in(error, "py4j")):
        return True
    return type(error).__name__ == "Py4JError" and "Trace:" not in str(error)  # the JVM would have said why


def _raised_in(error: BaseException, package: str) -> bool:
    trace, name = error.__traceback__, ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return name.partition(".")[0] == package


def cause_of(error: BaseException) -> CaffeOnSparkError:
    """The error to report for what a call of Spark, or anything else, raised."""
    if isinstance(error, CaffeOnSparkError):
        return error
    if _is_without_jvm(error):
        return InfrastructureError(JVM_GONE)
    if _is_stopped(error):
        return ConfigError(STOPPED)
    try:
        text = str(error)
    except Exception:  # PySpark asks the JVM what to say
        return InfrastructureError(JVM_GONE)
    if not type(error).__module__.startswith(_SPARKS):
        return CaffeOnSparkError(f"{type(error).__name__}: {_sentence(text)}")
    return _cause_in(text, type(error).__name__)


_SPARKS = ("pyspark.", "py4j.")


# ---- in the text of a Spark exception

_TASK = re.compile(r"\(TID \d+\)(?: \([^()]*\))?: ")  # before what a task failed with
_LOST = re.compile(
    r"ExecutorLostFailure|FetchFailed|TaskKilled|MetadataFetchFailed|UnknownReason|Executor heartbeat timed out|"
    r"Remote RPC client disassociated|Resubmitted|ExecutorDeadException"
)
_MEMORY = re.compile(r"java\.lang\.OutOfMemoryError(?:: ([^\n]*))?|SparkOutOfMemoryError(?:: ([^\n]*))?")
_BATCH = re.compile(r"OversizedAllocationException|arrow\.memory\.OutOfMemoryException")
_SETTING = re.compile(
    r"[^\n]*\b(spark\.driver\.maxResultSize|spark\.rpc\.message\.maxSize|spark\.kryo\w*\.buffer\.max)\b"
)
_JAVA = re.compile(r"((?:[a-z]\w*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable|Failure)(?:\$\w+)*)(?:: ?(.*))?$")
_CONDITION = re.compile(r"\[([A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*)\] ")
_BENEATH = (  # Java's and Hadoop's words for what may be well a minute later
    "java.io.",
    "java.net.",
    "java.nio.",
    "java.util.concurrent.",
    "org.apache.hadoop.",
    "org.apache.spark.rpc.",
    "org.apache.spark.shuffle.",
    "org.apache.spark.storage.",
    "io.netty.",
)
#: Of these, what is no better a minute later: what readers of files say of their content.
_DAMAGED = re.compile(
    r"\bChecksumException\b|FAILED_TO_UNCOMPRESS|Unexpected end of input stream|Reached the end of stream|"
    r"File is corrupt|not a SequenceFile|Not an Avro data file|Invalid sync|Malformed ORC|"
    r"incorrect (?:header|data) check"
)
#: And what another attempt may do no more than this one.
_REFUSED = re.compile(
    r"\b(?:AccessControlException|AccessDeniedException|FileAlreadyExistsException|UnsupportedFileSystemException|"
    r"InvalidInputException|ParentNotDirectoryException|\w*QuotaExceededException)\b|\(Permission denied\)|"
    r"Input path does not exist|Mkdirs failed to create"
)
_READING = re.compile(r"Encountered error while reading file (\S+)\. ")


def _cause_in(text: str, kind: str) -> CaffeOnSparkError:
    """The cause in an exception's text with its Java stacks; ``kind`` is the name of the exception's class."""
    ours = from_text(text)
    if ours is not None:
        return ours
    if re.search(r"[Jj]ob \d+ cancelled|cancelled because SparkContext was shut down|cancelled part of", text):
        line = next(line for line in text.splitlines() if "cancelled" in line)
        return Interrupted(f"Spark's {_sentence(line)}")
    task = _TASK.split(text)[-1]  # what the task failed with last
    if _LOST.match(task):
        return InfrastructureError(_sentence(task.splitlines()[0]))
    if "Cannot run program" in text:
        program = re.search(r"Cannot run program (\S+: [^\n]*)", text)
        return ConfigError(_no_python(program.group(1) if program else "it cannot be run"))
    python = _python_cause(text)
    if python is not None:
        return python
    memory = _MEMORY.search(text)
    if memory:
        return ConfigError(_too_little_memory(memory.group(1) or memory.group(2) or "", task is not text))
    if "Python worker exited unexpectedly" in text or "Python worker failed to connect back" in text:
        return InfrastructureError(
            "the Python process of a task ended without a message: it was killed for lack of memory (raise "
            "spark.executor.memoryOverhead or lower the number of tasks an executor runs at once), or crashed (the "
            "executor's log may say more)"
        )
    if _BATCH.search(text):
        return ConfigError(
            "the rows that Spark puts into one Arrow batch for Python have more bytes than it can hold: lower "
            "spark.sql.execution.arrow.maxRecordsPerBatch (10000 rows by itself)"
        )
    setting = _SETTING.search(text)
    if setting:
        return ConfigError(f"{_sentence(setting.group().rpartition('failure: ')[2])}. Raise {setting.group(1)}")
    return _java_cause(text, kind)


def _no_python(what: str) -> str:
    return f"the executors' Python does not work: {what.rstrip('.')}. {ENVIRONMENT}"


def _too_little_memory(what: str, on_executor: bool) -> str:
    where, setting = (
        ("an executor", "spark.executor.memory (--executor-memory)")
        if on_executor
        else ("the driver", "spark.driver.memory (--driver-memory)")
    )
    return f"the JVM of {where} ran out of memory{f' ({what.strip()})' if what else ''}: raise {setting}"


class _Frame(NamedTuple):
    """A line of a Python traceback."""

    file: str
    line: int
    function: str


def _python_cause(text: str) -> Optional[CaffeOnSparkError]:
    """What Python raised in a task."""
    found = _python_traceback(text)
    if found is None:
        return None
    raised, frames = found
    own = [
        frame
        for frame in frames
        if not re.search(r"[/\\](pyspark|py4j)([/\\]|\.zip)|^<frozen|[/\\]cloudpickle", frame.file)
    ]
    name = raised.partition(":")[0].rpartition(".")[2]
    last = own[-1] if own else None
    place = f" ({last.file.replace(chr(92), '/').rpartition('/')[2]}, line {last.line})" if last else ""
    if name == "KeyboardInterrupt":
        return InfrastructureError("the Python process of a task was interrupted by SIGINT")
    if name == "MemoryError":
        return ConfigError(
            f"the Python process of a task ran out of memory{place}: raise spark.executor.memoryOverhead, or "
            "spark.executor.pyspark.memory where it is set"
        )
    if name in ("ModuleNotFoundError", "ImportError") or "PYTHON_VERSION_MISMATCH" in raised:
        return ConfigError(_no_python(f"{raised.rpartition('PySparkRuntimeError: ')[2]}{place}"))
    users = [frame for frame in own if not re.search(r"[/\\]caffeonspark(-\w+\.zip)?[/\\]", frame.file)]
    if last is not None and users:
        user = users[-1]
        file = user.file.replace("\\", "/").rpartition("/")[2]
        return DataError(f"the function '{user.function}' ({file}, line {user.line}) raised {raised}")
    return DataError(f"Python raised {raised}{place} in a task")


def _python_traceback(text: str) -> Optional[Tuple[str, List[_Frame]]]:
    """The last Python traceback in a text: what was raised, in one line, and its frames."""
    start = text.rfind("Traceback (most recent call last):")
    if start < 0:
        match = re.search(r"^(?!java|org|scala)\s*((?:[a-z_]\w*\.)*PySpark\w*Error: .*)$", text, re.M)
        return (match.group(1), []) if match else None
    frames: List[_Frame] = []
    raised: List[str] = []
    for line in text[start:].splitlines()[1:]:
        frame = re.match(r'\s+File "(.*)", line (\d+), in (.*)', line)
        if raised:
            if not line.strip() or re.match(r"\s+at |Caused by: |Driver stacktrace", line):
                break
            raised.append(line)
        elif frame:
            frames.append(_Frame(frame.group(1), int(frame.group(2)), frame.group(3)))
        elif line and not line[0].isspace():
            raised.append(line)
    return (_sentence(" ".join(raised)), frames) if raised else None


def _java_cause(text: str, kind: str) -> CaffeOnSparkError:
    """What the innermost of the exceptions in a Java stack says, and the one of them that Spark has a name for."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.startswith("An error occurred while calling")), kind)
    matches = [match for match in map(_exception_in, lines) if match is not None]
    said = [(match.group(1), match.group(2)) for match in matches if _tells(match.group(2) or "")]
    named = [(name, message) for name, message in said if _CONDITION.match(message)]
    inner = said[-1] if said else None
    if named:
        return _named_cause(*named[-1], inner, kind)
    condition = _CONDITION.search(first)
    if condition is not None:  # what PySpark has made an exception of its own of
        return _named_cause("", first[condition.start() :], None, kind)
    if inner is None:
        if kind in _QUERY:
            return ConfigError(_sentence(first))
        return InfrastructureError(f"{matches[-1].group(1)}, without a message" if matches else _sentence(first))
    name, message = inner
    said_by = "" if name.startswith("org.apache.spark.") else f"{name.rpartition('.')[2]}: "
    what, reading = said_by + _sentence(message), _READING.search(text)
    if reading is not None and reading.group(1).partition(":")[2].lstrip("/") not in what:
        what = f"{reading.group(1)} cannot be read: {what}"
    if _REFUSED.search(f"{name}: {message}"):
        return ConfigError(what)
    if "FileNotFoundException" in name and not re.search(r"/(blockmgr|spark|executor)-\w+", message):
        return DataError(f"a file of the data is gone: {_sentence(message)}")
    if kind in _QUERY or name.endswith(_QUERY):
        return ConfigError(_sentence(message))
    if "stopped SparkContext" in message:
        return ConfigError(STOPPED)
    beneath = name.startswith(_BENEATH) and not _DAMAGED.search(f"{name}: {message}")
    return (InfrastructureError if beneath else DataError)(what)


def _named_cause(name: str, message: str, inner: Optional[Tuple[str, str]], kind: str) -> CaffeOnSparkError:
    """The cause where Spark has a condition for it, ``[DIVIDE_BY_ZERO] …``; ``inner`` may say more."""
    condition = _CONDITION.match(message)
    assert condition is not None
    text = _sentence(message)
    if inner is not None and inner[1] != message:
        detail = f"{inner[0].rpartition('.')[2]}: {_sentence(inner[1])}"
        text = (
            detail
            if condition.group(1).startswith(("FAILED_EXECUTE_UDF", "TASK_WRITE_FAILED"))
            else f"{text} ({detail})"
        )
    if condition.group(1).startswith("INTERNAL_ERROR"):
        return InfrastructureError(text)
    of_a_call = kind in _QUERY or kind.startswith("PySpark") or name.endswith(_QUERY)
    return (ConfigError if of_a_call else DataError)(text)


#: A query that Spark cannot even plan is wrong by itself; one that fails on its way has met with wrong data.
_QUERY = ("AnalysisException", "ParseException")


def _exception_in(line: str) -> Optional[re.Match[str]]:
    """A Java exception that a line of a stack, or the reason of a failed task, names."""
    return _JAVA.match(re.sub(r"^(Caused by: |: )", "", _TASK.split(line)[-1]))


def _tells(message: str) -> bool:
    """Whether an exception says more than that something failed, which those inside it tell."""
    hollow = (
        r"Job aborted|Task failed while writing|Could not recover|Exception thrown in await|(?:[a-z]\w*\.)+[A-Z]\w*: "
    )
    return bool(message) and not re.match(hollow, message)


def _sentence(text: str) -> str:
    """In one line, without the query that Spark quotes, and without a stack."""
    text = re.split(r"\n|\s== SQL|;\s*$", text.strip())[0].strip()
    text = re.sub(r"^: |\s*SQLSTATE: \w+$", "", text)
    return text.rstrip(" ;:.") if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST = 500
