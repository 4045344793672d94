"""Nets as Caffe's solver sees them: which layers a phase has, which of them are data, and the rewritten net.

The rules for ``include``/``exclude`` are those of Caffe's ``Net::FilterNet`` and ``Net::StateMeetsRule``
(src/caffe/net.cpp), the choice of a solver's nets those of ``Solver::InitTrainNet`` and ``InitTestNets``
(src/caffe/solver.cpp).
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Sequence, Set, Tuple

from ..errors import ConfigError, suggest
from ..storage import local_path
from .prototxt import Files, parse_net
from .schema import NetParameter

__all__ = ["TEST", "TRAIN", "Net", "SolverNets", "net_in_phase", "reads_data", "solver_nets"]

_log = logging.getLogger(__name__)

TRAIN, TEST = 0, 1  # caffe.proto, enum Phase

#: Layers without bottoms that read no data: they make their blobs, or are given them.
_MAKERS = ("DummyData", "Input", "Parameter", "Python")


def reads_data(layer: Any) -> bool:
    """Whether a layer is a data layer: one without bottoms, of any type but those that make their blobs themselves.

    Which types can be read is not known here: a new kind of data source may bring a new one. ``Input`` layers read data
    where they have columns (``nets/inputs.py``).
    """
    return not layer.bottom and (
        layer.type not in _MAKERS or (layer.type == "Input" and bool(layer.cos_data_param.top))
    )


def makes_data(layer: Any) -> bool:
    """Whether a layer makes data itself, or is given it: one without bottoms, of type DummyData, Input or Python."""
    return not layer.bottom and layer.type in _MAKERS and layer.type != "Parameter" and not reads_data(layer)


@dataclass(frozen=True)
class Net:
    """One phase of a net: a ``NetParameter`` with only the layers of that phase, and the file it came from.

    ``number`` is that of a test net in its solver, from 0, by which ``test_iter`` means it.
    """

    message: Any
    path: str
    phase: int
    number: int = 0

    @property
    def phase_name(self) -> str:
        return "TRAIN" if self.phase == TRAIN else "TEST"

    def data_layers(self) -> List[Any]:
        """The layers that read data (``reads_data``), in the order they stand."""
        return [layer for layer in self.message.layer if reads_data(layer)]

    def made_layers(self) -> List[Any]:
        """The layers that make data themselves (``makes_data``), in the order they stand."""
        return [layer for layer in self.message.layer if makes_data(layer)]

    def where(self, layer: Any) -> str:
        """File and layer, for errors: of data layers with one name, which it is."""
        names = [one.name for one in self.message.layer if reads_data(one)]
        which = f" (top '{layer.top[0]}')" if names.count(layer.name) > 1 and layer.top else ""
        return f"{self.path}: layer '{layer.name}'{which}"

    def makes_all_data(self) -> bool:
        """Whether it has no data layer and runs without one."""
        made: Set[str] = set()
        for layer in self.message.layer:
            if not made.issuperset(layer.bottom):
                return False
            made.update(layer.top)
        return bool(self.made_layers()) and not self.data_layers()

    def blob_names(self) -> List[str]:
        """Every blob, in the order the layers make them."""
        names: List[str] = []
        for layer in self.message.layer:
            names += [top for top in layer.top if top not in names]
        return names

    def output_blobs(self) -> List[str]:
        """The blobs no layer consumes: the net's outputs, in Caffe's order, which is by name."""
        left: Dict[str, None] = {}
        for layer in self.message.layer:
            for bottom in layer.bottom:
                left.pop(bottom, None)
            for top in layer.top:
                left[top] = None
        return sorted(left)

    def with_inputs(self, shapes: Sequence[Sequence[Tuple[str, Tuple[int, ...]]]]) -> Any:
        """The net for stock pycaffe: each data layer replaced by ``Input`` layers.

        Parameters
        ----------
        shapes : for each data layer, in their order, its tops and the whole shape of each blob, batch included

        Returns
        -------
        NetParameter
            With the phase settled and free of fields stock Caffe does not know.
        """
        net = NetParameter()
        net.CopyFrom(self.message)
        del net.layer[:]
        data = iter(shapes)
        for layer in self.message.layer:
            if reads_data(layer):
                tops = next(data)
                for number, (top, shape) in enumerate(tops):
                    # no '/' in the name: Caffe's HDF5 writer takes it for a group
                    new = net.layer.add(name=layer.name if len(tops) == 1 else f"{layer.name}_{top}", type="Input")
                    new.top.append(top)
                    new.input_param.shape.add().dim.extend(shape)
                    new.loss_weight.extend(layer.loss_weight[number : number + 1])
                continue
            new = net.layer.add()
            new.CopyFrom(layer)
            del new.include[:]
            del new.exclude[:]
            new.ClearField("source_class")
            new.ClearField("cos_data_param")
        net.state.phase = self.phase
        return net

    def pruned(self, blobs: Iterable[str]) -> Net:
        """The net without the layers and tops that these blobs do not depend on.

        A blob's value is the one after every layer that works on it in place. Of a data layer's tops, those that
        blocks of ``cos_data_param`` describe are dropped one by one, others only from the end, because their order
        says what they are.
        """
        needed = set(blobs)
        kept = []
        for layer in reversed(self.message.layer):
            if needed & set(layer.top):
                needed |= set(layer.bottom)
                kept.append(layer)
        net = NetParameter()
        net.CopyFrom(self.message)
        del net.layer[:]
        for layer in reversed(kept):
            new = net.layer.add()
            new.CopyFrom(layer)
            if reads_data(layer) and len(layer.top) == len(layer.cos_data_param.top):
                pairs = [pair for pair in zip(layer.top, layer.cos_data_param.top) if pair[0] in needed]
                del new.top[:], new.cos_data_param.top[:]
                new.top.extend(top for top, _ in pairs)
                new.cos_data_param.top.extend(block for _, block in pairs)
                if layer.type == "Input":
                    del new.input_param.shape[:]
                    new.input_param.shape.extend(
                        s for top, s in zip(layer.top, layer.input_param.shape) if top in needed
                    )
            elif reads_data(layer):
                while new.top[-1] not in needed:
                    del new.top[-1]
        return Net(net, self.path, self.phase, self.number)

    def check_blobs(self, blobs: Iterable[str]) -> None:
        """Raise ConfigError for blobs that the net does not have."""
        known = self.blob_names()
        for blob in blobs:
            if blob not in known:
                raise ConfigError(
                    f"{self.path}: the {self.phase_name} net has no blob '{blob}'. {suggest(blob, known)}"
                )

    def check(self, known_types: Iterable[str]) -> None:
        """Raise ConfigError for what would make Caffe abort: unknown layer types and blobs, blobs made twice."""
        types = set(known_types)
        blobs: Set[str] = set()
        for number, layer in enumerate(self.message.layer):
            where = f"{self.path}: layer '{layer.name or number}' ({self.phase_name} phase)"
            if layer.type not in types and not reads_data(layer):
                raise ConfigError(f"{where}: {_unknown_type(layer.type, types)}")
            for bottom in layer.bottom:
                if bottom not in blobs:
                    raise ConfigError(
                        f"{where}: bottom '{bottom}' is the top of no layer before it. {suggest(bottom, blobs)}"
                    )
            for top in layer.top:
                if top in blobs and top not in layer.bottom:
                    raise ConfigError(f"{where}: top '{top}' is already the top of another layer")
                blobs.add(top)


@dataclass(frozen=True)
class SolverNets:
    """The nets a solver names: one to train, any number to test, and what it has for TEST that no data goes to."""

    train: Net
    tests: Tuple[Net, ...]
    without_data: Tuple[Net, ...] = ()


def _unknown_type(kind: str, types: Set[str]) -> str:
    if not kind:
        return "it has no type: give it one"
    found = suggest(kind, types, otherwise="", cutoff=0.8)
    return f"unknown layer type '{kind}'. {found} Where it is of a fork of Caffe, install that fork's pycaffe".replace(
        "  ", " "
    )


def _meets(rule: Any, phase: int, level: int, stages: Set[str]) -> bool:
    if rule.HasField("phase") and rule.phase != phase:
        return False
    if rule.HasField("min_level") and level < rule.min_level:
        return False
    if rule.HasField("max_level") and level > rule.max_level:
        return False
    return set(rule.stage) <= stages and not set(rule.not_stage) & stages


def net_in_phase(net: Any, path: str, phase: int, state: Any = None) -> Net:
    """The layers of ``net`` that are active in ``phase`` under the net's own and the solver's state, which may name
    another phase."""
    for own in (net.state, state):
        if own is not None and own.HasField("phase"):
            phase = own.phase
    level = state.level if state is not None and state.HasField("level") else net.state.level
    stages = set(net.state.stage) | set(state.stage if state is not None else ())
    filtered = NetParameter()
    filtered.CopyFrom(net)
    del filtered.layer[:]
    for layer in net.layer:
        if len(layer.include) and len(layer.exclude):
            raise ConfigError(f"{path}: layer '{layer.name}': give include rules or exclude rules, not both")
        if len(layer.include):
            active = any(_meets(rule, phase, level, stages) for rule in layer.include)
        else:
            active = not any(_meets(rule, phase, level, stages) for rule in layer.exclude)
        if active:
            filtered.layer.add().CopyFrom(layer)
    filtered.state.phase = phase
    return Net(filtered, path, phase)


def solver_nets(solver: Any, path: str, files: Files) -> SolverNets:
    """The train net and the test nets of the solver prototxt ``path``.

    A net that both phases share counts as one test net where no others are named; further ``test_iter`` values give
    further copies, each with its own ``test_state``. Test nets whose data no layer reads or makes are left out
    (``without_data``), and the others keep their numbers. Where the solver names no test net, what its net has for TEST
    is left out too.
    """

    @functools.lru_cache(maxsize=None)  # what is old in a file is told once
    def load(name: str) -> Tuple[Any, str]:
        content = files.read(name, "the net", beside=path)
        where = local_path(files.find(name, beside=path) or name)  # what the net names lies next to it
        return parse_net(content, where), where

    shared = [load(solver.net)] if solver.HasField("net") else []
    shared += [(solver.net_param, path)] if solver.HasField("net_param") else []
    train = [load(solver.train_net)] if solver.HasField("train_net") else []
    train += [(solver.train_net_param, path)] if solver.HasField("train_net_param") else []
    if len(shared) + len(train) != 1:
        raise ConfigError(
            f"{path}: exactly one of net, net_param, train_net and train_net_param must be set, "
            f"not {len(shared) + len(train)} of them"
        )
    tests = [(message, path) for message in solver.test_net_param] + [load(name) for name in solver.test_net]
    if shared:
        tests += shared * max(0 if tests and solver.test_iter else 1, len(solver.test_iter) - len(tests))
    if tests and solver.test_iter and len(solver.test_iter) != len(tests):
        raise ConfigError(f"{path}: test_iter is given {len(solver.test_iter)} times for {len(tests)} test nets")
    states: List[Any] = list(solver.test_state)
    if states and len(states) != len(tests):
        raise ConfigError(f"{path}: test_state is given {len(states)} times for {len(tests)} test nets")
    test_nets, without_data = [], []
    for number, (message, source) in enumerate(tests):
        net = net_in_phase(message, source, TEST, states[number] if states else None)
        if net.data_layers() or net.makes_all_data():
            test_nets.append(replace(net, number=number))
            continue
        without_data.append(net)
        if len(tests) > 1:
            _log.warning(
                "caffeonspark: %s: test net %d has no data layer in the TEST phase and is left out", source, number
            )
    message, source = (shared + train)[0]
    if not tests:
        without_data.append(net_in_phase(message, source, TEST))
    train_state = solver.train_state if solver.HasField("train_state") else None
    return SolverNets(net_in_phase(message, source, TRAIN, train_state), tuple(test_nets), tuple(without_data))
