"""Solvers and nets in any form, as one text that needs no file next to it: it can be kept, and read anywhere."""

from __future__ import annotations

import functools
import os
import re
from typing import Any, Tuple

from ..errors import ConfigError, StorageError
from ..storage import is_local, local_path
from .embedded import embed
from .given import as_text, is_text, net_as_text, solver_text
from .prototxt import Files, parse_fields, parse_net, parse_solver
from .schema import NetParameter, SolverParameter
from .text import decoded

__all__ = ["given_net", "given_text"]


def given_text(conf: Any, net: Any, files: Files) -> str:
    """What is given as a solver and as a net, as the text of one solver that needs no file next to it.

    Parameters
    ----------
    conf : the solver: a path, text, bytes or message; whatever ``Config`` takes as ``conf``; or None
    net : the net: a path, text, bytes, NetParameter or ``caffe.NetSpec``, in the place of the solver's own; or None
    files : finds and reads what is named

    Returns
    -------
    str
        Of a SolverParameter, in which the nets are, and in these the files that they name for the driver to read (mean
        images, infogain matrices). Paths of data are absolute.

    Raises
    ------
    ConfigError
        For what is missing or cannot be read.
    """
    if not _is_given(conf) and not _is_given(net):
        raise ConfigError("no net is given: set net (a prototxt, or caffeonspark.nets.mlp(…)), or conf, a solver's")
    solver, path = _solver(conf, files) if _is_given(conf) else (SolverParameter(), "")
    if _is_given(net):
        for name in ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param"):
            solver.ClearField(name)
        for name in ("test_iter", "test_state"):  # of one test net
            del getattr(solver, name)[1:]
        solver.net_param.CopyFrom(given_net(net, files)[0])
    else:
        _take_nets(solver, path, files)
    return solver_text(solver)


def given_net(net: Any, files: Files) -> Tuple[Any, str]:
    """A net that is given in any form, as a NetParameter that needs no file next to it; and its path, or a name for
    people. Parameters and errors are those of ``given_text``."""
    content, path = _content(net_as_text(net), "net", "net.prototxt", files)
    return _with_files(_parsed_net(content, path), path, files), path


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, (str, bytes)) and not value.strip())


def _solver(conf: Any, files: Files) -> Tuple[Any, str]:
    content, path = _content(as_text(conf), "conf", "solver.prototxt", files)
    try:
        return parse_solver(content, path), path
    except ConfigError:
        if _is_a(NetParameter(), content):
            raise ConfigError(f"conf: {path} is a net, not a solver: give it as net") from None
        raise


def _parsed_net(content: bytes, path: str) -> Any:
    try:
        return parse_net(content, path)
    except ConfigError:
        if _is_a(SolverParameter(), content):
            raise ConfigError(f"net: {path} is a solver, not a net: give it as conf") from None
        raise


def _is_a(message: Any, content: bytes) -> bool:
    try:
        return bool(parse_fields(decoded(content), message, "").ListFields())
    except ConfigError:
        return False


def _content(given: Any, param: str, name: str, files: Files) -> Tuple[bytes, str]:
    """The content of a prototxt that is given as text or by its path; and its path, or its ``name`` for people."""
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    elif isinstance(given, str) and (is_text(given) or "{" in given or re.match(r"\s*\w+\s*:\s", given)):
        return given.encode(), name
    if not isinstance(given, str):
        raise ConfigError(f"{param}: a prototxt is given by its path, as text, bytes or message, not as {given!r:.80}")
    content = files.read(given, f"the prototxt ({param})")
    return content, local_path(files.find(given) or given)


def _take_nets(solver: Any, path: str, files: Files) -> None:
    """Put the nets that a solver names into it, in place."""
    trained = [name for name in ("net", "net_param", "train_net", "train_net_param") if solver.HasField(name)]
    if len(trained) != 1:
        found = f"{' and '.join(trained)} are set" if trained else "none of them is set"
        raise ConfigError(
            f"{path}: {found}: a solver has one of net, net_param, train_net and train_net_param; set net to give one"
        )

    @functools.lru_cache(maxsize=None)  # what is old in a file is told once
    def load(name: str) -> Any:
        content = files.read(name, "the net", beside=path)
        where = local_path(files.find(name, beside=path) or name)
        return _with_files(parse_net(content, where), where, files)

    for inside in [*solver.test_net_param, solver.net_param, solver.train_net_param]:
        if inside.layer:
            inside.CopyFrom(_with_files(inside, path, files))
    if solver.HasField("net"):
        solver.net_param.CopyFrom(load(solver.net))
    if solver.HasField("train_net"):
        solver.train_net_param.CopyFrom(load(solver.train_net))
    for name in solver.test_net:
        solver.test_net_param.add().CopyFrom(load(name))
    for name in ("net", "train_net", "test_net"):
        solver.ClearField(name)
    for name in ("net_param", "train_net_param"):
        if not getattr(solver, name).layer:
            solver.ClearField(name)


def _with_files(net: Any, path: str, files: Files) -> Any:
    """A net that needs no file next to it: what the driver reads is in it, and where data lie is an absolute path."""
    whole = NetParameter()
    whole.CopyFrom(net)
    for layer in whole.layer:
        where = f"{path}: layer '{layer.name}'"
        for param in (layer.transform_param, *(block.transform_param for block in layer.cos_data_param.top)):
            if param.mean_file:
                param.mean_file = embed(files.read(param.mean_file, f"{where}: mean_file", beside=path))
        if layer.type == "InfogainLoss" and len(layer.bottom) < 3 and layer.infogain_loss_param.source:
            param = layer.infogain_loss_param
            param.source = embed(files.read(param.source, f"{where}: infogain_loss_param.source", beside=path))
        for name in ("data_param", "image_data_param", "hdf5_data_param", "memory_data_param", "cos_data_param"):
            for field in ("source", "root_folder"):
                if layer.HasField(name) and getattr(getattr(layer, name), field, ""):
                    _make_absolute(getattr(layer, name), field, path, files)
    return whole


def _make_absolute(param: Any, field: str, path: str, files: Files) -> None:
    given = str(getattr(param, field))
    try:
        found = files.find(given.rstrip("/") or "/", beside=path)
    except StorageError:  # nobody reads it, where a DataFrame stands for it
        return
    if found is not None:
        whole = os.path.abspath(local_path(found)) if is_local(found) else found
        setattr(param, field, whole + "/" if given.endswith("/") and whole != "/" else whole)
