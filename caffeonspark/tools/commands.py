"""The tools as commands with CaffeOnSpark's names and flags: ``caffeonspark LMDB2DataFrame -imageRoot … -output …``."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

import numpy as np

from ..api.config import Config
from ..errors import ConfigError, DataError
from ..flags import Flag, FlagTable
from ..spark.session import start_spark
from ..storage import join, local_path
from . import cifar10, datasets
from .mean import image_mean
from .outputs import check_free, new_folder, spark_path
from .rows import folder_lines, labelled_rows, lmdb_rows, read_label_file
from .writers import CODECS, write_frame, write_lmdb_rows, write_sequence

__all__ = ["TOOLS", "Tool", "main", "run_tool"]

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Tool:
    """One command.

    Attributes
    ----------
    about : what it does, in a line
    flags : what it takes
    run : does it, given a Config without a solver and the values of the flags
    """

    about: str
    flags: FlagTable
    run: Callable[[Config, Values], None]


def run_tool(name: str, config: Config, flags: Mapping[str, Any]) -> None:
    """Run a tool from Python.

    >>> run_tool("LMDB2DataFrame", Config(spark), {"imageRoot": "file:mnist_lmdb", "output": "hdfs:///mnist"})

    Raises CaffeOnSparkError.
    """
    tool = TOOLS[name]
    tool.run(config, _complete(name, tool, tool.flags.parse_mapping(flags)))


def _complete(name: str, tool: Tool, given: Values) -> Values:
    """What is given and the defaults of the other flags; raises ConfigError where a flag is missing."""
    values = {flag.name: given.get(flag.name, flag.default) for flag in tool.flags.values()}
    for flag in tool.flags.values():
        if flag.default is _REQUIRED and values[flag.name] is _REQUIRED:
            raise ConfigError(f"{name}: -{flag.name} is missing: {flag.help}. See -help.")
    return values


def main(name: str, argv: Sequence[str]) -> int:
    """Run a tool as a command; its exit status. Raises CaffeOnSparkError."""
    tool = TOOLS[name]
    if not argv or any(word in ("-help", "--help", "-h") for word in argv):
        print(f"usage: caffeonspark {name} FLAGS\n\n{tool.about}.\n\n{tool.flags.help_text()}")
        return 0 if argv else 1
    values = _complete(name, tool, tool.flags.parse_args(argv))
    with start_spark() as spark:
        tool.run(Config(spark), values)
    return 0


_REQUIRED = ""  # the default of flags that have to be given

_OUTPUT = Flag("output", "text", _REQUIRED, "where to write", "PATH")
_OVERWRITE = Flag("overwrite", "switch", False, "replace what is there")
_FORMAT = Flag("outputFormat", "text", "parquet", "format of the DataFrame: parquet, json or any Spark writer", "NAME")
_PARTITIONS = Flag("clusterSize", "int", 0, "files to write (default: as many as make 128 MB each)", "N", minimum=1)
_LMDB_PARTITIONS = Flag(
    "lmdb_partitions", "int", 0, "ranges to read the LMDB in (default: one for each core)", "N", minimum=1
)
_CODEC = Flag("codec", "choice", "none", "compression of blocks of records", "|".join(CODECS), choices=tuple(CODECS))
_IMAGES = Flag("imageRoot", "text", _REQUIRED, "the folder the file names are relative to", "FOLDER")
_LMDB = Flag("imageRoot", "text", _REQUIRED, "the LMDB", "PATH")


def _labels(line: str) -> Flag:
    return Flag("labelFile", "text", _REQUIRED, f"the text file of '{line}' lines", "FILE")


def _table(*flags: Flag) -> FlagTable:
    return FlagTable(("Flags", flags), aliases={"input": "imageRoot"})


def _lmdb_partitions(config: Config, values: Values) -> int:
    return int(values["lmdb_partitions"]) or int(config.spark().sparkContext.defaultParallelism)


def _done(output: str, what: str = "") -> None:
    print(f"wrote {output}{': ' if what else ''}{what}", file=sys.stderr)


# ---- the commands


def _binary_to_sequence(config: Config, values: Values) -> None:
    check_free(config.storage, values["output"], values["overwrite"])
    lines = [(name, label, name) for name, label in read_label_file(config, values["labelFile"], 2)]
    rows = labelled_rows(config, values["imageRoot"], lines, values["clusterSize"])
    write_sequence(config, rows, values["output"], values["codec"], values["overwrite"])
    _done(values["output"], f"{len(lines)} images")


def _binary_to_dataframe(config: Config, values: Values) -> None:
    """CaffeOnSpark's columns: SampleID, label (int) and data; and encoded, so that nets need not say it."""
    check_free(config.storage, values["output"], values["overwrite"])
    lines = read_label_file(config, values["labelFile"], 3)
    rows = labelled_rows(config, values["imageRoot"], lines, values["clusterSize"])
    rows = rows.selectExpr("id AS SampleID", "int(label) AS label", "data", "encoded")
    write_frame(config, rows, values["output"], values["outputFormat"], values["overwrite"])
    _done(values["output"], f"{len(lines)} images")


