"""Everything that touches pycaffe: a solver and its nets behind the few operations the rank loop needs.

Blobs and parameters are float32 arrays that share Caffe's memory. No other module imports ``caffe``, so another
engine can stand behind the same operations.

pycaffe facts this module is built around: it holds the GIL for a whole forward or backward pass; an
exception raised in a callback comes out of ``step``; a failed native CHECK ends the process, after glog has
written why to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from google.protobuf import text_format

from ...errors import ConfigError
from ...formats.endings import is_hdf5, model_ending, state_ending
from ...nets.schema import NetParameter, SolverParameter
from ...process import run_in_child

os.environ.setdefault("GLOG_minloglevel", "2")  # read when caffe is loaded: errors only
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the old packages caffe imports
    import caffe

__all__ = [
    "InferenceNet",
    "NetShapes",
    "TrainingSolver",
    "inspect_net",
    "layer_types",
    "learning_rate",
    "load_net",
    "versions",
]

_NEVER = 2**31 - 1
_INSPECTION = 300.0  # seconds a net may take to be built, to look at it


def layer_types() -> List[str]:
    """The layer types the installed Caffe knows."""
    return list(caffe.layer_type_list())


def versions() -> Dict[str, str]:
    """What has to be the same on driver and executors."""
    return {"Python": f"{sys.version_info[0]}.{sys.version_info[1]}", "Caffe": str(caffe.__version__)}


def has_gpu() -> bool:
    """Whether the installed Caffe was built with CUDA."""
    with open("/proc/self/maps") as f:
        return "libcudart" in f.read()


@contextlib.contextmanager
def _prototxt(message: Any, folder: Optional[str] = None) -> Iterator[str]:
    """A file with the message's text, for the constructors of pycaffe, which read files only."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt", dir=folder) as f:
        f.write(text_format.MessageToString(message))
        f.flush()
        yield f.name


