"""What Spark costs when a net tests an LMDB or extracts features of it.

Against a loop over plain pycaffe that reads the LMDB too; and two workers against four.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
from google.protobuf import text_format

from .common import BUILD, SHORT, alternate, prototxts, rounds, session
from .results import Result, medians, ratio
from .transform import WORKERS, deployed, fill

ROUNDS, BATCH = 5, 100


class Work(NamedTuple):
    """What is computed of which data.

    Attributes
    ----------
    lmdb : its name; in a short run the test set's. One core computes ten seconds and more with it: what every query
        costs is a small part
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
    "lenet_lmdb": Work("mnist_test_lmdb" if SHORT else "mnist_train_lmdb", (1, 28, 28), "ip2", _scaled),
    "cifar10_quick": Work("cifar10_test_lmdb", (3, 32, 32), "ip2", _without_mean),
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


def queries(spark, work: Work, solver: str, model: str, tasks: int) -> Dict[str, Callable[[], float]]:
    """What takes seconds: features of every row, and the means over all of them."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    flags = {"conf": solver, "model": f"file:{model}", "blasKernel": "environment", "quiet": True}
    cos, data = CaffeOnSpark(spark), DataSource(spark)

    def features() -> float:
        config = Config(spark, features=[work.blob], lmdb_partitions=tasks, **flags)
        source = data.getSource(config, False)
        began = time.perf_counter()
        cos.features(source).write.format("noop").mode("overwrite").save()
        return time.perf_counter() - began

    def test() -> float:
        source = data.getSource(Config(spark, test=True, lmdb_partitions=tasks, **flags), False)
        began = time.perf_counter()
        cos.test(source)
        return time.perf_counter() - began

    return {"features": features, "test": test}


def measure(spark, name: str, work: Work, turns: int) -> Result:
    """The table of a net: one task, one core."""
    import caffe

    solver, deploy, model = prepare(name, work)
    net = caffe.Net(deploy, model, caffe.TEST)
    count = len(bare(net, work)[1])
    ours = queries(spark, work, solver, model, 1)
    first, again = ours["features"](), ours["features"]()  # a Python worker that has loaded Caffe and the net
    runs = {"pycaffe": lambda: bare(net, work)[0]}
    runs.update({side: (lambda query=query: count / query()) for side, query in ours.items()})
    found = alternate(runs, turns)
    compared = tuple(ratio(found, side, "pycaffe") for side in ours)
    about = f"{count:,} rows of an LMDB, batches of {BATCH}, one task, one BLAS thread, {rounds(turns)} rounds"
    notes = (f"In a new Python worker, which loads Caffe and the model, features takes {first - again:.1f} s longer.",)
    title = f"features and test: {name}"
    return Result(f"features_{name}", title, about, ("rows a second",), medians(found), compared, notes)


def workers(spark, name: str, work: Work, turns: int) -> Result:
    """The table of a net: the same rows in two tasks and in four, whose workers are there already."""
    solver, _, model = prepare(name, work)
    sides = {tasks: queries(spark, work, solver, model, tasks)["features"] for tasks in WORKERS}
    for tasks in reversed(WORKERS):  # the four first: then all workers have the net
        sides[tasks]()
    seconds = alternate({f"{tasks} workers": query for tasks, query in sides.items()}, turns)
    fewer, more = seconds
    compared = (ratio(seconds, fewer, more, label=f"rows a second: {more} / {fewer}"),)
    about = f"{name}, rows of an LMDB, batches of {BATCH}, a BLAS thread each, {rounds(turns)} rounds"
    title = f"features by two and by four workers: {name}"
    return Result(f"features_{name}_workers", title, about, ("s",), medians(seconds), compared)


def run() -> List[Result]:
    spark = session("local[1]")
    results = [measure(spark, name, work, ROUNDS) for name, work in NETS.items()]
    spark.stop()
    spark = session(f"local[{max(WORKERS)}]")
    results += [workers(spark, name, work, ROUNDS) for name, work in NETS.items()]
    spark.stop()
    return results
