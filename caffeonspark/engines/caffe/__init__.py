"""The engine that is stock pycaffe. No other package imports ``caffe``.

pycaffe is loaded when something is to be computed: explaining crashes and estimating memory does not need it.

pycaffe facts this package is built around: it holds the GIL for a whole forward or backward pass; an exception raised
in a callback comes out of ``step``; a failed native CHECK ends the process, after glog has written why to standard
error.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Dict, Mapping, Sequence, Tuple

from ...plans.inspection import Inspection, SolverInspection
from ...plans.net_plan import NetPlan
from ...plans.sample_weights import WEIGHABLE
from ...storage import EXECUTOR_SETTING
from ..base import Engine, Predictor, Trainer
from . import memory
from .crash import fatal_message

__all__ = ["CaffeEngine"]

_loading = threading.Lock()


def _load() -> None:
    """Load pycaffe, and all that imports it, in one thread at a time.

    Python's own locks give way where they suspect a deadlock, and of fits that begin at once one found half a module.
    """
    with _loading:
        from . import arithmetic, inspection, predictor, pycaffe, solver_check, trainer  # noqa: F401


class CaffeEngine(Engine):
    """Stock pycaffe: conda-forge's, Debian's, or a fork of Caffe."""

    def versions(self) -> Dict[str, str]:
        _load()
        from .pycaffe import caffe

        return {"Python": f"{sys.version_info[0]}.{sys.version_info[1]}", "Caffe": str(caffe.__version__)}

    def arithmetic(self) -> str:
        _load()
        from .arithmetic import digest

        return digest()

    def show_log(self, everything: bool) -> None:
        _load()
        from .pycaffe import show_log

        show_log(everything)

    def layer_types(self) -> Sequence[str]:
        _load()
        from .pycaffe import caffe

        return list(caffe.layer_type_list())

    def weighable_losses(self) -> Sequence[str]:
        return WEIGHABLE

    def inspect(self, net: Any, larger: Mapping[str, Tuple[int, ...]], batch: int, where: str) -> Inspection:
        _load()
        from .inspection import inspect_net

        return inspect_net(net, larger, batch, where)

    def check_solver(self, solver: Any, train_net: Any, test_nets: Sequence[Any], where: str) -> SolverInspection:
        _load()
        from .solver_check import check_solver

        return check_solver(solver, train_net, test_nets, where)

    def trainer(self, solver: Any, train_net: Any, test_nets: Sequence[Any], rank: int, folder: str) -> Trainer:
        _load()
        from .trainer import CaffeTrainer

        return CaffeTrainer(solver, train_net, test_nets, rank, folder)

    def predictor(self, net: Any, weights: str) -> Predictor:
        _load()
        from .predictor import load_net

        self.show_log(False)  # a rank that ran in this process before may have been asked to show it
        return load_net(net, weights)

    def explain_crash(self, log: Sequence[str]) -> str:
        message = fatal_message(log)
        if "SerializeToOstream" in message:
            message = f"it could not write a file, for want of room: set {EXECUTOR_SETTING} to a larger disk"
        return f"Caffe ended the process: {message}" if message else ""

    def training_memory(self, solver_type: str, train: NetPlan, tests: Sequence[NetPlan]) -> float:
        return memory.training(solver_type, train, tests)

    def inference_memory(self, net: NetPlan) -> float:
        return memory.inference(net)

    def inspection_memory(self, net: NetPlan) -> float:
        return memory.inspection(net)
