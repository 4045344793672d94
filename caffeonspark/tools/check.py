"""``caffeonspark check FILE…``: what runs of solvers and nets, what differs from stock Caffe, and what to change."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from ..api.config import Config
from ..engines.base import Engine
from ..errors import CaffeOnSparkError, ConfigError
from ..formats.checksums import read_checked
from ..nets.net import TEST, TRAIN, Net
from ..nets.prototxt import parse_as_written
from ..nets.schema import NetParameter, SolverParameter
from ..nets.solver_values import solver_mistake, solver_notes
from ..nets.text import decoded, is_readable, printable
from ..plans.job import ResumePoint, ValidationPlan
from ..plans.net_plan import NetPlan
from ..plans.normalization import normalization_notes
from ..plans.sample_weights import sample_weight_notes
from ..plans.without_data import is_here, look_at_net
from ..runs.preflight import check_solver, check_strategy
from ..runs.snapshots import StartFiles
from ..runs.start_check import check_nets, check_start
from ..runs.start_weights import find_start_weights, solver_weights
from ..storage import Storage, local_path, scheme

__all__ = ["Checked", "check_files", "main"]

_USAGE = """usage: caffeonspark check FILE_OR_FOLDER …

Says of solvers, training nets and deploy nets, told apart by what is in them, whether they run here, what differs from
stock Caffe, and what to change: a line for each file, and below it the places. In folders, every *.prototxt is looked
at. It takes no cluster: files are looked up from the working directory, as in a run, and data that is not here is a
note. Where Caffe is installed, nets and solvers are built with it. Exit status 1 if any of them does not run."""

RUNS, NOTES = "runs", "runs, with notes"
PARTLY, FAILS = "no fault found, but not all could be checked", "does not run"
OTHER, UNREAD = "is neither a solver nor a net", "cannot be read"
_VERDICTS = (RUNS, NOTES, PARTLY, FAILS, OTHER, UNREAD)

_LARGEST = 32 << 20  # bytes of a file: no prototxt is so large, and reading one takes minutes
_IN_A_LAYER = re.compile(r"(.+?): layer '([^']+)'")
#: The smallest plan, for solvers whose nets cannot be built.
_NO_PLAN = NetPlan(
    content=NetParameter(
        layer=[{"name": "data", "type": "Input", "top": ["data"], "input_param": {"shape": [{"dim": [1]}]}}],
        state={"phase": 0},
    ).SerializeToString(),
    path="",
    layers=(),
    outputs=(),
    shapes={},
    batch_axes={},
    flexible=True,
    parameters=0,
    weights=(),
)


@dataclass
class Checked:
    """What was found in a file.

    Attributes
    ----------
    path : as it was given
    kind : "solver", "net", "deploy net"; "" for what is none of them, or cannot be read
    read : whether it could be
    problems : why it does not run
    unseen : what could not be looked at
    notes : what differs, or is odd
    """

    path: str
    kind: str = ""
    read: bool = True
    problems: List[str] = field(default_factory=list)
    unseen: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if not self.kind:
            return OTHER if self.read else UNREAD
        return FAILS if self.problems else PARTLY if self.unseen else NOTES if self.notes else RUNS

    def lines(self) -> List[str]:
        """The verdict, and below it the places."""
        about = [*self.problems, *self.unseen, *self.notes]
        kind = f" ({self.kind})" if self.kind else ""
        lines = [f"{printable(self.path, 1000)}{kind}: {self.verdict}"]
        return [*lines, *(f"    {line}" for line in dict.fromkeys(about))]


def check_files(paths: Iterable[str]) -> Iterator[Checked]:
    """Look at prototxt files, one after the other; what goes wrong with one is in what is said of it. What is said of a
    net that is one of them is not said of its solver again."""
    paths = list(paths)
    known = {_place(path): path for path in paths}
    with _heard() as heard:
        for path in paths:
            found = _check(path, heard)
            if found.kind == "solver":
                _refer(found, known)
            yield found


def _place(path: str) -> str:
    return os.path.realpath(local_path(path))


def _refer(found: Checked, known: Mapping[str, str]) -> None:
    """Leave out what is said of a solver's nets themselves."""
    for lines in (found.unseen, found.notes):
        for line in list(lines):
            net = line.partition(":")[0].partition(" is of an older version")[0]
            if _place(net) != _place(found.path) and _place(net) in known:
                at = lines.index(line)
                lines[at : at + 1] = [f"its net {known[_place(net)]}: see what is said of that"]


