"""What Spark costs when a net scores a DataFrame: ``transform`` in one task against a loop over plain pycaffe; and two
workers against four."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
from google.protobuf import text_format

from .common import BUILD, ROOT, alternate, rounds, session, shorter
from .results import Result, medians, ratio

ROUNDS = 5
#: Of each net: the shape of an image, how many, the batch, and what its values are multiplied by. So many take five
#: seconds and more by one core: what every query costs is a small part of it.
NETS = {
    "lenet_lmdb": ((1, 28, 28), shorter(30_000, 3_000), 64, 0.00390625),
    "caffenet": ((3, 227, 227), shorter(512, 48), 16, 1.0),
}
#: Tasks of a query, of four that could run at once.
WORKERS = (2, 4)
#: The rows are in the memory of Spark's one process, and go from there to its workers.
MEMORY = {"spark.driver.memory": "4g"}
#: Raw bytes; and for the small one Vectors and arrays, which take eight and four times as much memory.
COLUMNS = {"lenet_lmdb": ("binary", "vector", "array"), "caffenet": ("binary",)}


def deployed(name: str, shape: Sequence[int]):
    """The deploy net of one of the project's nets, a NetParameter, with this shape of its input ``data``."""
    from caffeonspark.nets.deploy import deploy_net, set_shapes
    from caffeonspark.nets.net import TEST, TRAIN, net_in_phase
    from caffeonspark.nets.prototxt import parse_net

    path = ROOT / "prototxt" / f"{name}_train_test.prototxt"
    message = parse_net(path.read_bytes(), str(path))
    message = deploy_net(*(net_in_phase(message, str(path), phase) for phase in (TEST, TRAIN)))
    return set_shapes(message, {"data": tuple(shape)})


def prepare(name: str):
    """(deploy net, the same net for raw images, model): paths."""
    shape, _, batch, scale = NETS[name]
    folder = BUILD / f"transform_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    deploy = deployed(name, (batch, *shape))
    (folder / "deploy.prototxt").write_text(text_format.MessageToString(deploy))
    layers = [layer for layer in deploy.layer if layer.type != "Input"]
    del deploy.layer[:], deploy.input[:], deploy.input_shape[:], deploy.input_dim[:]
    deploy.layer.extend(layers)
    channels, height, width = shape
    (folder / "raw.prototxt").write_text(
        f'layer {{ name: "data" type: "CoSData" top: "data" source_class: "DataFrameSource" cos_data_param {{ '
        f'batch_size: {batch} top {{ name: "data" type: RAW_IMAGE channels: {channels} height: {height} width: {width} '
        f"transform_param {{ scale: {scale} }} }} }} }}\n" + text_format.MessageToString(deploy)
    )
    fill(str(folder / "deploy.prototxt"), str(folder / "random.caffemodel"))
    return [str(folder / file) for file in ("deploy.prototxt", "raw.prototxt", "random.caffemodel")]


def fill(deploy: str, model: str) -> None:
    """Random weights that keep the blobs' numbers of one size."""
    import caffe

    rng = np.random.default_rng(3)
    net = caffe.Net(deploy, caffe.TEST)
    for blobs in net.params.values():
        for blob in blobs:
            drawn = rng.standard_normal(blob.data.shape, np.float32)
            blob.data[...] = drawn * np.float32((2 * len(blob.data) / blob.count) ** 0.5 if blob.data.ndim > 1 else 0)
    net.save(model)


def bare(net, images: np.ndarray, batch: int, scale: float) -> float:
    """Rows a second of a loop over plain pycaffe."""
    found, began = [], time.perf_counter()
    data = net.blobs["data"]
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        if len(data.data) != len(part):
            data.reshape(*part.shape)
            net.reshape()
        np.multiply(part, np.float32(scale), out=data.data, dtype=np.float32, casting="unsafe")
        net.forward()
        found.append(net.blobs["prob"].data.reshape(len(part), -1).copy())
    return len(np.concatenate(found)) / (time.perf_counter() - began)


def ours(scored) -> float:
    """Seconds of a query that needs every row's output."""
    began = time.perf_counter()
    scored.select("prob").write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began


def rate_of(scored, count: int) -> Callable[[], float]:
    """What measures rows a second of a query that needs every row's output."""
    return lambda: count / ours(scored)


def fixed_costs(scored) -> Tuple[float, float]:
    """Seconds of a query of few rows: in a new Python worker, which loads Caffe and the model; and in that one again.

    The rows are all there are: a query that stops early, as those of ``limit`` do, has its worker ended by Spark.
    """
    first = ours(scored)
    return first, statistics.median(ours(scored) for _ in range(3))


