"""What failures of Spark mean: texts as Spark 3.5 writes them, without most of their stacks."""

import socket

import pytest

from caffeonspark.causes import STOPPED, cause_of, explained
from caffeonspark.errors import CaffeOnSparkError, ConfigError, DataError, InfrastructureError, Interrupted

AT = "\tat org.apache.spark.executor.Executor$TaskRunner.run(Executor.scala:623)\n"


def job(reason, *causes, attempts=4):
    """What a job says whose task failed for this reason; the first line is the same in every attempt's account."""
    first, _, rest = reason.partition("\n")
    inner = "".join(f"Caused by: {cause}\n{AT}\t... 24 more\n" for cause in causes)
    return (
        "An error occurred while calling o222.collectToPython.\n"
        f": org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 6.0 failed {attempts} "
        f"times, most recent failure: Lost task 1.3 in stage 6.0 (TID 26) (10.0.0.1 executor 1): {first}\n{rest}\n{AT}"
        f"{inner}\nDriver stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.x(DAGScheduler.scala:2898)\n"
        f"Caused by: {reason}\n{AT}{inner}"
    )


def python(*lines, where="pyspark.zip/pyspark/worker.py"):
    return (
        'Traceback (most recent call last):\n  File "/spark/python/lib/'
        + where
        + '", line 1247, in main\n    process()\n'
        + "\n".join(lines)
        + "\n"
    )


