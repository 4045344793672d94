"""A net that computes in this process, for a sample or a few: no Spark, no other process once it is built.

Before it is built here, the engine has built it in a process of its own, with the model's weights, and has run it
once: what ends that process is an error here.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import weakref
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..data.batches import BatchRandom
from ..data.records import BadRecord, BadRecords, Column, Records
from ..data.tops import ImageTop, Top
from ..engines.base import Engine
from ..engines.batching import BatchedNet
from ..engines.blas import check_setting, use_for
from ..engines.registry import engine_named
from ..errors import ConfigError, DataError, from_text
from ..formats.endings import ending_of
from ..nets.net import Net
from ..plans.net_plan import NetPlan
from ..plans.passes import pass_size
from ..plans.run_config import Configured
from ..plans.scoring import ScoringSource, scoring_plan
from ..plans.weights_match import check_all_there
from ..process import run_in_child
from ..storage import temporary_folder
from .local_inputs import LocalInput, Sample, local_inputs, samples_of

__all__ = ["LocalNet", "local_net"]

_TIMEOUT = 300.0  # seconds, for building and running it in another process


def local_net(config: Configured, net: Net, blobs: Sequence[str], model: bytes, name: str) -> LocalNet:
    """The part of a net that some blobs depend on, with a model's weights, checked.

    Parameters
    ----------
    config : whose settings say how data is read, and what computes
    net : of the TEST phase
    blobs : names of the blobs that ``LocalNet.run`` gives
    model : the content of the model's file
    name : of that file, which tells the format; what errors call it

    Raises
    ------
    ConfigError
        If the engine refuses the net, or the model is another net's.
    DataError
        If the model is damaged.
    """
    run = config.run_config
    settings = run.settings
    check_setting(settings.blasKernel)
    engine = engine_named(settings.engine)
    use_for(settings.blasKernel)  # which counts for an engine that is not loaded yet
    plan = scoring_plan(config, net, blobs)
    check_all_there(plan, name, model)
    if len(plan.layers) != 1:
        raise ConfigError(
            f"{net.path}: predict fills the net's single data layer, and {len(plan.layers) or 'none'} of its layers "
            "read data"
        )
    (source,) = ScoringSource(config, net.pruned(blobs)).sources
    inputs, batch = local_inputs(source, plan.layers[0].tops), pass_size(plan, blobs, settings.scoreBatch)
    return LocalNet(engine, plan, inputs, blobs, model, name, batch)


class LocalNet:
    """A net that computes in this process.

    Threads may use it at once, and compute one after the other. A forked process may continue to use it.

    Attributes
    ----------
    plan : NetPlan
    inputs : what it takes
    blobs : what it gives
    """

    def __init__(
        self,
        engine: Engine,
        plan: NetPlan,
        inputs: Sequence[LocalInput],
        blobs: Sequence[str],
        model: bytes,
        name: str,
        batch: int,
    ) -> None:
        self.plan = plan
        self.inputs = list(inputs)
        self.blobs = tuple(blobs)
        self._batch = batch  # values of a pass
        self._engine, self._model, self._name = engine, model, name
        self._lock = threading.Lock()
        self._net: Optional[BatchedNet] = None
        self._plans: Dict[Tuple[int, ...], NetPlan] = {}
        _with_weights(model, name, self._try)
        _every.add(self)

    def run(self, given: Any) -> Tuple[Dict[str, np.ndarray], bool]:
        """The blobs of what is given to ``predict``.

        Returns
        -------
        dict of (samples, width) float32 arrays, by blob; and whether it was one sample by itself.

        Raises
        ------
        DataError
            For what cannot be used: which one, and why.
        """
        samples, single = samples_of(given, self.inputs)
        found: Dict[str, List[np.ndarray]] = {blob: [] for blob in self.blobs}
        with self._lock:
            net = self._here()
            for number, chunk in enumerate(_chunks(samples, self._batch)):
                for blob, values in self._forward(net, number, chunk).items():
                    found[blob].append(values)
            return {
                blob: np.concatenate(parts) if parts else np.empty((0, self.plan.width(blob)), np.float32)
                for blob, parts in found.items()
            }, single

    # ---- computing

    def _forward(self, net: BatchedNet, number: int, chunk: Sequence[Sample]) -> Dict[str, np.ndarray]:
        plan = self._plan_for(chunk[0].tops)
        layer, names = plan.layers[0], [sample.name for sample in chunk]
        columns = [_column(top, [sample.entries[k] for sample in chunk]) for k, top in enumerate(layer.tops)]
        layer.without_bad_values(Records(names, columns, np.arange(len(chunk))), _Raising(""))
        draws = np.zeros((len(chunk), 3))
        if any(top.is_random for top in layer.tops):
            draws = BatchRandom(0, 0, 0).transforms(number, len(chunk))  # those of Spark's first partition
        try:
            return net.for_plan(plan).run([columns], [draws], len(chunk), self.blobs)
        except BadRecord as e:
            raise DataError(f"{names[e.row or 0]}: {e.detail}") from None

    def _plan_for(self, tops: Tuple[Top, ...]) -> NetPlan:
        """The plan with its data layer's tops filled as these say, which are those of ``inputs``."""
        key = _key(tops)
        if key not in self._plans:
            self._plans[key] = replace(self.plan, layers=(replace(self.plan.layers[0], tops=tops),))
        return self._plans[key]

    def _here(self) -> BatchedNet:
        if self._net is None:
            _with_weights(self._model, self._name, self._build)
        assert self._net is not None
        return self._net

    def _build(self, path: str) -> None:
        self._net = BatchedNet(self.plan, self._engine.predictor(self.plan.message(), path))

    # ---- in another process first

    def _try(self, path: str) -> None:
        """Raise ConfigError where building the net, or running it, fails or ends the process."""

        def work(send: Callable[[bytes], None]) -> None:
            shapes = self.plan.layers[0].shapes(1 if self.plan.flexible else None)
            predictor = self._engine.predictor(self.plan.message(), path)
            predictor.reshape(shapes)
            for name in shapes:
                predictor.blobs[name][...] = 0
            predictor.forward()
            send(b"done")

        output, errors, status = run_in_child(work, _TIMEOUT)
        if not output:
            raise ConfigError(f"{self.plan.path}: {self._why(errors.decode(errors='replace'), status)}")

    def _why(self, log: str, status: int) -> str:
        lines = log.strip().splitlines()
        error = from_text(log)
        why = error.message if error is not None else self._engine.explain_crash(lines)
        if not why and os.WIFSIGNALED(status):
            why = f"its process ended with signal {os.WTERMSIG(status)}"
        return (
            f"the net does not run with the weights of {self._name}: {why or (lines[-1] if lines else 'no word why')}"
        )


