"""The store of snapshots: whole or not found, parts included, and what a run may go on from."""

import json
import re

import numpy as np
import pytest

from caffeonspark import Config
from caffeonspark.comm.wire import FrameKind
from caffeonspark.errors import ConfigError, DataError, StorageError
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from caffeonspark.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffeonspark.runs.snapshots import SnapshotStore, read_resume_point
from tests.support import stock

OWN = [".caffemodel", ".solverstate"]


@pytest.fixture
def make_store(tmp_path):
    """Makes a store in a folder, for so many ranks and these flags; what it said is in ``said``."""
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 snapshot_prefix: "run" random_seed: 3'
    )

    def make(ranks=2, **flags):
        config = Config(
            None,
            conf=str(tmp_path / "solver.prototxt"),
            model=f"file:{tmp_path}/m.caffemodel",
            clusterSize=ranks,
            **{"sync": "average", **flags},
        )
        said = []
        store = SnapshotStore(config.run_config, said.append, "app/1")
        store.said, store.config = said, config.run_config
        return store

    return make


def hand_over(
    store, folder, iteration, parts=((".caffemodel",), (".caffemodel", ".solverstate")), order=(0, 1, 2), **more
):
    """A snapshot of the ranks in ``parts``: the weights, the parts and the state, in an order; what came of each."""
    arrive = folder / "arrive"
    arrive.mkdir(exist_ok=True)

    def file(ending, content):
        path = arrive / f"{iteration}-{content}{ending}"
        if ending == ".caffemodel":
            write_caffemodel(str(path), [LayerWeights("a", "", [np.full(2, content, np.float32)])])
        else:
            write_solverstate(str(path), SolverState(iteration, "", 0, [np.full(2, content, np.float32)]))
        bare = path.with_suffix("")
        return str(path.rename(bare.with_name(f"{bare.name}-{ending[1:]}")))

    about = {"iteration": iteration, "tests_done": 1, "best": None, "since_best": 0, "parts": list(parts), **more}
    groups = [
        [(0, FrameKind.SNAPSHOT_WEIGHTS, about, file(".caffemodel", 50))],
        [
            (rank, FrameKind.SNAPSHOT_PART, {"iteration": iteration, "ending": ending}, file(ending, rank))
            for rank, endings in enumerate(parts)
            for ending in endings
        ],
        [(0, FrameKind.SNAPSHOT_STATE, about, file(".solverstate", 51))],
    ]
    found = [store.take(*one, seed=7) for group in order for one in groups[group]]
    assert not list(arrive.iterdir()) or found[-1] is None
    return found


def names(folder):
    return {path.name for path in folder.iterdir() if path.name.startswith("run_iter")}


WHOLE = {
    f"run_iter_{{}}.{name}"
    for name in (
        "caffemodel",
        "solverstate",
        "solverstate.json",
        "rank0.caffemodel",
        "rank1.caffemodel",
        "rank1.solverstate",
    )
}


def files_of(*iterations):
    return {name.format(iteration) for name in WHOLE for iteration in iterations}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_snapshot_is_stored_when_everything_has_come(make_store, tmp_path, order):
    store = make_store()
    *before, last = hand_over(store, tmp_path, 3, order=order)
    assert before == [None] * 4
    assert last == f"file:{tmp_path}/run_iter_3.solverstate"
    assert names(tmp_path) == files_of(3)
    about = json.loads((tmp_path / "run_iter_3.solverstate.json").read_text())
    assert (about["sync"], about["syncInterval"], about["ranks"], about["seed"]) == ("average", 10, 2, 7)
    assert read_solverstate(str(tmp_path / "run_iter_3.solverstate")).learned_net == str(
        tmp_path / "run_iter_3.caffemodel"
    )
    found = store.newest_taken()
    assert found.point.parts == ((".caffemodel",), (".caffemodel", ".solverstate"))
    expected = ["caffemodel", "solverstate", "rank0.caffemodel", "rank1.caffemodel", "rank1.solverstate"]
    contents = list(store.read(found).read_all(store.config.storage))
    assert contents == [(tmp_path / f"run_iter_3.{name}").read_bytes() for name in expected]


def test_a_passing_snapshot_is_there_until_the_next(make_store, tmp_path):
    store = make_store()
    hand_over(store, tmp_path, 3)
    store.said.clear()
    for iteration in (4, 5):
        assert hand_over(store, tmp_path, iteration, passing=True)[-1] is None
        assert names(tmp_path) == files_of(3, iteration)
        assert store.newest_taken().point.iteration == iteration
    assert not store.said
    assert hand_over(store, tmp_path, 5)[-1] is not None  # now somebody asks for it
    hand_over(store, tmp_path, 6, passing=True)
    hand_over(store, tmp_path, 7)
    assert names(tmp_path) == files_of(3, 5, 7)


def test_nothing_is_stored_while_a_part_is_missing(make_store, tmp_path):
    store = make_store()
    assert hand_over(store, tmp_path, 3, order=(0, 2)) == [None, None]
    assert not names(tmp_path)
    store.discard_incomplete()
    assert not [path for path in (tmp_path / "arrive").iterdir() if path.name.startswith("3-5")]
    assert hand_over(store, tmp_path, 3, order=(1,))[-1] is None


