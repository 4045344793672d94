"""Two ranks against PyTorch's DistributedDataParallel over gloo, with the same nets, batches and solvers.

Both beside two trainings at once that know nothing of each other: what is left of the difference is the exchange, and
the rest is Caffe's layers against PyTorch's.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any, Dict, List, NamedTuple, Tuple

from . import common
from .all_reduce import rivals_python
from .common import alternate, best_kernel, kernel_in_words, rounds, session, shorter
from .namespaces import Unavailable
from .one_rank import ours, prepare, stock
from .results import Result, medians, ratio

RANKS = 2
PATIENCE = 600.0  # seconds for a training of PyTorch's

_PROGRAM = pathlib.Path(__file__).parent / "ddp_rank.py"


class Work(NamedTuple):
    """What a net is trained with: the batch of a rank, its rate, iterations, the first that are not timed, rounds."""

    batch: int
    rate: float
    iterations: int
    skipped: int
    rounds: int


NETS: Dict[str, Work] = {
    "lenet_lmdb": Work(64, 0.01, shorter(400, 200), 100, rounds(5)),
    "cifar10_quick": Work(100, 0.001, shorter(80, 30), shorter(20, 10), rounds(5)),
}


class Given(NamedTuple):
    """What PyTorch trains with.

    Attributes
    ----------
    python : of the rivals' environment
    folder : with the records of the net, as ``ddp_rank`` reads them
    """

    python: str
    folder: pathlib.Path

    def train(self, net: str, ranks: int, alone: bool = False, **request: Any) -> List[Dict[str, Any]]:
        """What each rank of a training prints; the rest of the request is as ``ddp_rank`` says.

        Raises RuntimeError.
        """
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch:
            file, meeting = pathlib.Path(scratch) / "request", pathlib.Path(scratch) / "meeting"
            told = {"folder": str(self.folder), "meeting": str(meeting), "net": net, "ranks": ranks, "alone": alone}
            file.write_text(json.dumps({**told, "seed": 1, "skipped": 0, **request}))
            with open(os.path.join(scratch, "log"), "w+") as log:
                env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
                words = [self.python, str(_PROGRAM), str(file)]
                processes = [
                    subprocess.Popen([*words, str(rank)], env=env, stdout=subprocess.PIPE, stderr=log, text=True)
                    for rank in range(ranks)
                ]
                try:
                    said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
                finally:
                    for process in processes:
                        process.kill()  # nothing, where it has ended
                        process.wait()
                if any(process.returncode for process in processes):
                    log.seek(0)
                    raise RuntimeError(f"PyTorch's training of {net} ended: {log.read()[-500:]}")
        return [json.loads(line) for line in said]


def given(net: str) -> Given:
    """Raises Unavailable."""
    return Given(rivals_python(), arrays(net))


def arrays(net: str) -> pathlib.Path:
    """A folder with a net's records as NumPy's files, made of its LMDBs."""
    import numpy as np

    from caffeonspark.nets.schema import BlobProto

    lmdbs, name = {
        "lenet_lmdb": (common.mnist_lmdbs, "mnist"),
        "cifar10_quick": (common.cifar10_lmdbs, "cifar10"),
    }[net]
    source, folder = lmdbs(), common.BUILD / f"{name}_arrays"
    if not folder.exists():
        new = common.BUILD / f"{name}_arrays.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for phase in ("train", "test"):
            images, labels = records(source / f"{name}_{phase}_lmdb")
            np.save(new / f"{phase}_images.npy", images)
            np.save(new / f"{phase}_labels.npy", labels)
        if (source / "mean.binaryproto").exists() and name == "cifar10":
            mean = BlobProto.FromString((source / "mean.binaryproto").read_bytes())
            np.save(new / "mean.npy", np.array(mean.data, np.float32).reshape(images.shape[1:]))
        new.rename(folder)
    return folder


def records(path: pathlib.Path) -> Tuple[Any, Any]:
    """(images, (n, channels, height, width) uint8; labels, (n,) int64) of an LMDB, in its order."""
    import lmdb
    import numpy as np

    from caffeonspark.nets.schema import Datum

    images, labels = [], []
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for _, value in transaction.cursor():
            datum = Datum.FromString(value)
            images.append(np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width))
            labels.append(datum.label)
    return np.stack(images), np.array(labels)


def measure(spark: Any, net: str, work: Work, torch: Given) -> Result:
    """The table of a net."""
    solver = prepare(work.iterations, work.batch, f"{net}_ddp", net, work.skipped)
    request = {"batch": work.batch, "rate": work.rate, "iterations": work.iterations, "skipped": work.skipped}

    def pytorch(alone: bool) -> float:
        found = torch.train(net, RANKS, alone=alone, **request)
        return sum(one["milliseconds"] for one in found) / RANKS

    found = alternate(
        {
            "two ranks": lambda: ours(spark, solver, ranks=RANKS, skipped=work.skipped),
            "two caffe trains": lambda: stock(solver, skipped=work.skipped, copies=RANKS),
            "PyTorch DDP": lambda: pytorch(alone=False),
            "two PyTorch trainings": lambda: pytorch(alone=True),
        },
        work.rounds,
    )
    compared = (
        ratio(found, "two ranks", "PyTorch DDP"),
        ratio(found, "two ranks", "two caffe trains"),
        ratio(found, "PyTorch DDP", "two PyTorch trainings"),
        ratio(found, "two caffe trains", "two PyTorch trainings"),
    )
    about = (
        f"batch {work.batch} a rank, the same layers and solver, one thread for each process ({kernel_in_words()}; "
        f"PyTorch 1.7.1 with oneDNN and gloo, its data in memory), {work.rounds} rounds; two trainings know nothing of "
        "each other, and the mean of them is given"
    )
    return Result(f"ddp_{net}", f"Beside PyTorch DDP: {net}", about, ("ms an iteration",), medians(found), compared)


def run() -> List[Result]:
    try:
        torch = {net: given(net) for net in NETS}
    except Unavailable as e:
        return [Result("ddp", "Beside PyTorch DDP", f"not measured: {e}", (), ())]
    with best_kernel() as settings:
        spark = session(f"local-cluster[{RANKS},1,1024]", settings)
        results = [measure(spark, net, work, torch[net]) for net, work in NETS.items()]
        spark.stop()
    return results
