"""``caffeonspark submit [spark-submit's options] -- FLAGS``: the right spark-submit line for a job, and its run.

spark-submit's options go through as they are given. What a job needs beyond them is added: the environment's Python,
executors and cores for the flags, memory for the nets, the files that a driver on another machine has to have. What
cannot work is refused before anything is started.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from typing import Dict, List, NoReturn, Optional, Sequence

from ..errors import CaffeOnSparkError, ConfigError
from ..settings import FLAGS
from ..spark.library_zip import library_digest
from ..spark.yarn import check_request, explain_refusal
from ..storage import is_local, local_path, scheme
from .job_check import JobCheck, check_job, local_session
from .memory import driver_overhead, executor_overhead
from .options import SubmitOptions
from .pack import MANIFEST

__all__ = ["main"]

_log = logging.getLogger(__name__)

_HELP = """usage: caffeonspark submit [spark-submit's options] [--dry-run] [--no-check] -- FLAGS

Runs a job on a cluster: caffeonspark submit --master yarn --deploy-mode cluster --num-executors 2 \\
    --archives env.tar.gz#env -- -train -conf solver.prototxt -model hdfs:///models/lenet.caffemodel

It looks at the prototxt files and the data from this machine, asks YARN for its limits, and gives spark-submit
  --archives          as given: what 'caffeonspark pack' wrote, here or on hdfs:; its Python is then used everywhere
  --executor-cores    -devices x spark.task.cpus
  --num-executors     -clusterSize
  spark.executor.memoryOverhead, spark.driver.memoryOverhead
                      memory for Caffe besides the JVM, from the nets' sizes
  --files             local prototxt, mean and weights files, for a driver on another machine (cluster mode)
  spark.dynamicAllocation.enabled, spark.speculation
                      false: the solvers of a job run all at once, each one time
and leaves alone what you give yourself.

  --dry-run           print the line, and do not run it
  --no-check          do not look at files, data and YARN first, and send no files
"""


def main(argv: Sequence[str]) -> int:
    """The command; its exit status is spark-submit's."""
    words = list(argv)
    own, dashes, flags = words, "", []
    if "--" in words:
        at = words.index("--")
        own, dashes, flags = words[:at], "--", words[at + 1 :]
    if any(word in ("-help", "--help", "-h") for word in own) or not words:
        print(_HELP, end="")
        return 0 if words else 1
    if not dashes:
        raise ConfigError("submit: the program's flags go after '--', as in: submit --master yarn -- -train -conf …")
    dry = "--dry-run" in own
    unchecked = "--no-check" in own
    options = SubmitOptions([word for word in own if word not in ("--dry-run", "--no-check")])
    job = _Job(options, flags, dry)
    command = job.command(unchecked)
    if dry:
        print(_pretty(command))
        return 0
    return _run(command, job.cluster_mode)


class _Job:
    """A job on its way to spark-submit's command line."""

    def __init__(self, options: SubmitOptions, flags: Sequence[str], dry: bool) -> None:
        self.options = options
        self.flags = list(flags)
        self.values = FLAGS.parse_args(flags)
        self.dry = dry
        if not (self.values.get("train") or self.values.get("test") or self.values.get("features")):
            raise ConfigError("nothing to do: give -train, -test or -features after '--'")
        master = options.get("spark.master")
        if not master:
            raise ConfigError("submit: --master is missing: give --master yarn")
        self.yarn = master == "yarn"
        self.cluster_mode = options.get("spark.submit.deployMode", "client") == "cluster"

    def command(self, unchecked: bool) -> List[List[str]]:
        """The words of the command line, in groups that belong together, when what the job needs has been added.

        Raises CaffeOnSparkError for what cannot work.
        """
        reachable = not self.yarn or self._hadoop_configuration()
        if self.yarn:
            self._hadoop_classes()
        self._python()
        self._executors()
        found = JobCheck()
        named = self.values.get("conf") or self.values.get("net")
        if self.options.get("spark.app.name") is None and named:
            stem = os.path.splitext(os.path.basename(str(named)))[0]
            self.options.add("--name", f"caffeonspark {stem}")
        if reachable and not unchecked:
            with local_session(self.options) as spark:
                found = check_job(spark, self.values, self.options, self.yarn)
        for note in found.notes:
            _say(f"note: {note}")
        if found.unseen:
            _say(f"note: {found.unseen}; every node has to have it. The memory for the nets is a guess")
        if self.yarn:
            self._memory(found)
        flags = self.flags
        if self.cluster_mode:
            self._check_paths(found)
            flags = self._send_files(found)
        if found.limits is not None:
            self._check_limits(found)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "caffeonspark_main.py")
        return [[_spark_submit()], *self.options.words(), [program], *_grouped(flags)]

    # ---- Hadoop

    def _hadoop_configuration(self) -> bool:
        """Whether the cluster is known. Raises ConfigError where it is not."""
        folder = os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")
        if folder and os.path.exists(os.path.join(folder, "yarn-site.xml")):
            return True
        wrong = f"is {folder}, which has no yarn-site.xml" if folder else "is not set"
        self._refuse(f"submit: HADOOP_CONF_DIR {wrong}: name the folder with the cluster's yarn-site.xml in it")
        return False

    def _hadoop_classes(self) -> None:
        """Spark builds without Hadoop take its classes from the installation."""
        home = _spark_home()
        jars = os.listdir(os.path.join(home, "jars")) if os.path.isdir(os.path.join(home, "jars")) else []
        if any(jar.startswith(("hadoop-client-api", "hadoop-common")) for jar in jars):
            return
        if os.environ.get("SPARK_DIST_CLASSPATH"):
            return
        hadoop = shutil.which("hadoop")
        if hadoop is None:
            self._refuse(
                f"submit: the Spark in {home} comes without Hadoop's classes: put the hadoop command on the PATH, or "
                "set SPARK_DIST_CLASSPATH to what 'hadoop classpath' prints"
            )
            return
        process = subprocess.run([hadoop, "classpath"], stdout=subprocess.PIPE, text=True, check=False)
        os.environ["SPARK_DIST_CLASSPATH"] = process.stdout.strip()

    def _refuse(self, message: str) -> None:
        """Raise ConfigError; a dry run only says it, since its line may be for another machine."""
        if not self.dry:
            raise ConfigError(message)
        _say(f"note: {message}")

    # ---- Python

    def _python(self) -> None:
        """The Python of the executors, and of a driver next to them."""
        if self.options.get("spark.pyspark.python"):
            return
        archives = [a for a in (self.options.get("spark.yarn.dist.archives") or "").split(",") if a]
        named = [(a.partition("#")[0], a.partition("#")[2]) for a in archives]
        with_name = [(path, name) for path, name in named if name]
        if named and not with_name:
            raise ConfigError(
                f"submit: --archives {archives[0]}: say what it is called on the nodes: {archives[0]}#env"
            )
        if not with_name:
            if not self.yarn:
                return
            raise ConfigError(
                "submit: the nodes need a Python environment: make one with 'caffeonspark pack env.tar.gz' and give "
                "--archives env.tar.gz#env, or name a Python that every node has with --conf spark.pyspark.python=PATH"
            )
        path, name = with_name[0]
        _check_archive(path)
        self.options.add("spark.pyspark.python", f"./{name}/bin/python")
        if self.cluster_mode:  # programs that the driver or the executors start
            self.options.add("spark.yarn.appMasterEnv.PYSPARK_PYTHON", f"./{name}/bin/python")
            self.options.add("spark.executorEnv.PYSPARK_PYTHON", f"./{name}/bin/python")
        else:
            self.options.add("spark.pyspark.driver.python", sys.executable)

    # ---- sizes

    def _executors(self) -> None:
        """As many executors and cores as the flags need; raises ConfigError where too few are asked for."""
        size, devices = self.values.get("clusterSize"), int(self.values.get("devices") or 1)
        given = self.options.get("spark.executor.instances")
        if given is None and size is None:
            raise ConfigError("submit: say how many executors train together: --num-executors N")
        if given is None:
            self.options.add("--num-executors", str(size))
        elif size is not None and int(size) > self.options.number("spark.executor.instances", 1):
            raise ConfigError(f"submit: -clusterSize {size} needs as many executors, and --num-executors is {given}")
        cpus = self.options.number("spark.task.cpus", 1)
        need = devices * cpus
        if self.options.get("spark.executor.cores") is None:
            self.options.add("--executor-cores", str(need))
        elif self.options.number("spark.executor.cores", 1) < need:
            raise ConfigError(
                f"submit: -devices {devices} x spark.task.cpus {cpus} need {need} cores in each executor, and "
                f"--executor-cores is {self.options.get('spark.executor.cores')}"
            )
        for setting in ("spark.dynamicAllocation.enabled", "spark.speculation"):
            if str(self.options.get(setting, "false")).lower() == "true":
                self.options.add(setting, "false")
                _say(f"note: {setting} is set to false for this job: its ranks run all at once, each one time")

    def _memory(self, found: JobCheck) -> None:
        devices = int(self.values.get("devices") or 1)
        tasks = self.options.number("spark.executor.cores", 1) // self.options.number("spark.task.cpus", 1)
        # nets that could not be looked at are taken for ones of middle size
        guess = 1536 if found.unseen or not (found.train or found.inference) else 0
        if self.options.get("spark.executor.memoryOverhead") is None:
            need = executor_overhead(
                found.engine,
                found.train,
                found.inference,
                found.solver,
                found.strategy,
                found.settings,
                tasks,
                devices * self.options.number("spark.executor.instances", 1),
            )
            self.options.add("spark.executor.memoryOverhead", str(need + guess * devices))
        if self.cluster_mode and self.options.get("spark.driver.memoryOverhead") is None:
            need = driver_overhead(found.engine, [*found.train, *found.inference])
            self.options.add("spark.driver.memoryOverhead", str(need + guess // 2))

    def _check_limits(self, found: JobCheck) -> None:
        assert found.limits is not None
        options, limits = self.options, found.limits
        memory, cores = options.memory("spark.executor.memory", 1024), options.number("spark.executor.cores", 1)
        overhead = options.memory("spark.executor.memoryOverhead", 0)
        check_request(limits, "an executor", memory, overhead, cores, "executor")
        if self.cluster_mode:
            driver = options.memory("spark.driver.memory", 1024)
            beside = options.memory("spark.driver.memoryOverhead", 0)
            check_request(limits, "the driver", driver, beside, options.number("spark.driver.cores", 1), "driver")
        wanted = options.number("spark.executor.instances", 1)
        room = sum(node[0] // (memory + overhead) for node in limits.nodes)
        if room < wanted:
            _say(
                f"note: YARN's {len(limits.nodes)} NodeManagers have room for {room} executors of "
                f"{memory + overhead} MB, and {wanted} are asked for: the job waits until more are there"
            )

    # ---- what a driver on another machine needs

    def _check_paths(self, found: JobCheck) -> None:
        """Refuse paths on local disks where another machine would write or look."""
        for name in ("model", "output"):
            path = str(self.values.get(name) or "")
            if is_local(path) and not os.path.isabs(local_path(path)):
                raise ConfigError(
                    f"submit: -{name} {path}: in cluster mode this is a folder of the driver's node that vanishes with "
                    "the job: name a place on hdfs:"
                )
            if is_local(path):
                _say(f"note: -{name} {path} is written on the node that the driver runs on")
        sent = set(found.read.values())
        for where, path in found.data:
            local = local_path(path)
            if not os.path.isabs(local) and os.path.abspath(local) not in sent:  # lists of files are sent
                raise ConfigError(
                    f"{where}: source {local} is a path on this machine, and in cluster mode the driver runs on "
                    "another: put the prototxt files and the data on hdfs: next to each other (hdfs dfs -put), use "
                    "a path that every node has, or --deploy-mode client"
                )

    def _send_files(self, found: JobCheck) -> List[str]:
        """Send local files that the driver reads; the flags that name them as they are called there."""
        names: Dict[str, str] = {}
        for path in found.read.values():
            before = names.setdefault(os.path.basename(path), path)
            if before != path:
                raise ConfigError(
                    f"submit: {before} and {path} would both be sent to the driver as {os.path.basename(path)}: "
                    "rename one, or put them on hdfs:"
                )
        self.options.append("--files", sorted(names.values()))
        return [self._flag_on_driver(word, found) for word in self.flags]

    @staticmethod
    def _flag_on_driver(word: str, found: JobCheck) -> str:
        head, equals, rest = word.partition("=") if word.startswith("-") else ("", "", word)
        parts = [
            os.path.basename(found.read[part.strip()]) if part.strip() in found.read else part
            for part in rest.split(",")
        ]
        return head + equals + ",".join(parts)


def _grouped(flags: Sequence[str]) -> List[List[str]]:
    groups: List[List[str]] = []
    for word in flags:
        if groups and not word.startswith("-") and len(groups[-1]) == 1:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _spark_home() -> str:
    home = os.environ.get("SPARK_HOME")
    if home:
        return home
    import pyspark

    return os.path.dirname(os.path.abspath(str(pyspark.__file__)))


def _spark_submit() -> str:
    return os.path.join(_spark_home(), "bin", "spark-submit")


def _check_archive(path: str) -> None:
    """Raise ConfigError where an archive on this machine is not there, or holds another library than this one."""
    if scheme(path) not in ("", "file"):
        return
    local = local_path(path)
    if not os.path.exists(local):
        raise ConfigError(f"submit: --archives {path} does not exist: make it with 'caffeonspark pack {path}'")
    try:
        with tarfile.open(local) as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST:
                return  # of conda-pack, or made by hand
            content = tar.extractfile(first)
            packed = json.loads(content.read())["library"] if content is not None else ""
    except (OSError, tarfile.TarError, ValueError, KeyError, EOFError) as e:
        raise ConfigError(f"submit: --archives {path} cannot be read: {e}") from None
    if packed != library_digest():
        raise ConfigError(
            f"submit: --archives {path} holds another version of this library: make it again with "
            f"'caffeonspark pack {path}'"
        )


def _pretty(command: Sequence[Sequence[str]]) -> str:
    return " \\\n    ".join(" ".join(map(shlex.quote, group)) for group in command)


def _say(text: str) -> None:
    _log.info("caffeonspark: %s", text)


# ---- running it


def _run(command: Sequence[Sequence[str]], cluster_mode: bool) -> int:
    """Run spark-submit; its exit status. In cluster mode, say in one line how it failed."""
    words = [word for group in command for word in group]
    if not cluster_mode:
        return subprocess.run(words, check=False).returncode
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, errors="replace")
    assert process.stderr is not None
    said: List[str] = []
    try:
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            said.append(line.rstrip("\n"))
            del said[:-2000]
        status = process.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
        application = _application(said)
        if application:
            _say(f"{application} goes on without this command; to end it: yarn application -kill {application}")
        return 130
    if status:
        _explain(said)
    return status


def _application(said: Sequence[str]) -> Optional[str]:
    found = re.findall(r"application_\d+_\d+", "\n".join(said))
    return str(found[-1]) if found else None


def _explain(said: Sequence[str]) -> NoReturn:
    """Raise the one line that says how a job of cluster mode failed."""
    text = "\n".join(said)
    refusal = explain_refusal(text)
    if refusal:
        raise ConfigError(refusal)
    application = _application(said)
    if application is None:
        causes = [line.strip() for line in said if "Exception" in line and not line.strip().startswith("at ")]
        raise CaffeOnSparkError(causes[0] if causes else "spark-submit failed: see above")
    diagnostics = re.findall(r"^\s*diagnostics: (.*)$", text, re.MULTILINE)
    reasons = [line.strip() for line in diagnostics if line.strip() not in ("N/A", "")]
    why = f": {reasons[-1].replace('User class threw exception: ', '')}" if reasons else ""
    raise CaffeOnSparkError(f"the job failed{why} (its log: yarn logs -applicationId {application})")
