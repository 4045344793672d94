"""``caffeonspark upgrade IN OUT``: nets, solvers and models of older versions of Caffe, written as today's."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Iterator, Optional, Sequence, Tuple

from google.protobuf import text_format

from ..errors import ConfigError
from ..formats import binary
from ..nets.prototxt import parse_as_written
from ..nets.schema import NetParameter
from ..nets.upgrade import Changes, upgrade_net, upgrade_solver
from ..spark.session import start_spark, storage_of
from ..storage import Storage, scheme

__all__ = ["main", "upgrade_file"]

_USAGE = """usage: caffeonspark upgrade IN OUT [-overwrite]

Writes a net or a solver (a prototxt), or a binary model (.caffemodel), of an older version of Caffe as today's, by
Caffe's own rules: layers of before 2014 and 2015, transformation fields outside transform_param, input fields,
BatchNorm with three params, solver_type. Comments of a prototxt are not kept. A file that is up to date is copied as
it is. IN and OUT are on the local disk, or URIs that Spark reaches. OUT is written whole or not at all; -overwrite
replaces what is there, which may be IN itself."""


def upgrade_file(storage: Storage, source: str, output: str, overwrite: bool = False) -> Tuple[str, Changes]:
    """Bring a net, solver or binary model up to date.

    Parameters
    ----------
    source, output : paths or URIs; ``output`` is written whole or not at all
    overwrite : whether something that is there already may be replaced

    Returns
    -------
    str
        What it is: ``net``, ``solver`` or ``model``.
    Changes
        What was done; nothing where it was up to date, and its bytes were copied.

    Raises
    ------
    ConfigError
        If the file is none of the three, Caffe refuses it, or there is a file already.
    DataError
        If a model is damaged.
    StorageError
        If a file cannot be read or written.
    """
    if not overwrite and storage.exists(output):
        raise ConfigError(f"{output} exists already: -overwrite replaces it")
    content = storage.read(source)
    if content.startswith(b"\x89HDF"):
        raise ConfigError(
            f"{source} is an HDF5 file: its form has never changed, so there is nothing to bring up to date"
        )
    kind, new, changes = _upgraded_text(content, source) if _is_text(content) else _upgraded_model(content, source)
    storage.write(output, content if new is None else new)
    if new is not None and not changes.done:  # nothing that a run would notice
        changes = replace(changes, done=("BatchNorm with three params",))
    return kind, changes


def _is_text(content: bytes) -> bool:
    """Whether it is for people to read; comments may be in any encoding."""
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in content[:4096])


def _upgraded_text(content: bytes, name: str) -> Tuple[str, Optional[bytes], Changes]:
    """(what it is, its new content or None, what was done)"""
    message = parse_as_written(content, name)
    kind = "net" if isinstance(message, NetParameter) else "solver"
    before = message.SerializeToString(deterministic=True)
    changes = (upgrade_net if kind == "net" else upgrade_solver)(message, name)
    if message.SerializeToString(deterministic=True) == before:
        return kind, None, changes
    return kind, text_format.MessageToString(message, as_utf8=True).encode(), changes


def _upgraded_model(content: bytes, name: str) -> Tuple[str, Optional[bytes], Changes]:
    net = binary.parse_message(content, name, binary.whole_net(), "model")
    if not (len(net.layers) or len(net.layer)):
        raise ConfigError(f"{name} is no model of Caffe's: there is no layer in it")
    before = net.ByteSize()
    changes = upgrade_net(net, name)
    changed = bool(changes.done) or net.ByteSize() != before
    return "model", net.SerializeToString() if changed else None, changes


@contextlib.contextmanager
def _storage_for(*places: str) -> Iterator[Storage]:
    """What reaches these places: Spark only where it has to."""
    if all(scheme(place) in ("", "file") for place in places):
        yield Storage()
        return
    with start_spark() as spark:
        yield storage_of(spark)


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status. Raises CaffeOnSparkError."""
    words = [word for word in argv if word != "-overwrite"]
    if not words or any(word in ("-help", "--help", "-h") for word in words):
        print(_USAGE)
        return 0 if words else 1
    if len(words) != 2 or any(word.startswith("-") for word in words):
        raise ConfigError(f"upgrade takes a file and the place to write to, not {' '.join(argv)}. See -help.")
    source, output = words
    with _storage_for(source, output) as storage:
        kind, changes = upgrade_file(storage, source, output, "-overwrite" in argv)
    for text in changes.ignored:
        print(f"{source}: ignored, as by Caffe: {text}")
    if changes.done:
        print(f"{source}: a {kind} with {', '.join(changes.done)}: brought up to date, and written to {output}")
    else:
        print(f"{source}: a {kind} that is up to date, copied to {output}")
    return 0
