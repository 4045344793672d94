"""A case run by stock Caffe and by us, each in a process of its own, because Caffe ends it over a failed CHECK."""

import contextlib
import io
import pathlib
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Dict, List

import numpy as np

from caffeonspark import Config
from caffeonspark.comm.local import local_group
from caffeonspark.comm.wire import FrameKind
from caffeonspark.data.records import BadRecords
from caffeonspark.engines.caffe.inspection import reason
from caffeonspark.engines.caffe.pycaffe import parameter_blobs, unique
from caffeonspark.errors import CaffeOnSparkError
from caffeonspark.plans.job import Job, ResumePoint, ValidationPlan
from caffeonspark.plans.net_source import NetSource
from caffeonspark.process import run_in_child
from caffeonspark.ranks.loop import Loop
from caffeonspark.ranks.rank import Rank
from caffeonspark.ranks.records import load_records
from caffeonspark.runs.preflight import check_solver_fields, look_at_solver
from caffeonspark.runs.start_check import check_nets
from tests.support.stock import caffe

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
        tests = [_stock_test(one.net, net, count) for net, count in zip(one.test_nets, _test_iters(solver))]
        send(_pack("", before, [blob.data for blob in blobs], tests))

    return _outcome(run)


def _test_iters(solver):
    return [int(count) for count in re.findall(r"test_iter: (\d+)", pathlib.Path(solver).read_text())]


def _stock_test(trained, net, count):
    """The means of a test net's outputs over so many batches."""
    net.share_with(trained)
    found = {}
    for _ in range(count):
        net.forward()
        for name in net.outputs:
            found.setdefault(name, []).append(net.blobs[name].data.astype(np.float64))
    return {name: np.mean([values.reshape(-1) for values in some], axis=0) for name, some in found.items()}


# ---- ours


class _Driver:
    """What a rank tells its driver is kept here."""

    stopping = False

    def __init__(self):
        self.validations = []
        self.whereabouts = SimpleNamespace(enter=self.ignore, enter_loading=self.ignore, leave=self.ignore)

    def ignore(self, *args, **data):
        pass

    heartbeat = check = send_file = ignore

    def send(self, kind, **data):
        if kind == FrameKind.VALIDATION:
            self.validations.append(data)


def by_us(solver, folder):
    """Run a solver's file: what the driver looks at before, and one rank's whole way but for its connections."""

    def run(send):
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                send(_rank(str(solver), str(folder)))
        except CaffeOnSparkError as e:
            send(_pack(f"{type(e).__name__}: {e.message}"))

    return _outcome(run)


def planned(solver, folder):
    """(the configuration, the job) of a solver's file at one rank. Raises what the driver would."""
    config = Config(None, conf=solver, model=f"file:{folder}/model.caffemodel", quiet=True)
    run = config.run_config
    check_solver_fields(run)
    plan = NetSource(config, config.nets.train).plan
    validations = []
    for net in run.validation_nets:
        test, iterations = NetSource(config, net).plan, list(run.solver.test_iter)
        count = int(iterations[net.number]) if net.number < len(iterations) else 0
        validations.append(ValidationPlan(test, count * test.batch_size or None))
    check_nets(plan, validations, lambda note: None)
    look_at_solver(run, run.solver, plan, [validation.net for validation in validations], lambda note: None)
    job = Job(
        ranks=1,
        solver=run.solver.SerializeToString(),
        train=plan,
        validations=tuple(validations),
        seed=5,
        start=ResumePoint(),
        driver=("", 0),
        invitation=None,
        settings=run.settings.for_ranks,
    )
    return config, job


def _rank(solver, folder):
    _, job = planned(solver, folder)
    driver, (comm,) = _Driver(), local_group(1)
    rank = Rank(job, 0, ["localhost"], driver, folder)
    bad = [BadRecords(one.description, one.bad) for one in job.layers()]
    stores, totals = load_records(job, 0, iter(()), bad, driver.heartbeat, driver.ignore)
    feeds = rank.make_batches(stores)
    try:
        with contextlib.closing(rank.make_trainer()) as trainer:
            trainer.check_indices(job.train.indexed)
            strategy = rank.start_strategy(trainer, comm, [])
            start = [array.copy() for array in trainer.weights]
            caffe.set_random_seed(_SEED)
            validators = rank.make_validators(stores, trainer, comm, totals)
            Loop(job, rank.solver, trainer, strategy, comm, driver, feeds, validators, folder).run()
            return _pack("", start, trainer.weights, [one["outputs"] for one in driver.validations])
    finally:
        for feed in feeds:
            feed.close()
