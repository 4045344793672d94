"""What a run does between its attempts: where it continues from, how often, and what it says at the end."""

import contextlib
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

import caffeonspark.runs.run as module
from caffeonspark import Config
from caffeonspark.errors import ConfigError, Interrupted, LossNotFinite, RankLost, StorageError
from caffeonspark.plans.job import ResumePoint
from caffeonspark.report.base import Observer
from caffeonspark.report.result import TrainingResult
from caffeonspark.runs import on_spark
from caffeonspark.runs.on_machines import OnMachines
from caffeonspark.runs.run import PreparedRun, _Run
from caffeonspark.runs.snapshots import SnapshotStore, StartFiles, read_resume_point
from caffeonspark.runs.start_check import with_best_model
from caffeonspark.settings import Settings
from caffeonspark.spark import jvm
from tests.runs.test_snapshots import hand_over
from tests.support import stock


class Heard(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """A run whose attempts are what ``steps`` do, one after another: they get (run, iteration to start from)."""
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(_Run, "signals", contextlib.nullcontext)
    monkeypatch.setattr(_Run, "check_cancelled", lambda self, error: None)  # no Spark here
    monkeypatch.setattr(on_spark, "check_cluster", lambda *args: None)
    monkeypatch.setattr(on_spark, "why_cancelled", lambda context, error: "")
    for place in (on_spark, jvm):
        monkeypatch.setattr(place, "jvm_runs", lambda: True)
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 90 snapshot_prefix: "run" random_seed: 3'
    )

    def make(steps, **flags):
        conf, model = str(tmp_path / "solver.prototxt"), f"file:{tmp_path}/m.caffemodel"
        config = Config(None, conf=conf, model=model, clusterSize=2, sync="average", **flags).run_config
        config = replace(config, session=SimpleNamespace(sparkContext=SimpleNamespace(applicationId="app")))
        observer = Heard()
        store = SnapshotStore(config, observer.note, "app/1", ())
        start, _ = read_resume_point(config, store)
        prepared = PreparedRun(config, (), config.solver, (), store, start, 7, ())
        result = TrainingResult(model=config.model_uri)
        run = _Run(prepared, result, observer, threading.Event(), str(tmp_path), None, on_spark.OnSpark(config))
        todo = iter(steps)
        run.attempt = lambda: next(todo)(run, run.start.point.iteration)
        run.notes = observer.notes
        return run

    return make


def lost(*snapshots, folder, harm=lambda: None):
    """An attempt that takes these snapshots and then loses a rank."""

    def attempt(run, at):
        for iteration in snapshots:
            hand_over(run.snapshots, folder, iteration)
        harm()
        raise RankLost("rank 1 is gone")

    return attempt


def ends_well(run, at):
    run.result.iteration = 90
    run.config.storage.write(run.result.model, b"model")


def test_failures_count_only_without_a_new_snapshot(make_run, tmp_path):
    """Five failures with -maxRestarts 1: a new snapshot came between any two."""
    run = make_run([lost(n, folder=tmp_path) for n in (10, 20, 30, 40, 50)] + [ends_well], maxRestarts=1)
    run.go()
    assert run.result.restarts == 5
    restarts = [note for note in run.notes if "; restart" in note]
    assert restarts == [f"rank 1 is gone; restart 1 of 1 from iteration {n}" for n in (10, 20, 30, 40, 50)]


def test_failures_without_a_new_snapshot_end_the_run(make_run, tmp_path):
    run = make_run([lost(10, folder=tmp_path), lost(20, folder=tmp_path), *[lost(folder=tmp_path)] * 9], maxRestarts=2)
    with pytest.raises(RankLost, match=r"rank 1 is gone \(after 3 restarts\)"):
        run.go()
    assert [note.partition("; ")[2] for note in run.notes if "; restart" in note] == [
        "restart 1 of 2 from iteration 10",
        "restart 1 of 2 from iteration 20",
        "restart 2 of 2 from iteration 20",
    ]


