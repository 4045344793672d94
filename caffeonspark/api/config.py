"""Settings of a run: flags, the parsed solver and nets, and the size of the cluster."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from .. import log
from ..engines.base import Engine
from ..engines.registry import engine_named
from ..errors import ConfigError, StorageError
from ..nets.given import as_text, is_text, net_as_text
from ..nets.net import SolverNets, solver_nets
from ..nets.prototxt import Files, parse_solver
from ..plans.run_config import RunConfig
from ..settings import FLAGS, Settings
from ..spark.session import session_of, storage_of
from ..storage import Storage, expand, local_path
from .keywords import ConfigFlags
from .legacy import LegacyAttributes, split, translated
from .scoring import OF_NETS, as_pairs, check_unused, read_net

__all__ = ["Config"]

_PARSED = ("solver", "solver_path", "nets")


def _meant(name: str, value: Any) -> Any:
    """What a flag is given, where that may be something else than its text."""
    bare = name.lstrip("-")
    if bare == "columns":
        return as_pairs(value)
    if bare == "net":
        return net_as_text(value)
    return as_text(value) if FLAGS.aliases.get(bare, bare) == "conf" else translated(name, value)


def _expanded(name: str, value: Any) -> Any:
    """The value of a flag, with what stands for a folder in its paths replaced; where there is a file of just that
    name, or a folder for one, nothing does."""
    if FLAGS[name].argument not in ("FILE", "PATH", "DIR") or is_text(value):
        return value
    return ",".join(path if _is_there(path) else expand(path) for path in value.split(","))


def _is_there(path: str) -> bool:
    """Whether a path leads to a local file as it is written, or to a place for one in a folder with such a name."""
    if path.startswith("file://~"):
        return False
    local = local_path(path)
    folder = os.path.dirname(local)
    return os.path.lexists(local) or (expand(folder) != folder and os.path.isdir(folder))


class _Noted(Files):
    """Files that remember the contents they gave, by their places."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.contents: Dict[str, bytes] = {}

    def find(self, path: str, beside: Optional[str] = None) -> Optional[str]:
        return self._files.find(path, beside)

    def read(self, path: str, what: str, beside: Optional[str] = None) -> bytes:
        content = self._files.read(path, what, beside)
        self.contents[self._files.find(path, beside) or path] = content
        return content


