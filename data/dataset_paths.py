"""Where the data sets that nobody ships lie on this machine."""

from __future__ import annotations

import os
import pathlib

__all__ = ["cifar10_folder", "mnist_folder"]

_BESIDE_THE_CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def mnist_folder() -> pathlib.Path:
    """The folder of MNIST's four IDX files: ``CAFFEONSPARK_MNIST``, or ``../shared/data/mnist`` beside the checkout."""
    return _folder("CAFFEONSPARK_MNIST", "mnist")


def cifar10_folder() -> pathlib.Path:
    """The folder of ``cifar-10-binary.tar.gz``: ``CAFFEONSPARK_CIFAR10``, or ``../shared/data/cifar10``."""
    return _folder("CAFFEONSPARK_CIFAR10", "cifar10")


def _folder(variable: str, name: str) -> pathlib.Path:
    return pathlib.Path(os.environ.get(variable) or _BESIDE_THE_CHECKOUT / name)
