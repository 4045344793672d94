"""Snapshots that are not what was saved: found, passed over for the next older one, and never the last to be kept."""

import random
import shutil

import pytest

from caffeonspark import Config
from caffeonspark.errors import DataError, StorageError
from caffeonspark.runs.snapshot_check import problem_of
from caffeonspark.runs.snapshots import SnapshotStore, read_resume_point
from tests.runs.test_snapshots import files_of, hand_over, names
from tests.support import caffe_files, stock


@pytest.fixture
def make_store(tmp_path):
    (tmp_path / "net.prototxt").write_text(stock.input_net(10))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 snapshot_prefix: "run" random_seed: 3'
    )

    def make(run="app/1", **flags):
        conf, model = str(tmp_path / "solver.prototxt"), f"file:{tmp_path}/m.caffemodel"
        config = Config(None, conf=conf, model=model, clusterSize=2, sync="average", **flags).run_config
        said = []
        store = SnapshotStore(config, said.append, run)
        store.said, store.config = said, config
        return store

    return make


def make_folder(path):
    path.unlink()
    path.mkdir()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit flipped": flip,
    "a folder": make_folder,
    "gone": lambda path: path.unlink(),
}
FILES = ["run_iter_5.caffemodel", "run_iter_5.solverstate", "run_iter_5.rank1.solverstate"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_resume_goes_to_the_next_older_whole_one_with_a_line(make_store, tmp_path, kind, file):
    store = make_store()
    for iteration in (3, 5):
        hand_over(store, tmp_path, iteration)
    DAMAGE[kind](tmp_path / file)
    assert store.newest_taken().point.iteration == 3  # what a restart takes
    store = make_store("app/2", resume=True)
    start, _ = read_resume_point(store.config, store)
    assert start.point.iteration == 3
    if (kind, file) == ("gone", "run_iter_5.solverstate"):
        assert store.said == []  # it is no snapshot any more
    else:
        (line,) = store.said
        assert line.startswith(f"file:{tmp_path}/run_iter_5.solverstate is passed over: file:{tmp_path}/{file} ")
    (tmp_path / "run_iter_3.caffemodel").unlink()
    assert read_resume_point(store.config, store)[0].point.iteration == 0  # only then the start


@pytest.mark.parametrize("kind", ["cut", "empty", "a folder"])
def test_what_is_written_beside_the_state(make_store, tmp_path, kind):
    store = make_store(resume=True)
    for iteration in (3, 5):
        hand_over(store, tmp_path, iteration)
    DAMAGE[kind](tmp_path / "run_iter_5.solverstate.json")
    assert read_resume_point(store.config, store)[0].point.iteration == 3
    assert "run_iter_5.solverstate.json" in store.said[-1]


def test_two_hundred_flipped_bits(make_store, tmp_path):
    store = make_store()
    hand_over(store, tmp_path, 3)
    uris = f"file:{tmp_path}/run_iter_3.caffemodel", f"file:{tmp_path}/run_iter_3.solverstate"
    assert problem_of(store.config.storage, *uris) == ""
    rng = random.Random(5)
    paths = sorted(path for path in tmp_path.glob("run_iter_3*") if path.suffix != ".json")
    for _ in range(200):
        path = rng.choice(paths)
        whole = path.read_bytes()
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        assert problem_of(store.config.storage, *uris).startswith(f"file:{path} is damaged: its checksum")
        path.write_bytes(whole)
    one, other = tmp_path / "run_iter_3.rank0.caffemodel", tmp_path / "run_iter_3.rank1.caffemodel"
    swapped = one.read_bytes(), other.read_bytes()
    one.write_bytes(swapped[1]), other.write_bytes(swapped[0])
    assert "is damaged" in problem_of(store.config.storage, *uris)


@pytest.mark.parametrize("file", ["run_iter_3.caffemodel", "run_iter_3.solverstate"])
def test_a_damaged_one_that_is_named_is_an_error(make_store, tmp_path, file):
    hand_over(make_store(), tmp_path, 3)
    flip(tmp_path / file)
    base = f"file:{tmp_path}/run_iter_3"
    store = make_store(snapshot=f"{base}.solverstate", weights=f"{base}.caffemodel")
    with pytest.raises(DataError, match=f"{file} is (damaged|no solver state)"):
        read_resume_point(store.config, store)


@pytest.mark.parametrize("hdf5", [False, True])
def test_stock_caffes_have_no_checksums_and_are_taken(tmp_path, hdf5):
    _, weights, state = caffe_files.snapshot(tmp_path, hdf5=hdf5)
    storage = Config(None).storage
    assert problem_of(storage, str(weights), str(state)) == ""
    weights.write_bytes(weights.read_bytes()[:-9])
    assert problem_of(storage, str(weights), str(state))


def test_what_does_not_answer_is_not_passed_over(make_store, tmp_path, monkeypatch):
    """A file system that is away for a moment would cost the whole run."""
    store = make_store()
    hand_over(store, tmp_path, 3)

    def away(uri):
        raise StorageError(f"{uri}: connection refused")

    monkeypatch.setattr(store.config.storage, "exists", away)
    with pytest.raises(StorageError, match="connection refused"):
        store.newest_taken()


@pytest.mark.parametrize("reads", range(3))
def test_what_ceases_to_answer_is_not_passed_over(make_store, tmp_path, monkeypatch, reads):
    """Also where that is after it has been asked for the first time."""
    store = make_store()
    hand_over(store, tmp_path, 3)
    storage, left = store.config.storage, [reads]

    def read(uri, real=storage.read):
        left[0] -= 1
        if left[0] < 0:
            monkeypatch.setattr(storage, "exists", read)
            raise StorageError(f"{uri}: connection refused")
        return real(uri)

    monkeypatch.setattr(storage, "read", read)
    with pytest.raises(StorageError, match="connection refused"):
        store.newest_taken()
    assert store.said == [f"saved file:{tmp_path}/run_iter_3.solverstate"]


def test_a_folder_beside_the_state_of_a_first_attempt(make_store, tmp_path):
    hand_over(make_store(), tmp_path, 3)
    hand_over(make_store(), tmp_path, 5)
    make_folder(tmp_path / "run_iter_5.solverstate.json")
    store = make_store()
    assert read_resume_point(store.config, store, again=True)[0].point.iteration == 3


def test_the_last_verified_one_is_never_removed(make_store, tmp_path, monkeypatch):
    store = make_store(keepSnapshots=1)
    hand_over(store, tmp_path, 3)

    def spoil(path, uri, real=store.config.storage.store):
        real(path, uri)
        if "run_iter_5.rank1.caffemodel" in uri:  # the disk, not we
            flip(tmp_path / "run_iter_5.rank1.caffemodel")

    monkeypatch.setattr(store.config.storage, "store", spoil)
    hand_over(store, tmp_path, 5)
    assert names(tmp_path) == files_of(3, 5)
    assert store.said[-1].startswith(
        f"file:{tmp_path}/run_iter_3.solverstate is kept: file:{tmp_path}/run_iter_5.rank1.caffemodel is damaged"
    )
    hand_over(store, tmp_path, 8)
    assert names(tmp_path) == files_of(8)
    shutil.rmtree(tmp_path / "arrive")


def test_a_second_attempt_takes_only_its_own_and_reads_only_those(make_store, tmp_path):
    hand_over(make_store("app/1"), tmp_path, 3)
    for iteration in (5, 8):
        hand_over(make_store("app/0"), tmp_path, iteration)
    flip(tmp_path / "run_iter_5.caffemodel")
    (tmp_path / "run_iter_8.solverstate.json").write_text("{")
    store = make_store("app/1")
    assert read_resume_point(store.config, store, again=True)[0].point.iteration == 3
    assert store.said == []
