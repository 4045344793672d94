"""Writing small data sets as LMDBs, parquet DataFrames and mean files; what the scripts in ``data/`` share.

Images are uint8 arrays of (n, channels, height, width), labels n integers. LMDBs and mean files are what Caffe's
own tools write from the same images (convert_mnist_data, convert_cifar_data, compute_image_mean).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import math
import os
import shutil
import sys
import urllib.request
import zlib
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Sequence, Tuple

import numpy as np

from ..data.sources.lmdb import write_entries
from ..errors import CaffeOnSparkError, ConfigError, DataError, StorageError
from ..nets.schema import BlobProto, Datum
from ..storage import Storage, all_or_nothing, local_path

__all__ = [
    "ArgumentParser",
    "check_free",
    "download",
    "mean_blob",
    "new_outputs",
    "read_idx",
    "run_script",
    "set_names",
    "write_dataframe",
    "write_lmdb",
    "write_mean",
    "write_sets",
]

_ROW_GROUP = 1000  # rows of a parquet file that one task can read apart from the others


# ---- where data comes from


def read_idx(path: str, name: str = "") -> np.ndarray:
    """The array in a file of MNIST's IDX format, plain or gzipped.

    Parameters
    ----------
    path : of the file
    name : what errors call it, by default its path

    Raises
    ------
    StorageError
        If the file cannot be read.
    DataError
        If it is damaged, or holds anything but unsigned bytes.
    """
    try:
        with open(path, "rb") as f:
            data = f.read()
    except OSError as e:
        raise StorageError(f"{name or path}: {e.strerror}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as e:
            raise DataError(f"{name or path}: damaged gzip file ({e})") from None
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    if data[:3] != b"\0\0\x08" or len(data) < start:
        raise DataError(f"{name or path}: no IDX file of unsigned bytes")
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    values = np.frombuffer(data[start:], np.uint8)
    if values.size != math.prod(shape):
        raise DataError(f"{name or path}: the header says {'x'.join(map(str, shape))}, and {values.size} bytes follow")
    return values.reshape(shape)


def download(url: str, folder: str) -> str:
    """Fetch ``url`` into ``folder``; the file's path. Raises StorageError."""
    path = os.path.join(folder, url.rstrip("/").rpartition("/")[2])
    try:
        with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as f:
            shutil.copyfileobj(response, f)
    except (OSError, ValueError) as e:  # ValueError: no URL at all
        raise StorageError(f"{url} cannot be fetched: {getattr(e, 'reason', e)}") from None
    return path


# ---- what is written


def _ids(count: int, digits: int) -> Iterator[str]:
    return (f"{number:0{digits}d}" for number in range(count))


def write_lmdb(path: str, images: np.ndarray, labels: np.ndarray, digits: int = 8) -> None:
    """Write an LMDB of raw Datums, with their numbers of ``digits`` digits as keys.

    Parameters
    ----------
    path : a folder that is not there yet
    images : uint8, (n, channels, height, width)
    labels : integers, (n,)
    digits : convert_mnist_data writes 8, convert_cifar_data 5
    """
    count, channels, height, width = images.shape
    os.makedirs(path)
    datums = (
        Datum(channels=channels, height=height, width=width, data=image.tobytes(), label=int(label))
        for image, label in zip(images, labels)
    )
    keys = (key.encode() for key in _ids(count, digits))
    write_entries(path, ((key, datum.SerializeToString()) for key, datum in zip(keys, datums)))


