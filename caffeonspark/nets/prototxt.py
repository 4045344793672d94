"""Reading prototxt files, with errors that name file, line and field, and the nearest valid name."""

from __future__ import annotations

import logging
import os
import re
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from google.protobuf import text_format

from ..errors import ConfigError, StorageError, suggest
from ..storage import expand
from .embedded import embedded
from .fork_fields import advice, instead_of_layer
from .schema import NetParameter, SolverParameter, field_names, value_names
from .text import as_caffe_reads, decoded, printable, why_unreadable
from .upgrade import SOLVER_TYPES, Changes, upgrade_net, upgrade_solver

__all__ = ["LBFGS", "SOLVER_TYPES", "Files", "parse_as_written", "parse_fields", "parse_net", "parse_solver"]

_log = logging.getLogger(__name__)

#: The type of a solver that Caffe does not have: how ranks stay one model is then that of ``sync/lbfgs.py``.
LBFGS = "LBFGS"

_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]+)"')
_OF_NETS = ("name", "layer", "layers", "input", "input_dim", "input_shape")
_NOT_A_SOLVER = "It is a net, not a solver: -net takes nets, to test and to extract features"
_OF_SOLVERS = ("net", "train_net", "net_param", "base_lr", "lr_policy", "max_iter")
_NOT_A_NET = "It is a solver: name its net"
_OF_A_FORK = "Where it is of a fork of Caffe, install that fork's pycaffe"
_NO_VALUE = re.compile(r'Enum type "([\w.]+)" has no value (?:with number (-?\d+)|named (\w+|"[^"]*"))')
_TWICE = re.compile(r'Message type "[\w.]+" should not have multiple "(\w+)" fields')


class Files:
    """Finds the files that prototxts and flags name.

    A relative path is looked for next to the prototxt that names it, then in the working directory, then
    among the files shipped with ``spark-submit --files``, then on the default file system. An absolute one is looked
    for on the default file system, then on the local one, then by its last part among the shipped files. What is
    embedded (``nets/embedded.py``) is its own content.

    Parameters
    ----------
    read, exists : functions of a path or URI
        How to get a file's bytes, and whether it is there (``Storage``'s).
    shipped : sequence of str
        The folders with files shipped with the job.
    """

    def __init__(
        self, read: Callable[[str], bytes], exists: Callable[[str], bool], shipped: Sequence[str] = ()
    ) -> None:
        self._read = read
        self._exists = exists
        self._shipped = tuple(shipped)

    def find(self, path: str, beside: Optional[str] = None) -> Optional[str]:
        """Where ``path`` is, or None. ``beside`` is the file that names it."""
        if embedded(path) is not None:
            return path
        for written in dict.fromkeys((path, expand(path))):  # a file of such a name comes first, as Caffe takes it
            for candidate in self._candidates(written, beside):
                if self._exists(candidate):
                    return candidate
        return None

    def _candidates(self, path: str, beside: Optional[str]) -> List[str]:
        scheme, colon, rest = path.partition(":")
        if colon and "/" not in scheme and scheme != "file":
            return [path]
        local = rest if colon and scheme == "file" else path
        shipped = ["file:" + os.path.join(folder, os.path.basename(local)) for folder in self._shipped]
        if local.startswith("/"):
            return [path, *([] if colon else ["file:" + path]), *shipped]
        folders = []
        if beside is not None:
            folder = os.path.dirname(beside)
            folders.append(folder + "/" if folder else "")
        folders.append("")
        found = []
        for folder in folders:
            joined = folder + local
            is_uri = ":" in joined.partition("/")[0]
            found.append(joined if is_uri else "file:" + joined)
        found += shipped
        if not colon:
            found.append(path)  # on the default file system
        return found

    def read(self, path: str, what: str, beside: Optional[str] = None) -> bytes:
        """The content of the file; ``what`` names its role in the error when it is missing."""
        inside = embedded(path)
        if inside is not None:
            return inside
        found = self.find(path, beside)
        if found is None:
            where = f" (named by {beside})" if beside else ""
            raise ConfigError(f"{what} {path}{where} does not exist")
        try:
            return self._read(found)
        except StorageError as e:
            raise ConfigError(f"{what} cannot be read: {e.message}") from e


