"""Every construct of Caffe's nets and solvers: what stock Caffe makes of it, we do."""

import os
import re

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.engines.caffe.inspection import reason
from caffeonspark.formats.caffemodel import read_caffemodel
from caffeonspark.process import run_in_child
from caffeonspark.tools.check import check_files
from tests.corpus import data_files, layers, losses, programs, solvers, sources, structure, versions, wild, wild_solvers
from tests.corpus.case import REFUSED, RUNS
from tests.corpus.deploy import DEPLOY, STATED
from tests.support.deployed import fill, forward
from tests.support.here import score_rows
from tests.support.stock import caffe

pytestmark = pytest.mark.slow

CASES = {}
for module in (layers, losses, sources, structure, solvers, versions, wild, wild_solvers):
    new = module.cases()
    assert not set(new) & set(CASES)
    CASES.update(new)
NAMES = sorted(CASES)
CASES.update(sources.ON_SPARK)

#: Also on two ranks: nets whose loss is a mean over samples that do not know of each other.
ON_TWO_RANKS = """Convolution pad stride group;Convolution dilation;Deconvolution;ELU;Eltwise SUM with coeff;Flatten;
InnerProduct axis;LRN;PReLU;Pooling MAX;Pooling AVE padded;Power;ReLU;Scale;Bias;Slice and Concat;SPP;Tile;
Embed;SoftmaxWithLoss ignore_label;EuclideanLoss;HingeLoss;ContrastiveLoss;InfogainLoss;several losses;
shared weights and biases;stage that is on;net_param;solver Nesterov;solver Adam;solver iter_size;V1;
V0 conv with everything;SigmoidCrossEntropyLoss;lr_policy step;LevelDB""".replace("\n", "").split(";")
TOLERANCE = {"Adam": 1e-4}  # of the others, 1e-6: as tests/runs/test_equality.py has it

