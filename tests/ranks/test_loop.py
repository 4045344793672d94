"""What a rank's loop tells the driver."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from caffeonspark.comm.wire import Frame
from caffeonspark.errors import DataError, LossNotFinite
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.plans.job import ResumePoint
from caffeonspark.plans.net_plan import LayerParameters
from caffeonspark.ranks.loop import Loop
from caffeonspark.settings import Settings
from caffeonspark.sync.all_reduce import AllReduce

PLAN = SimpleNamespace(weights=(LayerParameters("ip", ((2,),), (False,)),))


def test_losses_of_many_iterations_at_once_fit_into_frames():
    """A strategy that exchanges them every 200,000 iterations, or only at the end."""
    sent = []

    def send(kind, **data):
        Frame(kind, data).pack()  # raises what is too large
        sent.append(data)

    loop = Loop(
        SimpleNamespace(settings=Settings(), train=PLAN, validations=(), start=ResumePoint()),
        SolverParameter(),
        SimpleNamespace(iteration=200_000, weights=[]),
        None,
        SimpleNamespace(rank=0),
        SimpleNamespace(send=send),
        [],
        [],
        "",
    )
    losses = [(at, 0.6931471824645996 + at, 0.009999999776482582) for at in range(200_000)]
    loop.record(losses)
    loop.report()
    assert [entry for data in sent for entry in data["history"]] == losses
    sent.clear()
    loop.report()  # says where it is, with nothing new
    assert [(data["iteration"], data["history"]) for data in sent] == [(200_000, [])]


def test_the_ranks_own_losses_between_two_reports_are_their_mean(tmp_path):
    sent = []
    loop = make_loop(tmp_path, [], ResumePoint())
    loop.connection = SimpleNamespace(send=lambda kind, **data: sent.append((kind, data)))
    loop.report()
    loop.rank_losses.add(9, [1.0, 4.0])
    loop.rank_losses.add(14, [])  # of an iteration in which nothing was exchanged
    loop.rank_losses.add(19, [2.0, 5.000000001])
    loop.report()
    loop.report()
    found = [data for kind, data in sent if kind == "rank losses"]
    assert found == [{"iteration": 19, "losses": [1.5, 4.5]}]


def make_loop(folder, sent, start, weights=(0, 0), **flags):
    """A loop of rank 0 that has nothing to train; what it sends goes to ``sent``."""
    connection = SimpleNamespace(
        send=lambda kind, **data: sent.append(kind),
        send_file=lambda kind, path, **data: sent.append((kind, data["best"])),
    )
    comm = SimpleNamespace(rank=0, all_gather=lambda content: [content], barrier=lambda: None)
    trainer = SimpleNamespace(iteration=9, weights=[np.array(weights, np.float32)], save_weights=lambda path: None)
    strategy = SimpleNamespace(
        exchange_losses=tuple, view=contextlib.nullcontext, if_not_finite=AllReduce.if_not_finite, whole_data=False
    )
    job = SimpleNamespace(settings=Settings(**flags), train=PLAN, validations=(), start=start)
    return Loop(job, SolverParameter(max_iter=9), trainer, strategy, comm, connection, [], [], str(folder))


@pytest.mark.parametrize("best_saved", [False, True])
@pytest.mark.parametrize("best", [False, True])
def test_a_resumed_run_that_finds_nothing_better_ends_with_a_model(tmp_path, best, best_saved):
    """At max_iter: the best one of before, if it is saved and wanted, else the last."""
    sent = []
    start = ResumePoint(state=".solverstate", iteration=9, best=0.5, best_saved=best_saved)
    make_loop(tmp_path, sent, start, best=best).run()
    assert (("model", False) in sent) == (not (best and best_saved))


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_an_error_of_its_own(tmp_path, loss):
    loop = make_loop(tmp_path, [], ResumePoint())
    with pytest.raises(LossNotFinite, match=f"^the loss became {loss} at iteration 4: lower base_lr"):
        loop.record([(3, 1.0, 0.1), (4, loss, 0.1)])
    assert loop.history == []


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_became_no_number_are_not_saved(tmp_path, value):
    """The last loss is that of the weights before the last update."""
    sent = []
    loop = make_loop(tmp_path, sent, ResumePoint())
    loop.trainer.weights[0][1] = value
    match = (
        rf"^the weights became {value} by iteration 9 \(parameter 0 of layer 'ip'\), and are not saved: lower base_lr"
    )
    with pytest.raises(LossNotFinite, match=match):
        loop.run()
    assert not [what for what in sent if isinstance(what, tuple)]


def test_what_was_no_number_from_the_start_may_be_saved(tmp_path):
    """A net may never use it."""
    sent = []
    loop = make_loop(tmp_path, sent, ResumePoint(), weights=np.float32([0, np.inf]))
    loop.run()
    assert ("model", False) in sent


@pytest.mark.parametrize("start", [ResumePoint(iteration=4), ResumePoint(iteration=4, state=".solverstate")])
def test_a_first_loss_that_is_no_number_is_not_laid_at_base_lrs_door(tmp_path, start):
    """Updates have made nothing of it, but those of before the snapshot it starts from."""
    bad = make_loop(tmp_path, [], start, weights=np.float32([0, np.nan]))
    with pytest.raises(
        DataError, match=r"^the loss is nan at iteration 4, .*\(parameter 0 of layer 'ip'\): start from"
    ):
        bad.record([(4, np.nan, 0.1)])
    good = make_loop(tmp_path, [], start)
    match = (
        "became nan at iteration 4: lower base_lr" if start.state else "is nan at iteration 4, before any update: look"
    )
    with pytest.raises(LossNotFinite, match=match):
        good.record([(4, np.nan, 0.1)])


def test_validation_of_a_net_without_outputs(tmp_path):
    """One whose loss has no top: old nets are so. There is nothing to be best at, and nothing to end for."""
    loop = make_loop(tmp_path, [], ResumePoint())
    assert not loop.best.update({})
    assert (loop.best.value, loop.best.since) == (None, 0)