def test_the_same_snapshot_again_is_no_new_one(make_run, tmp_path):
    run = make_run([lost(10, folder=tmp_path)] * 9, maxRestarts=2)
    with pytest.raises(RankLost, match=r"\(after 2 restarts\)"):
        run.go()


def test_no_restarts_are_none(make_run, tmp_path):
    run = make_run([lost(10, folder=tmp_path)], maxRestarts=0)
    with pytest.raises(RankLost, match=r"rank 1 is gone$"):
        run.go()


def test_a_restart_goes_to_the_next_older_whole_snapshot_and_then_to_the_start(make_run, tmp_path):
    def cut(*iterations):
        for iteration in iterations:
            (tmp_path / f"run_iter_{iteration}.caffemodel").write_bytes(b"")

    started = []

    def note_and(step):
        return lambda run, at: (started.append(at), step(run, at))

    run = make_run(
        [
            lost(10, 20, 30, folder=tmp_path, harm=lambda: cut(30)),
            note_and(lost(folder=tmp_path, harm=lambda: cut(10, 20))),
            note_and(ends_well),
        ],
        maxRestarts=3,
    )
    run.go()
    assert started == [20, 0]
    passed = [note for note in run.notes if "is passed over" in note]
    assert passed[0].startswith(
        f"file:{tmp_path}/run_iter_30.solverstate is passed over: file:{tmp_path}/run_iter_30.caffemodel is damaged: "
        "it has 0 bytes, and had "
    )


def diverges(*finite, snapshots, folder):
    def attempt(run, at):
        for iteration in snapshots:
            hand_over(run.snapshots, folder, iteration)
        run.result.history += [(iteration, 1.0, 0.1) for iteration in finite]
        raise LossNotFinite("rank 0 of 2 on a: the loss became nan at iteration 31")

    return attempt


def test_a_loss_that_is_no_number_names_the_last_good_snapshot_and_the_way_on(make_run, tmp_path):
    """The snapshot at 31 has the weights that made the loss of iteration 31."""
    run = make_run(
        [diverges(*range(31), snapshots=(10, 30, 31), folder=tmp_path)],
        resume=True,
        readerOptions="password=x",
        checksum=False,
    )
    with pytest.raises(LossNotFinite) as e:
        run.go()
    base = f"file:{tmp_path}/run_iter_30"
    assert e.value.message.startswith(
        "rank 0 of 2 on a: the loss became nan at iteration 31; the last snapshot with a finite loss is "
        f"{base}.solverstate (iteration 30): with a lower base_lr in {tmp_path}/solver.prototxt than 0.1, continue by: "
        "caffeonspark -train "
    )
    assert "-resume" not in e.value.message and "password" not in e.value.message
    # and that command's flags go on from there
    words = e.value.message.partition("caffeonspark -train ")[2].replace(" -readerOptions …", "").split()
    again = Config(None, words).run_config
    assert read_resume_point(again, SnapshotStore(again, print, "app/2"))[0].point.iteration == 30
    assert again.settings.checksum is False


def test_a_fits_loss_that_is_no_number_names_the_flags_of_another_fit(make_run, tmp_path):
    run = make_run([diverges(*range(31), snapshots=(10, 30), folder=tmp_path)])
    run.hand_over = print
    with pytest.raises(LossNotFinite) as e:
        run.go()
    base = f"file:{tmp_path}/run_iter_30"
    assert e.value.message.endswith(
        f"continue by: a fit with snapshot='{base}.solverstate', weights='{base}.caffemodel'"
    )


def test_a_loss_that_is_no_number_in_the_first_iterations(make_run, tmp_path):
    hand_over(make_run([]).snapshots, tmp_path, 20)
    run = make_run([diverges(20, snapshots=(), folder=tmp_path)], resume=True)
    with pytest.raises(LossNotFinite, match=r"finite loss is \S*run_iter_20\.solverstate \(iteration 20\)"):
        run.go()
    run = make_run([diverges(snapshots=(), folder=tmp_path)], resume=True)  # the resumed one itself is bad
    with pytest.raises(LossNotFinite, match="no snapshot of this run has a finite loss"):
        run.go()
    run = make_run([diverges(snapshots=(), folder=tmp_path)])  # there is nothing to go on from
    with pytest.raises(LossNotFinite, match=r"the loss became nan at iteration 31$"):
        run.go()


