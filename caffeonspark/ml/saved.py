"""What Spark ML wrote of a saved model, read without Spark."""

from __future__ import annotations

import bz2
import glob
import gzip
import importlib
import json
import os
import sys
import zlib
from typing import Any, Callable, Dict, Tuple, Union

from ..errors import ConfigError, DataError
from ..storage import expand, local_path, scheme

__all__ = ["class_of", "read_metadata"]


def _zstd(content: bytes) -> bytes:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return bytes(stream.read())


#: By the ending of a part's name, as Hadoop's codecs give it.
_CODECS: Dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".deflate": zlib.decompress,
    ".zst": _zstd,
}


def read_metadata(folder: Union[str, os.PathLike[str]], cls: type) -> Tuple[str, Dict[str, Any]]:
    """The path of a saved model's folder, and what Spark ML wrote of the model.

    Parameters
    ----------
    folder : a path, or a ``file:`` URI
    cls : that is asked for, for errors

    Raises
    ------
    ConfigError
        Where it is no such folder.
    DataError
        Where what was written cannot be read.
    """
    given = os.fspath(folder)
    if scheme(given) not in ("", "file"):
        raise ConfigError(
            f"{given}: loadLocal reads folders of this machine, without Spark: fetch the folder first, or use "
            f"{cls.__name__}.load with Spark"
        )
    path = local_path(expand(given))
    if not os.path.exists(path):
        raise ConfigError(f"{given} does not exist: name the folder that save wrote")
    if not os.path.isdir(path):
        raise ConfigError(
            f"{given} is a file: name the folder that save wrote; fromCaffe(net, weights) takes Caffe's own files"
        )
    parts = sorted(glob.glob(os.path.join(glob.escape(path), "metadata", "part-*")))
    if not parts:
        raise ConfigError(f"{given} is no saved model: there is no metadata of Spark ML in it")
    for part in parts:
        lines = _content(part).splitlines()
        if lines:
            return path, _parsed(lines[0], part)
    raise DataError(f"{given}: its metadata is empty")


def _content(part: str) -> bytes:
    with open(part, "rb") as f:
        content = f.read()
    ending = os.path.splitext(part)[1]
    if ending in _CODECS:
        try:
            return _CODECS[ending](content)
        except (EOFError, OSError, ValueError, zlib.error) as e:
            raise DataError(f"{part} is damaged: {e}") from None
    if ending and not ending.startswith(".txt") and not content.lstrip().startswith(b"{"):
        raise ConfigError(
            f"{part} is compressed in a way that is not read here: load the model with Spark, and save it with "
            "spark.hadoop.mapreduce.output.fileoutputformat.compress=false"
        )
    return content


def _parsed(line: bytes, part: str) -> Dict[str, Any]:
    try:
        found = json.loads(line)
        if not isinstance(found["class"], str):
            raise ValueError("class is no name")
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{part} is no metadata of Spark ML, or damaged ({e})") from None
    return dict(found)


def class_of(metadata: Dict[str, Any], path: str, cls: type) -> Any:
    """The class of a saved model. Raises ConfigError unless it is ``cls`` or one of its subclasses."""
    module, _, name = metadata["class"].rpartition(".")
    found = None
    if module in sys.modules or module.startswith("caffeonspark."):
        found = getattr(importlib.import_module(module), name, None)
    if isinstance(found, type) and issubclass(found, cls):
        return found
    hint = ""
    if name in ("PipelineModel", "CrossValidatorModel", "TrainValidationSplitModel"):
        inside = sorted(
            os.path.relpath(os.path.dirname(os.path.dirname(one)), path)
            for one in glob.glob(os.path.join(glob.escape(path), "**", "metadata", "part-*"), recursive=True)
            if os.path.exists(os.path.join(os.path.dirname(os.path.dirname(one)), "net.prototxt"))
        )
        models = [one for one in inside if one != "."]
        if models:
            hint = f": the model in it is {os.path.join(path, models[0])}"
    elif isinstance(found, type) and hasattr(found, "fit"):
        hint = ": save the model that its fit returns"
    elif isinstance(found, type) and hasattr(found, "loadLocal"):
        hint = f": use {name}.loadLocal"
    raise ConfigError(f"{path} is a saved {name or metadata['class']}, not a {cls.__name__}{hint}")
