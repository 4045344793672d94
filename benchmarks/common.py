"""What the benchmarks share: MNIST as LMDBs, sessions, and alternating rounds."""

from __future__ import annotations

import os
import pathlib
import statistics
import sys
from typing import Callable, Dict, List

ROOT = pathlib.Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"

sys.path.insert(0, str(ROOT / "data"))
from dataset_paths import mnist_folder  # noqa: E402

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def session(master: str):
    """A quiet Spark session."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("caffeonspark benchmarks")
    for name, value in (
        ("spark.ui.enabled", "false"),
        ("spark.ui.showConsoleProgress", "false"),
        ("spark.log.level", "ERROR"),
    ):
        builder = builder.config(name, value)
    return builder.getOrCreate()


def mnist_lmdbs() -> pathlib.Path:
    """A folder with mnist_train_lmdb and mnist_test_lmdb."""
    if not (BUILD / "mnist_train_lmdb").exists():
        if not mnist_folder().is_dir():
            sys.exit(f"the four MNIST idx.gz files are not in {mnist_folder()}: set CAFFEONSPARK_MNIST")
        from make_mnist import make_mnist

        BUILD.mkdir(parents=True, exist_ok=True)
        make_mnist(str(mnist_folder()), str(BUILD))
    return BUILD


def alternate(runs: Dict[str, Callable[[], float]], rounds: int) -> Dict[str, List[float]]:
    """Every run in turn, round after round: the machine's drift meets all of them."""
    found: Dict[str, List[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            value = run()
            found[name].append(value)
            print(f"  round {number + 1}: {name} {value:.3f}", file=sys.stderr, flush=True)
    return found


def ratios(found: Dict[str, List[float]], name: str, rival: str) -> str:
    """Median and range of the round-by-round ratio."""
    values = sorted(a / b for a, b in zip(found[name], found[rival]))
    return f"{statistics.median(values):.3f} ({values[0]:.3f} to {values[-1]:.3f})"