def _check(path: str, heard: List[str]) -> Checked:
    found, related, texts = Checked(path), [path], {}
    before = len(heard)
    try:
        texts[path] = _read(path)
    except CaffeOnSparkError as e:
        found.read = False
        found.problems.append(e.message)
        return found
    try:
        message = parse_as_written(texts[path], path)
        found.kind = "solver" if isinstance(message, SolverParameter) else "net"
        if found.kind == "solver":
            related += _check_solver(path, found)
        else:
            _check_net(path, found)
    except CaffeOnSparkError as e:
        found.problems.append(e.message)
        found.kind = found.kind or _seems(texts[path])
    except Exception as e:  # this is no judgement of the file, and the next one is to be looked at
        found.kind = found.kind or "file"
        found.unseen.append(
            f"{path}: it could not be checked to the end: {type(e).__name__}: {' '.join(str(e).split())}"
        )
    said = [
        *heard[before:],
        *(line for line in heard if line.startswith(tuple(one + end for one in related for end in ": "))),
    ]
    found.notes = [*dict.fromkeys([*said, *found.notes])]
    told = [_IN_A_LAYER.match(line) for line in [*found.problems, *found.unseen, *found.notes]]
    for place in [*related, *(match.group(1) for match in told if match)]:
        with contextlib.suppress(CaffeOnSparkError):
            texts.setdefault(place, _read(place))
    for lines in (found.problems, found.unseen, found.notes):
        lines[:] = [_with_line(line, texts) for line in lines]
    return found


def _read(path: str) -> bytes:
    local = local_path(path)
    if os.path.exists(local) and not os.path.isfile(local):
        raise ConfigError(f"{path}: it is no file")
    if os.path.isfile(local) and os.path.getsize(local) > _LARGEST:
        raise ConfigError(f"{path}: {os.path.getsize(local) >> 20} MB are too much for a prototxt")
    if not os.path.exists(local):
        raise ConfigError(f"{path}: it does not exist")
    return Storage().read(local)


def _seems(content: bytes) -> str:
    """What a file that cannot be parsed was meant to be, "" for neither a solver nor a net."""
    if not is_readable(content):
        return ""
    text = decoded(content)
    if re.search(r"^[^#\n]*\blayers?\s*:?\s*[{<]", text, re.MULTILINE):
        return "net"
    known = {one.name for one in SolverParameter.DESCRIPTOR.fields}
    return "solver" if known & set(re.findall(r"^\s*(\w+)\s*:", text, re.MULTILINE)) - {"name", "type"} else ""


# ---- nets


class _Bench:
    """What a file is looked at with: its Config, the engine if there is one, and where findings go."""

    def __init__(self, config: Config, found: Checked) -> None:
        self.config, self.found = config, found
        self.engine: Optional[Engine] = config.load_engine()
        try:
            self.engine.versions()
        except ConfigError:
            self.engine = None
            found.unseen.append("Caffe is not installed in this Python: the layers were not built, only looked at")

    def plan(self, net: Net) -> Optional[NetPlan]:
        """The plan of a net with data layers, where it can be made here."""
        looked = look_at_net(self.config, net, build=self.engine is not None)
        self.found.unseen += looked.unseen
        if looked.plan is not None and net.phase == TRAIN:
            message = looked.plan.message()
            notes = normalization_notes(message, looked.plan.batch_axes, 2, "all_reduce", True)
            for note in [*notes, *sample_weight_notes(message, looked.plan.weighted, 2, "")]:
                self.found.notes.append(f"{net.path}: {note}")
        return looked.plan


def _check_net(path: str, found: Checked) -> None:
    bench = _Bench(Config(None, conf=SolverParameter(net=path)), found)
    nets = bench.config.nets
    both = [net for net in (nets.train, *nets.tests) if net.data_layers()]
    if not both and any(layer.type == "Input" for layer in nets.train.made_layers()):
        found.kind = "deploy net"
        bench.config = Config(None, net=path)
        both = [bench.config.run_config.net(TEST)]
    for net in both or [nets.train]:
        bench.plan(net)


# ---- solvers


def _check_solver(path: str, found: Checked) -> List[str]:
    """Look at a solver and its nets; the files of these."""
    try:
        bench = _Bench(Config(None, conf=path), found)
    except ConfigError as e:
        where = "" if e.message.startswith(path) else f"{path}: "
        raise ConfigError(where + e.message + _elsewhere(path, e.message)) from None
    config, run = bench.config, bench.config.run_config
    nets = [config.nets.train, *config.nets.tests]
    if not run.solver.HasField("max_iter"):
        found.notes.append(f"{path}: max_iter is missing: -test and -features need none, -train does")
    train = bench.plan(nets[0])
    plans = {net.number: bench.plan(net) for net in nets[1:]}
    tests = [plan for net in run.validation_nets for plan in [plans[net.number]] if plan is not None]
    if train is not None:
        check_nets(train, [ValidationPlan(plan, None) for plan in tests], found.notes.append)
        check_strategy(run, run.solver, train, found.notes.append)
    if bench.engine is not None:
        check_solver(run, run.solver, train or _NO_PLAN, tests if train is not None else [])
    elif solver_mistake(run.solver):
        raise ConfigError(f"{path}: {solver_mistake(run.solver)}")
    found.notes += [f"{path}: {note}" for note in solver_notes(run.solver)]
    _check_weights(bench, train)
    return [net.path for net in nets]


