"""What Spark costs when a net scores a DataFrame: ``transform`` in one task against a loop over plain pycaffe."""

from __future__ import annotations

import time
from typing import List, Sequence

import numpy as np
from google.protobuf import text_format

from .common import BUILD, ROOT, alternate, session
from .results import Result, medians, ratio

ROUNDS = 5
#: Of each net: the shape of an image, how many, the batch, and what its values are multiplied by.
NETS = {"lenet_lmdb": ((1, 28, 28), 30_000, 64, 0.00390625), "caffenet": ((3, 227, 227), 512, 16, 1.0)}
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


def ours(scored, count: int) -> float:
    """Rows a second of a query that needs every row's output."""
    began = time.perf_counter()
    scored.select("prob").write.format("noop").mode("overwrite").save()
    return count / (time.perf_counter() - began)


def frames(spark, name: str, images: np.ndarray, scale: float):
    """DataFrames of one partition in Spark's memory, for each kind of column."""
    import pandas as pd
    from pyspark.ml.functions import array_to_vector

    raw = images.transpose(0, 2, 3, 1)
    spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    binary = spark.createDataFrame(pd.DataFrame({"data": [image.tobytes() for image in raw]}), "data binary")
    found = {"binary": binary}
    if "array" in COLUMNS[name]:
        numbers = list(images.reshape(len(images), -1) * np.float32(scale))
        array = spark.createDataFrame(pd.DataFrame({"data": numbers}), "data array<float>")
        found.update(vector=array.select(array_to_vector("data").alias("data")), array=array)
    for column, frame in found.items():
        found[column] = frame.coalesce(1).persist()
        found[column].count()
    return found


def run() -> List[Result]:
    import caffe

    from caffeonspark import CaffeModel

    spark = session("local[1]")
    tables = {}
    for name, (shape, count, batch, scale) in NETS.items():
        deploy, raw, model = prepare(name)
        images = np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)
        net = caffe.Net(deploy, model, caffe.TEST)
        flags = {"model": f"file:{model}", "features": ["prob"], "blasKernel": "environment", "quiet": True}
        given = frames(spark, name, images, scale)
        runs = {"pycaffe": lambda net=net, images=images, batch=batch, scale=scale: bare(net, images, batch, scale)}
        for column in COLUMNS[name]:
            fitted = CaffeModel.fromNet(spark, net=raw if column == "binary" else deploy, **flags)
            scored = fitted.transform(given[column])
            ours(scored.limit(batch), batch)  # a Python worker with the net
            runs[column] = lambda scored=scored, count=count: ours(scored, count)
        tables[name] = alternate(runs, ROUNDS)
        for frame in given.values():
            frame.unpersist()
    spark.stop()
    results = []
    for name, found in tables.items():
        _, count, batch, _ = NETS[name]
        about = f"{count:,} rows in Spark's memory, batches of {batch}, one task, one BLAS thread, {ROUNDS} rounds"
        compared = tuple(ratio(found, column, "pycaffe") for column in found if column != "pycaffe")
        title = f"transform of {name}"
        results.append(Result(f"transform_{name}", title, about, ("rows a second",), medians(found), compared))
    return results