def test_a_snapshot_without_one_of_its_parts_is_not_found(make_store, tmp_path):
    store = make_store()
    hand_over(store, tmp_path, 3)
    hand_over(store, tmp_path, 5)
    assert store.newest().point.iteration == 5
    (tmp_path / "run_iter_5.rank1.solverstate").unlink()
    store.said.clear()
    assert store.newest().point.iteration == 3
    (note,) = store.said
    assert re.fullmatch(r"\S*/run_iter_5.solverstate is passed over: \S*/run_iter_5.rank1.solverstate is missing", note)
    with pytest.raises(DataError, match=r"run_iter_5\.rank1\.solverstate is missing, a part of the snapshot"):
        store.look(f"file:{tmp_path}/run_iter_5.caffemodel", f"file:{tmp_path}/run_iter_5.solverstate")
    (tmp_path / "run_iter_5.solverstate.json").unlink()
    assert store.newest().point.parts == ()


def test_old_snapshots_go_with_all_their_parts(make_store, tmp_path):
    store = make_store(keepSnapshots=2)
    for iteration in (3, 5, 8):
        hand_over(store, tmp_path, iteration)
    assert names(tmp_path) == files_of(5, 8)


def test_a_new_snapshot_in_the_place_of_an_older_runs_leaves_none_of_its_parts(make_store, tmp_path):
    hand_over(make_store(3), tmp_path, 3, parts=(OWN, OWN, OWN))
    hand_over(make_store(), tmp_path, 3)
    assert names(tmp_path) == files_of(3)


def test_a_failure_on_the_way_leaves_nothing(make_store, tmp_path, monkeypatch):
    store = make_store()

    def store_file(path, uri, real=store.config.storage.store):
        if uri.endswith("rank1.solverstate"):
            raise StorageError("the disk is full")
        real(path, uri)

    monkeypatch.setattr(store.config.storage, "store", store_file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="the disk is full; what was to go there is kept on "):
        hand_over(store, tmp_path, 3)
    assert not names(tmp_path)
    assert not list((tmp_path / "arrive").iterdir())
    (kept,) = tmp_path.glob("caffeonspark-kept-*")
    assert {path.name for path in kept.iterdir()} == {"run_iter_3.caffemodel", "run_iter_3.solverstate"}


@pytest.mark.parametrize("hdf5", [False, True])
def test_resume_does_not_begin_anew_beside_snapshots_of_the_other_format(make_store, tmp_path, hdf5):
    """As it would where the solver's snapshot_format was changed between two runs."""
    store = make_store(resume=True)
    store._hdf5 = hdf5
    assert read_resume_point(store.config, store)[0].point.iteration == 0  # nothing is there
    for name in ("run_iter_9", "run_iter_10", "other_iter_11"):
        (tmp_path / f"{name}.solverstate{'' if hdf5 else '.h5'}").write_bytes(b"")
    formats = ("BINARYPROTO", "HDF5") if hdf5 else ("HDF5", "BINARYPROTO")
    match = r"^-resume: \S+/run_iter_10\.solverstate\S* is in {}, and the solver's snapshot_format is {}: set it to {}"
    with pytest.raises(ConfigError, match=match.format(formats[0], formats[1], formats[0])):
        read_resume_point(store.config, store)
    store._hdf5 = False
    hand_over(store, tmp_path, 3)
    assert read_resume_point(store.config, store)[0].point.iteration == 3


def test_snapshots_of_another_net_are_passed_over(make_store, tmp_path):
    net = (("ip", ((10, 5), (10,))),)
    one, other = make_store(), make_store()
    one._net, other._net = net, (("ip", ((20, 5), (20,))),)
    hand_over(one, tmp_path, 3)
    hand_over(other, tmp_path, 5)
    assert one.newest().point.iteration == 3
    assert one.said[-1] == (
        f"file:{tmp_path}/run_iter_5.solverstate is passed over: it is of another net, its layer 'ip' has "
        "parameters of 20x5 and 20, this net's of 10x5 and 10"
    )
    assert make_store().newest().point.iteration == 5  # nothing is known of this one's
    third = make_store(resume=True)
    third._net = (("fc", ((10, 5), (10,))),)
    with pytest.raises(
        ConfigError, match=r"-resume: \S+run_iter_5.solverstate is of another net: .*'ip' is not in this"
    ):
        read_resume_point(third.config, third)
    with pytest.raises(ConfigError, match=r"run_iter_3.solverstate is of another net"):
        third.look(f"file:{tmp_path}/run_iter_3.caffemodel", f"file:{tmp_path}/run_iter_3.solverstate")
    path = tmp_path / "run_iter_5.solverstate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "net": [["ip"]]}))
    assert one.newest().point.iteration == 3
    assert "is damaged" in one.said[-1]


