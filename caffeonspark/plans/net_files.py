"""Files that layers open themselves: read here, once, and put into the net that goes to the ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from ..formats.binary import read_blob
from ..nets.embedded import embed, shown
from ..nets.net import Net
from ..nets.prototxt import Files
from .python_files import send_named_files

__all__ = ["embed_files"]


def embed_files(net: Net, message: Any, files: Files, session: Any) -> None:
    """Put the files that layers of ``message`` name into it, in place; what Python layers name goes to the executors.

    They are found as all others: next to the prototxt, in the working directory, among shipped ones, or by URI.

    Parameters
    ----------
    net : what the message was made of
    message : NetParameter, as the engine gets it
    files : Files
    session : SparkSession or None

    Raises
    ------
    ConfigError
        For a file that is missing or is not what the layer takes, and for layers that write files.
    """
    for layer in message.layer:
        where = f"{net.path}: layer '{layer.name}'"
        if layer.type == "InfogainLoss" and len(layer.bottom) < 3:  # otherwise Caffe opens none
            layer.infogain_loss_param.source = embed(_matrix(layer.infogain_loss_param.source, net.path, files, where))
        elif layer.type == "HDF5Output":
            raise ConfigError(
                f"{where}: HDF5Output would write hdf5_output_param.file_name {layer.hdf5_output_param.file_name} on "
                "every rank, and Caffe ends at its second pass: take the layer away; -features BLOB,… writes blobs"
            )
        elif layer.type == "Python":
            send_named_files(layer, net.path, where, files, session)


def _matrix(source: str, path: str, files: Files, where: str) -> bytes:
    """The content of an infogain matrix's file."""
    what = f"{where}: infogain_loss_param.source"
    if not source:
        raise ConfigError(
            f"{where}: infogain_loss_param.source is missing: name the matrix's file, or give a third bottom"
        )
    content = files.read(source, what, beside=path)
    what = f"{what} {shown(source)}"
    values = read_blob(content, what, "binaryproto")
    side = round(values.size**0.5)
    if not values.size or side * side != values.size:
        found = "x".join(map(str, values.shape))
        raise ConfigError(f"{what} is {found}: it has to be a square matrix, a row for each label")
    if not np.isfinite(values).all():
        raise ConfigError(f"{what} holds NaN or infinite values")
    return content