class Config(ConfigFlags, LegacyAttributes):
    """What to run, from flags in any of four forms.

    >>> Config(spark, ["-conf", "solver.prototxt", "-clusterSize", "2"])   # a command line
    >>> Config(spark, {"-conf": "solver.prototxt", "clusterSize": 2})      # a dict, dashes optional
    >>> Config(spark, conf="solver.prototxt", clusterSize=2)               # keywords

    Every flag is an attribute (``config.conf``, ``config.devices``), and so are CaffeOnSpark's own names for
    them (``config.protoFile``, ``config.modelPath``). Assigning one checks the value; assigning ``conf``
    reads the prototxt files again, and so does ``DataSource.getSource`` if their content has changed.

    With ``net`` instead of ``conf`` a net is tested, and features are extracted, without a solver.

    ``conf`` may also be an object: a SolverParameter, a NetParameter or ``caffe.NetSpec`` (to test and extract
    features), or ``(solver, net)``; or the text of a solver, of more than one line, or its bytes. So may ``net``: a
    NetParameter, ``caffe.NetSpec``, text or bytes.

    Parameters
    ----------
    spark : SparkSession, SparkContext or None
        Whose configuration gives ``clusterSize`` and whose file systems are read. None: local files only.
    args : dict, sequence of str, or None
    **flags
        Flags by name; they win over ``args``.

    Raises
    ------
    ConfigError
        For an unknown flag, a wrong value, a missing file, or a prototxt that cannot be parsed.
    """

    def _begin(self, spark: Any, args: Union[Mapping[str, Any], Sequence[str], None], flags: Mapping[str, Any]) -> None:
        session = None if spark is None else session_of(spark)
        if isinstance(args, str) or not isinstance(args, (Mapping, Sequence, type(None))):
            kind = type(args).__name__
            raise ConfigError(f"flags are given as a dict, as keywords, or as a list of words, not as {kind}: {args!r}")
        words, legacy = split({**args, **flags} if isinstance(args, Mapping) else flags)
        given = {} if args is None or isinstance(args, Mapping) else FLAGS.parse_args(args)
        given.update(FLAGS.parse_mapping({name: _meant(name, value) for name, value in words.items()}))
        given = {name: _expanded(name, value) for name, value in given.items()}
        values: Dict[str, Any] = {name: flag.default for name, flag in FLAGS.items()}
        values.update(given)
        log.show_unless_configured()
        set_ = object.__setattr__
        set_(self, "_spark", session)
        set_(self, "_values", values)
        set_(self, "storage", storage_of(session))
        set_(self, "files", self._make_files())
        set_(self, "_read", {})
        for name in _PARSED:
            set_(self, name, None)
        for name, value in legacy.items():
            self._assign_legacy(name, value)
        if self.conf or self.net:
            self._load()

    _spark: Any
    _values: Dict[str, Any]
    solver: Any
    solver_path: str
    nets: SolverNets
    storage: Storage
    files: Files
    _read: Dict[str, bytes]

    def _make_files(self) -> Files:
        shipped = []
        if self._spark is not None:
            from pyspark import SparkFiles

            shipped.append(SparkFiles.getRootDirectory())
            if self._spark.sparkContext.getConf().get("spark.submit.deployMode", "client") == "cluster":
                shipped.append(os.getcwd())  # where YARN puts them for a driver it starts
        return Files(self.storage.read, self.storage.exists, shipped)

    def _load(self) -> None:
        files = _Noted(self.files)
        if self.net:
            solver, path, nets = read_net(self.settings, files)
            self._take(solver, path, nets, files)
            return
        check_unused(self.settings)
        if is_text(self.conf):
            content, path = self.conf.encode(), "solver.prototxt"  # its name for people, and for snapshots
        else:
            content = files.read(self.conf, "the solver (-conf)")
            path = files.find(self.conf) or self.conf
        solver = parse_solver(content, local_path(path))
        self._take(solver, local_path(path), solver_nets(solver, local_path(path), files), files)

    def _take(self, solver: Any, path: str, nets: SolverNets, files: _Noted) -> None:
        set_ = object.__setattr__
        for name, value in zip(_PARSED, (solver, path, nets)):
            set_(self, name, value)
        set_(self, "_read", files.contents)

    def refresh(self) -> None:
        """Read the solver and its nets again, if their files are not what they were."""
        if self.solver is not None and any(self._is_another(path, content) for path, content in self._read.items()):
            self._load()

    def _is_another(self, path: str, content: bytes) -> bool:
        try:
            return self.storage.read(path) != content
        except StorageError:  # what was read counts, where the file is gone by now
            return False

    def _assign(self, name: str, value: Any) -> None:
        if self._assign_legacy(name, value):
            return
        given = FLAGS.parse_mapping({name: _meant(name, value)})
        self._values.update({flag: _expanded(flag, text) for flag, text in given.items()})
        if FLAGS.aliases.get(name, name) in ("conf", *OF_NETS) and (self.conf or self.net):
            self._load()

    def __repr__(self) -> str:
        return "Config(" + ", ".join(f"{n}={v!r}" for n, v in self.changed.items()) + ")"

    # ---- for the library

    @property
    def settings(self) -> Settings:
        """Every flag, typed and frozen."""
        return Settings.of(self._values)

    @property
    def run_config(self) -> RunConfig:
        """What the library works with: this configuration as it is now."""
        executors, source = self._executors()
        return RunConfig(
            session=self._spark,
            settings=self.settings,
            storage=self.storage,
            files=self.files,
            solver=self.solver,
            solver_path=self.solver_path,
            nets=self.nets,
            executors=executors,
            executors_from=source,
        )

    # ---- derived settings

    @property
    def changed(self) -> Dict[str, Any]:
        """The flags whose values are not their defaults."""
        return self.settings.changed()

    @property
    def solverParameter(self) -> Any:
        """The solver as a protobuf message (CaffeOnSpark's name)."""
        return self.solver

    @property
    def netParam(self) -> Any:
        """The TRAIN net as a protobuf message (CaffeOnSpark's name)."""
        return self.nets.train.message

    @property
    def isFeature(self) -> bool:
        """Whether ``-features`` names a blob."""
        return bool(self.features)

    @property
    def blobs(self) -> List[str]:
        """The blobs of ``-features``, ``-label`` last."""
        return self.settings.blobs

    @property
    def executors(self) -> int:
        """How many executors train together: ``-clusterSize``, else ``spark.executor.instances``, else 1."""
        return self._executors()[0]

    @property
    def executors_from(self) -> str:
        """Which setting ``executors`` came from."""
        return self._executors()[1]

    def _executors(self) -> Tuple[int, str]:
        if self.clusterSize is not None:
            return int(self.clusterSize), "-clusterSize"
        if self._spark is not None:
            instances = self._spark.sparkContext.getConf().get("spark.executor.instances")
            if instances:
                return int(instances), "spark.executor.instances"
        return 1, "the default"

    @property
    def ranks(self) -> int:
        """How many solvers train together: executors times devices."""
        return self.run_config.ranks

    @property
    def ports(self) -> Tuple[int, int]:
        """(lowest, highest) of ``-port``; (0, 0) for any. Raises ConfigError."""
        return self.settings.ports

    def load_engine(self) -> Engine:
        """What ``-engine`` names. Raises ConfigError."""
        return engine_named(self.settings.engine)

    def spark(self) -> Any:
        """The SparkSession; raises ConfigError if the Config was made without one."""
        return self.run_config.spark

    def describe_cluster(self) -> str:
        """One line that says how many ranks there are and why."""
        return self.run_config.describe_cluster()
