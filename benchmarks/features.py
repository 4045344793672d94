"""What Spark costs when a net tests an LMDB or extracts features of it.

Against a loop over plain pycaffe that reads the LMDB too.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
from google.protobuf import text_format

from .common import BUILD, alternate, prototxts, session
from .results import Result, medians, ratio
from .transform import deployed, fill

ROUNDS, BATCH = 5, 100


class Work(NamedTuple):
    """What is computed of which data.

    Attributes
    ----------
    lmdb : its name
    shape : of an image
    blob : that -features saves
    transform : what takes a batch of images to the net's input, as the layer's transform_param says
    """

    lmdb: str
    shape: Tuple[int, int, int]
    blob: str
    transform: Callable[[np.ndarray], np.ndarray]


def _scaled(batch: np.ndarray) -> np.ndarray:
    return batch * np.float32(0.00390625)


def _without_mean(batch: np.ndarray) -> np.ndarray:
    import caffe

    blob = caffe.proto.caffe_pb2.BlobProto.FromString((BUILD / "mean.binaryproto").read_bytes())
    return batch - np.asarray(blob.data, np.float32).reshape(batch.shape[1:])


NETS: Dict[str, Work] = {
    "lenet_lmdb": Work("mnist_train_lmdb", (1, 28, 28), "ip2", _scaled),
    "cifar10_quick": Work("cifar10_train_lmdb", (3, 32, 32), "ip2", _without_mean),
}


def prepare(name: str, work: Work) -> Tuple[str, str, str]:
    """(the solver, whose TEST net reads the LMDB; a deploy net; random weights for both): paths."""
    solver = prototxts(name, f"features_{name}", BATCH, solver_mode="CPU")
    net = BUILD / f"features_{name}.prototxt"
    net.write_text(net.read_text().replace(work.lmdb.replace("train", "test"), work.lmdb))
    deploy = BUILD / f"features_{name}_deploy.prototxt"
    deploy.write_text(text_format.MessageToString(deployed(name, (BATCH, *work.shape))))
    model = str(BUILD / f"features_{name}.caffemodel")
    fill(str(deploy), model)
    return solver, str(deploy), model


def bare(net: Any, work: Work) -> Tuple[float, np.ndarray]:
    """(Rows a second, the blob of every row) of a loop over plain pycaffe that reads the LMDB."""
    import caffe
    import lmdb

    found, count, began = [], 0, time.perf_counter()
    data = net.blobs["data"].data
    images = np.empty(data.shape, np.float32)

    def forward() -> None:
        data[...] = work.transform(images)
        net.forward()
        rows = count % BATCH or BATCH
        found.append(net.blobs[work.blob].data[:rows].copy())

    with lmdb.open(
        str(BUILD / work.lmdb), readonly=True, lock=False
    ) as environment, environment.begin() as transaction:
        for _, value in transaction.cursor():
            datum = caffe.proto.caffe_pb2.Datum.FromString(value)
            images[count % BATCH] = np.frombuffer(datum.data, np.uint8).reshape(work.shape)
            count += 1
            if count % BATCH == 0:
                forward()
        if count % BATCH:
            forward()
    blob = np.concatenate(found)
    return len(blob) / (time.perf_counter() - began), blob


def measure(spark, name: str, work: Work, rounds: int) -> Result:
    """The table of a net."""
    import caffe

    from caffeonspark import CaffeOnSpark, Config, DataSource

    solver, deploy, model = prepare(name, work)
    net = caffe.Net(deploy, model, caffe.TEST)
    count = len(bare(net, work)[1])
    flags = {"conf": solver, "model": f"file:{model}", "lmdb_partitions": 1, "blasKernel": "environment", "quiet": True}
    cos, data = CaffeOnSpark(spark), DataSource(spark)

    def features() -> float:
        source = data.getSource(Config(spark, features=[work.blob], **flags), False)
        began = time.perf_counter()
        cos.features(source).write.format("noop").mode("overwrite").save()
        return count / (time.perf_counter() - began)

    def test() -> float:
        source = data.getSource(Config(spark, test=True, **flags), False)
        began = time.perf_counter()
        cos.test(source)
        return count / (time.perf_counter() - began)

    features()  # a Python worker that has loaded Caffe
    found = alternate({"pycaffe": lambda: bare(net, work)[0], "features": features, "test": test}, rounds)
    compared = tuple(ratio(found, side, "pycaffe") for side in ("features", "test"))
    about = f"{count:,} rows of an LMDB, batches of {BATCH}, one task, one BLAS thread, {rounds} rounds"
    title = f"features and test: {name}"
    return Result(f"features_{name}", title, about, ("rows a second",), medians(found), compared)


def run() -> List[Result]:
    spark = session("local[1]")
    results = [measure(spark, name, work, ROUNDS) for name, work in NETS.items()]
    spark.stop()
    return results