def _lmdb_to_dataframe(config: Config, values: Values) -> None:
    check_free(config.storage, values["output"], values["overwrite"])
    rows = lmdb_rows(config, values["imageRoot"], _lmdb_partitions(config, values))
    write_frame(config, rows, values["output"], values["outputFormat"], values["overwrite"])
    _done(values["output"])


def _lmdb_to_sequence(config: Config, values: Values) -> None:
    check_free(config.storage, values["output"], values["overwrite"])
    rows = lmdb_rows(config, values["imageRoot"], _lmdb_partitions(config, values))
    write_sequence(config, rows, values["output"], values["codec"], values["overwrite"])
    _done(values["output"])


def _dataframe_to_lmdb(config: Config, values: Values) -> None:
    check_free(config.storage, values["output"], values["overwrite"])
    path = values["imageRoot"]
    if not config.storage.exists(path):
        raise ConfigError(f"the DataFrame {path} does not exist")
    try:
        rows = config.spark().read.format(values["inputFormat"]).load(spark_path(config.storage, path))
    except Exception as e:
        raise DataError(f"{path} cannot be read as {values['inputFormat']}: {str(e).splitlines()[0]}") from None
    count = write_lmdb_rows(config, rows, values["output"], values["overwrite"])
    _done(values["output"], f"{count} entries")


def _folder_to_dataframe(config: Config, values: Values) -> None:
    check_free(config.storage, values["output"], values["overwrite"])
    lines, classes = folder_lines(config, values["imageRoot"])
    rows = labelled_rows(config, values["imageRoot"], lines, values["clusterSize"])
    rows = rows.selectExpr("id", "int(label) AS label", "split(id, '/')[0] AS class", "encoded", "data")
    write_frame(config, rows, values["output"], values["outputFormat"], values["overwrite"])
    counts: Dict[Tuple[str, str], int] = {}
    for name, label, _ in lines:
        one = (label, name.partition("/")[0])
        counts[one] = counts.get(one, 0) + 1
    for (label, name), count in counts.items():
        print(f"label {label}: {name}, {count} images")
    _done(values["output"], f"{len(lines)} images of {len(classes)} classes")


def _idx_to_lmdb(config: Config, values: Values) -> None:
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        found = {}
        for name in ("images", "labels"):
            copy = os.path.join(folder, name)
            config.storage.fetch(values[name], copy)
            found[name] = datasets.read_idx(copy, values[name])
    images, labels = found["images"], found["labels"]
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"{values['images']} has the shape {images.shape}, {values['labels']} {labels.shape}")
    _write_lmdb(config, values["output"], images[:, np.newaxis], labels, values["overwrite"])


def _cifar_to_lmdb(config: Config, values: Values) -> None:
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as folder:
        copy = os.path.join(folder, "cifar-10-binary.tar.gz")
        config.storage.fetch(values["imageRoot"], copy)
        found = cifar10.read_cifar10(copy, values["imageRoot"])
    check_free(config.storage, values["output"], values["overwrite"])
    for name, (images, labels) in found.items():
        place = join(values["output"], f"cifar10_{name}_lmdb")
        _write_lmdb(config, place, images, labels, values["overwrite"], digits=5)