_table = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data, which the nets name by relative paths, and the working directory."""
    folder = tmp_path_factory.mktemp("corpus")
    data_files.make_data(folder)
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def write(folder, name, case, for_stock=False, whole=False):
    """Write a case's files; the solver's path."""
    stem = f"{list(CASES).index(name):03d}" + "_stock" * for_stock + "_whole" * whole
    solver = case.solver if re.search("@|net_param {", case.solver) else f'net: "@" {case.solver}'
    texts = {
        f"{stem}.prototxt": (case.stock_net or case.net) if for_stock else case.net,
        f"{stem}_solver.prototxt": f"{solver}\nrandom_seed: 3 max_iter: {programs.ITERATIONS}\n".replace(
            "@", f"{stem}.prototxt"
        ),
    }
    for file, text in texts.items():
        if whole:
            for one, other in (("images_l", "whole_l"), ("numbers.txt", "whole.txt")):
                text = text.replace(one, other)
            text = text.replace("batch_size: 10", "batch_size: 20").replace("batchsize: 10", "batchsize: 20")
        (folder / file).write_bytes(text.encode())
    return folder / f"{stem}_solver.prototxt"


def note(name, **columns):
    _table.setdefault(name, {}).update(columns)


@pytest.mark.parametrize("name", NAMES)
def test_as_stock_caffe(folder, tmp_path, name):
    case = CASES[name]
    ours = programs.by_us(write(folder, name, case), tmp_path)
    stock = programs.by_stock(write(folder, name, case, for_stock=True), None if ours.refused else ours.start)
    verdicts = [REFUSED if one.refused else RUNS for one in (stock, ours)]
    note(name, stock=verdicts[0], ours=verdicts[1], why=case.why, said=ours.refused)
    assert verdicts == [case.stock, case.ours], f"stock: {stock.refused}\nours: {ours.refused}"
    if case.ours == REFUSED:
        found_before = ours.refused.startswith(("ConfigError: ", "DataError: ", "LossNotFinite: "))
        assert found_before != case.late, ours.refused
    if REFUSED in verdicts:
        return
    if case.random:
        note(name, weights="random")
        return
    equal = [one.tobytes() == other.tobytes() for one, other in zip(stock.weights, ours.weights)]
    note(name, weights=f"{sum(equal)} of {len(equal)} equal")
    assert all(equal), [np.abs(one - other).max() for one, other in zip(stock.weights, ours.weights)]
    assert len(stock.tests) == len(ours.tests)
    for one, other in zip(stock.tests, ours.tests):
        assert set(one) == set(other)
        for output, values in one.items():
            means = values.reshape(-1, other[output].size).mean(axis=0)  # of a blob for each sample, over the samples
            np.testing.assert_allclose(other[output], means, rtol=1e-5, atol=1e-6, err_msg=output)
    note(name, tests=sum(map(len, stock.tests)))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_check_says(folder, name):
    """``caffeonspark check`` refuses what a run refuses before it starts."""
    case = CASES[name]
    (found,) = check_files([str(write(folder, name, case))])
    refused = case.ours == REFUSED and not case.late and "no number" not in case.why
    refused = refused and "of varying size" not in name  # that needs more than the first record
    if refused and found.unseen and not found.problems:
        assert all("does not exist" in line for line in found.unseen)  # missing data: a note only
    else:
        assert bool(found.problems) == refused, found.lines()
    assert not any("could not be checked" in line for line in found.unseen)


@pytest.fixture(scope="module")
def frames(spark, folder):
    data_files.make_frames(spark, folder)


@pytest.mark.parametrize("name", [*ON_TWO_RANKS, *sources.ON_SPARK])
def test_two_ranks_as_one_solver_with_the_whole_batch(spark, frames, folder, tmp_path, name):
    case = CASES[name]
    stock = programs.by_stock(write(folder, name, case, for_stock=True, whole=True), saved=tmp_path)
    assert not stock.refused
    config = Config(
        spark,
        conf=str(write(folder, name, case)),
        model=f"file:{tmp_path}/model.caffemodel",
        weights=str(tmp_path / "start.caffemodel"),
        clusterSize=2,
        quiet=True,
    )
    CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True))
    mine, theirs = (blobs_of(tmp_path / f"{which}.caffemodel") for which in ("model", "end"))
    assert list(mine) == list(theirs)
    # what a siamese net's loss takes out again, the bias of both branches, is all rounding
    apart = [np.abs(mine[key] - theirs[key]).max() / max(np.abs(theirs[key]).max(), 1e-3) for key in theirs]
    note(name, ranks=f"2 ranks: {max(apart):.0e}")
    assert max(apart) <= TOLERANCE.get(str(config.solver.type), 1e-6)


def stock_net(path):
    """Build a net with stock Caffe, in a process of its own: (why not, its model with random weights)."""

    def run(send):
        one = caffe.Net(str(path), caffe.TEST)
        fill(one)
        one.save(f"{path}.caffemodel")
        one.forward()
        send(b"built")

    output, errors, status = run_in_child(run, 120.0)
    return ("" if output else reason(errors, status)), f"{path}.caffemodel"


@pytest.mark.parametrize("name", DEPLOY)
def test_deploy_nets(folder, name):
    net, *verdicts = DEPLOY[name]
    path = folder / f"deploy{list(DEPLOY).index(name)}.prototxt"
    path.write_text(net)
    refused, model = stock_net(path)
    (found,) = check_files([str(path)])
    assert [REFUSED if one else RUNS for one in (refused, found.problems)] == verdicts, (refused, found.lines())
    if REFUSED in verdicts:
        return
    assert found.kind == "deploy net" and not found.unseen
    rows = {name: values for name, values in data_files.inputs(folder).items() if f'"{name}"' in net}
    shapes = {name: blob.data.shape for name, blob in caffe.Net(str(path), caffe.TEST).blobs.items()}
    rows = {name: values.reshape(-1, *shapes[name][1:]) for name, values in rows.items()}
    config = Config(None, net=str(path), model=model, quiet=True)
    ids, ours = score_rows(config, ["prob"], model, rows)
    assert ids == [f"row{number}" for number in range(35)]
    if name in STATED:
        rows = {name: np.concatenate([values, values[:5]]) for name, values in rows.items()}
    expected = forward(str(path), model, rows, data_files.BATCH)[:35]
    np.testing.assert_array_equal(np.stack(ours["prob"]), expected)


def blobs_of(path):
    return {(one.name, k): blob for one in read_caffemodel(str(path)) for k, blob in enumerate(one.blobs)}


def test_the_table(capsys):
    """Printed last; at least 150 cases were there, and 30 of them on two ranks."""
    assert len(NAMES) >= 150 and len(ON_TWO_RANKS) >= 30
    with capsys.disabled():
        print()
        for name in sorted(CASES):
            if name in _table:
                row = _table[name]
                columns = [row.get(key, "") for key in ("stock", "ours", "weights", "ranks")]
                print(f"{name:<44}" + "".join(f"{column:<16}" for column in columns) + row.get("why", ""))
