# Written by scripts/make_stubs.py from ml/tables.py ("make stubs"); not to be edited.
from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, TypeVar, Union

from pyspark.ml.param import Param
from pyspark.ml.param.shared import HasWeightCol

Self = TypeVar("Self")

class UnknownParam(Exception): ...

class EstimatorParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    features: Param[Any]
    label: Param[Any]
    conf: Param[Any]
    model: Param[Any]
    weights: Param[Any]
    snapshot: Param[Any]
    resume: Param[Any]
    keepSnapshots: Param[Any]
    clusterSize: Param[Any]
    devices: Param[Any]
    engine: Param[Any]
    blasKernel: Param[Any]
    sync: Param[Any]
    syncInterval: Param[Any]
    compress: Param[Any]
    averageHistory: Param[Any]
    elasticAlpha: Param[Any]
    fullBatch: Param[Any]
    lbfgsHistory: Param[Any]
    tol: Param[Any]
    connection: Param[Any]
    maxRestarts: Param[Any]
    port: Param[Any]
    interface: Param[Any]
    checksum: Param[Any]
    encrypt: Param[Any]
    stallTimeout: Param[Any]
    resize: Param[Any]
    shuffle: Param[Any]
    readerOptions: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    decoders: Param[Any]
    persistent: Param[Any]
    lmdb_partitions: Param[Any]
    scoreBatch: Param[Any]
    patience: Param[Any]
    best: Param[Any]
    monitor: Param[Any]
    quiet: Param[Any]
    logRanks: Param[Any]
    web: Param[Any]
    tensorboard: Param[Any]
    mlflow: Param[Any]
    net: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    validationIndicatorCol: Param[Any]
    validationFraction: Param[Any]
    maxIter: Param[Any]
    epochs: Param[Any]
    batchSize: Param[Any]
    stepSize: Param[Any]
    momentum: Param[Any]
    weightDecay: Param[Any]
    solverType: Param[Any]
    lrPolicy: Param[Any]
    seed: Param[Any]
    solverOverrides: Param[Any]
    initialModel: Param[Any]
    freeze: Param[Any]
    progress: Param[Any]
    handleInvalid: Param[Any]
    outputType: Param[Any]
    outputCols: Param[Any]
    def __init__(
        self,
        *,
        features: Sequence[str] = (),
        label: str = "",
        conf: Any = "",
        model: str = "",
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        features: Sequence[str] = (),
        label: str = "",
        conf: Any = "",
        model: str = "",
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> Self: ...
    def setFeatures(self: Self, value: Sequence[str]) -> Self:
        """save these blobs of the TEST net, one row for each sample"""
    def getFeatures(self) -> List[str]:
        """save these blobs of the TEST net, one row for each sample"""
    def setLabel(self: Self, value: str) -> Self:
        """one more blob for -features"""
    def getLabel(self) -> str:
        """one more blob for -features"""
    def setConf(self: Self, value: Any) -> Self:
        """the solver prototxt"""
    def getConf(self) -> str:
        """the solver prototxt"""
    def setModel(self: Self, value: str) -> Self:
        """the model: written by -train, read by -test and -features"""
    def getModel(self) -> str:
        """the model: written by -train, read by -test and -features"""
    def setWeights(self: Self, value: str) -> Self:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def getWeights(self) -> str:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def setSnapshot(self: Self, value: str) -> Self:
        """resume from this .solverstate; needs -weights"""
    def getSnapshot(self) -> str:
        """resume from this .solverstate; needs -weights"""
    def setResume(self: Self, value: bool) -> Self:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def getResume(self) -> bool:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def setKeepSnapshots(self: Self, value: Optional[int]) -> Self:
        """keep only the newest N snapshots of the run"""
    def getKeepSnapshots(self) -> Optional[int]:
        """keep only the newest N snapshots of the run"""
    def setClusterSize(self: Self, value: Optional[int]) -> Self:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def getClusterSize(self) -> Optional[int]:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def setDevices(self: Self, value: int) -> Self:
        """ranks (solvers) in each executor"""
    def getDevices(self) -> int:
        """ranks (solvers) in each executor"""
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setSync(self: Self, value: str) -> Self:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def getSync(self) -> str:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def setSyncInterval(self: Self, value: int) -> Self:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def getSyncInterval(self) -> int:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def setCompress(self: Self, value: Literal["none", "bf16"]) -> Self:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def getCompress(self) -> Literal["none", "bf16"]:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def setAverageHistory(self: Self, value: bool) -> Self:
        """with -sync average: the solver's history becomes the mean, too"""
    def getAverageHistory(self) -> bool:
        """with -sync average: the solver's history becomes the mean, too"""
    def setElasticAlpha(self: Self, value: Optional[float]) -> Self:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def getElasticAlpha(self) -> Optional[float]:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def setFullBatch(self: Self, value: bool) -> Self:
        """an iteration is the solver's update by the gradient of all the data"""
    def getFullBatch(self) -> bool:
        """an iteration is the solver's update by the gradient of all the data"""
    def setLbfgsHistory(self: Self, value: int) -> Self:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def getLbfgsHistory(self) -> int:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def setTol(self: Self, value: float) -> Self:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def getTol(self) -> float:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def setConnection(self: Self, value: Literal["ethernet", "infiniband"]) -> Self:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def getConnection(self) -> Literal["ethernet", "infiniband"]:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def setMaxRestarts(self: Self, value: int) -> Self:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def getMaxRestarts(self) -> int:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def setPort(self: Self, value: str) -> Self:
        """ports to listen on, on driver and executors (default: any)"""
    def getPort(self) -> str:
        """ports to listen on, on driver and executors (default: any)"""
    def setInterface(self: Self, value: str) -> Self:
        """network interface for the gradients (default: the one Spark uses)"""
    def getInterface(self) -> str:
        """network interface for the gradients (default: the one Spark uses)"""
    def setChecksum(self: Self, value: bool) -> Self:
        """find bytes that change on their way between machines"""
    def getChecksum(self) -> bool:
        """find bytes that change on their way between machines"""
    def setEncrypt(self: Self, value: Union[str, int]) -> Self:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def getEncrypt(self) -> Union[str, int]:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def setStallTimeout(self: Self, value: float) -> Self:
        """seconds without progress after which a rank is lost"""
    def getStallTimeout(self) -> float:
        """seconds without progress after which a rank is lost"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setShuffle(self: Self, value: bool) -> Self:
        """shuffle each rank's samples again for every epoch"""
    def getShuffle(self) -> bool:
        """shuffle each rank's samples again for every epoch"""
    def setReaderOptions(self: Self, value: Sequence[str]) -> Self:
        """options of the Spark reader of a DataFrame"""
    def getReaderOptions(self) -> List[str]:
        """options of the Spark reader of a DataFrame"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setDecoders(self: Self, value: int) -> Self:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def getDecoders(self) -> int:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def setPersistent(self: Self, value: bool) -> Self:
        """keep the training DataFrame on Spark's disks between attempts"""
    def getPersistent(self) -> bool:
        """keep the training DataFrame on Spark's disks between attempts"""
    def setLmdb_partitions(self: Self, value: Optional[int]) -> Self:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def getLmdb_partitions(self) -> Optional[int]:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setPatience(self: Self, value: Optional[int]) -> Self:
        """stop after N validations without a better one"""
    def getPatience(self) -> Optional[int]:
        """stop after N validations without a better one"""
    def setBest(self: Self, value: bool) -> Self:
        """the model is the best validated one, not the last"""
    def getBest(self) -> bool:
        """the model is the best validated one, not the last"""
    def setMonitor(self: Self, value: str) -> Self:
        """the output -patience and -best look at (default: the first loss)"""
    def getMonitor(self) -> str:
        """the output -patience and -best look at (default: the first loss)"""
    def setQuiet(self: Self, value: bool) -> Self:
        """no progress bar, and of the log lines warnings only"""
    def getQuiet(self) -> bool:
        """no progress bar, and of the log lines warnings only"""
    def setLogRanks(self: Self, value: bool) -> Self:
        """show every rank's log lines"""
    def getLogRanks(self) -> bool:
        """show every rank's log lines"""
    def setWeb(self: Self, value: Union[str, int]) -> Self:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def getWeb(self) -> Union[str, int]:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def setTensorboard(self: Self, value: str) -> Self:
        """write event files for TensorBoard into this folder"""
    def getTensorboard(self) -> str:
        """write event files for TensorBoard into this folder"""
    def setMlflow(self: Self, value: Union[str, int]) -> Self:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def getMlflow(self) -> Union[str, int]:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def setNet(self: Self, value: Any) -> Self:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def getNet(self) -> str:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the column, or columns, that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the column, or columns, that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels"""
    def getLabelCol(self) -> str:
        """the column of labels"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def getWeightCol(self) -> str:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def setValidationIndicatorCol(self: Self, value: str) -> Self:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def getValidationIndicatorCol(self) -> str:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def setValidationFraction(self: Self, value: float) -> Self:
        """validate with this fraction of the rows, chosen by seed"""
    def getValidationFraction(self) -> float:
        """validate with this fraction of the rows, chosen by seed"""
    def setMaxIter(self: Self, value: int) -> Self:
        """iterations (default with conf: the solver's max_iter)"""
    def getMaxIter(self) -> int:
        """iterations (default with conf: the solver's max_iter)"""
    def setEpochs(self: Self, value: Optional[float]) -> Self:
        """instead of maxIter: how often the rows are gone through"""
    def getEpochs(self) -> Optional[float]:
        """instead of maxIter: how often the rows are gone through"""
    def setBatchSize(self: Self, value: int) -> Self:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def getBatchSize(self) -> int:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def setStepSize(self: Self, value: float) -> Self:
        """the learning rate (default with conf: the solver's base_lr)"""
    def getStepSize(self) -> float:
        """the learning rate (default with conf: the solver's base_lr)"""
    def setMomentum(self: Self, value: float) -> Self:
        """momentum (default with conf: the solver's)"""
    def getMomentum(self) -> float:
        """momentum (default with conf: the solver's)"""
    def setWeightDecay(self: Self, value: float) -> Self:
        """weight decay, L2 (default with conf: the solver's)"""
    def getWeightDecay(self) -> float:
        """weight decay, L2 (default with conf: the solver's)"""
    def setSolverType(self: Self, value: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]) -> Self:
        """the solver (default with conf: its type)"""
    def getSolverType(self) -> Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]:
        """the solver (default with conf: its type)"""
    def setLrPolicy(self: Self, value: str) -> Self:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def getLrPolicy(self) -> str:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def setSeed(self: Self, value: int) -> Self:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def getSeed(self) -> int:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def setSolverOverrides(self: Self, value: Optional[Mapping[str, Any]]) -> Self:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def getSolverOverrides(self) -> Dict[str, Any]:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def setInitialModel(self: Self, value: Any) -> Self:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def getInitialModel(self) -> Any:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def setFreeze(self: Self, value: Sequence[str]) -> Self:
        """layers that keep their weights"""
    def getFreeze(self) -> List[str]:
        """layers that keep their weights"""
    def setProgress(self: Self, value: Union[bool, Literal["auto", "bar", "log", "none"]]) -> Self:
        """auto, bar, log or none"""
    def getProgress(self) -> Literal["auto", "bar", "log", "none"]:
        """auto, bar, log or none"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setOutputType(self: Self, value: Literal["array", "vector"]) -> Self:
        """of the columns: array (of float) or vector"""
    def getOutputType(self) -> Literal["array", "vector"]:
        """of the columns: array (of float) or vector"""
    def setOutputCols(self: Self, value: Sequence[str]) -> Self:
        """the columns' names, one for each of features (default: theirs)"""
    def getOutputCols(self) -> List[str]:
        """the columns' names, one for each of features (default: theirs)"""

class ModelParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    features: Param[Any]
    label: Param[Any]
    engine: Param[Any]
    blasKernel: Param[Any]
    resize: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    scoreBatch: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    handleInvalid: Param[Any]
    outputType: Param[Any]
    outputCols: Param[Any]
    def __init__(
        self,
        *,
        features: Sequence[str] = (),
        label: str = "",
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        features: Sequence[str] = (),
        label: str = "",
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> Self: ...
    def setFeatures(self: Self, value: Sequence[str]) -> Self:
        """save these blobs of the TEST net, one row for each sample"""
    def getFeatures(self) -> List[str]:
        """save these blobs of the TEST net, one row for each sample"""
    def setLabel(self: Self, value: str) -> Self:
        """one more blob for -features"""
    def getLabel(self) -> str:
        """one more blob for -features"""
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the columns that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the columns that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels, for evaluate"""
    def getLabelCol(self) -> str:
        """the column of labels, for evaluate"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def getWeightCol(self) -> str:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setOutputType(self: Self, value: Literal["array", "vector"]) -> Self:
        """of the columns: array (of float) or vector"""
    def getOutputType(self) -> Literal["array", "vector"]:
        """of the columns: array (of float) or vector"""
    def setOutputCols(self: Self, value: Sequence[str]) -> Self:
        """the columns' names, one for each of features (default: theirs)"""
    def getOutputCols(self) -> List[str]:
        """the columns' names, one for each of features (default: theirs)"""

class ClassifierParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    conf: Param[Any]
    model: Param[Any]
    weights: Param[Any]
    snapshot: Param[Any]
    resume: Param[Any]
    keepSnapshots: Param[Any]
    clusterSize: Param[Any]
    devices: Param[Any]
    engine: Param[Any]
    blasKernel: Param[Any]
    sync: Param[Any]
    syncInterval: Param[Any]
    compress: Param[Any]
    averageHistory: Param[Any]
    elasticAlpha: Param[Any]
    fullBatch: Param[Any]
    lbfgsHistory: Param[Any]
    tol: Param[Any]
    connection: Param[Any]
    maxRestarts: Param[Any]
    port: Param[Any]
    interface: Param[Any]
    checksum: Param[Any]
    encrypt: Param[Any]
    stallTimeout: Param[Any]
    resize: Param[Any]
    shuffle: Param[Any]
    readerOptions: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    decoders: Param[Any]
    persistent: Param[Any]
    lmdb_partitions: Param[Any]
    scoreBatch: Param[Any]
    patience: Param[Any]
    best: Param[Any]
    monitor: Param[Any]
    quiet: Param[Any]
    logRanks: Param[Any]
    web: Param[Any]
    tensorboard: Param[Any]
    mlflow: Param[Any]
    net: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    validationIndicatorCol: Param[Any]
    validationFraction: Param[Any]
    maxIter: Param[Any]
    epochs: Param[Any]
    batchSize: Param[Any]
    stepSize: Param[Any]
    momentum: Param[Any]
    weightDecay: Param[Any]
    solverType: Param[Any]
    lrPolicy: Param[Any]
    seed: Param[Any]
    solverOverrides: Param[Any]
    initialModel: Param[Any]
    freeze: Param[Any]
    progress: Param[Any]
    handleInvalid: Param[Any]
    predictionCol: Param[Any]
    rawBlob: Param[Any]
    probabilityCol: Param[Any]
    rawPredictionCol: Param[Any]
    def __init__(
        self,
        *,
        conf: Any = "",
        model: str = "",
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        conf: Any = "",
        model: str = "",
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
    ) -> Self: ...
    def setConf(self: Self, value: Any) -> Self:
        """the solver prototxt"""
    def getConf(self) -> str:
        """the solver prototxt"""
    def setModel(self: Self, value: str) -> Self:
        """the model: written by -train, read by -test and -features"""
    def getModel(self) -> str:
        """the model: written by -train, read by -test and -features"""
    def setWeights(self: Self, value: str) -> Self:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def getWeights(self) -> str:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def setSnapshot(self: Self, value: str) -> Self:
        """resume from this .solverstate; needs -weights"""
    def getSnapshot(self) -> str:
        """resume from this .solverstate; needs -weights"""
    def setResume(self: Self, value: bool) -> Self:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def getResume(self) -> bool:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def setKeepSnapshots(self: Self, value: Optional[int]) -> Self:
        """keep only the newest N snapshots of the run"""
    def getKeepSnapshots(self) -> Optional[int]:
        """keep only the newest N snapshots of the run"""
    def setClusterSize(self: Self, value: Optional[int]) -> Self:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def getClusterSize(self) -> Optional[int]:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def setDevices(self: Self, value: int) -> Self:
        """ranks (solvers) in each executor"""
    def getDevices(self) -> int:
        """ranks (solvers) in each executor"""
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setSync(self: Self, value: str) -> Self:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def getSync(self) -> str:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def setSyncInterval(self: Self, value: int) -> Self:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def getSyncInterval(self) -> int:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def setCompress(self: Self, value: Literal["none", "bf16"]) -> Self:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def getCompress(self) -> Literal["none", "bf16"]:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def setAverageHistory(self: Self, value: bool) -> Self:
        """with -sync average: the solver's history becomes the mean, too"""
    def getAverageHistory(self) -> bool:
        """with -sync average: the solver's history becomes the mean, too"""
    def setElasticAlpha(self: Self, value: Optional[float]) -> Self:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def getElasticAlpha(self) -> Optional[float]:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def setFullBatch(self: Self, value: bool) -> Self:
        """an iteration is the solver's update by the gradient of all the data"""
    def getFullBatch(self) -> bool:
        """an iteration is the solver's update by the gradient of all the data"""
    def setLbfgsHistory(self: Self, value: int) -> Self:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def getLbfgsHistory(self) -> int:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def setTol(self: Self, value: float) -> Self:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def getTol(self) -> float:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def setConnection(self: Self, value: Literal["ethernet", "infiniband"]) -> Self:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def getConnection(self) -> Literal["ethernet", "infiniband"]:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def setMaxRestarts(self: Self, value: int) -> Self:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def getMaxRestarts(self) -> int:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def setPort(self: Self, value: str) -> Self:
        """ports to listen on, on driver and executors (default: any)"""
    def getPort(self) -> str:
        """ports to listen on, on driver and executors (default: any)"""
    def setInterface(self: Self, value: str) -> Self:
        """network interface for the gradients (default: the one Spark uses)"""
    def getInterface(self) -> str:
        """network interface for the gradients (default: the one Spark uses)"""
    def setChecksum(self: Self, value: bool) -> Self:
        """find bytes that change on their way between machines"""
    def getChecksum(self) -> bool:
        """find bytes that change on their way between machines"""
    def setEncrypt(self: Self, value: Union[str, int]) -> Self:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def getEncrypt(self) -> Union[str, int]:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def setStallTimeout(self: Self, value: float) -> Self:
        """seconds without progress after which a rank is lost"""
    def getStallTimeout(self) -> float:
        """seconds without progress after which a rank is lost"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setShuffle(self: Self, value: bool) -> Self:
        """shuffle each rank's rows again for every epoch"""
    def getShuffle(self) -> bool:
        """shuffle each rank's rows again for every epoch"""
    def setReaderOptions(self: Self, value: Sequence[str]) -> Self:
        """options of the Spark reader of a DataFrame"""
    def getReaderOptions(self) -> List[str]:
        """options of the Spark reader of a DataFrame"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setDecoders(self: Self, value: int) -> Self:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def getDecoders(self) -> int:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def setPersistent(self: Self, value: bool) -> Self:
        """keep the training DataFrame on Spark's disks between attempts"""
    def getPersistent(self) -> bool:
        """keep the training DataFrame on Spark's disks between attempts"""
    def setLmdb_partitions(self: Self, value: Optional[int]) -> Self:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def getLmdb_partitions(self) -> Optional[int]:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setPatience(self: Self, value: Optional[int]) -> Self:
        """stop after N validations without a better one"""
    def getPatience(self) -> Optional[int]:
        """stop after N validations without a better one"""
    def setBest(self: Self, value: bool) -> Self:
        """the model is the best validated one, not the last"""
    def getBest(self) -> bool:
        """the model is the best validated one, not the last"""
    def setMonitor(self: Self, value: str) -> Self:
        """the output -patience and -best look at (default: the first loss)"""
    def getMonitor(self) -> str:
        """the output -patience and -best look at (default: the first loss)"""
    def setQuiet(self: Self, value: bool) -> Self:
        """no progress bar, and of the log lines warnings only"""
    def getQuiet(self) -> bool:
        """no progress bar, and of the log lines warnings only"""
    def setLogRanks(self: Self, value: bool) -> Self:
        """show every rank's log lines"""
    def getLogRanks(self) -> bool:
        """show every rank's log lines"""
    def setWeb(self: Self, value: Union[str, int]) -> Self:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def getWeb(self) -> Union[str, int]:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def setTensorboard(self: Self, value: str) -> Self:
        """write event files for TensorBoard into this folder"""
    def getTensorboard(self) -> str:
        """write event files for TensorBoard into this folder"""
    def setMlflow(self: Self, value: Union[str, int]) -> Self:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def getMlflow(self) -> Union[str, int]:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def setNet(self: Self, value: Any) -> Self:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def getNet(self) -> str:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the column, or columns, that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the column, or columns, that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels"""
    def getLabelCol(self) -> str:
        """the column of labels"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def getWeightCol(self) -> str:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def setValidationIndicatorCol(self: Self, value: str) -> Self:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def getValidationIndicatorCol(self) -> str:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def setValidationFraction(self: Self, value: float) -> Self:
        """validate with this fraction of the rows, chosen by seed"""
    def getValidationFraction(self) -> float:
        """validate with this fraction of the rows, chosen by seed"""
    def setMaxIter(self: Self, value: int) -> Self:
        """iterations (default with conf: the solver's max_iter)"""
    def getMaxIter(self) -> int:
        """iterations (default with conf: the solver's max_iter)"""
    def setEpochs(self: Self, value: Optional[float]) -> Self:
        """instead of maxIter: how often the rows are gone through"""
    def getEpochs(self) -> Optional[float]:
        """instead of maxIter: how often the rows are gone through"""
    def setBatchSize(self: Self, value: int) -> Self:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def getBatchSize(self) -> int:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def setStepSize(self: Self, value: float) -> Self:
        """the learning rate (default with conf: the solver's base_lr)"""
    def getStepSize(self) -> float:
        """the learning rate (default with conf: the solver's base_lr)"""
    def setMomentum(self: Self, value: float) -> Self:
        """momentum (default with conf: the solver's)"""
    def getMomentum(self) -> float:
        """momentum (default with conf: the solver's)"""
    def setWeightDecay(self: Self, value: float) -> Self:
        """weight decay, L2 (default with conf: the solver's)"""
    def getWeightDecay(self) -> float:
        """weight decay, L2 (default with conf: the solver's)"""
    def setSolverType(self: Self, value: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]) -> Self:
        """the solver (default with conf: its type)"""
    def getSolverType(self) -> Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]:
        """the solver (default with conf: its type)"""
    def setLrPolicy(self: Self, value: str) -> Self:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def getLrPolicy(self) -> str:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def setSeed(self: Self, value: int) -> Self:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def getSeed(self) -> int:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def setSolverOverrides(self: Self, value: Optional[Mapping[str, Any]]) -> Self:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def getSolverOverrides(self) -> Dict[str, Any]:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def setInitialModel(self: Self, value: Any) -> Self:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def getInitialModel(self) -> Any:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def setFreeze(self: Self, value: Sequence[str]) -> Self:
        """layers that keep their weights"""
    def getFreeze(self) -> List[str]:
        """layers that keep their weights"""
    def setProgress(self: Self, value: Union[bool, Literal["auto", "bar", "log", "none"]]) -> Self:
        """auto, bar, log or none"""
    def getProgress(self) -> Literal["auto", "bar", "log", "none"]:
        """auto, bar, log or none"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setPredictionCol(self: Self, value: str) -> Self:
        """the column for predictions"""
    def getPredictionCol(self) -> str:
        """the column for predictions"""
    def setRawBlob(self: Self, value: str) -> Self:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def getRawBlob(self) -> str:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def setProbabilityCol(self: Self, value: str) -> Self:
        """the column for class probabilities; "" for none"""
    def getProbabilityCol(self) -> str:
        """the column for class probabilities; "" for none"""
    def setRawPredictionCol(self: Self, value: str) -> Self:
        """the column for raw scores; "" for none"""
    def getRawPredictionCol(self) -> str:
        """the column for raw scores; "" for none"""

class ClassificationModelParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    engine: Param[Any]
    blasKernel: Param[Any]
    resize: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    scoreBatch: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    handleInvalid: Param[Any]
    predictionCol: Param[Any]
    rawBlob: Param[Any]
    probabilityCol: Param[Any]
    rawPredictionCol: Param[Any]
    def __init__(
        self,
        *,
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
    ) -> Self: ...
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the columns that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the columns that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels, for evaluate"""
    def getLabelCol(self) -> str:
        """the column of labels, for evaluate"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def getWeightCol(self) -> str:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setPredictionCol(self: Self, value: str) -> Self:
        """the column for predictions"""
    def getPredictionCol(self) -> str:
        """the column for predictions"""
    def setRawBlob(self: Self, value: str) -> Self:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def getRawBlob(self) -> str:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def setProbabilityCol(self: Self, value: str) -> Self:
        """the column for class probabilities; "" for none"""
    def getProbabilityCol(self) -> str:
        """the column for class probabilities; "" for none"""
    def setRawPredictionCol(self: Self, value: str) -> Self:
        """the column for raw scores; "" for none"""
    def getRawPredictionCol(self) -> str:
        """the column for raw scores; "" for none"""

class AutoencoderParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    clusterSize: Param[Any]
    devices: Param[Any]
    engine: Param[Any]
    blasKernel: Param[Any]
    sync: Param[Any]
    syncInterval: Param[Any]
    compress: Param[Any]
    averageHistory: Param[Any]
    elasticAlpha: Param[Any]
    fullBatch: Param[Any]
    lbfgsHistory: Param[Any]
    tol: Param[Any]
    connection: Param[Any]
    maxRestarts: Param[Any]
    port: Param[Any]
    interface: Param[Any]
    checksum: Param[Any]
    encrypt: Param[Any]
    stallTimeout: Param[Any]
    resize: Param[Any]
    shuffle: Param[Any]
    readerOptions: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    decoders: Param[Any]
    persistent: Param[Any]
    lmdb_partitions: Param[Any]
    scoreBatch: Param[Any]
    patience: Param[Any]
    best: Param[Any]
    monitor: Param[Any]
    quiet: Param[Any]
    logRanks: Param[Any]
    web: Param[Any]
    tensorboard: Param[Any]
    mlflow: Param[Any]
    net: Param[Any]
    featuresCol: Param[Any]
    weightCol: Param[Any]
    validationIndicatorCol: Param[Any]
    validationFraction: Param[Any]
    maxIter: Param[Any]
    epochs: Param[Any]
    batchSize: Param[Any]
    stepSize: Param[Any]
    momentum: Param[Any]
    weightDecay: Param[Any]
    solverType: Param[Any]
    lrPolicy: Param[Any]
    seed: Param[Any]
    solverOverrides: Param[Any]
    progress: Param[Any]
    handleInvalid: Param[Any]
    outputType: Param[Any]
    outputCols: Param[Any]
    def __init__(
        self,
        *,
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> None: ...
    def setParams(
        self: Self,
        *,
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        outputType: Literal["array", "vector"] = "array",
        outputCols: Sequence[str] = (),
    ) -> Self: ...
    def setClusterSize(self: Self, value: Optional[int]) -> Self:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def getClusterSize(self) -> Optional[int]:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def setDevices(self: Self, value: int) -> Self:
        """ranks (solvers) in each executor"""
    def getDevices(self) -> int:
        """ranks (solvers) in each executor"""
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setSync(self: Self, value: str) -> Self:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def getSync(self) -> str:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def setSyncInterval(self: Self, value: int) -> Self:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def getSyncInterval(self) -> int:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def setCompress(self: Self, value: Literal["none", "bf16"]) -> Self:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def getCompress(self) -> Literal["none", "bf16"]:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def setAverageHistory(self: Self, value: bool) -> Self:
        """with -sync average: the solver's history becomes the mean, too"""
    def getAverageHistory(self) -> bool:
        """with -sync average: the solver's history becomes the mean, too"""
    def setElasticAlpha(self: Self, value: Optional[float]) -> Self:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def getElasticAlpha(self) -> Optional[float]:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def setFullBatch(self: Self, value: bool) -> Self:
        """an iteration is the solver's update by the gradient of all the data"""
    def getFullBatch(self) -> bool:
        """an iteration is the solver's update by the gradient of all the data"""
    def setLbfgsHistory(self: Self, value: int) -> Self:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def getLbfgsHistory(self) -> int:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def setTol(self: Self, value: float) -> Self:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def getTol(self) -> float:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def setConnection(self: Self, value: Literal["ethernet", "infiniband"]) -> Self:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def getConnection(self) -> Literal["ethernet", "infiniband"]:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def setMaxRestarts(self: Self, value: int) -> Self:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def getMaxRestarts(self) -> int:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def setPort(self: Self, value: str) -> Self:
        """ports to listen on, on driver and executors (default: any)"""
    def getPort(self) -> str:
        """ports to listen on, on driver and executors (default: any)"""
    def setInterface(self: Self, value: str) -> Self:
        """network interface for the gradients (default: the one Spark uses)"""
    def getInterface(self) -> str:
        """network interface for the gradients (default: the one Spark uses)"""
    def setChecksum(self: Self, value: bool) -> Self:
        """find bytes that change on their way between machines"""
    def getChecksum(self) -> bool:
        """find bytes that change on their way between machines"""
    def setEncrypt(self: Self, value: Union[str, int]) -> Self:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def getEncrypt(self) -> Union[str, int]:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def setStallTimeout(self: Self, value: float) -> Self:
        """seconds without progress after which a rank is lost"""
    def getStallTimeout(self) -> float:
        """seconds without progress after which a rank is lost"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setShuffle(self: Self, value: bool) -> Self:
        """shuffle each rank's rows again for every epoch"""
    def getShuffle(self) -> bool:
        """shuffle each rank's rows again for every epoch"""
    def setReaderOptions(self: Self, value: Sequence[str]) -> Self:
        """options of the Spark reader of a DataFrame"""
    def getReaderOptions(self) -> List[str]:
        """options of the Spark reader of a DataFrame"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setDecoders(self: Self, value: int) -> Self:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def getDecoders(self) -> int:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def setPersistent(self: Self, value: bool) -> Self:
        """keep the training DataFrame on Spark's disks between attempts"""
    def getPersistent(self) -> bool:
        """keep the training DataFrame on Spark's disks between attempts"""
    def setLmdb_partitions(self: Self, value: Optional[int]) -> Self:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def getLmdb_partitions(self) -> Optional[int]:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setPatience(self: Self, value: Optional[int]) -> Self:
        """stop after N validations without a better one"""
    def getPatience(self) -> Optional[int]:
        """stop after N validations without a better one"""
    def setBest(self: Self, value: bool) -> Self:
        """the model is the best validated one, not the last"""
    def getBest(self) -> bool:
        """the model is the best validated one, not the last"""
    def setMonitor(self: Self, value: str) -> Self:
        """the output -patience and -best look at (default: the first loss)"""
    def getMonitor(self) -> str:
        """the output -patience and -best look at (default: the first loss)"""
    def setQuiet(self: Self, value: bool) -> Self:
        """no progress bar, and of the log lines warnings only"""
    def getQuiet(self) -> bool:
        """no progress bar, and of the log lines warnings only"""
    def setLogRanks(self: Self, value: bool) -> Self:
        """show every rank's log lines"""
    def getLogRanks(self) -> bool:
        """show every rank's log lines"""
    def setWeb(self: Self, value: Union[str, int]) -> Self:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def getWeb(self) -> Union[str, int]:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def setTensorboard(self: Self, value: str) -> Self:
        """write event files for TensorBoard into this folder"""
    def getTensorboard(self) -> str:
        """write event files for TensorBoard into this folder"""
    def setMlflow(self: Self, value: Union[str, int]) -> Self:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def getMlflow(self) -> Union[str, int]:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def setNet(self: Self, value: Any) -> Self:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def getNet(self) -> str:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the column, or columns, that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the column, or columns, that fill the net's inputs"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def getWeightCol(self) -> str:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def setValidationIndicatorCol(self: Self, value: str) -> Self:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def getValidationIndicatorCol(self) -> str:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def setValidationFraction(self: Self, value: float) -> Self:
        """validate with this fraction of the rows, chosen by seed"""
    def getValidationFraction(self) -> float:
        """validate with this fraction of the rows, chosen by seed"""
    def setMaxIter(self: Self, value: int) -> Self:
        """iterations (default with conf: the solver's max_iter)"""
    def getMaxIter(self) -> int:
        """iterations (default with conf: the solver's max_iter)"""
    def setEpochs(self: Self, value: Optional[float]) -> Self:
        """instead of maxIter: how often the rows are gone through"""
    def getEpochs(self) -> Optional[float]:
        """instead of maxIter: how often the rows are gone through"""
    def setBatchSize(self: Self, value: int) -> Self:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def getBatchSize(self) -> int:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def setStepSize(self: Self, value: float) -> Self:
        """the learning rate (default with conf: the solver's base_lr)"""
    def getStepSize(self) -> float:
        """the learning rate (default with conf: the solver's base_lr)"""
    def setMomentum(self: Self, value: float) -> Self:
        """momentum (default with conf: the solver's)"""
    def getMomentum(self) -> float:
        """momentum (default with conf: the solver's)"""
    def setWeightDecay(self: Self, value: float) -> Self:
        """weight decay, L2 (default with conf: the solver's)"""
    def getWeightDecay(self) -> float:
        """weight decay, L2 (default with conf: the solver's)"""
    def setSolverType(self: Self, value: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]) -> Self:
        """the solver (default with conf: its type)"""
    def getSolverType(self) -> Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]:
        """the solver (default with conf: its type)"""
    def setLrPolicy(self: Self, value: str) -> Self:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def getLrPolicy(self) -> str:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def setSeed(self: Self, value: int) -> Self:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def getSeed(self) -> int:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def setSolverOverrides(self: Self, value: Optional[Mapping[str, Any]]) -> Self:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def getSolverOverrides(self) -> Dict[str, Any]:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def setProgress(self: Self, value: Union[bool, Literal["auto", "bar", "log", "none"]]) -> Self:
        """auto, bar, log or none"""
    def getProgress(self) -> Literal["auto", "bar", "log", "none"]:
        """auto, bar, log or none"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setOutputType(self: Self, value: Literal["array", "vector"]) -> Self:
        """of the columns: array (of float) or vector"""
    def getOutputType(self) -> Literal["array", "vector"]:
        """of the columns: array (of float) or vector"""
    def setOutputCols(self: Self, value: Sequence[str]) -> Self:
        """the columns' names, one for each of features (default: theirs)"""
    def getOutputCols(self) -> List[str]:
        """the columns' names, one for each of features (default: theirs)"""

class RegressorParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    conf: Param[Any]
    model: Param[Any]
    weights: Param[Any]
    snapshot: Param[Any]
    resume: Param[Any]
    keepSnapshots: Param[Any]
    clusterSize: Param[Any]
    devices: Param[Any]
    engine: Param[Any]
    blasKernel: Param[Any]
    sync: Param[Any]
    syncInterval: Param[Any]
    compress: Param[Any]
    averageHistory: Param[Any]
    elasticAlpha: Param[Any]
    fullBatch: Param[Any]
    lbfgsHistory: Param[Any]
    tol: Param[Any]
    connection: Param[Any]
    maxRestarts: Param[Any]
    port: Param[Any]
    interface: Param[Any]
    checksum: Param[Any]
    encrypt: Param[Any]
    stallTimeout: Param[Any]
    resize: Param[Any]
    shuffle: Param[Any]
    readerOptions: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    decoders: Param[Any]
    persistent: Param[Any]
    lmdb_partitions: Param[Any]
    scoreBatch: Param[Any]
    patience: Param[Any]
    best: Param[Any]
    monitor: Param[Any]
    quiet: Param[Any]
    logRanks: Param[Any]
    web: Param[Any]
    tensorboard: Param[Any]
    mlflow: Param[Any]
    net: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    validationIndicatorCol: Param[Any]
    validationFraction: Param[Any]
    maxIter: Param[Any]
    epochs: Param[Any]
    batchSize: Param[Any]
    stepSize: Param[Any]
    momentum: Param[Any]
    weightDecay: Param[Any]
    solverType: Param[Any]
    lrPolicy: Param[Any]
    seed: Param[Any]
    solverOverrides: Param[Any]
    initialModel: Param[Any]
    freeze: Param[Any]
    progress: Param[Any]
    handleInvalid: Param[Any]
    predictionCol: Param[Any]
    rawBlob: Param[Any]
    def __init__(
        self,
        *,
        conf: Any = "",
        model: str = "",
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        conf: Any = "",
        model: str = "",
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
        resize: bool = False,
        shuffle: bool = True,
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
        net: Any = "",
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        validationIndicatorCol: str = "",
        validationFraction: float = 0.0,
        maxIter: int = 1000,
        epochs: Optional[float] = None,
        batchSize: int = 64,
        stepSize: float = 0.001,
        momentum: float = 0.9,
        weightDecay: float = 0.0,
        solverType: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"] = "Adam",
        lrPolicy: str = "fixed",
        seed: int = 0,
        solverOverrides: Optional[Mapping[str, Any]] = None,
        initialModel: Any = "",
        freeze: Sequence[str] = (),
        progress: Union[bool, Literal["auto", "bar", "log", "none"]] = "auto",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
    ) -> Self: ...
    def setConf(self: Self, value: Any) -> Self:
        """the solver prototxt"""
    def getConf(self) -> str:
        """the solver prototxt"""
    def setModel(self: Self, value: str) -> Self:
        """the model: written by -train, read by -test and -features"""
    def getModel(self) -> str:
        """the model: written by -train, read by -test and -features"""
    def setWeights(self: Self, value: str) -> Self:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def getWeights(self) -> str:
        """start from these .caffemodel files (comma-separated), by layer name"""
    def setSnapshot(self: Self, value: str) -> Self:
        """resume from this .solverstate; needs -weights"""
    def getSnapshot(self) -> str:
        """resume from this .solverstate; needs -weights"""
    def setResume(self: Self, value: bool) -> Self:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def getResume(self) -> bool:
        """resume from the newest complete snapshot next to the model, if there is one"""
    def setKeepSnapshots(self: Self, value: Optional[int]) -> Self:
        """keep only the newest N snapshots of the run"""
    def getKeepSnapshots(self) -> Optional[int]:
        """keep only the newest N snapshots of the run"""
    def setClusterSize(self: Self, value: Optional[int]) -> Self:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def getClusterSize(self) -> Optional[int]:
        """executors that train together (default: spark.executor.instances, else 1)"""
    def setDevices(self: Self, value: int) -> Self:
        """ranks (solvers) in each executor"""
    def getDevices(self) -> int:
        """ranks (solvers) in each executor"""
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setSync(self: Self, value: str) -> Self:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def getSync(self) -> str:
        """how ranks stay one model: all_reduce (gradients, every iteration), average (weights, now and then), elastic (weights tied to a centre), or MODULE:CLASS for one of your own"""
    def setSyncInterval(self: Self, value: int) -> Self:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def getSyncInterval(self) -> int:
        """with -sync average or elastic: a rank's iterations between averagings"""
    def setCompress(self: Self, value: Literal["none", "bf16"]) -> Self:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def getCompress(self) -> Literal["none", "bf16"]:
        """with -sync all_reduce: send gradients between hosts in 16 bits, and add what that rounds off the next time"""
    def setAverageHistory(self: Self, value: bool) -> Self:
        """with -sync average: the solver's history becomes the mean, too"""
    def getAverageHistory(self) -> bool:
        """with -sync average: the solver's history becomes the mean, too"""
    def setElasticAlpha(self: Self, value: Optional[float]) -> Self:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def getElasticAlpha(self) -> Optional[float]:
        """with -sync elastic: how far a rank moves toward the centre, at most 1 / ranks (default: 0.9 / ranks)"""
    def setFullBatch(self: Self, value: bool) -> Self:
        """an iteration is the solver's update by the gradient of all the data"""
    def getFullBatch(self) -> bool:
        """an iteration is the solver's update by the gradient of all the data"""
    def setLbfgsHistory(self: Self, value: int) -> Self:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def getLbfgsHistory(self) -> int:
        """with a solver of type: "LBFGS": the newest steps that it knows the curvature from"""
    def setTol(self: Self, value: float) -> Self:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def getTol(self) -> float:
        """with a solver of type: "LBFGS": end when the objective fell by no more than this share in 20 iterations"""
    def setConnection(self: Self, value: Literal["ethernet", "infiniband"]) -> Self:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def getConnection(self) -> Literal["ethernet", "infiniband"]:
        """how gradients travel; infiniband runs as ethernet over IPoIB"""
    def setMaxRestarts(self: Self, value: int) -> Self:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def getMaxRestarts(self) -> int:
        """restart from the newest snapshot after a failure, at most N times without a new one"""
    def setPort(self: Self, value: str) -> Self:
        """ports to listen on, on driver and executors (default: any)"""
    def getPort(self) -> str:
        """ports to listen on, on driver and executors (default: any)"""
    def setInterface(self: Self, value: str) -> Self:
        """network interface for the gradients (default: the one Spark uses)"""
    def getInterface(self) -> str:
        """network interface for the gradients (default: the one Spark uses)"""
    def setChecksum(self: Self, value: bool) -> Self:
        """find bytes that change on their way between machines"""
    def getChecksum(self) -> bool:
        """find bytes that change on their way between machines"""
    def setEncrypt(self: Self, value: Union[str, int]) -> Self:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def getEncrypt(self) -> Union[str, int]:
        """encrypt what ranks send (by itself where Spark encrypts its own traffic); anyway: also where Spark does not authenticate"""
    def setStallTimeout(self: Self, value: float) -> Self:
        """seconds without progress after which a rank is lost"""
    def getStallTimeout(self) -> float:
        """seconds without progress after which a rank is lost"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setShuffle(self: Self, value: bool) -> Self:
        """shuffle each rank's rows again for every epoch"""
    def getShuffle(self) -> bool:
        """shuffle each rank's rows again for every epoch"""
    def setReaderOptions(self: Self, value: Sequence[str]) -> Self:
        """options of the Spark reader of a DataFrame"""
    def getReaderOptions(self) -> List[str]:
        """options of the Spark reader of a DataFrame"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setDecoders(self: Self, value: int) -> Self:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def getDecoders(self) -> int:
        """a rank's processes that decode images ahead of it; 0: nor do -test and -features"""
    def setPersistent(self: Self, value: bool) -> Self:
        """keep the training DataFrame on Spark's disks between attempts"""
    def getPersistent(self) -> bool:
        """keep the training DataFrame on Spark's disks between attempts"""
    def setLmdb_partitions(self: Self, value: Optional[int]) -> Self:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def getLmdb_partitions(self) -> Optional[int]:
        """partitions of an LMDB for -test, -features and the tools (default: clusterSize x devices)"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setPatience(self: Self, value: Optional[int]) -> Self:
        """stop after N validations without a better one"""
    def getPatience(self) -> Optional[int]:
        """stop after N validations without a better one"""
    def setBest(self: Self, value: bool) -> Self:
        """the model is the best validated one, not the last"""
    def getBest(self) -> bool:
        """the model is the best validated one, not the last"""
    def setMonitor(self: Self, value: str) -> Self:
        """the output -patience and -best look at (default: the first loss)"""
    def getMonitor(self) -> str:
        """the output -patience and -best look at (default: the first loss)"""
    def setQuiet(self: Self, value: bool) -> Self:
        """no progress bar, and of the log lines warnings only"""
    def getQuiet(self) -> bool:
        """no progress bar, and of the log lines warnings only"""
    def setLogRanks(self: Self, value: bool) -> Self:
        """show every rank's log lines"""
    def getLogRanks(self) -> bool:
        """show every rank's log lines"""
    def setWeb(self: Self, value: Union[str, int]) -> Self:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def getWeb(self) -> Union[str, int]:
        """serve a page that shows the run, on this machine only unless ADDRESS says otherwise; alone: any port"""
    def setTensorboard(self: Self, value: str) -> Self:
        """write event files for TensorBoard into this folder"""
    def getTensorboard(self) -> str:
        """write event files for TensorBoard into this folder"""
    def setMlflow(self: Self, value: Union[str, int]) -> Self:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def getMlflow(self) -> Union[str, int]:
        """log the run to this MLflow server or store; alone: where MLFLOW_TRACKING_URI says, or ./mlruns"""
    def setNet(self: Self, value: Any) -> Self:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def getNet(self) -> str:
        """the net: a prototxt's path or text, a NetParameter, a caffe.NetSpec, nets.mlp(…)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the column, or columns, that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the column, or columns, that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels"""
    def getLabelCol(self) -> str:
        """the column of labels"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def getWeightCol(self) -> str:
        """the column of sample weights: each sample's loss is multiplied by its own"""
    def setValidationIndicatorCol(self: Self, value: str) -> Self:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def getValidationIndicatorCol(self) -> str:
        """the boolean column that is true for rows to validate with; they are not trained"""
    def setValidationFraction(self: Self, value: float) -> Self:
        """validate with this fraction of the rows, chosen by seed"""
    def getValidationFraction(self) -> float:
        """validate with this fraction of the rows, chosen by seed"""
    def setMaxIter(self: Self, value: int) -> Self:
        """iterations (default with conf: the solver's max_iter)"""
    def getMaxIter(self) -> int:
        """iterations (default with conf: the solver's max_iter)"""
    def setEpochs(self: Self, value: Optional[float]) -> Self:
        """instead of maxIter: how often the rows are gone through"""
    def getEpochs(self) -> Optional[float]:
        """instead of maxIter: how often the rows are gone through"""
    def setBatchSize(self: Self, value: int) -> Self:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def getBatchSize(self) -> int:
        """rows of an iteration, of each rank (default with conf: the net's)"""
    def setStepSize(self: Self, value: float) -> Self:
        """the learning rate (default with conf: the solver's base_lr)"""
    def getStepSize(self) -> float:
        """the learning rate (default with conf: the solver's base_lr)"""
    def setMomentum(self: Self, value: float) -> Self:
        """momentum (default with conf: the solver's)"""
    def getMomentum(self) -> float:
        """momentum (default with conf: the solver's)"""
    def setWeightDecay(self: Self, value: float) -> Self:
        """weight decay, L2 (default with conf: the solver's)"""
    def getWeightDecay(self) -> float:
        """weight decay, L2 (default with conf: the solver's)"""
    def setSolverType(self: Self, value: Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]) -> Self:
        """the solver (default with conf: its type)"""
    def getSolverType(self) -> Literal["SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta", "LBFGS"]:
        """the solver (default with conf: its type)"""
    def setLrPolicy(self: Self, value: str) -> Self:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def getLrPolicy(self) -> str:
        """how the learning rate changes (default with conf: the solver's lr_policy)"""
    def setSeed(self: Self, value: int) -> Self:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def getSeed(self) -> int:
        """of everything random (default with conf: the solver's random_seed, if any)"""
    def setSolverOverrides(self: Self, value: Optional[Mapping[str, Any]]) -> Self:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def getSolverOverrides(self) -> Dict[str, Any]:
        """any fields of the solver, {"gamma": 0.1, "stepvalue": [5, 8]}"""
    def setInitialModel(self: Self, value: Any) -> Self:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def getInitialModel(self) -> Any:
        """start from it: a CaffeModel, a .caffemodel, or a .solverstate to resume"""
    def setFreeze(self: Self, value: Sequence[str]) -> Self:
        """layers that keep their weights"""
    def getFreeze(self) -> List[str]:
        """layers that keep their weights"""
    def setProgress(self: Self, value: Union[bool, Literal["auto", "bar", "log", "none"]]) -> Self:
        """auto, bar, log or none"""
    def getProgress(self) -> Literal["auto", "bar", "log", "none"]:
        """auto, bar, log or none"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setPredictionCol(self: Self, value: str) -> Self:
        """the column for predictions"""
    def getPredictionCol(self) -> str:
        """the column for predictions"""
    def setRawBlob(self: Self, value: str) -> Self:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def getRawBlob(self) -> str:
        """the blob of raw predictions (default: what the net's last loss takes)"""

class RegressionModelParams(HasWeightCol):
    _table: Mapping[str, Any]
    def given(self) -> Dict[str, Any]: ...
    engine: Param[Any]
    blasKernel: Param[Any]
    resize: Param[Any]
    badRecords: Param[Any]
    badRecordsMax: Param[Any]
    maxPixels: Param[Any]
    scoreBatch: Param[Any]
    featuresCol: Param[Any]
    labelCol: Param[Any]
    weightCol: Param[Any]
    handleInvalid: Param[Any]
    predictionCol: Param[Any]
    rawBlob: Param[Any]
    def __init__(
        self,
        *,
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
    ) -> None: ...
    def setParams(
        self: Self,
        *,
        engine: str = "caffe",
        blasKernel: str = "auto",
        resize: bool = False,
        badRecords: Literal["fail", "skip"] = "fail",
        badRecordsMax: float = 0.01,
        maxPixels: int = 100000000,
        scoreBatch: Optional[int] = None,
        featuresCol: Union[str, Sequence[str]] = (),
        labelCol: str = "label",
        weightCol: str = "",
        handleInvalid: Literal["error", "skip", "keep"] = "error",
        predictionCol: str = "prediction",
        rawBlob: str = "",
    ) -> Self: ...
    def setEngine(self: Self, value: str) -> Self:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def getEngine(self) -> str:
        """what computes: a name, or MODULE:CLASS for one of your own"""
    def setBlasKernel(self: Self, value: str) -> Self:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def getBlasKernel(self) -> str:
        """OpenBLAS's kernel: auto (what each processor deserves), one of its names, or environment (as OpenBLAS and OPENBLAS_CORETYPE say)"""
    def setResize(self: Self, value: bool) -> Self:
        """resize decoded images to the layer's height and width"""
    def getResize(self) -> bool:
        """resize decoded images to the layer's height and width"""
    def setBadRecords(self: Self, value: Literal["fail", "skip"]) -> Self:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def getBadRecords(self) -> Literal["fail", "skip"]:
        """what a record that cannot be used does: fail the job, or be skipped"""
    def setBadRecordsMax(self: Self, value: float) -> Self:
        """skip at most this fraction of the records"""
    def getBadRecordsMax(self) -> float:
        """skip at most this fraction of the records"""
    def setMaxPixels(self: Self, value: int) -> Self:
        """an image whose file claims more pixels cannot be used"""
    def getMaxPixels(self) -> int:
        """an image whose file claims more pixels cannot be used"""
    def setScoreBatch(self: Self, value: Optional[int]) -> Self:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def getScoreBatch(self) -> Optional[int]:
        """records in a pass of -test and -features (default: the TEST net's batch size)"""
    def setFeaturesCol(self: Self, value: Union[str, Sequence[str]]) -> Self:
        """the columns that fill the net's inputs"""
    def getFeaturesCol(self) -> List[str]:
        """the columns that fill the net's inputs"""
    def setLabelCol(self: Self, value: str) -> Self:
        """the column of labels, for evaluate"""
    def getLabelCol(self) -> str:
        """the column of labels, for evaluate"""
    def setWeightCol(self: Self, value: str) -> Self:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def getWeightCol(self) -> str:
        """the column of weights, for evaluate, where a DataFrame has it"""
    def setHandleInvalid(self: Self, value: Literal["error", "skip", "keep"]) -> Self:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def getHandleInvalid(self) -> Literal["error", "skip", "keep"]:
        """a row with null or bad features: error, skip (it is left out), or keep (its outputs are null)"""
    def setPredictionCol(self: Self, value: str) -> Self:
        """the column for predictions"""
    def getPredictionCol(self) -> str:
        """the column for predictions"""
    def setRawBlob(self: Self, value: str) -> Self:
        """the blob of raw predictions (default: what the net's last loss takes)"""
    def getRawBlob(self) -> str:
        """the blob of raw predictions (default: what the net's last loss takes)"""
