"""Solver states read and written here are Caffe's own, to the bit."""

import sys

import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffeonspark.errors import ConfigError, DataError
from caffeonspark.formats.solverstate import (
    SolverState,
    read_solverstate,
    state_iteration,
    with_learned_net,
    write_solverstate,
)
from tests.support.caffe_files import SPOILED, make, snapshot

BOTH = pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "HDF5"])
RULES = pytest.mark.parametrize("rule", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])


def weights(solver):
    return [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]


def ours(path, hdf5):
    return str(path.parent / ("ours.solverstate.h5" if hdf5 else "ours.solverstate"))


@BOTH
@RULES
def test_caffes_state_is_read(rule, hdf5, tmp_path):
    solver, model, path = snapshot(tmp_path, rule=rule, hdf5=hdf5)
    state = read_solverstate(str(path))
    assert (state.iteration, state.learned_net, state.current_step) == (3, str(model), 1)
    if hdf5:
        with h5py.File(path, "r") as f:
            history = [f["history"][str(number)][()] for number in range(len(f["history"]))]
    else:
        blobs = caffe_pb2.SolverState.FromString(path.read_bytes()).history
        history = [np.array(blob.data, np.float32).reshape(blob.shape.dim) for blob in blobs]
    learnable = [blob.data.shape for blobs in solver.net.params.values() for blob in blobs]
    kinds = 2 if rule in ("AdaDelta", "Adam") else 1
    assert [array.shape for array in state.history] == learnable * kinds
    assert [array.tobytes() for array in state.history] == [array.tobytes() for array in history]
    assert all(array.dtype == np.float32 for array in state.history)
    assert any(array.any() for array in state.history)


@BOTH
@RULES
@pytest.mark.parametrize("net", ["BatchNorm", "shared"])
def test_caffe_goes_on_from_our_state_as_from_its_own(net, rule, hdf5, tmp_path):
    solver, _, path = snapshot(tmp_path, net, rule, hdf5)
    written = ours(path, hdf5)
    write_solverstate(written, read_solverstate(str(path)))
    resumed = make(tmp_path, net, rule, hdf5)
    resumed.restore(written)
    assert resumed.iter == 3
    for one in (solver, resumed):
        one.step(4)
    assert [array.tobytes() for array in weights(resumed)] == [array.tobytes() for array in weights(solver)]


@RULES
def test_our_binary_state_says_what_caffes_does(rule, tmp_path):
    _, _, path = snapshot(tmp_path, rule=rule)
    written = ours(path, False)
    write_solverstate(written, read_solverstate(str(path)))
    with open(written, "rb") as f:
        assert caffe_pb2.SolverState.FromString(f.read()) == caffe_pb2.SolverState.FromString(path.read_bytes())


def test_our_hdf5_state_says_what_caffes_does(tmp_path):
    def tree(file):
        found = {}
        with h5py.File(file, "r") as f:
            f.visititems(
                lambda name, item: found.update({name: (str(item.dtype), item.shape, np.asarray(item[()]).tobytes())})
                if isinstance(item, h5py.Dataset)
                else None
            )
        return found

    _, _, path = snapshot(tmp_path, rule="Adam", hdf5=True)
    write_solverstate(ours(path, True), read_solverstate(str(path)))
    assert tree(ours(path, True)) == tree(path)


@BOTH
def test_a_state_without_weights_and_history(hdf5, tmp_path):
    path = str(tmp_path / ("s.solverstate.h5" if hdf5 else "s.solverstate"))
    write_solverstate(path, SolverState(0))
    assert read_solverstate(path) == SolverState(0, "", 0, [])


@BOTH
def test_learned_net_is_changed_and_nothing_else(hdf5, tmp_path):
    solver, model, path = snapshot(tmp_path, rule="Adam", hdf5=hdf5)
    before = read_solverstate(str(path))
    moved = model.parent / "wörter" / model.name
    moved.parent.mkdir()
    model.rename(moved)
    with_learned_net(str(path), str(moved))
    after = read_solverstate(str(path))
    assert (after.iteration, after.learned_net, after.current_step) == (3, str(moved), 1)
    assert [a.tobytes() for a in after.history] == [a.tobytes() for a in before.history]
    assert state_iteration(str(path), "it") == 3
    resumed = make(tmp_path, rule="Adam", hdf5=hdf5)
    resumed.restore(str(path))
    assert [array.tobytes() for array in weights(resumed)] == [array.tobytes() for array in weights(solver)]


@BOTH
@pytest.mark.parametrize("kind", SPOILED)
@pytest.mark.parametrize("use", [read_solverstate, state_iteration])
def test_a_file_that_is_no_state_is_named(kind, hdf5, use, tmp_path):
    _, _, path = snapshot(tmp_path, hdf5=hdf5)
    path.write_bytes(SPOILED[kind](path.read_bytes()))
    with pytest.raises(DataError, match=r"^hdfs:///s ") as e:
        use(str(path), "hdfs:///s")
    assert "\n" not in str(e.value)


@BOTH
@pytest.mark.parametrize("use", [read_solverstate, state_iteration])
def test_a_model_is_no_state(hdf5, use, tmp_path):
    _, model, path = snapshot(tmp_path, hdf5=hdf5)
    path.write_bytes(model.read_bytes())
    with pytest.raises(DataError, match=r"^hdfs:///s is no solver state of Caffe's"):
        use(str(path), "hdfs:///s")


@pytest.mark.parametrize("name", ["iter", "learned_net", "current_step", "history/0"])
def test_an_hdf5_file_that_claims_what_memory_cannot_hold(name, tmp_path):
    path = str(tmp_path / "s.solverstate.h5")
    write_solverstate(path, SolverState(3, "m", 1, [np.zeros(2, np.float32)]))
    with h5py.File(path, "r+") as f:
        del f[name]
        f.create_dataset(name, shape=(2**40,), dtype="i4")  # nothing of it is written
    with pytest.raises(
        DataError, match=f"is no solver state of Caffe's, or it is damaged: /{name} has .* more than the"
    ):
        read_solverstate(path)


def test_a_damaged_state_cannot_name_a_model(tmp_path):
    path = tmp_path / "s.solverstate.h5"
    with h5py.File(path, "w") as f:
        f.create_group("learned_net")
    content = path.read_bytes()
    assert content.count(b"SNOD") == 1  # where a group's names are listed
    path.write_bytes(content.replace(b"SNOD", b"NODS"))
    with pytest.raises(DataError, match="is no solver state of Caffe's, or it is damaged"):
        with_learned_net(str(path), "m")


@pytest.mark.parametrize(
    "use",
    [
        read_solverstate,
        lambda path: state_iteration(path, path),
        lambda path: with_learned_net(path, "m"),
        lambda path: write_solverstate(path, SolverState(1)),
    ],
)
def test_a_missing_h5py_is_named(monkeypatch, use, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"s.solverstate.h5: HDF5 needs h5py .*caffeonspark\[hdf5\]"):
        use(str(tmp_path / "s.solverstate.h5"))
