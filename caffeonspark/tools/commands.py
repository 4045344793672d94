"""What the tools of ``registry`` do: one function for each, given a Config without a solver and the flags' values."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from ..api.config import Config
from ..causes import explained
from ..errors import ConfigError, DataError
from ..storage import join, local_path, spark_path
from . import cifar10, datasets
from .export import export_model
from .mean import image_mean
from .outputs import check_free, new_folder
from .rows import database_rows, folder_lines, labelled_rows, read_label_file
from .writers import write_frame, write_lmdb_rows, write_sequence

__all__ = [
    "binary_to_dataframe",
    "binary_to_sequence",
    "cifar_to_lmdb",
    "compute_mean",
    "dataframe_to_lmdb",
    "export",
    "folder_to_dataframe",
    "idx_to_lmdb",
    "lmdb_to_dataframe",
    "lmdb_to_sequence",
]

_log = logging.getLogger(__name__)

Values = Mapping[str, Any]


def _lmdb_partitions(config: Config, values: Values) -> int:
    return int(values["lmdb_partitions"]) or int(config.spark().sparkContext.defaultParallelism)


def _done(output: str, what: str = "") -> None:
    _log.info("wrote %s%s", output, f": {what}" if what else "")


def binary_to_sequence(config: Config, values: Values) -> None:
    """Write the images of a label file as SequenceFiles; a key is a JSON list, a value an image file's bytes."""
    check_free(config.storage, values["output"], values["overwrite"])
    lines = [(name, label, name) for name, label in read_label_file(config, values["labelFile"], 2)]
    rows = labelled_rows(config, values["imageRoot"], lines, values["clusterSize"])
    write_sequence(config, rows, values["output"], values["codec"], values["overwrite"])
    _done(values["output"], f"{len(lines)} images")


def binary_to_dataframe(config: Config, values: Values) -> None:
    """CaffeOnSpark's columns: SampleID, label (int) and data; and encoded, so that nets need not say it."""
    check_free(config.storage, values["output"], values["overwrite"])
    lines = read_label_file(config, values["labelFile"], 3)
    rows = labelled_rows(config, values["imageRoot"], lines, values["clusterSize"])
    rows = rows.selectExpr("id AS SampleID", "int(label) AS label", "data", "encoded")
    write_frame(config, rows, values["output"], values["outputFormat"], values["overwrite"])
    _done(values["output"], f"{len(lines)} images")


def lmdb_to_dataframe(config: Config, values: Values) -> None:
    """Write a database of Datums as a DataFrame, a row for each Datum."""
    check_free(config.storage, values["output"], values["overwrite"])
    rows = database_rows(config, values["imageRoot"], _lmdb_partitions(config, values))
    write_frame(config, rows, values["output"], values["outputFormat"], values["overwrite"])
    _done(values["output"])


def lmdb_to_sequence(config: Config, values: Values) -> None:
    """Write a database of Datums as SequenceFiles, in the order of its keys."""
    check_free(config.storage, values["output"], values["overwrite"])
    rows = database_rows(config, values["imageRoot"], _lmdb_partitions(config, values))
    write_sequence(config, rows, values["output"], values["codec"], values["overwrite"])
    _done(values["output"])


def dataframe_to_lmdb(config: Config, values: Values) -> None:
    """Write a DataFrame of images as an LMDB; the key is ``id``, or the row's number."""
    check_free(config.storage, values["output"], values["overwrite"])
    path = values["imageRoot"]
    if not config.storage.exists(path):
        raise ConfigError(f"the DataFrame {path} does not exist")
    with explained(f"{path} cannot be read as {values['inputFormat']}"):
        rows = config.spark().read.format(values["inputFormat"]).load(spark_path(config.storage, path))
    count = write_lmdb_rows(config, rows, values["output"], values["overwrite"])
    _done(values["output"], f"{count} entries")


def folder_to_dataframe(config: Config, values: Values) -> None:
    """Write images in a folder for each class as a DataFrame, with ``label`` (int) and ``class`` for each."""
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


def idx_to_lmdb(config: Config, values: Values) -> None:
    """Write MNIST's IDX files as an LMDB with keys of eight digits, as convert_mnist_data does."""
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


def cifar_to_lmdb(config: Config, values: Values) -> None:
    """Write CIFAR-10's tarball as two LMDBs, as convert_cifar_data does."""
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


def export(config: Config, values: Values) -> None:
    """Write a deploy net and a model's weights for it into a folder."""
    trained = Config(config.spark(), conf=values["conf"], model=values["model"])
    for path in export_model(trained, values["output"], values["format"], values["overwrite"]):
        _done(path)


def compute_mean(config: Config, values: Values) -> None:
    """Write the mean image (float32) as a BlobProto, as compute_image_mean does."""
    output = values["output"]
    check_free(config.storage, output, values["overwrite"])
    mean = image_mean(config, values["imageRoot"], values["inputFormat"], _lmdb_partitions(config, values))
    config.storage.write(output, datasets.mean_blob(mean))
    means = ", ".join(f"{value:.3f}" for value in mean.mean(axis=(1, 2)))
    print(f"mean of each channel: {means}")
    _done(output, "x".join(map(str, mean.shape)))
