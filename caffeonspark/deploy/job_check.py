"""A look at the job before it is submitted, from this machine: what is wrong shows at once, not in a cluster's log.

The settings, prototxt files and first records are read as the driver will read them, with a local Spark session
that knows the cluster's file systems; the nets are built once; YARN is asked for its limits.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Type

from ..api.config import Config
from ..causes import cause_of
from ..engines.base import Engine
from ..errors import CaffeOnSparkError, ConfigError
from ..formats.checksums import read_checked
from ..formats.endings import ending_of
from ..inference.tasks import read_model
from ..nets.net import TEST, TRAIN
from ..nets.prototxt import Files
from ..nets.solver_values import solver_notes
from ..plans.job import ResumePoint
from ..plans.made_data import batches_to_score
from ..plans.net_plan import NetPlan
from ..plans.net_source import NetSource
from ..runs.preflight import check_solver, check_solver_fields, check_strategy
from ..runs.snapshots import StartFiles
from ..runs.start_check import check_start
from ..runs.start_weights import find_start_weights, solver_weights
from ..runs.state_check import check_state
from ..settings import Settings
from ..spark.jvm import end_jvm, hadoop_configuration
from ..spark.yarn import Limits, read_limits
from ..storage import find_file, local_path
from ..sync.base import Strategy
from ..sync.registry import strategy_for
from .options import SubmitOptions

__all__ = ["JobCheck", "check_job", "local_session"]


@dataclass
class JobCheck:
    """What was found.

    Attributes
    ----------
    engine : what they are run by; None where no net was looked at
    train : plans of the TRAIN net and of the nets it is validated with
    inference : plans of the nets that -test and -features run
    solver : the type of the solver that ranks make
    strategy : how ranks stay one model; None where no net is trained
    settings : the flags
    read : local files that the driver reads: their paths by what names them
    data : (where it is named, path) of data on local disks
    unseen : why the data could not be looked at from here, or ""
    limits : YARN's
    notes : what is odd in the solver or in what training starts from
    """

    engine: Optional[Engine] = None
    train: List[NetPlan] = field(default_factory=list)
    inference: List[NetPlan] = field(default_factory=list)
    solver: str = ""
    strategy: Optional[Type[Strategy]] = None
    settings: Settings = field(default_factory=Settings)
    read: Dict[str, str] = field(default_factory=dict)
    data: List[Tuple[str, str]] = field(default_factory=list)
    unseen: str = ""
    limits: Optional[Limits] = None
    notes: List[str] = field(default_factory=list)


class _Recorded(Files):
    """Files that remember which local ones were read."""

    def __init__(self, storage: Any, read: Dict[str, str]) -> None:
        super().__init__(storage.read, storage.exists)
        self._storage = storage
        self._noted = read

    def read(self, path: str, what: str, beside: Optional[str] = None) -> bytes:
        content = super().read(path, what, beside)
        found = self.find(path, beside)
        if found is not None and self._storage.on_local_disk(found):
            self._noted[path] = os.path.abspath(local_path(found))
        return content


class _LookedAt(Config):
    """A Config whose files are recorded."""

    def _make_files(self) -> Files:
        object.__setattr__(self, "read", {})
        return _Recorded(self.storage, self.read)

    read: Dict[str, str]


def check_job(spark: Any, values: Mapping[str, Any], options: SubmitOptions, yarn: bool) -> JobCheck:
    """Look at a job.

    Parameters
    ----------
    spark : a local session
    values : the program's flags
    options : spark-submit's options
    yarn : whether it is for YARN

    Raises
    ------
    CaffeOnSparkError
        For what the driver would refuse too.
    """
    with _sent_modules(options):
        return _check_job(spark, values, options, yarn)


@contextlib.contextmanager
def _sent_modules(options: SubmitOptions) -> Iterator[None]:
    """What ``--py-files`` sends can be imported here meanwhile."""
    files = [local_path(path) for path in (options.get("spark.submit.pyFiles") or "").split(",") if path]
    places = [os.path.dirname(os.path.abspath(path)) if path.endswith(".py") else path for path in files]
    sys.path[:0] = places
    try:
        yield
    finally:
        for place in places:
            sys.path.remove(place)


def _check_job(spark: Any, values: Mapping[str, Any], options: SubmitOptions, yarn: bool) -> JobCheck:
    found = JobCheck()
    config = _LookedAt(spark, {**values, "clusterSize": values.get("clusterSize") or 1})
    if not (config.conf or config.net):
        raise ConfigError("no solver is given: set -conf to the solver prototxt, or -net to a net to test")
    found.settings = config.settings
    found.engine = config.load_engine()
    found.solver = str(config.solver.type)
    if config.train:
        check_solver_fields(config.run_config)
    found.read = config.read
    for name in ("weights", "snapshot", *(() if values.get("train") else ("model",))):
        for path in [part.strip() for part in str(getattr(config, name)).split(",") if part.strip()]:
            place = find_file(config.storage, path, f"the file of -{name}")
            if config.storage.on_local_disk(place):
                found.read[path] = os.path.abspath(local_path(place))
    elsewhere = options.get("spark.submit.deployMode") == "cluster"
    try:
        if config.train:
            found.strategy = strategy_for(config.settings, found.solver)
            found.strategy.check_settings(config.settings, config.ranks)
            found.solver = str(found.strategy.engine_solver(config.solver).type)
            found.train = [_plan(config, config.run_config.net(TRAIN), found, elsewhere)]
            found.train += [_plan(config, net, found, elsewhere) for net in config.run_config.validation_nets]
            _check_solver(config, found)
        if config.test or config.blobs:
            net = config.run_config.net(TEST)
            if not net.data_layers():
                batches_to_score(net, config.solver.test_iter)
            found.inference = [_plan(config, net, found, elsewhere)]
            if not (config.train or config.blobs):  # of which a part of the net may be enough
                read_model(config.run_config, found.inference[0])
    except _Unseen as e:
        found.unseen = e.message
    if yarn:
        found.limits = read_limits(hadoop_configuration(spark.sparkContext), options.get("spark.yarn.queue"))
    return found


def _check_solver(config: Config, found: JobCheck) -> None:
    """Raise what the driver would for the solver and for what training starts from."""
    run, settings = config.run_config, config.settings
    found.notes += [f"{run.solver_path}: {note}" for note in solver_notes(run.solver)]
    check_strategy(run, run.solver, found.train[0], found.notes.append)
    inspection = check_solver(run, run.solver, found.train[0], found.train[1:])
    names = find_start_weights(run)
    for name, place in zip(solver_weights(run), names):
        if config.storage.on_local_disk(place):
            found.read[name] = os.path.abspath(local_path(place))
    contents = [read_checked(config.storage, name) for name in names]
    point = ResumePoint()
    if settings.snapshot:
        names.append(find_file(config.storage, settings.snapshot, "the solver state (-snapshot)"))
        contents.append(read_checked(config.storage, names[-1]))
        point = ResumePoint(state=ending_of(names[-1]))
    start = StartFiles(point, contents, names=names)
    check_start(found.train[0], start, found.notes.append)
    check_state(run, start, inspection, found.notes.append)


class _Unseen(CaffeOnSparkError):
    """Data that other machines may have."""


def _plan(config: Config, net: Any, found: JobCheck, elsewhere: bool) -> NetPlan:
    """The plan of a net, whose data the driver may have ``elsewhere``."""
    source = NetSource(config, net)
    for one in source.sources:
        if not one.parameters().source:  # of a user's own kind, or an error that the plan reports
            continue
        path = one.source_path()
        if config.storage.on_local_disk(path):
            found.data.append((one.where, path))
            if elsewhere and os.path.isabs(local_path(path)) and not os.path.exists(local_path(path)):
                raise _Unseen(f"{one.where}: source {path} is not on this machine")
    return source.plan


# ---- the session


@contextlib.contextmanager
def local_session(options: SubmitOptions) -> Iterator[Any]:
    """A Spark session in this process alone, which reaches what the cluster's drivers reach; it is quiet.

    The options' settings of file systems and security hold in it.
    """
    from pyspark.sql import SparkSession

    before = os.environ.get("PYSPARK_SUBMIT_ARGS")
    os.environ["PYSPARK_SUBMIT_ARGS"] = _arguments(options)
    try:
        with _quiet() as said:
            try:
                spark = (
                    SparkSession.builder.master("local[1]")
                    .appName("caffeonspark submit")
                    .config("spark.driver.host", "127.0.0.1")
                    .config("spark.driver.bindAddress", "127.0.0.1")
                    .config("spark.ui.enabled", "false")
                    .config("spark.eventLog.enabled", "false")
                    .config("spark.plugins", "")
                    .getOrCreate()
                )
            except Exception as e:
                raise ConfigError(f"submit: Spark does not start on this machine: {_reason(e, said())}") from None
            try:
                yield spark
            finally:
                spark.stop()
                end_jvm()  # it would take memory as long as the job is watched
    finally:
        if before is None:
            os.environ.pop("PYSPARK_SUBMIT_ARGS", None)
        else:
            os.environ["PYSPARK_SUBMIT_ARGS"] = before


_PASSED_ON = ("--jars", "--packages", "--repositories", "--properties-file", "--principal", "--keytab")
_SETTINGS = ("spark.hadoop.", "spark.kerberos.", "spark.jars")


def _arguments(options: SubmitOptions) -> str:
    words: List[str] = []
    for group in options.words():
        setting = group[1].partition("=")[0] if group[0] == "--conf" else ""
        if group[0] in _PASSED_ON or setting.startswith(_SETTINGS):
            words += group
    return " ".join(map(shlex.quote, [*words, "pyspark-shell"]))


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Standard error of this process and the JVM it starts into a file; yields a function that gives what is in it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)

        def said() -> str:
            return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")

        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _reason(error: BaseException, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "Exception" in line or "Error" in line]
    return lines[0] if lines else cause_of(error).message