def test_without_spark_the_way_on_is_without_spark(make_run, tmp_path):
    run = make_run([diverges(*range(31), snapshots=(30,), folder=tmp_path)])
    run.cluster = OnMachines(run.config, 2)
    with pytest.raises(LossNotFinite) as e:
        run.go()
    assert "continue by: caffeonspark local -np 2 -train -conf " in e.value.message
    assert "-clusterSize" not in e.value.message


def test_why_it_ended_is_told_where_storage_does_not_answer(make_run, tmp_path, monkeypatch):
    def interrupt(run, at):
        raise Interrupted("before the ranks were ready")

    def away(uri):
        raise StorageError(f"{uri}: connection refused")

    for step, error in ((diverges(5, snapshots=(), folder=tmp_path), LossNotFinite), (interrupt, Interrupted)):
        run = make_run([step])
        hand_over(run.snapshots, tmp_path, 3)
        with monkeypatch.context() as m, pytest.raises(
            error, match=r"its snapshots cannot be looked at \(.*refused\)$"
        ):
            m.setattr(run.config.storage, "exists", away)
            run.go()


def test_no_run_ends_well_without_its_model(make_run):
    run = make_run([lambda run, at: None])
    with pytest.raises(StorageError, match=r"m\.caffemodel is not there any more"):
        run.go()


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "not saved"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "gone"])
def test_a_best_validation_counts_where_its_model_is(make_run, tmp_path, saved, there):
    """-best: a run that was resumed and found nothing better ended well without a model, where there was none."""
    config = make_run([], best=True).config
    point = ResumePoint(state=".solverstate", iteration=4, best=0.5, since_best=2, best_saved=saved, uri="s")
    if there:
        (tmp_path / "m.caffemodel").write_bytes(b"best")
    said = []
    found = with_best_model(config, StartFiles(point, []), said.append).point
    if saved and there:
        assert (found, said) == (point, [])
    else:
        assert (found.best, found.since_best, found.best_saved, found.iteration) == (None, 0, False, 4)
        assert said == [
            f"file:{tmp_path}/m.caffemodel is not the best model of before s: the best validation from there on counts"
        ]
    plain = make_run([]).config
    assert with_best_model(plain, StartFiles(point, []), said.append).point == point


@pytest.mark.parametrize(
    ("tests", "line"), [((), "there was no validation"), ((1,), "no validation gave a number to compare")]
)
def test_a_last_model_is_not_taken_for_the_best(make_run, tests, line):
    """Where every validation is NaN, or none is due before max_iter."""
    run = make_run([lambda run, at: run.result.tests.extend(tests)])
    run.config = replace(run.config, settings=replace(run.config.settings, best=True))
    stored = SimpleNamespace(exists=lambda uri: True)
    run.config = replace(run.config, storage=stored)
    run.go()
    assert f"warning: -best: {line}, so the model is the last one" in run.observer.notes
    run = make_run([lambda run, at: setattr(run.result, "best", "a validation")])
    run.config = replace(run.config, settings=replace(run.config.settings, best=True), storage=stored)
    run.go()
    assert not [note for note in run.observer.notes if "-best" in note]


@pytest.mark.parametrize("flags", [{"best": True}, {"patience": 3}])
def test_a_net_without_outputs_has_no_best_model(flags):
    plan = SimpleNamespace(net=SimpleNamespace(outputs=(), path="net.prototxt"))
    config = SimpleNamespace(settings=Settings(**flags))
    with pytest.raises(
        ConfigError, match=f"^-{next(iter(flags))} needs an output of the TEST net .*net.prototxt has none$"
    ):
        module.check_monitored(config, (plan,))
    module.check_monitored(SimpleNamespace(settings=Settings()), (plan,))
