"""What a strategy decides: when the ranks exchange what, and what of it is the model."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Any, Callable, ClassVar, ContextManager, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..comm.base import Communicator
from ..engines.base import Trainer
from ..plans.net_plan import NetPlan
from ..settings import Settings

__all__ = ["Entry", "Progress", "Strategy"]

#: (iteration, loss: the mean over the ranks, learning rate)
Entry = Tuple[int, float, float]


class Progress(NamedTuple):
    """What the ranks know together after an iteration; the same on all of them.

    Attributes
    ----------
    history : the iterations whose losses are known now
    stop : whether a rank was asked to stop
    rank_losses : where the ranks' models differ, each rank's own mean loss over these iterations; else ()
    ended : why training is over, where the strategy says so: a word for ``TrainingResult.stopped``
    keep : whether a snapshot is worth its time now, though nobody asked for one
    passes : how often all the data was gone through, of a strategy that counts it
    gradient_norm : of the whole objective, at the weights that the iteration began with; of a strategy that knows it
    """

    history: Sequence[Entry]
    stop: bool
    rank_losses: Sequence[float] = ()
    ended: str = ""
    keep: bool = False
    passes: int = 0
    gradient_norm: Optional[float] = None


class Strategy(ABC):
    """One rank's part in keeping the ranks one model. Every rank calls the same methods in the same order.

    Parameters
    ----------
    trainer : Trainer
    comm : Communicator
    settings : the flags
    wants_stop : whether this rank was asked to stop, by now

    Attributes
    ----------
    flags : names of the flags that it reads and not every strategy does; given with another one they are an error
    portable : whether the model and the solver state in a snapshot are enough to continue with another number of
        ranks or another strategy
    stops_after : after what a request to stop ends training, in words
    lockstep : whether every rank applies the same gradients in every iteration, so that the ranks are one solver with
        the samples of all of them. Then their trainers divide losses by what that solver would
        (``Trainer.normalize_over``), and only rounding can part their weights: ranks whose processors round differently
        are settled on rank 0's (``sync/settlement.py``)
    if_not_finite : what to do about a loss that is no number
    whole_data : whether an iteration goes through all records, each once in a pass. Then ``begin`` is called before
        ``start``, ``load`` fills the inputs with the next block of this rank's records, and a rank may have none
    """

    flags: ClassVar[Tuple[str, ...]] = ()
    portable: ClassVar[bool] = True
    stops_after: ClassVar[str] = "this iteration"
    lockstep: ClassVar[bool] = False
    if_not_finite: ClassVar[str] = "lower base_lr, or set clip_gradients"
    whole_data: ClassVar[bool] = False

    def __init__(
        self, trainer: Trainer, comm: Communicator, settings: Settings, wants_stop: Callable[[], bool]
    ) -> None:
        self.trainer = trainer
        self.comm = comm
        self.settings = settings
        self.wants_stop = wants_stop
        if self.lockstep and comm.size > 1:
            trainer.normalize_over(comm.size, lambda counts: comm.all_reduce([counts]))

    @property
    def scale(self) -> Optional[float]:
        """What makes a sum over the ranks their mean, for ``comm.all_reduce``."""
        return None if self.comm.size == 1 else 1.0 / self.comm.size

    @classmethod
    def check_settings(cls, settings: Settings, ranks: int) -> None:
        """Raise ConfigError for values of its flags that cannot be; called on the driver before anything starts."""
        return

    @classmethod
    def check(cls, solver: Any, train: NetPlan, where: str) -> List[str]:
        """Look at what it is to train, on the driver, before anything starts.

        Parameters
        ----------
        solver : the user's SolverParameter
        train : the TRAIN net
        where : the solver's file, for errors

        Returns
        -------
        list of str
            What is to be known of the solver.

        Raises
        ------
        ConfigError
            For what it cannot train.
        """
        return []

    @classmethod
    def engine_solver(cls, solver: Any) -> Any:
        """The SolverParameter that trainers are made with."""
        return solver

    @classmethod
    def memory(cls, train: NetPlan, settings: Settings, ranks: int) -> float:
        """MB that each of the ranks takes for it, in addition to its engine."""
        return 0.0

    @classmethod
    def wants_helper(cls, train: NetPlan) -> bool:
        """Whether it uses ``Communicator.begin_aside`` for this net: then ranks of several machines have a helper
        process each."""
        return False

    def begin(self, blocks: Sequence[int], solver: Any) -> None:  # noqa: B027
        """Take note of what a pass is; called first, and only where ``whole_data`` is set.

        Parameters
        ----------
        blocks : how many records each block of a pass of this rank has: ``load`` fills the inputs with them in turn
        solver : the user's SolverParameter
        """

    def start(self, weights: Sequence[str], state: Optional[str], parts: Optional[Mapping[str, str]]) -> None:
        """Begin: every rank with rank 0's weights, or from a snapshot.

        Parameters
        ----------
        weights : paths of .caffemodel files to copy layers from, in order; with ``state``, the snapshot's
        state : path of the solver state to restore, or None
        parts : what this rank gave to the snapshot by ``parts``, local paths by ending, which may be nothing; None on
            every rank where the snapshot has no parts, or those of another strategy or number of ranks

        The files may be changed.
        """
        if state is not None:
            self.trainer.restore(weights[0], state)
        else:
            for path in weights:
                self.trainer.load_weights(path)
        self.comm.broadcast(self.trainer.weights)

    @abstractmethod
    def iterate(self, load: Callable[[], None]) -> Progress:
        """One iteration of this rank's trainer, and what it exchanges with the others.

        Parameters
        ----------
        load : fills the trainer's inputs; called before each forward pass
        """

    def exchange_losses(self) -> Sequence[Entry]:
        """The iterations whose losses ``iterate`` has not given yet: the ranks exchange them now."""
        return ()

    def view(self) -> ContextManager[None]:
        """While it lasts the trainer's weights are the model, the same on every rank; then they are its own again, to
        the bit. Nothing is trained meanwhile."""
        return contextlib.nullcontext()

    def parts(self) -> Dict[str, str]:
        """This rank's share of a snapshot, in addition to the model in ``view`` and rank 0's solver state: paths of new
        files by the ending that each gets in the snapshot (".caffemodel"). The caller removes them."""
        return {}