def learning_rate(param: Any, iteration: int) -> float:
    """The learning rate Caffe's SGDSolver uses at an iteration (``GetLearningRate``, src/caffe/solvers/sgd_solver.cpp).

    Parameters
    ----------
    param : SolverParameter
    iteration : int, from 0
    """
    policy, base, gamma, power = param.lr_policy, float(param.base_lr), float(param.gamma), float(param.power)
    if policy == "step":
        return float(base * gamma ** (iteration // param.stepsize))
    if policy == "exp":
        return float(base * gamma**iteration)
    if policy == "inv":
        return float(base * (1.0 + gamma * iteration) ** -power)
    if policy == "multistep":
        passed = sum(1 for value in param.stepvalue if iteration >= value)
        return float(base * gamma**passed)
    if policy == "poly":
        return float(base * (1.0 - iteration / float(param.max_iter)) ** power)
    if policy == "sigmoid":
        return base / (1.0 + float(np.exp(-gamma * (iteration - param.stepsize))))
    return base


def _unique(blobs: Sequence[Any]) -> List[Any]:
    """Blobs without those that share another's memory (layers with shared parameters)."""
    seen: Dict[int, Any] = {}
    for blob in blobs:
        seen.setdefault(blob.data.ctypes.data, blob)
    return list(seen.values())


class TrainingSolver:
    """A pycaffe solver whose data comes in through its nets' Input layers.

    Parameters
    ----------
    param : SolverParameter of the user; its nets are ignored
    train_net : NetParameter, rewritten for stock pycaffe
    test_nets : NetParameters, rewritten; they share the train net's weights
    rank : the solver's rank, which sets its random numbers (dropout) apart from the others'
    folder : for temporary files

    Attributes
    ----------
    param : the SolverParameter that runs
    """

    def __init__(self, param: Any, train_net: Any, test_nets: Sequence[Any], rank: int, folder: str) -> None:
        self.param = SolverParameter()
        self.param.CopyFrom(param)
        for name in ("net", "net_param", "train_net", "test_net", "test_net_param", "test_state", "train_state"):
            self.param.ClearField(name)
        self.param.train_net_param.CopyFrom(train_net)
        self.param.ClearField("test_iter")
        for net in test_nets:
            self.param.test_net_param.add().CopyFrom(net)
            self.param.test_iter.append(1)
        # Testing, snapshots and display are the rank loop's
        self.param.test_interval = _NEVER
        self.param.test_initialization = False
        self.param.snapshot = 0
        self.param.display = 0
        self.param.snapshot_prefix = os.path.join(folder, "caffe")
        if not has_gpu():
            self.param.solver_mode = SolverParameter.CPU
        with _prototxt(self.param, folder) as path:
            self._solver = caffe.get_solver(path)
        if rank and param.random_seed >= 0:
            caffe.set_random_seed(int(param.random_seed) + rank)
        self._net = self._solver.net
        self._blobs = dict(self._net.blobs)
        self._learnable = _unique([blob for blobs in self._net.params.values() for blob in blobs])
        self._statistics = self._batch_norm_statistics()
        self._loss_blobs = [(self._net.blobs[n], w) for n, w in self._net.blob_loss_weights.items() if w]
        self._load: Callable[[], None] = lambda: None
        self._exchange: Callable[[float], None] = lambda loss: None
        self._losses: List[float] = []
        last = len(self._net.layers) - 1
        self._net.before_forward(lambda layer: self._load() if layer == 0 else None)
        self._net.after_forward(lambda layer: self._note_loss() if layer == last else None)
        self._solver.add_callback(lambda: None, self._gradients_ready)

    def _batch_norm_statistics(self) -> List[Any]:
        """The running mean and variance of every BatchNorm layer that updates them."""
        found = []
        for layer in self.param.train_net_param.layer:
            if layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats:
                found += list(self._net.params[layer.name])[:2]
        return found

    # ---- arrays

    def blob(self, name: str) -> np.ndarray:
        """A blob of the train net."""
        data: np.ndarray = self._blobs[name].data
        return data

    @property
    def weights(self) -> List[np.ndarray]:
        """Every parameter blob, each memory once, in the order of the layers."""
        return [blob.data for blob in self._learnable]

    @property
    def gradients(self) -> List[np.ndarray]:
        """The gradients of ``weights``, in the same order."""
        return [blob.diff for blob in self._learnable]

    @property
    def statistics(self) -> List[np.ndarray]:
        """BatchNorm's running sums of mean and variance, which forward passes change; part of ``weights``."""
        return [blob.data for blob in self._statistics]

    @property
    def iteration(self) -> int:
        return int(self._solver.iter)

    @property
    def rate(self) -> float:
        """The learning rate of the iteration that comes next."""
        return learning_rate(self.param, self.iteration)

    # ---- training

    def step(self, load: Callable[[], None], exchange: Callable[[float], None]) -> None:
        """One iteration: ``iter_size`` forward and backward passes and one update.

        Parameters
        ----------
        load : fills the train net's inputs; called before each forward pass
        exchange : called with the mean loss of the iteration when the gradients are ready, before Caffe
            normalises, clips and regularises them

        Whatever they raise ends the iteration without an update and is raised here.
        """
        self._load, self._exchange = load, exchange
        self._losses.clear()
        self._solver.step(1)

    def _note_loss(self) -> None:
        self._losses.append(sum(float(blob.data.sum()) * weight for blob, weight in self._loss_blobs))

    def _gradients_ready(self) -> None:
        self._exchange(sum(self._losses) / len(self._losses))

    # ---- validation

    def test_net(self, number: int) -> InferenceNet:
        """A test net. It shares the train net's weights from now on, so it always sees the newest."""
        net = self._solver.test_nets[number]
        net.share_with(self._net)
        return InferenceNet(net)

    def reseed(self, seed: int, rank: int) -> None:
        """Make Caffe's random numbers (dropout) from here on a function of seed, rank and iteration."""
        mixed = np.random.SeedSequence([seed, rank, self.iteration]).generate_state(1)[0]
        caffe.set_random_seed(int(mixed) & 0x7FFFFFFF)

    # ---- files

    @property
    def model_ending(self) -> str:
        """``.caffemodel.h5`` or ``.caffemodel``, by the solver's snapshot_format."""
        return model_ending(self._hdf5)

    @property
    def _hdf5(self) -> bool:
        return bool(self.param.snapshot_format == SolverParameter.HDF5)

    def load_weights(self, path: str) -> None:
        """Copy the parameters of layers with the same name from a .caffemodel or .caffemodel.h5."""
        self._net.copy_from(path)

    def save_weights(self, path: str) -> None:
        """Write the model; HDF5 where ``path`` ends in .h5."""
        if is_hdf5(path):
            self._net.save_hdf5(path)
        else:
            self._net.save(path)

    def restore(self, state: str) -> None:
        """Continue from a .solverstate or .solverstate.h5, whose learned_net must name a file that is there."""
        self._solver.restore(state)

    def snapshot(self) -> Tuple[str, str]:
        """Write model and solver state to the temporary folder; their paths."""
        self._solver.snapshot()
        base = f"{self.param.snapshot_prefix}_iter_{self.iteration}"
        return base + model_ending(self._hdf5), base + state_ending(self._hdf5)


class InferenceNet:
    """A TEST-phase net; made by ``load_net`` or ``TrainingSolver.test_net``."""

    def __init__(self, net: Any) -> None:
        self._net = net

    @property
    def blobs(self) -> Dict[str, np.ndarray]:
        """Every blob by name."""
        return {name: blob.data for name, blob in self._net.blobs.items()}

    def reshape(self, shapes: Dict[str, Tuple[int, ...]]) -> None:
        """Give input blobs new shapes, and the rest of the net theirs."""
        changed = False
        for name, shape in shapes.items():
            blob = self._net.blobs[name]
            if tuple(blob.data.shape) != shape:
                blob.reshape(*shape)
                changed = True
        if changed:
            self._net.reshape()

    def forward(self) -> None:
        """One forward pass with what is in the input blobs."""
        self._net.forward()


def load_net(net: Any, weights: str) -> InferenceNet:
    """A net for inference.

    Parameters
    ----------
    net : NetParameter, rewritten for stock pycaffe
    weights : path of a .caffemodel or .caffemodel.h5
    """
    with _prototxt(net) as path:
        built = caffe.Net(path, caffe.TEST)
    built.copy_from(weights)
    return InferenceNet(built)


# ---- looking at a net before it is used


class NetShapes:
    """What ``inspect_net`` found.

    Attributes
    ----------
    shapes : every blob's shape at the net's own batch size
    flexible : whether the net can be reshaped to another batch size
    batch_axes : for each blob that grows with the batch, its axis and how many entries of it one sample has;
        blobs that do not (losses, accuracies) are missing
    parameters : how many numbers the net learns
    """

    def __init__(self, stages: List[Dict[str, Any]], batch: int) -> None:
        self.shapes: Dict[str, Tuple[int, ...]] = {name: tuple(shape) for name, shape in stages[0]["blobs"].items()}
        self.parameters = int(stages[0]["parameters"])
        self.flexible = len(stages) > 1
        self.batch_axes: Dict[str, Tuple[int, int]] = {}
        for name, shape in self.shapes.items():
            for axis, size in enumerate(shape):
                grown = stages[1]["blobs"][name][axis] - size if self.flexible else int(size == batch)
                if grown > 0:
                    self.batch_axes[name] = (axis, grown)
                    break


def inspect_net(net: Any, larger: Dict[str, Tuple[int, ...]], batch: int, where: str) -> NetShapes:
    """Build the net in a process of its own, where a failed native CHECK does no harm.

    Parameters
    ----------
    net : NetParameter, rewritten for stock pycaffe
    larger : the shape of each input blob that holds data when the batch has one more sample
    batch : the net's batch size
    where : the net's file, for errors

    Raises
    ------
    ConfigError
        With the CHECK's own words when Caffe refuses the net.
    """
    plain = NetParameter()
    plain.CopyFrom(net)
    for layer in plain.layer:  # nobody looks at the values, and random ones take time
        for field in ("convolution_param", "inner_product_param", "embed_param"):
            if layer.HasField(field):
                getattr(layer, field).ClearField("weight_filler")
    with _prototxt(plain) as path:
        output, errors, status = run_in_child(
            lambda send: _report_shapes(path, int(plain.state.phase), larger, send), _INSPECTION
        )
    stages = [json.loads(line) for line in output.decode().splitlines()]
    if not stages:
        raise ConfigError(f"{where}: Caffe refuses the net: {_check_message(errors, status)}")
    return NetShapes(stages, batch)


def _report_shapes(path: str, phase: int, larger: Dict[str, Tuple[int, ...]], send: Callable[[bytes], None]) -> None:
    net = caffe.Net(path, phase)
    for reshaping in (False, True):
        if reshaping:
            for name, shape in larger.items():
                net.blobs[name].reshape(*shape)
            net.reshape()
        found = {name: list(blob.data.shape) for name, blob in net.blobs.items()}
        parameters = sum(int(blob.count) for blob in _unique([blob for blobs in net.params.values() for blob in blobs]))
        send(json.dumps({"blobs": found, "parameters": parameters}).encode() + b"\n")


def _check_message(errors: bytes, status: int) -> str:
    """The sentence of a glog FATAL line, or what else is known."""
    for line in errors.decode(errors="replace").splitlines():
        if line.startswith("F") and "] " in line:
            return line.partition("] ")[2].strip()
    if os.WIFSIGNALED(status):
        return f"its process ended with signal {os.WTERMSIG(status)}"
    tail = errors.decode(errors="replace").strip().splitlines()
    return tail[-1] if tail else f"its process ended with status {status}"