USERS = ('  File "/home/me/job.py", line 26, in clean', "    raise ValueError(x)")
DIVIDE = (
    'org.apache.spark.SparkArithmeticException: [DIVIDE_BY_ZERO] Division by zero. Set "spark.sql.ansi.enabled" to '
    '"false" to bypass this error.\n== SQL(line 1, position 1) ==\n1/(id-50) as x\n^^^^^^^^^\n'
)
CASES = {
    "a user's function": (
        job("org.apache.spark.api.python.PythonException: " + python(*USERS, "ValueError: no such\nthing: 50")),
        DataError,
        "the function 'clean' (job.py, line 26) raised ValueError: no such",
    ),
    "a user's function, as PySpark tells it": (
        "\n  An exception was thrown from the Python worker. Please see the stack trace below.\n"
        "Traceback (most recent call last):\n"
        + "\n".join([*USERS, "ValueError: fifty"])
        + "\n\n\nJVM stacktrace:\n"
        + AT,
        DataError,
        "the function 'clean' (job.py, line 26) raised ValueError: fifty",
    ),
    "a package that an executor lacks": (
        job("org.apache.spark.api.python.PythonException: " + python("ModuleNotFoundError: No module named 'cv2'")),
        ConfigError,
        "the executors' Python does not work: ModuleNotFoundError: No module named 'cv2'. Give every executor",
    ),
    "another Python": (
        job(
            "org.apache.spark.api.python.PythonException: "
            + python(
                "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python 3.8 and 3.9."
            )
        ),
        ConfigError,
        "the executors' Python does not work: [PYTHON_VERSION_MISMATCH] Python 3.8 and 3.9. Give",
    ),
    "no Python": (
        job('java.io.IOException: Cannot run program "/opt/py": error=2, No such file or directory'),
        ConfigError,
        'the executors\' Python does not work: "/opt/py": error=2, No such file or directory. Give',
    ),
    "memory in Python": (
        job("org.apache.spark.api.python.PythonException: " + python(*USERS, "MemoryError")),
        ConfigError,
        "the Python process of a task ran out of memory (job.py, line 26): raise spark.executor.memoryOverhead",
    ),
    "an interrupted worker": (
        job("org.apache.spark.api.python.PythonException: " + python(*USERS, "KeyboardInterrupt")),
        InfrastructureError,
        "the Python process of a task was interrupted by SIGINT",
    ),
    "our own error in a task": (
        job(
            "org.apache.spark.api.python.PythonException: " + python("caffeonspark.errors.DataError: record '7' is bad")
        ),
        DataError,
        "record '7' is bad",
    ),
    "a dead worker": (
        job("org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)", "java.io.EOFException"),
        InfrastructureError,
        "the Python process of a task ended without a message: it was killed for lack of memory",
    ),
    "a full heap": (
        job("java.lang.OutOfMemoryError: Java heap space"),
        ConfigError,
        "the JVM of an executor ran out of memory (Java heap space): raise spark.executor.memory",
    ),
    "the driver's full heap": (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.readBroadcastFromFile.\n"
        ": java.lang.OutOfMemoryError: Java heap space\n" + AT,
        ConfigError,
        "the JVM of the driver ran out of memory (Java heap space): raise spark.driver.memory",
    ),
    "results that are too large": (
        "An error occurred while calling o1.collectToPython.\n: org.apache.spark.SparkException: Job aborted due to "
        "stage failure: Total size of serialized results of 4 tasks is bigger than spark.driver.maxResultSize "
        "(1024.0 MiB)\n" + AT,
        ConfigError,
        "Raise spark.driver.maxResultSize",
    ),
    "arithmetic": (job(DIVIDE), DataError, "[DIVIDE_BY_ZERO] Division by zero. Set"),
    "a cast": (
        job("org.apache.spark.SparkNumberFormatException: [CAST_INVALID_INPUT] The value 'x0' is malformed"),
        DataError,
        "[CAST_INVALID_INPUT] The value 'x0'",
    ),
    "a file that is gone": (
        job(
            "org.apache.spark.SparkFileNotFoundException: File file:/data/a.parquet does not exist\nIt is possible the "
            "underlying files have been updated."
        ),
        DataError,
        "a file of the data is gone: File file:/data/a.parquet does not exist",
    ),
    "Spark's own file that is gone": (
        job("java.io.FileNotFoundException: /tmp/blockmgr-1a2b/0c/shuffle_0_1_0.index (No such file or directory)"),
        InfrastructureError,
        "FileNotFoundException: /tmp/blockmgr-1a2b",
    ),
    "a damaged file": (
        job(
            "org.apache.spark.SparkException: Exception thrown in awaitResult: ",
            "org.apache.spark.SparkException: [CANNOT_READ_FILE_FOOTER] Could not read footer for file:/b.parquet.",
            "java.lang.RuntimeException: corrupted file",
        ),
        DataError,
        "[CANNOT_READ_FILE_FOOTER] Could not read footer for file:/b.parquet (RuntimeException: corrupted file)",
    ),
    "a file with a wrong checksum": (
        job(
            "org.apache.spark.SparkException: Encountered error while reading file file:///b.parquet. Details:",
            "org.apache.hadoop.fs.ChecksumException: Checksum error: file:/b.parquet at 0 exp: 1 got: 2",
        ),
        DataError,
        "ChecksumException: Checksum error: file:/b.parquet at 0 exp: 1 got: 2",
    ),
    "a damaged page of a file": (
        job(
            "org.apache.spark.SparkException: Encountered error while reading file file:///b.parquet. Details:",
            "java.io.IOException: FAILED_TO_UNCOMPRESS(5)",
        ),
        DataError,
        "file:///b.parquet cannot be read: IOException: FAILED_TO_UNCOMPRESS(5)",
    ),
    "a compressed file that is cut": (
        job("java.io.EOFException: Unexpected end of input stream"),
        DataError,
        "EOFException: Unexpected end of input stream",
    ),
    "a file that cannot be reached": (
        job(
            "org.apache.spark.SparkException: Encountered error while reading file hdfs://n/b.parquet. Details:",
            "java.net.ConnectException: Connection refused",
        ),
        InfrastructureError,
        "hdfs://n/b.parquet cannot be read: ConnectException: Connection refused",
    ),
    "a file that may not be read": (
        job(
            "org.apache.spark.SparkException: Encountered error while reading file hdfs://n/b.parquet. Details:",
            "org.apache.hadoop.security.AccessControlException: Permission denied: user=me, access=READ",
        ),
        ConfigError,
        "hdfs://n/b.parquet cannot be read: AccessControlException: Permission denied: user=me, access=READ",
    ),
    "a local file that may not be read": (
        job("java.io.FileNotFoundException: /data/b.parquet (Permission denied)"),
        ConfigError,
        "FileNotFoundException: /data/b.parquet (Permission denied)",
    ),
    "a folder that is there already": (
        "An error occurred while calling o9.saveAsTextFile.\n: org.apache.hadoop.mapred.FileAlreadyExistsException: "
        "Output directory file:/data/words already exists\n" + AT,
        ConfigError,
        "FileAlreadyExistsException: Output directory file:/data/words already exists",
    ),
    "a folder that is not there": (
        "An error occurred while calling o9.collect.\n: org.apache.hadoop.mapred.InvalidInputException: Input path "
        "does not exist: file:/data/words\n"
        + AT
        + "Caused by: java.io.IOException: Input path does not exist: file:/data/words\n",
        ConfigError,
        "IOException: Input path does not exist: file:/data/words",
    ),
    "a function of Spark's": (
        job(
            "org.apache.spark.SparkException: [FAILED_EXECUTE_UDF] Failed to execute user defined function (`f`).",
            "java.lang.IllegalArgumentException: a non-null input is needed",
        ),
        DataError,
        "IllegalArgumentException: a non-null input is needed",
    ),
    "an Arrow batch that is too large": (
        job(
            "org.apache.arrow.vector.util.OversizedAllocationException: Memory required for vector is (4294967296), "
            "which is overflow or more than max allowed (2147483647). You could consider using LargeVarCharVector"
        ),
        ConfigError,
        "than it can hold: lower spark.sql.execution.arrow.maxRecordsPerBatch",
    ),
    "a query": (
        "[AMBIGUOUS_REFERENCE] Reference `id` is ambiguous, could be: [`id`, `id`].;\n'Project ['id]\n\nJVM "
        "stacktrace:\norg.apache.spark.sql.AnalysisException: [AMBIGUOUS_REFERENCE] Reference `id` is ambiguous\n" + AT,
        ConfigError,
        "[AMBIGUOUS_REFERENCE] Reference `id` is ambiguous",
    ),
    "no Java": (
        "[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number.",
        ConfigError,
        "[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number",
    ),
    "a lost executor": (
        job("ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: exit code 137"),
        InfrastructureError,
        "ExecutorLostFailure (executor 1 exited",
    ),
    "a lost network": (
        job(
            "java.io.IOException: Failed to connect to /10.0.0.2:7337", "java.net.ConnectException: Connection refused"
        ),
        InfrastructureError,
        "ConnectException: Connection refused",
    ),
    "something without words": (
        job("java.lang.NullPointerException"),
        InfrastructureError,
        "NullPointerException",
    ),
    "a cancelled job": (
        "An error occurred while calling o5.collectToPython.\n: org.apache.spark.SparkException: Job 3 cancelled part "
        "of cancelled job group x\n" + AT,
        Interrupted,
        "ob 3 cancelled part of cancelled job group x",
    ),
    "a stopped application": (
        "An error occurred while calling None.X.\n: java.lang.IllegalStateException: Cannot call methods on a stopped "
        "SparkContext.\nThis stopped SparkContext was created at:\n" + AT,
        ConfigError,
        STOPPED,
    ),
}


