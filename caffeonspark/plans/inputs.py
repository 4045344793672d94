"""The files that a run reads: none of them is a place to write to."""

from __future__ import annotations

import contextlib
from typing import Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

from ..errors import ConfigError, StorageError
from ..nets.embedded import embedded
from ..nets.given import is_text
from ..nets.net import Net
from ..storage import scheme
from .run_config import RunConfig

__all__ = ["check_no_input"]


def check_no_input(config: RunConfig, uri: str, flag: str) -> None:
    """Raise ConfigError where the file that is to be written is the solver, a net, or data or a mean image of a net.

    Other file systems than that of the file are not asked: a fit may have rows instead of the data that its net names,
    and -test reads none of the TRAIN phase's.

    Parameters
    ----------
    config : RunConfig
    uri : of the file to be written
    flag : what names it
    """
    inputs: Dict[str, str] = {}
    for path, beside, what in _inputs(config):
        if embedded(path) is None and not _is_elsewhere(config, path, uri):
            with contextlib.suppress(StorageError):  # of whoever reads it, if anybody does
                found = config.files.find(path, beside=beside)
                if found is not None:
                    inputs.setdefault(config.storage.place(found), what)
    what = inputs.get(config.storage.place(uri), "")
    if what:
        raise ConfigError(f"{flag} {uri} would replace {what} of this run: name another place")


def _is_elsewhere(config: RunConfig, path: str, uri: str) -> bool:
    """Whether ``path`` is on another file system than ``uri``, as far as their text tells."""
    kind = scheme(path)
    if kind in ("", "file"):
        return False
    if config.storage.on_local_disk(uri):
        return True
    if not scheme(uri):  # on the default one, whichever that is
        return False
    hosts = {urlsplit(path).netloc, urlsplit(uri).netloc} - {""}
    return kind != scheme(uri) or len(hosts) > 1


def _inputs(config: RunConfig) -> Iterator[Tuple[str, Optional[str], str]]:
    """(path, file that names it, what it is) of each file."""
    if config.solver_path and not is_text(config.solver_path):
        yield config.solver_path, None, "the solver"
    for net in (config.nets.train, *config.nets.tests, *config.nets.without_data):
        yield from _of_net(net)


def _of_net(net: Net) -> Iterator[Tuple[str, Optional[str], str]]:
    if not is_text(net.path):
        yield net.path, None, "the net"
    for layer in net.data_layers():
        for field, value in layer.ListFields():
            if field.message_type is None or field.label == field.LABEL_REPEATED:
                continue
            for name, what in (("source", "the data"), ("mean_file", "the mean image")):
                path = str(getattr(value, name, ""))
                if path:
                    yield path, net.path, f"{what} of layer '{layer.name}'"
