"""Python workers of their own. Spark keeps idle workers, with all that is loaded in them, for tasks that come later, by
the environment that a function asks for."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Dict, Iterator, Mapping, Sequence, Set

from ..engines.blas import AUTO, VARIABLE

if TYPE_CHECKING:
    from pyspark import SparkContext

__all__ = ["Workers", "inference_environment", "part_from_inference", "worker_environment"]

_NAME = "CAFFEONSPARK_WORKERS"  # no value means anything: others are other workers

_lock = threading.Lock()


@contextlib.contextmanager
def worker_environment(context: SparkContext, variables: Mapping[str, str]) -> Iterator[None]:
    """Functions that are handed to Spark meanwhile run in workers with these environment variables more, which run no
    others; without any, in those that everybody's run in."""
    with _lock:  # PySpark copies this dict when it gets a function
        before = dict(context.environment)
        context.environment.update(variables)
        try:
            yield
        finally:
            context.environment.clear()
            context.environment.update(before)


class Workers:
    """The workers for the ranks of a run, whose kernels ``setting`` (-blasKernel) says.

    Ranks by default share workers with everything else. A kernel is for good once OpenBLAS is loaded, so those who are
    told another one share with their like.

    Attributes
    ----------
    environment : variables for ``worker_environment``
    fresh : whether they were taken because others had loaded OpenBLAS with another kernel
    """

    def __init__(self, setting: str, application: str) -> None:
        self._key = f"{application} {setting}"
        self.fresh = self._key in _fresh
        self.environment = _fresh.get(self._key, _of_setting(setting))

    def take_fresh(self, kernels: Sequence[str]) -> None:
        """Other ones from now on, also for the runs that come, which have loaded nothing but these kernels."""
        self.environment = {_NAME: " ".join(kernels)}
        if (
            len(set(kernels)) == 1
        ):  # also where NumPy shares the engine's OpenBLAS, and loads it before anyone can speak
            self.environment[VARIABLE] = kernels[0]
        self.fresh = True
        _fresh[self._key] = self.environment


_fresh: Dict[str, Dict[str, str]] = {}  # by application and setting
_parted: Set[str] = set()  # applications whose ranks took kernels that inference would not take


def part_from_inference(application: str) -> None:
    """The application's ranks take kernels that their processors would not take alone."""
    _parted.add(application)


def inference_environment(setting: str, application: str) -> Dict[str, str]:
    """Variables for the workers of test and features."""
    if setting == AUTO and application in _parted:
        return {_NAME: "inference"}
    return _of_setting(setting)


def _of_setting(setting: str) -> Dict[str, str]:
    return {} if setting == AUTO else {_NAME: setting}