def frames(spark, name: str, images: np.ndarray, partitions: int):
    """DataFrames in Spark's memory, for each kind of column."""
    import pandas as pd
    from pyspark.ml.functions import array_to_vector

    _, _, _, scale = NETS[name]
    raw = images.transpose(0, 2, 3, 1)
    spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    binary = spark.createDataFrame(pd.DataFrame({"data": [image.tobytes() for image in raw]}), "data binary")
    found = {"binary": binary}
    if "array" in COLUMNS[name]:
        numbers = list(images.reshape(len(images), -1) * np.float32(scale))
        array = spark.createDataFrame(pd.DataFrame({"data": numbers}), "data array<float>")
        found.update(vector=array.select(array_to_vector("data").alias("data")), array=array)
    for column, frame in found.items():
        # round robin: every partition gets as many rows
        found[column] = (frame.coalesce(1) if partitions == 1 else frame.repartition(partitions)).persist()
        found[column].count()
    return found


def arrow_rows(spark, shape: Sequence[int]) -> int:
    """Have Spark send rows to Python as the library's note on large rows recommends; how many at once."""
    from caffeonspark.spark.arrow_batches import SETTING

    rows = min(10_000, (8 << 20) // math.prod(shape))
    spark.conf.set(SETTING, rows)
    return rows


def pictures(name: str) -> np.ndarray:
    """Random images for a net."""
    shape, count, _, _ = NETS[name]
    return np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)


def model_of(spark, files: Sequence[str], column: str) -> Any:
    """The CaffeModel that scores a column of this kind."""
    from caffeonspark import CaffeModel

    deploy, raw, model = files
    flags = {"model": f"file:{model}", "features": ["prob"], "blasKernel": "environment", "quiet": True}
    return CaffeModel.fromNet(spark, net=raw if column == "binary" else deploy, **flags)


def one_worker(spark, name: str) -> Result:
    """The table of a net: one task, one core."""
    import caffe

    shape, count, batch, scale = NETS[name]
    files, images = prepare(name), pictures(name)
    at_once = arrow_rows(spark, shape)
    began = time.perf_counter()
    net = caffe.Net(files[0], files[2], caffe.TEST)
    loading = time.perf_counter() - began
    given, few = frames(spark, name, images, 1), frames(spark, name, images[:batch], 1)
    runs = {"pycaffe": lambda: bare(net, images, batch, scale)}
    costs: Dict[str, Tuple[float, float]] = {"pycaffe": (loading, 0.0)}
    for column in COLUMNS[name]:
        model = model_of(spark, files, column)
        costs[column] = fixed_costs(model.transform(few[column]))
        runs[column] = rate_of(model.transform(given[column]), count)
    found = alternate(runs, ROUNDS)
    for frame in [*given.values(), *few.values()]:
        frame.unpersist()
    rates: Dict[str, float] = {side: values[0] for side, values in medians(found)}
    rows = tuple((side, (rates[side], *costs[side])) for side in found)
    columns = ("rows a second", f"s for the first {batch} rows", "s for so many again")
    about = (
        f"{count:,} rows in Spark's memory, {at_once:,} in an Arrow batch, batches of {batch}, one task, one BLAS "
        f"thread, {rounds(ROUNDS)} rounds"
    )
    compared = tuple(ratio(found, column, "pycaffe") for column in COLUMNS[name])
    notes = (
        "The first rows: pycaffe loads its net; Spark starts a Python worker, unless the one of the column before is "
        "there, which loads Caffe and the model.",
    )
    return Result(f"transform_{name}", f"transform of {name}", about, columns, rows, compared, notes)


def workers(spark, name: str) -> Result:
    """The table of a net: the same rows in two tasks and in four, whose workers are there already."""
    shape, count, batch, _ = NETS[name]
    files, images = prepare(name), pictures(name)
    arrow_rows(spark, shape)
    model, given = model_of(spark, files, "binary"), {}
    for tasks in reversed(WORKERS):  # the four first: then all workers have the net
        given[tasks] = frames(spark, name, images, tasks)["binary"]
        ours(model.transform(given[tasks]))
    runs = {f"{tasks} workers": rate_of(model.transform(given[tasks]), count) for tasks in WORKERS}
    found = alternate(runs, ROUNDS)
    for frame in given.values():
        frame.unpersist()
    about = f"{count:,} rows, batches of {batch}, a BLAS thread each, {rounds(ROUNDS)} rounds"
    compared = (ratio(found, *reversed(list(runs))),)
    title = f"transform of {name} by two and by four workers"
    return Result(f"transform_{name}_workers", title, about, ("rows a second",), medians(found), compared)


def run() -> List[Result]:
    spark = session("local[1]", MEMORY)
    results = [one_worker(spark, name) for name in NETS]
    spark.stop()
    spark = session(f"local[{max(WORKERS)}]", MEMORY)
    results += [workers(spark, name) for name in NETS]
    spark.stop()
    return results