def sparks(text, name="Py4JJavaError", module="py4j.protocol"):
    return type(name, (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize("what", CASES)
def test_causes(what):
    text, kind, message = CASES[what]
    names = {"a query": "AnalysisException", "no Java": "PySparkRuntimeError"}
    error = sparks(text, names[what], "pyspark.errors.exceptions") if what in names else sparks(text)
    found = cause_of(error)
    assert type(found) is kind, found.message
    assert message in found.message
    assert not any(word in found.message for word in ("\n", "Traceback", "Job aborted", "\tat ", "== SQL"))
    with pytest.raises(kind, match=r"^the data: "), explained("the data"):
        raise error


def test_only_what_spark_raises_is_explained():
    with pytest.raises(KeyError), explained("here"):
        raise KeyError("a bug")
    with pytest.raises(ConnectionRefusedError), explained("here"), socket.socket() as sock:
        sock.connect(("127.0.0.1", 1))  # somebody else's connection
    ours = DataError("no record")
    with pytest.raises(DataError) as raised, explained("here"):
        raise ours
    assert raised.value is ours
    assert type(cause_of(KeyError("a bug"))) is CaffeOnSparkError


def test_a_jvm_that_is_gone():
    from py4j.java_gateway import GatewayParameters, JavaGateway
    from py4j.protocol import Py4JNetworkError

    gateway = JavaGateway(gateway_parameters=GatewayParameters(port=1))
    with pytest.raises(InfrastructureError, match="Spark's JVM on the driver does not answer"), explained():
        gateway.jvm.java.lang.System.gc()
    assert isinstance(cause_of(Py4JNetworkError("Answer from Java side is empty")), InfrastructureError)


def test_what_cannot_even_be_told():
    class Silent(Exception):
        __module__ = "pyspark.errors"

        def __str__(self):
            raise ConnectionResetError

    assert "does not answer" in cause_of(Silent()).message
