"""Runs and scoring in this process, over real data, plans, solvers and loops, without Spark and without a driver."""

import json
import pathlib
from types import SimpleNamespace

import numpy as np

from caffeonspark.comm.wire import FrameKind
from caffeonspark.data.records import BadRecords
from caffeonspark.errors import ConfigError
from caffeonspark.formats.endings import ending_of
from caffeonspark.inference.tasks import Task, _outputs
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.plans.job import Job, ResumePoint
from caffeonspark.plans.net_source import NetSource
from caffeonspark.ranks.loop import Loop
from caffeonspark.ranks.rank import Rank
from caffeonspark.ranks.records import load_records
from caffeonspark.ranks.whereabouts import Whereabouts
from caffeonspark.runs.run import _validation
from tests.support.local_ranks import in_threads


def job_of(config, ranks=1, weights=False):
    """The job of training as a solver says, from weights or not."""
    run = config.run_config
    train = NetSource(config, config.run_config.net(TRAIN)).plan
    validations = tuple(_validation(run, NetSource(config, net)) for net in run.validation_nets)
    solver = run.solver.SerializeToString()
    start = ResumePoint(weights=(".caffemodel",) if weights else ())
    return Job(ranks, solver, train, validations, 7, start, ("", 1), None, run.settings)


def run_here(config, folder, ranks=1, weights=None):
    """What training comes to on each rank: its weights, and the outputs of its validations.

    ``weights`` is the path of a model to start from.
    """
    job = job_of(config, ranks, bool(weights))
    files = [SimpleNamespace(value=pathlib.Path(weights).read_bytes())] if weights else []

    def work(comm):
        own = pathlib.Path(folder) / f"rank{comm.rank}"
        own.mkdir(parents=True, exist_ok=True)
        tests = []

        def send(kind, **data):
            if kind == FrameKind.VALIDATION:
                tests.append((data["iteration"], data["rows"], data["outputs"]))

        connection = SimpleNamespace(
            send=send,
            send_file=lambda *args, **data: None,
            heartbeat=lambda: None,
            check=lambda: None,
            whereabouts=Whereabouts(),
            stopping=False,
        )
        rank = Rank(job, comm.rank, ["here"] * ranks, connection, str(own))
        bad = [BadRecords(layer.description, layer.bad) for layer in job.layers()]
        stores, totals = load_records(job, comm.rank, [], bad, lambda: None, lambda *place: None)
        gathered = comm.all_gather(json.dumps(totals).encode())
        feeds = rank.make_batches(stores)
        trainer = rank.make_trainer()
        strategy = rank.start_strategy(trainer, comm, files)
        everybodys = [sum(counts) for counts in zip(*map(json.loads, gathered))]
        validators = rank.make_validators(stores, trainer, comm, everybodys)
        Loop(job, rank.solver, trainer, strategy, comm, connection, feeds, validators, str(own)).run()
        weights = [array.copy() for array in trainer.weights]
        for one in [*feeds, *stores, trainer]:
            one.close()
        return SimpleNamespace(weights=weights, tests=tests, records=[store.indices.tolist() for store in stores])

    return in_threads(ranks, work)


def score_here(config, blobs=(), model=None):
    """(ids, blobs) that -features has, or the outputs that -test averages, of every record in one task."""
    source = NetSource(config, config.run_config.net(TEST))
    source = source.for_blobs(blobs) if blobs else source
    batches = source.batches_to_score()
    plan, path = source.plan, str(model)
    content = SimpleNamespace(value=pathlib.Path(path).read_bytes())
    skipped = SimpleNamespace(add=lambda found: None)
    names = tuple(blobs or plan.outputs)
    digest = f"{path} {names}"
    task = Task("caffe", "environment", plan, names, content, ending_of(path), digest, skipped, batches)
    ids, found = [], {name: [] for name in names}
    for records, values in _outputs(task, 1, iter(())):
        ids += records.ids
        for name, value in values.items():
            found[name] += list(value)
    return ids, found


def refusal(work):
    """The words of the ConfigError that ``work`` raises."""
    try:
        work()
    except ConfigError as e:
        return e.message
    raise AssertionError("nothing was refused")


def same(ours, theirs):
    """Whether two lists of arrays are equal to the bit."""
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs))