def _check_weights(bench: _Bench, train: Optional[NetPlan]) -> None:
    """Compare the models that the solver's ``weights`` name with the net."""
    run = bench.config.run_config
    missing = [name for name in solver_weights(run) if not is_here(run.files, name, run.solver_path)]
    for name in missing:
        bench.found.unseen.append(f"{run.solver_path}: weights: {name} does not exist")
    if missing or train is None:
        return
    names = find_start_weights(run)
    start = StartFiles(ResumePoint(), [read_checked(run.storage, name) for name in names], names=names)
    check_start(train, start, bench.found.notes.append)


def _elsewhere(path: str, message: str) -> str:
    """Where a net lies that a solver names by a path from another folder."""
    missing = re.search(r"the net (\S+) \(named by .*\) does not exist$", message)
    if missing is None:
        return ""
    name, folder = missing.group(1), os.path.dirname(os.path.abspath(local_path(path)))
    if os.path.isfile(os.path.join(folder, os.path.basename(name))):
        beside = os.path.basename(name)
    else:
        beside = ""
    while True:
        if os.path.isfile(os.path.join(folder, name)):
            return f"; it is there from {folder}: start in that folder"
        if folder == os.path.dirname(folder):
            return f"; {beside} lies next to the solver: name that" if beside else ""
        folder = os.path.dirname(folder)


# ---- lines


def _with_line(message: str, texts: Dict[str, bytes]) -> str:
    """A message about a layer, with the layer's line where there is but one of its name."""
    match = _IN_A_LAYER.match(message)
    if match is None or match.group(1) not in texts:
        return message
    path, name = match.groups()
    lines = decoded(texts[path]).splitlines()
    named = re.compile(rf"""\bname\s*:\s*(["']){re.escape(name)}\1""")
    places = [number for number, line in enumerate(lines, 1) if named.search(line)]
    if len(places) > 1:  # the one in which something stands that the message quotes
        words = [word.strip(",:;'") for word in message[match.end() :].split()]
        found = [[number for number, line in enumerate(lines, 1) if f'"{word}"' in line] for word in words]
        only = [numbers[0] for numbers in found if len(numbers) == 1]
        places = [max((place for place in places if place <= only[0]), default=0)] if only else []
    return f"{path}:{places[0]}{message[len(path) :]}" if len(places) == 1 and places[0] else message


@contextlib.contextmanager
def _heard() -> Iterator[List[str]]:
    """The library's warnings in this block, which are shown nowhere else."""
    logger = logging.getLogger("caffeonspark")
    lines: List[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage().replace("caffeonspark: ", "", 1))  # type: ignore
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    try:
        yield lines
    finally:
        logger.handlers[:], logger.propagate = before


def _files_in(place: str) -> List[str]:
    """The prototxt files in a folder, or the file."""
    local = local_path(place)
    if scheme(place) not in ("", "file"):
        raise ConfigError(f"check reads files of this machine, and {place} is none: fetch it first")
    if not os.path.isdir(local):
        return [place]
    found = []
    for folder, folders, names in os.walk(local):
        folders.sort()
        found += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".prototxt")]
    return found


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status. Raises CaffeOnSparkError."""
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(_USAGE)
        return 0 if argv else 1
    flags = [word for word in argv if word.startswith("-")]
    if flags:
        raise ConfigError(f"check takes files and folders, not {flags[0]}. See -help.")
    named = [place for place in argv if not os.path.isdir(local_path(place))]
    verdicts: List[str] = []
    failed = False
    files = {place: _files_in(place) for place in argv}
    for place in (place for place, inside in files.items() if not inside):
        print(f"{place}: no *.prototxt is in it", flush=True)
    for found in check_files(dict.fromkeys(path for inside in files.values() for path in inside)):
        print("\n".join(found.lines()), flush=True)
        verdicts.append(found.verdict)
        # what lies in a folder need not be a net
        failed = failed or found.verdict in (FAILS, UNREAD) or (found.verdict == OTHER and found.path in named)
    if len(verdicts) > 1:
        counts = [f"{one}: {verdicts.count(one)}" for one in _VERDICTS if one in verdicts]
        print(f"{len(verdicts)} files; {'; '.join(counts)}")
    return 1 if failed or not verdicts else 0
