"""Shared fixtures: one Spark application over real executors, small data sets, and stock Caffe beside them."""

import gzip
import os

import hypothesis
import numpy as np
import pytest

from caffeonspark import log
from caffeonspark.data.sources import fields
from caffeonspark.engines import blas
from tests.support.data_files import write_lmdb
from tests.support.paths import MNIST
from tests.support.victim import Victim

# A busy machine is no reason to fail.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("busy")

# One BLAS thread everywhere: bit-equality needs the same on both sides, and the machine has few cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
# And the kernel that ranks choose, where OpenBLAS does not know the processor and would take another one.
for _kernel in blas.facts()["kernels"][:1]:
    os.environ.setdefault(blas.VARIABLE, _kernel)


@pytest.fixture(scope="session", autouse=True)
def log_lines():
    """The library's log lines on standard error, as the command line shows them; pytest's own handlers hide them."""
    log.show()


#: Fixtures behind which Spark runs, in this process or in others.
SPARK_FIXTURES = {"spark", "victim", "hadoop"}


def pytest_collection_modifyitems(items):
    """Mark the tests that need Spark; those that start it by other ways than these fixtures say so themselves."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
        if SPARK_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.spark)


@pytest.fixture(scope="session")
def spark():
    """A session over two executors with two slots each."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local-cluster[2,2,1024]")
        .appName("caffeonspark tests")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        # a Hadoop file system that is not file:, over the local disk
        .config("spark.hadoop.fs.viewfs.mounttable.disk.link./root", "file:///")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .config("spark.executorEnv.OPENBLAS_NUM_THREADS", "1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


@pytest.fixture(scope="session")
def mnist():
    """(images, labels) of MNIST's training and test sets."""
    if not MNIST.is_dir():
        pytest.skip(f"the four MNIST idx.gz files are not in {MNIST}: set CAFFEONSPARK_MNIST")
    return {
        name: (read_idx(MNIST / f"{stem}-images-idx3-ubyte.gz"), read_idx(MNIST / f"{stem}-labels-idx1-ubyte.gz"))
        for name, stem in (("train", "train"), ("test", "t10k"))
    }


@pytest.fixture(scope="session")
def small_images():
    """600 images of 1x12x12 with ten classes that a net can learn: (images, labels)."""
    rng = np.random.default_rng(7)
    prototypes = rng.integers(0, 200, (10, 1, 12, 12))
    labels = rng.integers(0, 10, 600)
    images = np.clip(prototypes[labels] + rng.integers(0, 56, (600, 1, 12, 12)), 0, 255).astype(np.uint8)
    return images, labels


@pytest.fixture
def said(monkeypatch):
    """The warnings about fields of layers and files they name; each is said once."""
    lines = []
    monkeypatch.setattr(fields, "_said", set())
    monkeypatch.setattr(fields._log, "warning", lambda text, *args: lines.append(text % args))
    return lines


@pytest.fixture(scope="session")
def small_lmdb(small_images, tmp_path_factory):
    return write_lmdb(tmp_path_factory.mktemp("data") / "small_lmdb", *small_images)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory, small_images):
    """A folder with the images as an LMDB, "lmdb", for jobs by tests.support.recovery."""
    folder = tmp_path_factory.mktemp("data")
    write_lmdb(folder / "lmdb", *small_images)
    return folder


@pytest.fixture(scope="module")
def victim():
    """A driver in a process of its own, over two executors."""
    driver = Victim("local-cluster[2,1,1024]")
    yield driver
    driver.close()
