"""A pycaffe solver. Blobs and parameters are float32 arrays that share Caffe's memory."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...formats.endings import is_hdf5, model_ending, state_ending
from ...formats.solverstate import with_learned_net
from ...nets.schedule import learning_rate
from ...nets.schema import SolverParameter
from ...plans.indices import IndexedBottom
from ...plans.sample_weights import WeightedLoss
from ...storage import reserved
from ..base import Trainer
from .arrivals import check_arrivals
from .backward import FinalGradients
from .normalization import LossNormalizer, normalized_layers
from .predictor import CaffePredictor
from .pycaffe import caffe, parameter_blobs, places_of_layers, prototxt, unique
from .python_layers import check_modules, explained
from .sample_weights import SampleWeigher

__all__ = ["HISTORIES", "CaffeTrainer"]

#: Blobs for each parameter in a solver state; other types have one.
HISTORIES = {"AdaDelta": 2, "Adam": 2}

_NEVER = 2**31 - 1


def _nothing(*args: Any) -> None:
    return


def has_gpu() -> bool:
    """Whether the installed Caffe was built with CUDA."""
    with open("/proc/self/maps") as f:
        return "libcudart" in f.read()


class CaffeTrainer(Trainer):
    """A pycaffe solver whose data comes in through its nets' Input layers.

    Parameters are those of ``Engine.trainer``.
    """

    def __init__(self, param: Any, train_net: Any, test_nets: Sequence[Any], rank: int, folder: str) -> None:
        self._param = SolverParameter()
        self._param.CopyFrom(param)
        for name in ("net", "net_param", "train_net", "test_net", "test_net_param", "test_state", "train_state"):
            self._param.ClearField(name)
        self._param.ClearField("weights")  # they come as files, and older Caffes do not know the field
        self._param.train_net_param.CopyFrom(train_net)
        self._param.ClearField("test_iter")
        for net in test_nets:
            self._param.test_net_param.add().CopyFrom(net)
            self._param.test_iter.append(1)
        # Testing, snapshots and display are the rank loop's
        self._param.test_interval = _NEVER
        self._param.test_initialization = False
        self._param.snapshot = 0
        self._param.display = 0
        self._param.snapshot_prefix = os.path.join(folder, "caffe")
        if not has_gpu():
            self._param.solver_mode = SolverParameter.CPU
        for net in (train_net, *test_nets):
            check_modules(net)
        with prototxt(self._param, folder) as path:
            self._solver = caffe.get_solver(path)
        if rank and param.random_seed >= 0:
            caffe.set_random_seed(int(param.random_seed) + rank)
        self._net = self._solver.net
        self._learnable = unique(parameter_blobs(self._net))
        self._statistics = self._batch_norm_statistics()
        self._loss_blobs = [(self._net.blobs[n], w) for n, w in self._net.blob_loss_weights.items() if w]
        self._normalizer: Optional[LossNormalizer] = None
        self._weigher: Optional[SampleWeigher] = None
        self._rank = rank
        self._inputs = self._input_blobs()
        self._load: Callable[[], None] = _nothing
        self._exchange: Callable[[List[float]], None] = _nothing
        self._layer_done: Callable[[int], None] = _nothing
        self._before = 0  # passes of the step that the solver does not make itself
        self._losses: List[float] = []
        self._final = FinalGradients(self._net, self._learnable)
        self._last_pass = 0  # of a step whose backward pass is watched
        last = len(self._net.layers) - 1
        self._net.before_forward(lambda layer: self._load() if layer == 0 else None)
        # after every callback of the forward pass: one of them may scale losses
        self._net.before_backward(lambda layer: self._note_loss() if layer == last else None)
        self._solver.add_callback(self._begin, self._gradients_ready)

    def _batch_norm_statistics(self) -> List[Any]:
        """The running mean and variance of every BatchNorm layer that updates them."""
        found = []
        for layer in self._param.train_net_param.layer:
            if layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats:
                found += list(self._net.params[layer.name])[:2]
        return found

    def _input_blobs(self) -> List[Tuple[str, Any]]:
        """Name and blob of every top of an Input layer."""
        layers = [layer for layer in self._param.train_net_param.layer if layer.type == "Input"]
        return [(str(top), self._net.blobs[top]) for layer in layers for top in layer.top]

    # ---- arrays

    @property
    def inputs(self) -> Dict[str, np.ndarray]:
        return {name: blob.data for name, blob in self._inputs}

    @property
    def weights(self) -> List[np.ndarray]:
        return [blob.data for blob in self._learnable]

    @property
    def gradients(self) -> List[np.ndarray]:
        return [blob.diff for blob in self._learnable]

    @property
    def statistics(self) -> List[np.ndarray]:
        return [blob.data for blob in self._statistics]

    @property
    def multipliers(self) -> List[Tuple[float, float]]:
        by_memory: Dict[int, List[Optional[float]]] = {}
        for place, layer in zip(
            places_of_layers(self._net, self._param.train_net_param), self._param.train_net_param.layer
        ):
            for number, blob in enumerate(self._net.layers[place].blobs):
                found = by_memory.setdefault(blob.data.ctypes.data, [None, None])
                if layer.type == "BatchNorm":  # which sets its own to 0
                    found[0] = 0.0
                if number < len(layer.param):
                    spec = layer.param[number]
                    # of layers that share a parameter, whichever says it
                    found[0] = float(spec.lr_mult) if spec.HasField("lr_mult") else found[0]
                    found[1] = float(spec.decay_mult) if spec.HasField("decay_mult") else found[1]
        specs = [by_memory[blob.data.ctypes.data] for blob in self._learnable]
        return [(1.0 if rate is None else rate, 1.0 if decay is None else decay) for rate, decay in specs]

    @property
    def final_order(self) -> List[List[int]]:
        return self._final.order

    @property
    def iteration(self) -> int:
        return int(self._solver.iter)

    @property
    def rate(self) -> float:
        return learning_rate(self._param, self.iteration)

    # ---- training

    def reshape(self, shapes: Mapping[str, Tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            blob = self._net.blobs[name]
            if tuple(blob.data.shape) != shape:
                blob.reshape(*shape)  # the layers follow as they run

    def step(self, load: Callable[[], None], gradients_ready: Callable[[float], None]) -> None:
        self._exchange = lambda losses: gradients_ready(sum(losses) / len(losses))
        self._last_pass = int(self._param.iter_size)
        try:
            self._run(load, lambda: self._solver.step(1))
        finally:
            self._last_pass = 0

    def watch_backward(self, layer_done: Callable[[int], None]) -> None:
        if self._param.debug_info:
            return  # its last line is of all gradients after the pass, before anything has changed them
        self._layer_done, after = layer_done, self._final.after

        def ran(layer: int) -> None:
            if len(self._losses) == self._last_pass:
                self._layer_done(after[layer])

        self._net.after_backward(ran)

    def step_over(
        self, passes: int, load: Callable[[], None], gradients_ready: Callable[[Sequence[float]], None]
    ) -> None:
        self._exchange, self._before = gradients_ready, passes - 1
        try:
            self._run(load, lambda: self._solver.step(1))
        finally:
            self._before = 0

    def compute(self, passes: int, load: Callable[[], None]) -> List[float]:
        for gradient in self.gradients:
            gradient[...] = 0
        self._run(load, lambda: self._pass_through(passes))
        return list(self._losses)

    def _run(self, load: Callable[[], None], work: Callable[[], None]) -> None:
        self._load = load
        self._losses.clear()
        try:
            work()
        except (Exception, SystemExit) as e:
            found = explained(e, self._param.train_net_param)
            if found is e:
                raise
            raise found from e

    def _begin(self) -> None:
        # the solver has cleared the gradients by now, and makes its own pass on top of these
        self._pass_through(self._before)

    def _pass_through(self, passes: int) -> None:
        for _ in range(passes):
            self._net.forward()
            self._net.backward()

    def _note_loss(self) -> None:
        self._losses.append(sum(float(blob.data.sum()) * weight for blob, weight in self._loss_blobs))

    def _gradients_ready(self) -> None:
        self._exchange(self._losses)

    def check_indices(self, indexed: Sequence[IndexedBottom]) -> None:
        check_arrivals(self._net, self._param.train_net_param, indexed)

    def weigh_samples(self, losses: Sequence[WeightedLoss]) -> None:
        self._weigher = SampleWeigher(self._net, self._param.train_net_param, losses)

    def normalize_over(self, ranks: int, sum_over_ranks: Callable[[np.ndarray], None]) -> None:
        layers = normalized_layers(self._net, self._param.train_net_param)
        if self._weigher is not None:
            self._weigher.normalize_over(ranks, sum_over_ranks)
            layers = {place: layer for place, layer in layers.items() if place not in self._weigher.places}
        if layers:  # other nets pay nothing
            self._normalizer = LossNormalizer(self._net, layers, sum_over_ranks, ranks)

    # ---- validation

    def test_net(self, number: int) -> CaffePredictor:
        net = self._solver.test_nets[number]
        net.share_with(self._net)
        return CaffePredictor(net, self._param.test_net_param[number])

    def reseed(self, seed: int) -> None:
        mixed = np.random.SeedSequence([seed, self._rank, self.iteration]).generate_state(1)[0]
        caffe.set_random_seed(int(mixed) & 0x7FFFFFFF)

    # ---- files

    def saved_shapes(self) -> List[Tuple[str, List[List[int]]]]:
        """Name and shapes of the parameters of each layer that is saved, which Caffe's own splits are too."""
        names = self._net._layer_names
        return [(str(n), [list(b.data.shape) for b in layer.blobs]) for n, layer in zip(names, self._net.layers)]

    def load_weights(self, path: str) -> None:
        self._net.copy_from(path)

    def save_weights(self, path: str) -> None:
        with reserved((path, self._bytes())):
            if is_hdf5(path):
                self._net.save_hdf5(path)
            else:
                self._net.save(path)

    def restore(self, weights: str, state: str) -> None:
        with_learned_net(state, weights)  # Caffe reads the file that the state names
        self._solver.restore(state)

    def snapshot(self) -> Tuple[str, str]:
        hdf5 = self._param.snapshot_format == SolverParameter.HDF5
        base = f"{self._param.snapshot_prefix}_iter_{self.iteration}"
        weights, state = base + model_ending(hdf5), base + state_ending(hdf5)
        history = self._bytes() * HISTORIES.get(str(self._param.type), 1)
        with reserved((weights, self._bytes()), (state, history)):
            self._solver.snapshot()
        return weights, state

    def _bytes(self) -> int:
        """Of the parameters, each counted once."""
        return sum(4 * int(blob.count) for blob in self._learnable)

    def close(self) -> None:
        # Caffe keeps this object alive for its callbacks: without the solver, and whoever it calls, it is small
        self._load, self._exchange, self._layer_done = _nothing, _nothing, _nothing
        for one in (self._normalizer, self._weigher):
            if one is not None:
                one.close()
        del self._solver, self._net, self._learnable, self._statistics, self._loss_blobs, self._inputs
