"""Runs and scoring in this process, over real data, plans, solvers and loops, without Spark and without a driver."""

import contextlib
import json
import pathlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from caffeonspark.comm.wire import FrameKind
from caffeonspark.data.records import SAMPLE_ID, BadRecords
from caffeonspark.data.sources.dataframe import CoSTop
from caffeonspark.data.sources.inputs import InputReader
from caffeonspark.errors import ConfigError
from caffeonspark.formats.endings import ending_of
from caffeonspark.inference.batches import outputs_of
from caffeonspark.inference.tasks import Task
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.plans.job import Job, ResumePoint
from caffeonspark.plans.net_source import NetSource
from caffeonspark.plans.without_data import look_at_net
from caffeonspark.ranks.loop import Loop
from caffeonspark.ranks.rank import Rank
from caffeonspark.ranks.records import load_records
from caffeonspark.ranks.whereabouts import Whereabouts
from caffeonspark.runs.preflight import check_solver_fields, look_at_solver
from caffeonspark.runs.run import _validation
from caffeonspark.runs.start_check import check_nets
from tests.support.local_ranks import in_threads


def ignore(*args, **data):
    pass


def job_of(config, ranks=1, weights=False):
    """The job of training as a solver says, from weights or not. Raises what the driver finds before it starts."""
    run = config.run_config
    check_solver_fields(run)
    train = NetSource(config, config.run_config.net(TRAIN)).plan
    validations = tuple(_validation(run, NetSource(config, net)) for net in run.validation_nets)
    check_nets(train, validations, ignore)
    look_at_solver(run, run.solver, train, [validation.net for validation in validations], ignore)
    start = ResumePoint(weights=(".caffemodel",) if weights else ())
    solver = run.solver.SerializeToString()
    return Job(ranks, solver, train, validations, 7, start, ("", 1), None, run.settings.for_ranks)


def run_rank(job, comm, folder, files=(), begin=ignore):
    """A rank's whole way, but for its connections.

    Parameters
    ----------
    job, comm : its job, and its communicator
    folder : for the rank's files
    files : as broadcasts, what ``job.start`` lists
    begin : called before the first iteration

    Returns
    -------
    SimpleNamespace
        ``start`` and ``weights``, the parameters before and after; ``tests``, (iteration, rows, outputs) of each
        validation; ``records``, the indices of its records for each data layer; ``history``, ``passes`` and
        ``norms``, as ranks report them; ``stopped``, why it ended.
    """
    tests, history, passes, norms, stopped = [], [], [], [], []

    def send(kind, **data):
        if kind == FrameKind.VALIDATION:
            tests.append((data["iteration"], data["rows"], data["outputs"]))
        elif kind == FrameKind.PROGRESS:
            history.extend(data["history"])
            passes.extend(data["passes"])
            norms.extend(data["norms"])
        elif kind == FrameKind.DONE:
            stopped.append(data["stopped"])

    connection = SimpleNamespace(
        send=send, send_file=ignore, heartbeat=ignore, check=ignore, whereabouts=Whereabouts(), stopping=False
    )
    rank = Rank(job, comm.rank, ["localhost"] * job.ranks, connection, str(folder))
    bad = [BadRecords(layer.description, layer.bad) for layer in job.layers()]
    with contextlib.ExitStack() as cleanup:

        def closed(one):
            return cleanup.enter_context(contextlib.closing(one))

        stores, totals = load_records(job, comm.rank, [], bad, ignore, ignore, rank.strategy.whole_data)
        stores = [closed(store) for store in stores]
        everybodys = map(json.loads, comm.all_gather(json.dumps(totals).encode()))
        feeds = [closed(feed) for feed in rank.make_batches(stores)]
        trainer = closed(rank.make_trainer())
        strategy = rank.start_strategy(trainer, comm, files, rank.blocks(feeds))
        start = [array.copy() for array in trainer.weights]
        begin()
        validators = rank.make_validators(stores, trainer, comm, [sum(counts) for counts in zip(*everybodys)])
        Loop(job, rank.solver, trainer, strategy, comm, connection, feeds, validators, str(folder)).run()
        weights = [array.copy() for array in trainer.weights]
        records = [store.indices.tolist() for store in stores]
        found = SimpleNamespace(start=start, weights=weights, tests=tests, records=records)
        found.history, found.passes, found.norms, found.stopped = history, passes, norms, stopped[0]
        return found


def run_here(config, folder, ranks=1, weights=None):
    """What ``run_rank`` returns on each rank; ``weights`` is the path of a model to start from."""
    job = job_of(config, ranks, bool(weights))
    files = [SimpleNamespace(value=pathlib.Path(weights).read_bytes())] if weights else []

    def work(comm):
        own = pathlib.Path(folder) / f"rank{comm.rank}"
        own.mkdir(parents=True, exist_ok=True)
        return run_rank(job, comm, own, files)

    return in_threads(ranks, work)


def score_here(config, blobs=(), model=None):
    """(ids, blobs) that -features has, or the outputs that -test averages, of every record in one task."""
    source = NetSource(config, config.run_config.net(TEST))
    source = source.for_blobs(blobs) if blobs else source
    return _scored(source.plan, blobs or source.plan.outputs, model, 1, [], source.batches_to_score())


def score_rows(config, blobs, model, columns):
    """The same for a net of ``-net``, of which these columns of numbers fill the inputs. What they hold is not looked
    up, which takes Spark."""
    plan = look_at_net(config, config.run_config.net(TEST).pruned(blobs)).plan
    (layer,) = plan.layers
    reader = InputReader(tuple(CoSTop(top.name, "FLOAT_ARRAY", top) for top in layer.tops))
    lists = {name: pa.array(list(values.reshape(len(values), -1))) for name, values in columns.items()}
    ids = pa.array([f"row{number}" for number in range(len(next(iter(columns.values()))))])
    rows = pa.record_batch([ids, *lists.values()], names=[SAMPLE_ID, *lists])
    return _scored(replace(plan, layers=(replace(layer, reader=reader, count=None),)), blobs, model, 0, [rows])


def _scored(plan, blobs, model, parts, rows, batches=0):
    content = SimpleNamespace(value=pathlib.Path(model).read_bytes())
    skipped = SimpleNamespace(add=lambda found: None)
    names = tuple(blobs)
    digest = f"{model} {names} {hash(plan.content)}"
    task = Task("caffe", "environment", plan, names, content, ending_of(str(model)), digest, skipped, batches)
    ids, found = [], {name: [] for name in names}
    for records, values in outputs_of(task, parts, iter(rows)):
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