def _write_lmdb(
    config: Config, output: str, images: np.ndarray, labels: np.ndarray, overwrite: bool, digits: int = 8
) -> None:
    with new_folder(config.storage, output, overwrite) as part, tempfile.TemporaryDirectory() as scratch:
        here = config.storage.on_local_disk(part)
        folder = local_path(part) if here else os.path.join(scratch, "lmdb")
        datasets.write_lmdb(folder, images, labels, digits)
        if not here:
            config.storage.store(os.path.join(folder, "data.mdb"), join(part, "data.mdb"))
    _done(output, f"{len(images)} entries")


def _compute_mean(config: Config, values: Values) -> None:
    output = values["output"]
    check_free(config.storage, output, values["overwrite"])
    mean = image_mean(config, values["imageRoot"], values["inputFormat"], _lmdb_partitions(config, values))
    config.storage.write(output, datasets.mean_blob(mean))
    means = ", ".join(f"{value:.3f}" for value in mean.mean(axis=(1, 2)))
    print(f"mean of each channel: {means}")
    _done(output, "x".join(map(str, mean.shape)))


TOOLS: Dict[str, Tool] = {
    "Binary2Sequence": Tool(
        "Write the image files that a label file lists as SequenceFiles",
        _table(_IMAGES, _labels("filename label"), _OUTPUT, _CODEC, _PARTITIONS, _OVERWRITE),
        _binary_to_sequence,
    ),
    "Binary2DataFrame": Tool(
        "Write the image files that a label file lists as a DataFrame",
        _table(_IMAGES, _labels("filename label id"), _OUTPUT, _FORMAT, _PARTITIONS, _OVERWRITE),
        _binary_to_dataframe,
    ),
    "ImageFolder2DataFrame": Tool(
        "Write the images in folders named for their classes as a DataFrame",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "the folder that holds a folder for each class", "FOLDER"),
            _OUTPUT,
            _FORMAT,
            _PARTITIONS,
            _OVERWRITE,
        ),
        _folder_to_dataframe,
    ),
    "LMDB2DataFrame": Tool(
        "Write an LMDB of Datums as a DataFrame",
        _table(_LMDB, _OUTPUT, _FORMAT, _LMDB_PARTITIONS, _OVERWRITE),
        _lmdb_to_dataframe,
    ),
    "LMDB2Sequence": Tool(
        "Write an LMDB of Datums as SequenceFiles",
        _table(_LMDB, _OUTPUT, _CODEC, _LMDB_PARTITIONS, _OVERWRITE),
        _lmdb_to_sequence,
    ),
    "DataFrame2LMDB": Tool(
        "Write a DataFrame of images as an LMDB of Datums",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "the DataFrame", "PATH"),
            Flag("inputFormat", "text", "parquet", "its format: parquet, json or any Spark reader", "NAME"),
            _OUTPUT,
            _OVERWRITE,
        ),
        _dataframe_to_lmdb,
    ),
    "Idx2LMDB": Tool(
        "Write images and labels in MNIST's IDX format, gzipped or not, as an LMDB",
        _table(
            Flag("images", "text", _REQUIRED, "the file of images", "FILE"),
            Flag("labels", "text", _REQUIRED, "the file of labels", "FILE"),
            _OUTPUT,
            _OVERWRITE,
        ),
        _idx_to_lmdb,
    ),
    "Cifar2LMDB": Tool(
        "Write CIFAR-10 as cifar10_train_lmdb and cifar10_test_lmdb",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "cifar-10-binary.tar.gz", "FILE"),
            Flag("output", "text", _REQUIRED, "the folder to write the two LMDBs into", "FOLDER"),
            _OVERWRITE,
        ),
        _cifar_to_lmdb,
    ),
    "ComputeImageMean": Tool(
        "Write the mean image of a data set, for mean_file",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "the images", "PATH"),
            Flag("inputFormat", "text", "lmdb", "lmdb, sequence, or the format of a Spark reader", "NAME"),
            Flag("output", "text", _REQUIRED, "the .binaryproto to write", "FILE"),
            _LMDB_PARTITIONS,
            _OVERWRITE,
        ),
        _compute_mean,
    ),
}
