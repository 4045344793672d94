"""What a rank keeps in memory: a partition of 5 GB, generated, of raw images, and the peak of the rank's process."""

from __future__ import annotations

import pathlib
import sys
import threading
import time
from typing import List

from .common import BUILD, session, shorter
from .results import Result

ROWS, BYTES = shorter(1_700_000, 100_000), 3 * 32 * 32  # 5.2 GB
NET = """
layer { name: "data" type: "CoSData" top: "data" top: "label" source_class: "DataFrameSource"
  cos_data_param { batch_size: 100
    top { name: "data" type: RAW_IMAGE channels: 3 height: 32 width: 32 transform_param { scale: 0.0039 } }
    top { name: "label" type: INT sample_num_axes: 0 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


class Peak:
    """Watches the Python processes of executors: the largest resident size any of them ever had."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    if b"pyspark.daemon" in (process / "cmdline").read_bytes():
                        status = (process / "status").read_text()
                        self.megabytes = max(self.megabytes, int(status.split("VmHWM:")[1].split()[0]) / 1024)
                except (OSError, IndexError):
                    continue  # it has ended

    def close(self) -> None:
        self._done.set()
        self._thread.join()


def train(spark, rows: int) -> float:
    """The rank's peak in MB."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "memory.prototxt").write_text(NET)
    settings = 'base_lr: 0.001 lr_policy: "fixed" max_iter: 1000 snapshot_after_train: false random_seed: 1'
    (BUILD / "memory_solver.prototxt").write_text(f'net: "{BUILD}/memory.prototxt" {settings}\n')
    # every row its own bytes: 96 digests of 32
    frame = spark.range(0, rows, 1, 64).selectExpr(
        f"unhex(repeat(sha2(cast(id AS string), 256), {BYTES // 32})) AS data", "int(id % 10) AS label"
    )
    conf = str(BUILD / "memory_solver.prototxt")
    config = Config(spark, conf=conf, model=f"file:{BUILD}/memory.caffemodel", shuffle=True, quiet=True)
    peak = Peak()
    start = time.monotonic()
    try:
        CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True, frame))
    finally:
        peak.close()
    print(f"  {rows} rows: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return peak.megabytes


def run() -> List[Result]:
    found = {}
    for rows in (10_000, ROWS):
        spark = session("local-cluster[1,1,2048]")  # new workers: a peak does not go down
        found[rows] = train(spark, rows)
        spark.stop()
    rows = tuple((f"{rows * BYTES / 1e9:.2f} GB of records", (megabytes,)) for rows, megabytes in found.items())
    about = "raw images of 3x32x32 shuffled from the record store"
    return [Result("memory", "Memory of a rank", about, ("peak of its process, MB",), rows)]
