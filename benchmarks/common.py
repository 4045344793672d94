"""What the benchmarks share: MNIST as LMDBs, sessions, and alternating rounds."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import sys
from types import MappingProxyType
from typing import Callable, Dict, Iterator, List, Mapping

ROOT = pathlib.Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"

sys.path.insert(0, str(ROOT / "data"))
from dataset_paths import cifar10_folder, mnist_folder  # noqa: E402

#: A short run: few rounds, small sizes.
SHORT = bool(os.environ.get("CAFFEONSPARK_BENCHMARK_SHORT"))

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def shorter(usual: int, short: int) -> int:
    """A number that is smaller in a short run, such as that of iterations."""
    return short if SHORT else usual


def rounds(usual: int) -> int:
    """How many rounds: one in a short run."""
    return 1 if SHORT else usual


def session(master: str, settings: Mapping[str, str] = MappingProxyType({})):
    """A quiet Spark session with these settings more."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("caffeonspark benchmarks")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    for name, value in {**quiet, **settings}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@contextlib.contextmanager
def best_kernel() -> Iterator[Dict[str, str]]:
    """Everything that starts in the block computes with the kernel that -blasKernel auto chooses; executors with these
    settings of Spark."""
    from caffeonspark.engines import blas

    kernel = next(iter(blas.facts()["kernels"]), "")
    before = os.environ.get(blas.VARIABLE)
    if kernel:
        os.environ[blas.VARIABLE] = kernel
    try:
        yield {f"spark.executorEnv.{blas.VARIABLE}": kernel} if kernel else {}
    finally:
        os.environ.pop(blas.VARIABLE, None)
        if before is not None:
            os.environ[blas.VARIABLE] = before


def kernel_in_words() -> str:
    """The kernel that OpenBLAS takes in processes that start now: a part of ``compared``."""
    from caffeonspark.engines import blas

    here = blas.facts()
    return f"OpenBLAS {here['openblas']}, kernel {os.environ.get(blas.VARIABLE) or here['own']}"


def mnist_lmdbs() -> pathlib.Path:
    """A folder with mnist_train_lmdb and mnist_test_lmdb."""
    if not (BUILD / "mnist_train_lmdb").exists():
        if not mnist_folder().is_dir():
            sys.exit(f"the four MNIST idx.gz files are not in {mnist_folder()}: set CAFFEONSPARK_MNIST")
        from make_mnist import make_mnist

        BUILD.mkdir(parents=True, exist_ok=True)
        make_mnist(str(mnist_folder()), str(BUILD))
    return BUILD


def cifar10_lmdbs() -> pathlib.Path:
    """A folder with cifar10_train_lmdb, cifar10_test_lmdb and mean.binaryproto, from the binary version's tarball, or
    from train.zip and test.zip with a folder of images for each class."""
    if not (BUILD / "cifar10_train_lmdb").exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        tarball = cifar10_folder() / "cifar-10-binary.tar.gz"
        if tarball.exists():
            from make_cifar10 import make_cifar10

            make_cifar10(str(tarball), str(BUILD))
        elif (cifar10_folder() / "train.zip").exists():
            from caffeonspark.tools import datasets

            train = _images_in(cifar10_folder() / "train.zip")
            datasets.write_lmdb(str(BUILD / "cifar10_test_lmdb"), *_images_in(cifar10_folder() / "test.zip"), digits=5)
            datasets.write_mean(str(BUILD / "mean.binaryproto"), train[0])
            datasets.write_lmdb(str(BUILD / "cifar10_train_lmdb"), *train, digits=5)
        else:
            sys.exit(f"CIFAR-10 is not in {cifar10_folder()}: set CAFFEONSPARK_CIFAR10")
    return BUILD


def made_up_lmdbs() -> pathlib.Path:
    """A folder with LMDBs of random images in ImageNet's sizes, for CaffeNet's speed."""
    import numpy as np

    from caffeonspark.tools import datasets

    for name, count in (("ilsvrc12_val_lmdb", 50), ("ilsvrc12_train_lmdb", 256)):
        if not (BUILD / name).exists():
            BUILD.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(count)
            images = random.integers(0, 256, (count, 3, 256, 256), np.uint8)
            datasets.write_lmdb(str(BUILD / name), images, random.integers(0, 1000, count), digits=5)
    return BUILD


def _images_in(path: pathlib.Path):
    """(images, labels) of a zip with a folder for each class, in an order that mixes the classes; BGR, as Caffe has
    them."""
    import io
    import zipfile

    import numpy as np
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".jpg", ".jpeg", ".png"))]
        classes = sorted({name.split("/")[-2] for name in names})
        names = [names[at] for at in np.random.RandomState(1).permutation(len(names))]
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    labels = np.array([classes.index(name.split("/")[-2]) for name in names])
    return np.ascontiguousarray(np.stack(images)[:, :, :, ::-1].transpose(0, 3, 1, 2)), labels


def prototxts(net: str, name: str, batch: int, **fields: object) -> str:
    """The project's prototxts of a net with absolute paths and its own batch size while training, the solver's with
    other values of these fields, without validation and snapshots where they are not among them; the path of the
    solver."""
    makers = {"lenet": mnist_lmdbs, "cifar10": cifar10_lmdbs, "caffenet": made_up_lmdbs}
    folder = makers[net.partition("_")[0]]()
    text = (ROOT / "prototxt" / f"{net}_train_test.prototxt").read_text().replace("../data/", f"{folder}/")
    text = re.sub(r"batch_size: \d+", f"batch_size: {batch}", text, count=1)
    (BUILD / f"{name}.prototxt").write_text(text)
    values = {"test_iter": 1, "test_interval": 1_000_000, "test_initialization": "false", "random_seed": 1, **fields}
    values = {"net": f'"{BUILD}/{name}.prototxt"', "snapshot_after_train": "false", **values}
    solver = (ROOT / "prototxt" / f"{net}_solver.prototxt").read_text()
    solver = re.sub(rf"(?m)^(snapshot|snapshot_prefix|{'|'.join(values)}): .*\n", "", solver)
    path = BUILD / f"{name}_solver.prototxt"
    path.write_text(solver + "".join(f"{field}: {value}\n" for field, value in values.items()))
    return str(path)


def alternate(runs: Dict[str, Callable[[], float]], rounds: int) -> Dict[str, List[float]]:
    """Every run in turn, round after round: the machine's drift meets all of them. A short run has one round."""
    found: Dict[str, List[float]] = {name: [] for name in runs}
    for number in range(1 if SHORT else rounds):
        for name, run in runs.items():
            value = run()
            found[name].append(value)
            print(f"  round {number + 1}: {name} {value:.3f}", file=sys.stderr, flush=True)
    return found