def _explain(error: text_format.ParseError, text: str) -> str:
    """protobuf's message, with the nearest valid name for an unknown field or value."""
    problem = str(error)
    match = _NO_FIELD.search(problem)
    if match:
        return _no_field(match.group(1), match.group(2), error, text)
    match = _NO_VALUE.search(problem)
    if match:
        return _no_value(match.group(1), match.group(2), match.group(3), _owner(error, text))
    match = _TWICE.search(problem)
    if match:
        return f"{match.group(1)} is given twice{_owner(error, text)}: take one of them away"
    problem = re.sub(r"^\d+:\d+ : ", "", problem)
    line, column = _place(error)
    quoted = text.split("\n")[line - 1] if line else ""
    words = re.sub(r"^'" + re.escape(quoted.strip()) + r"\s*': ", "", problem)
    if words == problem:
        return printable(problem)
    start = max(column - 40, 0) if len(quoted) > 120 else 0  # of a long line, what is around the place
    return f"'{printable(quoted[start:])}': {_plain(printable(words))}"


def _no_field(message: str, field: str, error: text_format.ParseError, text: str) -> str:
    """About a field that is not known."""
    kind = message.rpartition(".")[2]
    line, column = _place(error)
    before = text.split("\n")[line - 1][: column - 1] if line else ""
    if field.isdigit() and re.search(r"\d,\s*$", before):
        return f"'{printable(before[-30:])}{field}': decimal numbers have a point, no comma"
    if kind == "SolverParameter" and field in _OF_NETS:
        return f"{kind} has no field '{field}'. {_NOT_A_SOLVER}"
    if kind == "NetParameter" and field in _OF_SOLVERS:
        return f"{kind} has no field '{field}'. {_NOT_A_NET}"
    known = kind.endswith(("DataParameter", "TransformationParameter", "ConvolutionParameter")) and advice(field)
    owner = "" if kind == "SolverParameter" else _owner(error, text)
    if kind in ("LayerParameter", "V1LayerParameter"):
        instead = instead_of_layer(_layer_at(text, line, column)[1])
        if instead:
            return f"{kind} has no field '{field}'{owner}. {instead}"
    if known:
        return f"{kind} has no field '{field}'{owner}: {known}"
    hint = _nearest(field, field_names(message))
    if field.endswith("_param") or not hint:
        hint = f"{hint} {_OF_A_FORK}".strip()
    return f"{kind} has no field '{field}'{owner}. {hint}"


def _nearest(field: str, known: Iterable[str]) -> str:
    """The nearest name of a field; of the parameters of layers, only one that is misspelt."""
    return suggest(field, known, otherwise="", cutoff=0.85 if field.endswith("_param") else 0.6)


def _no_value(message: str, number: Optional[str], name: Optional[str], owner: str) -> str:
    """About a value that an enum does not have."""
    kind, known = message.rpartition(".")[2], value_names(message)
    if name and name[0] == '"':
        name = name.strip('"')
        if name in known:
            return f"{kind} is written without quotes, {name}{owner}"
    return f"{kind} has no value '{number or name}'{owner}. {suggest(name or '', known)}".strip()


def _plain(words: str) -> str:
    """protobuf's words, with what to do."""
    if "Expected string but found" in words:
        return f"{words}: text stands in quotes"
    if "codec can't decode" in words:
        return "a backslash begins an escape: write / or \\\\ in paths"
    return words


def _owner(error: text_format.ParseError, text: str) -> str:
    """The layer in which something is wrong, in brackets."""
    name, layer_type = _layer_at(text, *_place(error))
    return f" (layer '{name}' of type {layer_type})" if layer_type else ""


def _layer_at(text: str, line: int, column: int) -> Tuple[str, str]:
    """Name and type of the layer at a place in a net's text, "" where they are not known."""
    code = re.sub(r"#[^\n]*", lambda comment: " " * len(comment.group()), text)
    place = sum(len(one) + 1 for one in code.split("\n")[: line - 1]) + column
    starts = [match.end() for match in re.finditer(r"\blayers?\s*:?\s*[{<]", code)]
    before, after = [start for start in starts if start <= place], [start for start in starts if start > place]
    between = code[before[-1] : place] if before else ""
    if not before or sum(map(between.count, "}>")) > sum(map(between.count, "{<")):  # behind the last layer
        return "", ""
    block = code[before[-1] : after[0] if after else None]
    inner = ""
    while inner != block:  # what belongs to the layer itself is left
        inner, block = block, re.sub(r"\{[^{}]*\}", " ", block)
    found = [re.search(rf"""\b{key}\s*:\s*["']?([^"'\s{{}}]+)""", block) for key in ("name", "type")]
    name, layer_type = (match.group(1) if match else "" for match in found)
    return name, layer_type