def write_dataframe(path: str, images: np.ndarray, labels: np.ndarray, digits: int = 8) -> None:
    """Write a parquet folder that Spark reads and both ImageDataFrame and CoSData layers take.

    Columns: ``id`` and ``label`` (string), ``channels``, ``height`` and ``width`` (int), ``encoded`` (boolean, false),
    and ``data``: the pixels in the order height, width, channel. Parameters as for ``write_lmdb``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, channels, height, width = images.shape
    table = pa.table(
        {
            "id": pa.array(_ids(count, digits), pa.string(), size=count),
            "label": pa.array([str(int(label)) for label in labels], pa.string()),
            "channels": pa.array(np.full(count, channels, np.int32)),
            "height": pa.array(np.full(count, height, np.int32)),
            "width": pa.array(np.full(count, width, np.int32)),
            "encoded": pa.array(np.zeros(count, bool)),
            "data": pa.array([image.transpose(1, 2, 0).tobytes() for image in images], pa.binary()),
        }
    )
    os.makedirs(path)
    # one file, since Spark reads several in the order of their sizes
    pq.write_table(table, os.path.join(path, "part-00000.parquet"), row_group_size=_ROW_GROUP)


def write_mean(path: str, images: np.ndarray) -> None:
    """Write the mean of images, (n, channels, height, width), as the binaryproto that ``mean_file`` names.

    The sums are integers here; compute_image_mean's are float32, which are the same up to 65,793 images.
    """
    total = images.sum(axis=0, dtype=np.int64)
    with open(path, "wb") as f:
        f.write(mean_blob(total.astype(np.float32) / np.float32(len(images))))


def mean_blob(mean: np.ndarray) -> bytes:
    """A mean image, (channels, height, width), as the binaryproto that ``mean_file`` names."""
    channels, height, width = mean.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width, data=mean.reshape(-1).tolist())
    content: bytes = blob.SerializeToString()
    return content


def check_free(folder: str, names: Sequence[str], overwrite: bool) -> None:
    """Raise ConfigError if one of ``names`` is in ``folder``, unless it may be overwritten."""
    there = [name for name in names if os.path.lexists(os.path.join(folder, name))]
    if there and not overwrite:
        raise ConfigError(f"{os.path.join(folder, there[0])} exists already: --overwrite replaces it")


@contextlib.contextmanager
def new_outputs(folder: str, names: Sequence[str], overwrite: bool = False) -> Iterator[str]:
    """A temporary folder in which to write ``names``, which move into ``folder`` when the block has ended well.

    Raises
    ------
    ConfigError
        If one of them is there already and ``overwrite`` is not set.
    StorageError
        If they cannot be written.
    """
    check_free(folder, names, overwrite)
    try:
        with all_or_nothing(Storage(), "file:" + os.path.abspath(folder), names) as part:
            yield local_path(part)
    except OSError as e:
        raise StorageError(f"{e.filename or folder}: {e.strerror or e}") from None


def set_names(stem: str, dataframe: bool) -> List[str]:
    """What ``write_sets`` writes: ``<stem>_train_lmdb``, ``<stem>_test_lmdb`` and, if asked for, ``…_dataframe``."""
    kinds = ("lmdb", "dataframe") if dataframe else ("lmdb",)
    return [f"{stem}_{name}_{kind}" for name in ("train", "test") for kind in kinds]


def write_sets(
    folder: str,
    stem: str,
    read: Callable[[], Dict[str, Tuple[np.ndarray, np.ndarray]]],
    dataframe: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a training and a test set as LMDBs, and as DataFrames too if asked for, whole or not at all.

    Parameters
    ----------
    folder : where to write
    stem : how the names begin
    read : gives images and labels of "train" and "test"; called when it is known that they can be written
    dataframe : whether to write parquet too
    overwrite : whether to replace what is there
    """
    with new_outputs(folder, set_names(stem, dataframe), overwrite) as part:
        for name, (images, labels) in read().items():
            write_lmdb(os.path.join(part, f"{stem}_{name}_lmdb"), images, labels)
            if dataframe:
                write_dataframe(os.path.join(part, f"{stem}_{name}_dataframe"), images, labels)


# ---- scripts


class ArgumentParser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are ConfigErrors."""

    def __init__(self, description: str, to: str) -> None:
        super().__init__(description=description)
        self.add_argument("--to", default=to, metavar="FOLDER", help="where to write (default: the script's folder)")
        self.add_argument("--overwrite", action="store_true", help="replace what is there")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See --help.")


def run_script(main: Callable[[], Any]) -> int:
    """Run a script's ``main``; its exit status. Errors are one line on standard error."""
    name = os.path.basename(sys.argv[0])
    try:
        main()
        return 0
    except CaffeOnSparkError as e:
        print(f"{name}: {e.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
