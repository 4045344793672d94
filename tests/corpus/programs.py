"""A case run by stock Caffe and by us, each in a process of its own, because Caffe ends it over a failed CHECK."""

import contextlib
import io
import pathlib
import re
from dataclasses import dataclass
from typing import Dict, List

import numpy as np

from caffeonspark import Config
from caffeonspark.comm.local import local_group
from caffeonspark.engines.caffe.inspection import reason
from caffeonspark.engines.caffe.pycaffe import parameter_blobs, unique
from caffeonspark.errors import CaffeOnSparkError
from caffeonspark.process import run_in_child
from tests.support.here import job_of, run_rank
from tests.support.stock import caffe, mean_outputs

__all__ = ["ITERATIONS", "Outcome", "by_stock", "by_us"]

ITERATIONS = 3
_TIMEOUT = 120.0  # seconds
_SEED = 11  # of Caffe's random numbers from the first iteration on


@dataclass
class Outcome:
    """What became of a case.

    Attributes
    ----------
    refused : why, or ""
    start, weights : each parameter before and after, in the order of the layers
    tests : for each test net, the means of its outputs
    """

    refused: str
    start: List[np.ndarray]
    weights: List[np.ndarray]
    tests: List[Dict[str, np.ndarray]]


def _pack(refused="", start=(), weights=(), tests=()):
    arrays = {f"start{number}": array for number, array in enumerate(start)}
    arrays.update({f"weights{number}": array for number, array in enumerate(weights)})
    for number, outputs in enumerate(tests):
        arrays.update({f"test{number}/{name}": np.array(value) for name, value in outputs.items()})
    file = io.BytesIO()
    np.savez(file, refused=np.array(refused), tests=np.array(len(tests)), **arrays)
    return file.getvalue()


def _outcome(run):
    """What ``run(send)`` sends from a process of its own, or why it ended."""
    output, errors, status = run_in_child(run, _TIMEOUT)
    if not output:
        return Outcome(reason(errors, status), [], [], [])
    with np.load(io.BytesIO(output)) as found:
        tests = [
            {name.partition("/")[2]: found[name] for name in found.files if name.startswith(f"test{number}/")}
            for number in range(int(found["tests"]))
        ]

        def arrays(kind):
            return [found[f"{kind}{k}"] for k in range(sum(name.startswith(kind) for name in found.files))]

        return Outcome(str(found["refused"]), arrays("start"), arrays("weights"), tests)


# ---- stock Caffe


def by_stock(solver, start=None, saved=None):
    """Run a solver's file.

    Parameters
    ----------
    solver : its path
    start : the parameters to begin with: Caffe's data layers draw a random number before the fillers do
    saved : the folder for ``start.caffemodel``, what it begins with, and ``end.caffemodel``; or None
    """

    def run(send):
        one = caffe.get_solver(str(solver))
        blobs = unique(parameter_blobs(one.net))
        if start is not None:
            assert [blob.data.shape for blob in blobs] == [array.shape for array in start]
            for blob, array in zip(blobs, start):
                blob.data[...] = array
        if saved:
            one.net.save(str(saved / "start.caffemodel"))
        before = [blob.data.copy() for blob in blobs]
        caffe.set_random_seed(_SEED)
        one.step(ITERATIONS)
        if saved:
            one.net.save(str(saved / "end.caffemodel"))
        tests = [mean_outputs(one.net, net, count) for net, count in zip(one.test_nets, _test_iters(solver))]
        send(_pack("", before, [blob.data for blob in blobs], tests))

    return _outcome(run)


def _test_iters(solver):
    return [int(count) for count in re.findall(r"test_iter: (\d+)", pathlib.Path(solver).read_text())]


# ---- ours


def by_us(solver, folder):
    """Run a solver's file: what the driver looks at before, and one rank's whole way but for its connections."""

    def run(send):
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                send(_rank(str(solver), str(folder)))
        except CaffeOnSparkError as e:
            send(_pack(f"{type(e).__name__}: {e.message}"))

    return _outcome(run)


def _rank(solver, folder):
    job = job_of(Config(None, conf=solver, model=f"file:{folder}/model.caffemodel", quiet=True))
    (comm,) = local_group(1)
    found = run_rank(job, comm, folder, begin=lambda: caffe.set_random_seed(_SEED))
    return _pack("", found.start, found.weights, [outputs for _, _, outputs in found.tests])