def _place(error: text_format.ParseError) -> Tuple[int, int]:
    """Line and column, from 1; 0 where they are not known."""
    return error.GetLine() or 0, error.GetColumn() or 0


def _problem(content: bytes, message: Any, path: str) -> Optional[Tuple[Tuple[int, int], str]]:
    """Fill ``message`` from a text: the place and the words of what is wrong with it, None where nothing is."""
    unreadable = why_unreadable(content)
    if unreadable:
        return (0, 0), path + unreadable
    text = decoded(content)
    try:
        text_format.Parse(as_caffe_reads(text), message)
    except text_format.ParseError as e:
        line, column = _place(e)
        return (line, column), f"{path}:{line}: {_explain(e, text)}" if line else f"{path}: {_explain(e, text)}"
    return None


def _parse(content: bytes, message: Any, path: str) -> Any:
    problem = _problem(content, message, path)
    if problem is not None:
        raise ConfigError(problem[1])
    return message


def parse_net(content: bytes, path: str) -> Any:
    """A ``NetParameter`` from the text of the prototxt ``path``, brought up to date (``nets/upgrade.py``)."""
    net = _parse(content, NetParameter(), path)
    _tell(upgrade_net(net, path), path)
    if not len(net.layer):
        raise ConfigError(f"{path}: the net has no layer")
    return net


def parse_solver(content: bytes, path: str) -> Any:
    """A ``SolverParameter`` from the text of the prototxt ``path``, its deprecated fields brought up to date."""
    solver = _parse(content, SolverParameter(), path)
    if "type" not in field_names("caffe.SolverParameter"):
        raise ConfigError(
            f"{path}: the installed Caffe has another field in the place of SolverParameter.type: it is a fork older "
            "than October 2015, and cannot be used; bring it up to Caffe 1.0, or install conda-forge's or Debian's"
        )
    _tell(upgrade_solver(solver, path), path)
    if solver.type not in (*SOLVER_TYPES, LBFGS):
        hint = suggest(solver.type, (*SOLVER_TYPES, LBFGS))
        raise ConfigError(f"{path}: unknown solver type '{solver.type}'. {hint}")
    if solver.iter_size < 1:
        raise ConfigError(f"{path}: iter_size must be at least 1, not {solver.iter_size}")
    return solver


def parse_fields(text: str, message: Any, where: str) -> Any:
    """``message`` with the fields in ``text``. Raises ConfigError, which begins with ``where``."""
    try:
        text_format.Parse(as_caffe_reads(text), message)
    except text_format.ParseError as e:
        raise ConfigError(f"{where}: {_explain(e, text)}") from None
    return message


def parse_as_written(content: bytes, path: str) -> Any:
    """A ``NetParameter``, or a ``SolverParameter`` where it is no net, from the text of the prototxt ``path`` as it is.

    Raises ConfigError, of the two the one that is further down in the file.
    """
    message = NetParameter()
    problem = _problem(content, message, path)
    if problem is not None:
        message = SolverParameter()
        other = _problem(content, message, path)
        if other is not None:
            raise ConfigError(other[1] if other[0] > problem[0] else problem[1])
    if not message.ListFields():
        raise ConfigError(f"{path}: there is nothing in it")
    return message


def _tell(changes: Changes, path: str) -> None:
    """Say in a line each what was old in a file, and what in it has no meaning."""
    if changes.done:
        _log.warning(
            "caffeonspark: %s is of an older version of Caffe (%s) and was brought up to date, as Caffe does: "
            "'caffeonspark upgrade %s NEW' writes the result to the file NEW",
            path,
            ", ".join(changes.done),
            path,
        )
    if changes.ignored:
        _log.warning("caffeonspark: %s: ignored, as by Caffe: %s", path, "; ".join(changes.ignored))
