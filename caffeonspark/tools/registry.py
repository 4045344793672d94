"""The tools by name: ``caffeonspark LMDB2DataFrame -imageRoot … -output …``, or ``run_tool`` from Python.

What they take stands here, so that ``-help`` need not load what they do.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Sequence

from ..errors import ConfigError, suggest
from ..flags import Flag, FlagTable
from .codecs import CODECS

if TYPE_CHECKING:
    from ..api.config import Config

__all__ = ["TOOLS", "Tool", "main", "run_tool"]

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Tool:
    """One command.

    Attributes
    ----------
    about : what it does, in a line
    flags : what it takes
    function : the function of ``commands`` that does it
    """

    about: str
    flags: FlagTable
    function: str

    def run(self, config: Config, values: Values) -> None:
        """Do it, given a Config without a solver and the values of all flags. Raises CaffeOnSparkError."""
        if values.get("overwrite"):
            outputs = importlib.import_module(".outputs", __package__)
            outputs.check_kept(config.storage, values["output"], [values[name] for name in _READ if values.get(name)])
        commands = importlib.import_module(".commands", __package__)
        function: Callable[[Config, Values], None] = getattr(commands, self.function)
        function(config, values)


def run_tool(name: str, config: Config, flags: Mapping[str, Any]) -> None:
    """Run a tool from Python.

    >>> run_tool("LMDB2DataFrame", Config(spark), {"imageRoot": "file:mnist_lmdb", "output": "hdfs:///mnist"})

    Raises CaffeOnSparkError.
    """
    if name not in TOOLS:
        raise ConfigError(f"no tool is called '{name}'. {suggest(name, TOOLS)}")
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
    from ..api.config import Config
    from ..spark.session import start_spark

    with start_spark() as spark:
        tool.run(Config(spark), values)
    return 0


_REQUIRED = ""  # the default of flags that have to be given
_READ = ("imageRoot", "labelFile", "images", "labels", "conf", "model")  # the flags that name what is read

_OUTPUT = Flag("output", "text", _REQUIRED, "where to write", "PATH")
_OVERWRITE = Flag("overwrite", "switch", False, "replace what is there")
_FORMAT = Flag("outputFormat", "text", "parquet", "format of the DataFrame: parquet, json or any Spark writer", "NAME")
_PARTITIONS = Flag("clusterSize", "int", 0, "files to write (default: as many as make 128 MB each)", "N", minimum=1)
_LMDB_PARTITIONS = Flag(
    "lmdb_partitions", "int", 0, "ranges to read the database in (default: one for each core)", "N", minimum=1
)
_CODEC = Flag("codec", "choice", "none", "compression of blocks of records", "|".join(CODECS), choices=tuple(CODECS))
_IMAGES = Flag("imageRoot", "text", _REQUIRED, "the folder the file names are relative to", "FOLDER")
_LMDB = Flag("imageRoot", "text", _REQUIRED, "the LMDB or LevelDB", "PATH")


def _labels(line: str) -> Flag:
    return Flag("labelFile", "text", _REQUIRED, f"the text file of '{line}' lines", "FILE")


def _table(*flags: Flag) -> FlagTable:
    return FlagTable(("Flags", flags), aliases={"input": "imageRoot"})


TOOLS: Dict[str, Tool] = {
    "export": Tool(
        "Write a deploy net, and a model's weights for it",
        _table(
            Flag("conf", "text", _REQUIRED, "the solver prototxt", "FILE"),
            Flag("model", "text", _REQUIRED, "the model, binary or HDF5", "FILE"),
            Flag("output", "text", _REQUIRED, "the folder to write deploy.prototxt and the weights into", "FOLDER"),
            Flag(
                "format",
                "choice",
                "binary",
                "format of the weights: .caffemodel or .caffemodel.h5",
                "binary|hdf5",
                choices=("binary", "hdf5"),
            ),
            _OVERWRITE,
        ),
        "export",
    ),
    "Binary2Sequence": Tool(
        "Write the image files that a label file lists as SequenceFiles",
        _table(_IMAGES, _labels("filename label"), _OUTPUT, _CODEC, _PARTITIONS, _OVERWRITE),
        "binary_to_sequence",
    ),
    "Binary2DataFrame": Tool(
        "Write the image files that a label file lists as a DataFrame",
        _table(_IMAGES, _labels("filename label id"), _OUTPUT, _FORMAT, _PARTITIONS, _OVERWRITE),
        "binary_to_dataframe",
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
        "folder_to_dataframe",
    ),
    "LMDB2DataFrame": Tool(
        "Write an LMDB or LevelDB of Datums as a DataFrame",
        _table(_LMDB, _OUTPUT, _FORMAT, _LMDB_PARTITIONS, _OVERWRITE),
        "lmdb_to_dataframe",
    ),
    "LMDB2Sequence": Tool(
        "Write an LMDB or LevelDB of Datums as SequenceFiles",
        _table(_LMDB, _OUTPUT, _CODEC, _LMDB_PARTITIONS, _OVERWRITE),
        "lmdb_to_sequence",
    ),
    "DataFrame2LMDB": Tool(
        "Write a DataFrame of images as an LMDB of Datums",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "the DataFrame", "PATH"),
            Flag("inputFormat", "text", "parquet", "its format: parquet, json or any Spark reader", "NAME"),
            _OUTPUT,
            _OVERWRITE,
        ),
        "dataframe_to_lmdb",
    ),
    "Idx2LMDB": Tool(
        "Write images and labels in MNIST's IDX format, gzipped or not, as an LMDB",
        _table(
            Flag("images", "text", _REQUIRED, "the file of images", "FILE"),
            Flag("labels", "text", _REQUIRED, "the file of labels", "FILE"),
            _OUTPUT,
            _OVERWRITE,
        ),
        "idx_to_lmdb",
    ),
    "Cifar2LMDB": Tool(
        "Write CIFAR-10 as cifar10_train_lmdb and cifar10_test_lmdb",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "cifar-10-binary.tar.gz", "FILE"),
            Flag("output", "text", _REQUIRED, "the folder to write the two LMDBs into", "FOLDER"),
            _OVERWRITE,
        ),
        "cifar_to_lmdb",
    ),
    "ComputeImageMean": Tool(
        "Write the mean image of a data set, for mean_file",
        _table(
            Flag("imageRoot", "text", _REQUIRED, "the images", "PATH"),
            Flag("inputFormat", "text", "lmdb", "lmdb or leveldb, sequence, or the format of a Spark reader", "NAME"),
            Flag("output", "text", _REQUIRED, "the .binaryproto to write", "FILE"),
            _LMDB_PARTITIONS,
            _OVERWRITE,
        ),
        "compute_mean",
    ),
}
