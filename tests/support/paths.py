"""Where the repository and the data sets lie."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT / "data"))
from dataset_paths import mnist_folder  # noqa: E402

MNIST = mnist_folder()
