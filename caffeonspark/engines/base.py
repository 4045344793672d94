"""What an engine does for the rest of the library.

Nets and solvers come in Caffe's language (``nets/schema``), models and solver states are Caffe's files. How an engine
computes, and with which library, is its own business; where the library is missing it raises ConfigError, which names
it and how to install it, when it is first asked for something that needs it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ..errors import ConfigError
from ..formats.solverstate import read_solverstate, write_solverstate
from ..plans.indices import IndexedBottom
from ..plans.inspection import Inspection, SolverInspection
from ..plans.net_plan import NetPlan
from ..plans.sample_weights import WeightedLoss

__all__ = ["Engine", "Predictor", "Trainer"]


class Predictor(ABC):
    """A TEST-phase net."""

    @property
    @abstractmethod
    def blobs(self) -> Mapping[str, np.ndarray]:
        """Every blob by name, float32. Inputs are written here in place; ``reshape`` and ``forward`` may replace the
        arrays."""

    @abstractmethod
    def reshape(self, shapes: Mapping[str, Tuple[int, ...]]) -> None:
        """Give input blobs new shapes, and the rest of the net theirs."""

    @abstractmethod
    def forward(self) -> None:
        """One forward pass with what is in the input blobs."""

    def check_indices(self, indexed: Sequence[IndexedBottom]) -> None:
        """From now on, raise DataError from ``forward`` before a layer runs whose bottom holds an index out of range.

        For engines whose layers would read or write outside their memory; others need not do anything.
        """
        return


class Trainer(ABC):
    """One rank's solver over a TRAIN-phase net, and the nets it is validated with.

    Its arrays are float32 and the solver's own memory: what is written to them counts. They have the same order and
    shapes on every rank.
    """

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, np.ndarray]:
        """The blobs that data comes in through, by name."""

    @property
    @abstractmethod
    def weights(self) -> List[np.ndarray]:
        """Every parameter, each memory once, in the order of the layers."""

    @property
    @abstractmethod
    def gradients(self) -> List[np.ndarray]:
        """The gradients of ``weights``, in the same order."""

    @property
    @abstractmethod
    def statistics(self) -> List[np.ndarray]:
        """What forward passes change and ranks keep equal (BatchNorm's running sums); part of ``weights``."""

    @property
    @abstractmethod
    def iteration(self) -> int:
        """How many iterations were made."""

    @property
    @abstractmethod
    def rate(self) -> float:
        """The learning rate of the iteration that comes next."""

    def reshape(self, shapes: Mapping[str, Tuple[int, ...]]) -> None:
        """Give input blobs new shapes; called while ``step`` loads a batch. Engines need not be able to."""
        different = [name for name, shape in shapes.items() if self.inputs[name].shape != shape]
        if different:
            raise ConfigError(f"the engine does not train with inputs of different sizes, as '{different[0]}' has")

    @abstractmethod
    def step(self, load: Callable[[], None], gradients_ready: Callable[[float], None]) -> None:
        """One iteration: ``iter_size`` forward and backward passes and one update.

        Parameters
        ----------
        load : fills ``inputs``; called before each forward pass
        gradients_ready : called with the mean loss of the iteration when ``gradients`` hold the sum over its passes,
            before they are normalised, clipped and regularised; may change them and ``statistics``

        Whatever they raise ends the iteration without an update and is raised here.
        """

    # ---- gradients before the iteration's end; engines need not be able to

    @property
    def final_order(self) -> List[List[int]]:
        """The numbers of ``gradients``, in groups that a backward pass ends together, in the order in which it does:
        the last layer's first. The same on every rank."""
        return [list(range(len(self.gradients)))]

    def watch_backward(self, layer_done: Callable[[int], None]) -> None:
        """From now on, in the last backward pass of each ``step``, call ``layer_done`` after layers, with how many
        groups of ``final_order`` are what ``gradients_ready`` will find; from then on they may be changed. What it
        raises ends the iteration without an update. Called once, before the first ``step``."""
        return

    # ---- passes of other numbers, for strategies that go through all data; engines need not be able to

    @property
    def multipliers(self) -> List[Tuple[float, float]]:
        """``lr_mult`` and ``decay_mult`` of each of ``weights``; the first is 0 of what is not learned."""
        raise _no_whole_data()

    def step_over(
        self, passes: int, load: Callable[[], None], gradients_ready: Callable[[Sequence[float]], None]
    ) -> None:
        """``step`` with so many passes, at least 1, of a solver whose ``iter_size`` is 1: the update is by what
        ``gradients`` hold after ``gradients_ready``, undivided. It is called with the loss of each pass."""
        raise _no_whole_data()

    def compute(self, passes: int, load: Callable[[], None]) -> List[float]:
        """So many passes, or none, and no update: ``gradients`` hold the sum over them; the loss of each."""
        raise _no_whole_data()

    # ---- what is checked, weighed and divided on the way

    def check_indices(self, indexed: Sequence[IndexedBottom]) -> None:
        """What ``Predictor.check_indices`` says, for the train net: raised from ``step``."""
        return

    def weigh_samples(self, losses: Sequence[WeightedLoss]) -> None:
        """From now on multiply each sample's loss, and the gradient it begins, by what the blob ``sample_weight`` has
        for the sample, and divide by the sum of these weights over the pass (over all ranks' passes, where
        ``normalize_over`` is called) instead of the number of samples. Where that sum is 0, loss and gradient are 0.

        Called once, before the first ``step`` and before ``normalize_over``, where there are weights: of engines whose
        ``weighable_losses`` has the types of these losses.
        """
        raise NotImplementedError

    def normalize_over(  # noqa: B027
        self, ranks: int, sum_over_ranks: Callable[[np.ndarray], None]
    ) -> None:
        """From now on divide each loss by what one solver with the samples of all ranks would divide it by, so that
        the mean over the ranks is that solver's loss. Called once, before the first ``step``, where ranks exchange
        gradients. Nothing has to be done for losses that are means over the samples of a pass, each weighing the same.

        Parameters
        ----------
        ranks : how many
        sum_over_ranks : replaces a float64 array by its sum over the ranks; every rank calls it as often, with the
            same shape
        """

    @abstractmethod
    def test_net(self, number: int) -> Predictor:
        """A test net. It shares the train net's weights from now on, so it always sees the newest."""

    @abstractmethod
    def reseed(self, seed: int) -> None:
        """Make random numbers (dropout) from here on a function of seed, rank and iteration."""

    # ---- files, in Caffe's formats: HDF5 where a path ends in .h5

    @abstractmethod
    def load_weights(self, path: str) -> None:
        """Copy the parameters of layers with the same name from a .caffemodel."""

    @abstractmethod
    def save_weights(self, path: str) -> None:
        """Write a .caffemodel."""

    @abstractmethod
    def restore(self, weights: str, state: str) -> None:
        """Continue from a snapshot's .caffemodel and .solverstate, which may be changed."""

    @abstractmethod
    def snapshot(self) -> Tuple[str, str]:
        """Write .caffemodel and .solverstate to the temporary folder, in the solver's ``snapshot_format``; their
        paths."""

    def change_history(self, change: Callable[[List[np.ndarray]], None]) -> None:
        """Let ``change`` write to the solver's history: what it carries besides the weights from one iteration to the
        next (momentum), as ``formats.solverstate`` reads it. Weights and iteration stay.

        It goes by way of a snapshot's files; an engine whose history is memory of its own can do without.
        """
        weights, path = self.snapshot()
        state = read_solverstate(path)
        change(state.history)
        write_solverstate(path, state)
        self.restore(weights, path)
        for file in (weights, path):
            os.unlink(file)

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Test nets and arrays must not be used any more."""


def _no_whole_data() -> ConfigError:
    return ConfigError('the engine does not go through all data in an iteration, as -fullBatch and type: "LBFGS" do')


class Engine(ABC):
    """Something that computes nets. Made without arguments, on the driver and on executors; holds no state.

    Nets are NetParameters whose data comes in through ``Input`` layers, with ``state.phase`` settled. A field that
    names a file for a layer to open (``infogain_loss_param.source``) holds the file itself: ``nets.embedded``.
    """

    @abstractmethod
    def versions(self) -> Dict[str, str]:
        """What has to be the same on driver and executors: versions by name."""

    def arithmetic(self) -> str:
        """A digest of fixed computations: two machines whose digests differ do not come to the same bits. "" for an
        engine that comes to the same everywhere."""
        return ""

    @abstractmethod
    def layer_types(self) -> Sequence[str]:
        """The layer types it can compute."""

    def weighable_losses(self) -> Sequence[str]:
        """The types of losses in which its trainers can weigh samples (``Trainer.weigh_samples``); none of an engine
        that cannot."""
        return ()

    @abstractmethod
    def inspect(self, net: Any, larger: Mapping[str, Tuple[int, ...]], batch: int, where: str) -> Inspection:
        """Look at a net on the driver, before it is used.

        Parameters
        ----------
        net : NetParameter
        larger : the shape of each input blob that holds data when the batch has one more sample
        batch : the net's batch size
        where : the net's file, for errors

        Raises
        ------
        ConfigError
            If the engine cannot compute the net: ``where``, and why.
        """

    def check_solver(self, solver: Any, train_net: Any, test_nets: Sequence[Any], where: str) -> SolverInspection:
        """Build a solver on the driver as ranks will, before they do; an engine need not.

        Parameters
        ----------
        solver, train_net, test_nets : as for ``trainer``
        where : the solver's file, for errors

        Returns
        -------
        SolverInspection
            What it will save; nothing where the engine does not know.

        Raises
        ------
        ConfigError
            If the engine refuses the solver: ``where``, and why.
        """
        return SolverInspection()

    @abstractmethod
    def trainer(self, solver: Any, train_net: Any, test_nets: Sequence[Any], rank: int, folder: str) -> Trainer:
        """A solver.

        Parameters
        ----------
        solver : SolverParameter of the user; its nets are ignored, and testing, snapshots and display are the caller's
        train_net : NetParameter
        test_nets : NetParameters; they share the train net's weights
        rank : the solver's rank, which sets its random numbers (dropout) apart from the others'
        folder : for temporary files
        """

    @abstractmethod
    def predictor(self, net: Any, weights: str) -> Predictor:
        """A net for inference, with the weights in the .caffemodel (.h5: HDF5) at the local path ``weights``."""

    @abstractmethod
    def explain_crash(self, log: Sequence[str]) -> str:
        """Why the engine ended its process, in one sentence, from the last lines of its standard error; "" if it did
        not."""

    def show_log(self, everything: bool) -> None:
        """From now on, write to standard error all there is to say, or what went wrong only.

        For engines that talk; others need not do anything.
        """
        return

    # ---- memory of a Python process besides what it has without a net, in MB

    @abstractmethod
    def training_memory(self, solver_type: str, train: NetPlan, tests: Sequence[NetPlan]) -> float:
        """What a trainer takes, snapshots included; ``solver_type`` as in the solver's ``type``."""

    @abstractmethod
    def inference_memory(self, net: NetPlan) -> float:
        """What a predictor takes, with the model's file while it is loaded."""

    @abstractmethod
    def inspection_memory(self, net: NetPlan) -> float:
        """What looking at a net takes."""
