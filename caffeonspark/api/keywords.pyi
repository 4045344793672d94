# Written by scripts/make_stubs.py from settings.py ("make stubs"); not to be edited.
from typing import Any, List, Literal, Mapping, Optional, Sequence, Union

class ConfigFlags:
    def __init__(
        self,
        spark: Any = None,
        args: Union[Mapping[str, Any], Sequence[str], None] = None,
        *,
        train: bool = False,
        test: bool = False,
        features: Sequence[str] = (),
        label: str = "",
        dryRun: bool = False,
        conf: Any = "",
        net: Any = "",
        model: str = "",
        output: str = "output",
        outputFormat: str = "json",
        weights: str = "",
        snapshot: str = "",
        resume: bool = False,
        keepSnapshots: Optional[int] = None,
        clusterSize: Optional[int] = None,
        devices: int = 1,
        engine: str = "caffe",
        blasKernel: str = "auto",
        sync: str = "all_reduce",
        syncInterval: int = 10,
        compress: Literal["none", "bf16"] = "none",
        averageHistory: bool = False,
        elasticAlpha: Optional[float] = None,
        fullBatch: bool = False,
        lbfgsHistory: int = 10,
        tol: float = 1e-06,
        connection: Literal["ethernet", "infiniband"] = "ethernet",
        maxRestarts: int = 3,
        port: str = "",
        interface: str = "",
        checksum: bool = True,
        encrypt: Union[str, int] = "",
        stallTimeout: float = 120.0,
        data: str = "",
        dataFormat: str = "parquet",
        columns: Union[Sequence[str], Mapping[str, str]] = (),
        transform: str = "",
        resize: bool = False,
        shuffle: bool = False,
        readerOptions: Sequence[str] = (),
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        decoders: int = 2,
        persistent: bool = False,
        lmdb_partitions: Optional[int] = None,
        scoreBatch: Optional[int] = None,
        patience: Optional[int] = None,
        best: bool = False,
        monitor: str = "",
        quiet: bool = False,
        logRanks: bool = False,
        web: Union[str, int] = "",
        tensorboard: str = "",
        mlflow: Union[str, int] = "",
        protoFile: Any = "",
        isTraining: bool = False,
        isTest: bool = False,
        modelPath: str = "",
        outputPath: str = "output",
        isRddPersistent: bool = False,
        snapshotStateFile: str = "",
        snapshotModelFile: str = "",
    ) -> None: ...
    train: bool
    """train, and save the model"""
    test: bool
    """print and save the mean of each output blob of the TEST net"""
    features: List[str]
    """save these blobs of the TEST net, one row for each sample"""
    label: str
    """one more blob for -features"""
    dryRun: bool
    """do all checks and nothing else: train, test and save nothing"""
    conf: str
    """the solver prototxt"""
    net: str
    """instead of -conf, for -test and -features: a net prototxt, such as a deploy net"""
    model: str
    """the model: written by -train, read by -test and -features"""
    output: str
    """where -features and -test write"""
    outputFormat: str
    """format of -features: json, parquet or any Spark writer"""
    weights: str
    """start from these .caffemodel files (comma-separated), by layer name"""
    snapshot: str
    """resume from this .solverstate; needs -weights"""
    resume: bool
    """resume from the newest complete snapshot next to the model, if there is one"""
    keepSnapshots: Optional[int]
    """keep only the newest N snapshots of the run"""
    clusterSize: Optional[int]
    """executors that train together (default: spark.executor.instances, else 1)"""
    devices: int
    """ranks (solvers) in each executor"""
    engine: str
    """what computes: a name, or MODULE:CLASS for one of your own"""
    blasKernel: str
    """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    sync: str
    """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    syncInterval: int
    """with -sync average or elastic: a rank's iterations between averagings"""
    compress: Literal["none", "bf16"]
    """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    averageHistory: bool
    """with -sync average: the solver's history becomes the mean, too"""
    elasticAlpha: Optional[float]
    """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    fullBatch: bool
    """an iteration is the solver's update by the gradient of all the data"""
    lbfgsHistory: int
    """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    tol: float
    """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    connection: Literal["ethernet", "infiniband"]
    """how gradients travel; infiniband runs as ethernet over IPoIB"""
    maxRestarts: int
    """restart from the newest snapshot after a failure, at most N times without a new one"""
    port: str
    """ports to listen on, on driver and executors (default: any)"""
    interface: str
    """network interface for the gradients (default: the one Spark uses)"""
    checksum: bool
    """find bytes that change on their way between machines"""
    encrypt: Union[str, int]
    """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    stallTimeout: float
    """seconds without progress after which a rank is lost"""
    data: str
    """with -net: the DataFrame that fills the net's inputs"""
    dataFormat: str
    """format of -data: parquet, json or any Spark reader"""
    columns: List[str]
    """with -net: the columns of its inputs (default: those of their names)"""
    transform: str
    """with -net: what its images go through, as in a transform_param: 'scale: 0.0039 …'"""
    resize: bool
    """resize decoded images to the layer's height and width"""
    shuffle: bool
    """shuffle each rank's samples again for every epoch"""
    readerOptions: List[str]
    """options of the Spark reader of a DataFrame"""
    badRecords: Literal["fail", "skip"]
    """what a record that cannot be used does: fail the job, or be skipped"""
    badRecordsMax: float
    """skip at most this fraction of the records"""
    maxPixels: int
    """an image whose file claims more pixels cannot be used"""
    decoders: int
    """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    persistent: bool
    """keep the training DataFrame on Spark's disks between attempts"""
    lmdb_partitions: Optional[int]
    """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    scoreBatch: Optional[int]
    """records in a pass of -test and -features (default: the TEST net's batch size)"""
    patience: Optional[int]
    """stop after N validations without a better one"""
    best: bool
    """the model is the best validated one, not the last"""
    monitor: str
    """the output -patience and -best look at (default: the first loss)"""
    quiet: bool
    """no progress bar, and of the log lines warnings only"""
    logRanks: bool
    """show every rank's log lines"""
    web: Union[str, int]
    """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    tensorboard: str
    """write event files for TensorBoard into this folder"""
    mlflow: Union[str, int]
    """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    protoFile: str
    """the solver prototxt"""
    isTraining: bool
    """train, and save the model"""
    isTest: bool
    """print and save the mean of each output blob of the TEST net"""
    modelPath: str
    """the model: written by -train, read by -test and -features"""
    outputPath: str
    """where -features and -test write"""
    isRddPersistent: bool
    """keep the training DataFrame on Spark's disks between attempts"""
    snapshotStateFile: str
    """resume from this .solverstate; needs -weights"""
    snapshotModelFile: str
    """start from these .caffemodel files (comma-separated), by layer name"""