class _Raising(BadRecords):
    """Raises what is reported, named as people know it."""

    def report(self, error: BadRecord) -> None:
        raise DataError(f"{error.record}: {error.detail}")


def _key(tops: Tuple[Top, ...]) -> Tuple[int, ...]:
    return tuple(map(id, tops))  # they hold arrays, which are not compared


def _column(top: Top, entries: List[Any]) -> Column:
    return entries if isinstance(top, ImageTop) else np.stack(entries)


def _chunks(samples: Sequence[Sample], size: int) -> Iterator[List[Sample]]:
    """Batches of samples that fill the inputs in one way, in their order."""
    for _, alike in itertools.groupby(samples, lambda sample: _key(sample.tops)):
        group = list(alike)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _with_weights(model: bytes, name: str, use: Callable[[str], None]) -> None:
    """``use`` with the path of a file of the weights."""
    with tempfile.NamedTemporaryFile(suffix=ending_of(name), dir=temporary_folder()) as f:
        f.write(model)
        f.flush()
        use(f.name)


_every: weakref.WeakSet[LocalNet] = weakref.WeakSet()


class _Held(threading.local):
    """The locks that a thread holds while it forks."""

    def __init__(self) -> None:
        self.locks: List[threading.Lock] = []


_held = _Held()


def _before_fork() -> None:
    """Wait until no thread computes: what it holds in BLAS and Caffe would be held in the new process for ever."""
    for one in sorted(_every, key=id):
        one._lock.acquire()
        _held.locks.append(one._lock)


def _after_fork() -> None:
    while _held.locks:
        _held.locks.pop().release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
