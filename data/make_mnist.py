"""Write MNIST as LMDBs, and as DataFrames with --dataframe, from its four IDX files."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from dataset_paths import mnist_folder

from caffeonspark.errors import ConfigError, DataError
from caffeonspark.tools import datasets

FILES = {"train": "train", "test": "t10k"}


def read_mnist(folder: str) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Images, (n, 1, 28, 28) uint8, and labels, (n,) uint8, of "train" and "test" in a folder of IDX files."""
    found = {}
    for name, stem in FILES.items():
        images = datasets.read_idx(_find(folder, f"{stem}-images-idx3-ubyte"))
        labels = datasets.read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(f"{folder}: the {name} images are {images.shape}, the labels {labels.shape}")
        found[name] = images[:, np.newaxis], labels
    return found


def _find(folder: str, name: str) -> str:
    plain = os.path.join(folder, name)
    return plain if os.path.exists(plain) else plain + ".gz"


def make_mnist(source: str, to: str, dataframe: bool = False, overwrite: bool = False) -> None:
    """Write ``mnist_train_lmdb`` and ``mnist_test_lmdb``, and ``mnist_*_dataframe`` if asked for, into ``to``.

    Parameters
    ----------
    source : folder of the four files, gzipped or not
    to : folder
    dataframe : whether to write parquet too
    overwrite : whether to replace what is there
    """
    datasets.write_sets(to, "mnist", lambda: read_mnist(source), dataframe, overwrite)


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = datasets.ArgumentParser(__doc__ or "", to=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument(
        "--from", dest="source", metavar="FOLDER", help="where the four files are; default: CAFFEONSPARK_MNIST"
    )
    parser.add_argument("--url", help="the address of a folder to fetch them from")
    parser.add_argument("--dataframe", action="store_true", help="write parquet DataFrames too")
    args = parser.parse_args(argv)
    if args.source is None and args.url is None and mnist_folder().is_dir():
        args.source = str(mnist_folder())
    if (args.source is None) == (args.url is None):
        raise ConfigError(
            "give --from (or set CAFFEONSPARK_MNIST) with the folder of MNIST's four IDX files, or --url with their "
            "address"
        )
    with tempfile.TemporaryDirectory() as scratch:
        if args.url is not None:
            datasets.check_free(args.to, datasets.set_names("mnist", args.dataframe), args.overwrite)
            for stem in FILES.values():
                for kind in ("images-idx3", "labels-idx1"):
                    datasets.download(f"{args.url.rstrip('/')}/{stem}-{kind}-ubyte.gz", scratch)
        make_mnist(args.source or scratch, args.to, args.dataframe, args.overwrite)


if __name__ == "__main__":
    sys.exit(datasets.run_script(main))
