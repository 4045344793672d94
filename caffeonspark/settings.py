"""The settings of a run: every flag of the command line, with its type, its default and what it means.

A flag is one field here: it is then in ``-help``, an attribute of ``Config``, and known to the ranks. It is also a
Param of the estimators, unless ``NOT_PARAMS`` has it. After a change, ``make stubs`` updates what editors know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .errors import ConfigError, without_passwords
from .flags import flag, table_of

__all__ = ["FLAGS", "NOT_PARAMS", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Every flag by its name, without the dash."""

    train: bool = flag("switch", False, "train, and save the model", section="What to do")
    test: bool = flag("switch", False, "print and save the mean of each output blob of the TEST net")
    features: Tuple[str, ...] = flag(
        "names", [], "save these blobs of the TEST net, one row for each sample", "BLOB,BLOB…"
    )
    label: str = flag("text", "", "one more blob for -features", "BLOB")
    dryRun: bool = flag("switch", False, "do all checks and nothing else: train, test and save nothing")
    conf: str = flag("text", "", "the solver prototxt", "FILE", section="Files")
    net: str = flag(
        "text", "", "instead of -conf, for -test and -features: a net prototxt, such as a deploy net", "FILE"
    )
    model: str = flag("text", "", "the model: written by -train, read by -test and -features", "FILE")
    output: str = flag("text", "output", "where -features and -test write", "PATH")
    outputFormat: str = flag("text", "json", "format of -features: json, parquet or any Spark writer", "NAME")
    weights: str = flag("text", "", "start from these .caffemodel files (comma-separated), by layer name", "FILE")
    snapshot: str = flag("text", "", "resume from this .solverstate; needs -weights", "FILE")
    resume: bool = flag("switch", False, "resume from the newest complete snapshot next to the model, if there is one")
    keepSnapshots: Optional[int] = flag("int", None, "keep only the newest N snapshots of the run", "N", minimum=1)
    clusterSize: Optional[int] = flag(
        "int",
        None,
        "executors that train together (default: spark.executor.instances, else 1)",
        "N",
        minimum=1,
        section="Cluster",
    )
    devices: int = flag("int", 1, "ranks (solvers) in each executor", "N", minimum=1)
    engine: str = flag("text", "caffe", "what computes: a name, or MODULE:CLASS for one of your own", "NAME")
    blasKernel: str = flag(
        "text",
        "auto",
        "OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and "
        "OPENBLAS_CORETYPE say)",
        "NAME",
    )
    sync: str = flag(
        "text",
        "all_reduce",
        "how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic "
        "(weights tied to a centre), or MODULE:CLASS for one of your own",
        "NAME",
    )
    syncInterval: int = flag(
        "int", 10, "with -sync average or elastic: a rank's iterations between averagings", "T", minimum=1
    )
    compress: str = flag(
        "choice",
        "none",
        "with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time",
        "none|bf16",
        choices=("none", "bf16"),
    )
    averageHistory: bool = flag("switch", False, "with -sync average: the solver's history becomes the mean, too")
    elasticAlpha: Optional[float] = flag(
        "float",
        None,
        "with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)",
        "A",
    )
    fullBatch: bool = flag("switch", False, "an iteration is the solver's update by the gradient of all the data")
    lbfgsHistory: int = flag(
        "int", 10, 'with a solver of type: "LBFGS": the newest steps that it knows the curvature from', "M", minimum=1
    )
    tol: float = flag(
        "float",
        1e-6,
        'with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations',
        "T",
        minimum=0,
    )
    connection: str = flag(
        "choice",
        "ethernet",
        "how gradients travel; infiniband runs as ethernet over IPoIB",
        "NAME",
        choices=("ethernet", "infiniband"),
    )
    maxRestarts: int = flag(
        "int", 3, "restart from the newest snapshot after a failure, at most N times without a new one", "N", minimum=0
    )
    port: str = flag("text", "", "ports to listen on, on driver and executors (default: any)", "LOW-HIGH")
    interface: str = flag("text", "", "network interface for the gradients (default: the one Spark uses)", "NAME")
    checksum: bool = flag("switch", True, "find bytes that change on their way between machines", "true|false")
    encrypt: str = flag(
        "choice",
        "",
        "encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not "
        "authenticate",
        "[anyway]",
        choices=("true", "anyway"),
        alone="true",
    )
    stallTimeout: float = flag("float", 120.0, "seconds without progress after which a rank is lost", "S", minimum=1)
    data: str = flag("text", "", "with -net: the DataFrame that fills the net's inputs", "PATH", section="Data")
    dataFormat: str = flag("text", "parquet", "format of -data: parquet, json or any Spark reader", "NAME")
    columns: Tuple[str, ...] = flag(
        "names", [], "with -net: the columns of its inputs (default: those of their names)", "BLOB=COLUMN,…"
    )
    transform: str = flag(
        "text", "", "with -net: what its images go through, as in a transform_param: 'scale: 0.0039 …'", "FIELDS"
    )
    resize: bool = flag("switch", False, "resize decoded images to the layer's height and width")
    shuffle: bool = flag("switch", False, "shuffle each rank's samples again for every epoch")
    readerOptions: Tuple[str, ...] = flag("names", [], "options of the Spark reader of a DataFrame", "NAME=VALUE,…")
    badRecords: str = flag(
        "choice",
        "fail",
        "what a record that cannot be used does: fail the job, or be skipped",
        "fail|skip",
        choices=("fail", "skip"),
    )
    badRecordsMax: float = flag("float", 0.01, "skip at most this fraction of the records", "F", minimum=0)
    maxPixels: int = flag("int", 100_000_000, "an image whose file claims more pixels cannot be used", "N", minimum=1)
    decoders: int = flag(
        "int", 2, "a rank's processes that decode images ahead of it; 0: nor do -test and -features", "N", minimum=0
    )
    persistent: bool = flag("switch", False, "keep the training DataFrame on Spark's disks between attempts")
    lmdb_partitions: Optional[int] = flag(
        "int",
        None,
        "partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)",
        "N",
        minimum=1,
    )
    scoreBatch: Optional[int] = flag(
        "int", None, "records in a pass of -test and -features (default: the TEST net's batch size)", "N", minimum=1
    )
    patience: Optional[int] = flag(
        "int", None, "stop after N validations without a better one", "N", minimum=1, section="Validation"
    )
    best: bool = flag("switch", False, "the model is the best validated one, not the last")
    monitor: str = flag("text", "", "the output -patience and -best look at (default: the first loss)", "BLOB")
    quiet: bool = flag("switch", False, "no progress bar, and of the log lines warnings only", section="Display")
    logRanks: bool = flag("switch", False, "show every rank's log lines")
    web: str = flag(
        "text",
        "",
        "serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port",
        "[[ADDRESS:]PORT]",
        alone="0",
    )
    tensorboard: str = flag("text", "", "write event files for TensorBoard into this folder", "DIR")
    mlflow: str = flag(
        "text",
        "",
        "log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns",
        "[URI]",
        alone="default",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """The settings with these values, as ``FLAGS`` parses them."""
        given: Dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**given)

    def changed(self) -> Dict[str, Any]:
        """The flags whose values are not their defaults."""
        values = {name: getattr(self, name) for name in FLAGS}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != getattr(_DEFAULTS, name)
        }

    @property
    def for_ranks(self) -> Settings:
        """What ranks get of them: those that may hold passwords stay on the driver, and passwords in places too."""
        texts = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        places: Dict[str, Any] = {name: without_passwords(value) for name, value in texts.items()}
        return replace(replace(self, **places), readerOptions=(), mlflow="")

    @property
    def blobs(self) -> List[str]:
        """The blobs of ``-features``, ``-label`` last."""
        label = [self.label] if self.label and self.label not in self.features else []
        return [*self.features, *label]

    @property
    def weight_files(self) -> List[str]:
        """The files of ``-weights``."""
        return [name.strip() for name in self.weights.split(",") if name.strip()]

    @property
    def scored(self) -> str:
        """The model for -test and -features: ``-model``, or with ``-net``, as in ``caffe test``, ``-weights``."""
        return self.model or (self.weights if self.net else "")

    @property
    def ports(self) -> Tuple[int, int]:
        """(lowest, highest) of ``-port``; (0, 0) for any. Raises ConfigError."""
        if not self.port:
            return 0, 0
        low, _, high = self.port.partition("-")
        try:
            ports = int(low), int(high or low)
        except ValueError:
            ports = 0, 0
        if not 0 < ports[0] <= ports[1] < 65_536:
            raise ConfigError(f"-port {self.port}: give a port or LOW-HIGH, each from 1 to 65535")
        return ports


# CaffeOnSpark's names of the same settings on its Python ``Config``.
_ALIASES: Dict[str, str] = {
    "protoFile": "conf",
    "isTraining": "train",
    "isTest": "test",
    "modelPath": "model",
    "outputPath": "output",
    "isRddPersistent": "persistent",
    "snapshotStateFile": "snapshot",
    "snapshotModelFile": "weights",
}

#: What everything but the tools is configured by.
FLAGS = table_of(Settings, _ALIASES)
#: Flags that are a pipeline's business and no parameters of an estimator.
NOT_PARAMS = (
    *("train", "test", "output", "outputFormat", "dryRun"),
    *("net", "data", "dataFormat", "columns", "transform"),
)
_DEFAULTS = Settings()