def test_another_number_of_ranks_starts_from_the_means_with_a_note(make_store, tmp_path):
    hand_over(make_store(), tmp_path, 3)
    store = make_store(3)
    assert store.newest().point.parts == ()
    assert store.said == [
        f"file:{tmp_path}/run_iter_3.solverstate was saved by 2 ranks with -sync average, and this run has 3 with "
        "-sync average: every rank starts from the snapshot's model and solver state"
    ]


def test_weights_that_were_not_saved_with_the_state_count(make_store, tmp_path):
    """Not those that lie beside the state, which -weights does not name."""
    hand_over(make_store(), tmp_path, 3)
    path = tmp_path / "tuned.caffemodel"
    write_caffemodel(str(path), [LayerWeights("a", "", [np.full(2, 7, np.float32)])])
    state = f"file:{tmp_path}/run_iter_3.solverstate"
    store = make_store(snapshot=state, weights=f"file:{path}")
    start, _ = read_resume_point(store.config, store)
    assert (start.point.parts, list(start.parts), start.contents[0]) == ((), [], path.read_bytes())
    (note,) = store.said
    assert "tuned.caffemodel was not saved with" in note
    store = make_store(snapshot=state, weights=f"file:{tmp_path}/run_iter_3.caffemodel")
    assert len(read_resume_point(store.config, store)[0].parts) == 3
    assert store.said == []


@pytest.mark.parametrize(
    ("before", "now"),
    [("average", "all_reduce"), ("average", "elastic"), ("elastic", "average"), ("elastic", "all_reduce")],
)
def test_another_strategy_starts_from_the_model_with_a_note(make_store, tmp_path, before, now):
    hand_over(make_store(sync=before), tmp_path, 3)
    store = make_store(sync=now)
    assert store.newest().point.parts == ()
    assert f"was saved by 2 ranks with -sync {before}, and this run has 2 with -sync {now}" in store.said[0]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {"syncInterval": 5}, "-syncInterval 10, and this run has -syncInterval 5"),
        ({"averageHistory": True}, {}, "-averageHistory, and this run has no -averageHistory"),
        (
            {"syncInterval": 5},
            {"averageHistory": True},
            "-syncInterval 5 no -averageHistory, and this run has -syncInterval 10 -averageHistory",
        ),
        (
            {"sync": "elastic"},
            {"sync": "elastic", "elasticAlpha": 0.25},
            "no -elasticAlpha, and this run has -elasticAlpha 0.25",
        ),
    ],
)
def test_another_flag_of_the_strategy_is_told(make_store, tmp_path, before, now, said):
    hand_over(make_store(**before), tmp_path, 3)
    same = make_store(**before)
    assert len(same.newest().point.parts) == 2
    assert same.said == []
    store = make_store(**now)
    assert len(store.newest().point.parts) == 2  # what ranks have of their own is of use all the same
    (note,) = store.said
    assert note == (
        f"file:{tmp_path}/run_iter_3.solverstate was saved with {said}: it continues with that, and gets another "
        "model than a run with one of them"
    )


def test_flags_that_a_snapshot_says_nothing_of_are_not_told(make_store, tmp_path):
    hand_over(make_store(), tmp_path, 3)
    path = tmp_path / "run_iter_3.solverstate.json"
    about = json.loads(path.read_text())
    del about["averageHistory"]
    path.write_text(json.dumps(about))
    store = make_store(averageHistory=True)
    assert store.newest().point.iteration == 3
    assert not store.said


def test_snapshots_of_before_there_were_strategies_are_of_all_reduce(make_store, tmp_path):
    hand_over(make_store(sync="all_reduce"), tmp_path, 3, parts=())
    path = tmp_path / "run_iter_3.solverstate.json"
    about = json.loads(path.read_text())
    assert about["sync"] == "all_reduce"
    path.write_text(json.dumps({name: about[name] for name in ("iteration", "tests_done", "seed", "ranks", "run")}))
    for store in (make_store(sync="all_reduce"), make_store(4, sync="all_reduce"), make_store()):
        assert store.newest().point.iteration == 3
        assert not store.said


def test_a_state_that_only_its_strategy_can_go_on_from_is_refused(make_store, tmp_path):
    hand_over(make_store(), tmp_path, 3)
    path = tmp_path / "run_iter_3.solverstate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sync": "sharded:Server", "portable": False}))
    store = make_store(resume=True)
    message = (
        "was saved by 2 ranks with -sync sharded:Server, which cannot continue in another way, and this run has 2 with "
        "-sync average: give it those ranks and -sync sharded:Server, or its model alone as -weights$"
    )
    with pytest.raises(ConfigError, match=message):
        read_resume_point(store.config, store)


@pytest.mark.parametrize("ending", ["/../x", ".a/b", "", "x.caffemodel"])
def test_parts_stay_beside_their_snapshot(make_store, tmp_path, ending):
    with pytest.raises(ValueError, match="is no ending of a part"):
        make_store().take(1, FrameKind.SNAPSHOT_PART, {"iteration": 3, "ending": ending}, str(tmp_path / "x"), seed=7)
