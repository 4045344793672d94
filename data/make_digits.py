"""Write the 1,797 handwritten digits that come with scikit-learn as LMDBs, and as DataFrames with --dataframe."""

from __future__ import annotations

import os
import sys
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from caffeonspark.data.decode import resize
from caffeonspark.errors import ConfigError
from caffeonspark.tools import datasets

SIZE = 28  # LeNet's


def read_digits() -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Images, (n, 1, 28, 28) uint8, and labels, (n,), of "train" (1,437) and "test" (360).

    The originals are 8x8 with values up to 16: they are scaled to 255 and enlarged, so that LeNet takes them as it
    takes MNIST. The order is shuffled, for ranks read contiguous ranges, and each digit has a fifth of its samples
    in the test set. Both are the same on every machine.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ConfigError(
            "scikit-learn, which the digits come with, is not installed: pip install scikit-learn"
        ) from None
    originals, labels = load_digits(return_X_y=True)
    small = np.rint(originals.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.stack([resize(image, (SIZE, SIZE)) for image in small])
    order = np.random.RandomState(0).permutation(len(labels))  # RandomState's numbers never change
    by_label = order[np.argsort(labels[order], kind="stable")]
    is_test = np.zeros(len(labels), bool)
    is_test[by_label[::5]] = True
    parts = {"train": order[~is_test[order]], "test": order[is_test[order]]}
    return {name: (images[chosen], labels[chosen]) for name, chosen in parts.items()}


def make_digits(to: str, dataframe: bool = False, overwrite: bool = False) -> None:
    """Write ``digits_train_lmdb`` and ``digits_test_lmdb``, and ``digits_*_dataframe`` if asked for, into ``to``."""
    datasets.write_sets(to, "digits", read_digits, dataframe, overwrite)


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = datasets.ArgumentParser(__doc__ or "", to=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--dataframe", action="store_true", help="write parquet DataFrames too")
    args = parser.parse_args(argv)
    make_digits(args.to, args.dataframe, args.overwrite)


if __name__ == "__main__":
    sys.exit(datasets.run_script(main))
