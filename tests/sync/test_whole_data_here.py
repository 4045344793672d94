"""Ranks that go through all their data, from the prototxt to the model, without Spark."""

import numpy as np
import pytest

from caffeonspark import Config
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.here import run_here
from tests.sync.test_full_batch import SMOOTH, apart

LBFGS = 'type: "LBFGS" weight_decay: 0.001'
ADAM = 'type: "Adam" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed"'


def config_of(folder, lmdb, solver, **flags):
    (folder / "net.prototxt").write_text(stock.lmdb_net(lmdb, 32, layers=SMOOTH))
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" random_seed: 3 {solver}')
    return Config(None, conf=str(folder / "solver.prototxt"), model=f"file:{folder}/m.caffemodel", quiet=True, **flags)


def whole(images, labels, solver):
    made = stock.make_solver(f"random_seed: 3 {solver}", stock.input_net(len(images), layers=SMOOTH))
    stock.load(made.net, (images.astype(np.float32) * np.float32(stock.SCALE), labels.astype(np.float32)))
    return made


@pytest.mark.parametrize("ranks", [1, 3])
def test_full_batch(tmp_path, small_lmdb, small_images, ranks):
    config = config_of(tmp_path, small_lmdb, f"{ADAM} max_iter: 5", fullBatch=True)
    found = run_here(config, tmp_path, ranks)
    solver, losses = whole(*small_images, ADAM), []
    for _ in range(5):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    for rank in found:
        assert apart(rank.weights, stock.weights(solver.net)) < 1e-4
    np.testing.assert_allclose([loss for _, loss, _ in found[0].history], losses, rtol=1e-5)


def test_lbfgs(tmp_path, small_lmdb, small_images):
    """With validation and snapshots on the way."""
    config = config_of(tmp_path, small_lmdb, f"{LBFGS} max_iter: 6 snapshot: 2 test_interval: 3 test_iter: 2")
    first, second = run_here(config, tmp_path, 2)
    assert [at for at, _, _ in first.history] == list(range(6))
    assert [at for at, _ in first.passes] == list(range(6))
    assert sum(passes for _, passes in first.passes) >= 7
    losses = [loss for _, loss, _ in first.history]
    assert losses == sorted(losses, reverse=True)
    start = whole(*small_images, ADAM)
    for blob, array in zip(stock.parameters(start.net), first.start):
        blob.data[...] = array
    assert losses[0] == pytest.approx(float(start.net.forward()["loss"]), rel=1e-6)
    assert [at for at, _ in first.norms] == list(range(6))
    start.net.backward()
    own = zip(stock.parameters(start.net), first.start)
    gradient = np.concatenate([(blob.diff + 0.001 * array).ravel() for blob, array in own])  # with weight_decay
    assert first.norms[0][1] == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-4)
    assert [iteration for iteration, _, _ in first.tests] == [0, 3, 6]
    assert first.stopped == ""
    assert all((mine == theirs).all() for mine, theirs in zip(first.weights, second.weights))


def test_it_ends_before_max_iter(tmp_path, small_lmdb):
    found = run_here(config_of(tmp_path, small_lmdb, f"{LBFGS} max_iter: 500", tol=0.05), tmp_path, 1)
    assert found[0].stopped == "tol"
    assert len(found[0].history) < 100


def test_more_ranks_than_records(tmp_path, small_images):
    write_lmdb(tmp_path / "few", *(values[:2] for values in small_images))
    found = run_here(config_of(tmp_path, tmp_path / "few", f"{LBFGS} max_iter: 2"), tmp_path, 3)
    assert sorted(len(rank.records[0]) for rank in found) == [0, 1, 1]
    assert found[0].history[1][1] < found[0].history[0][1]
