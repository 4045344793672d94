"""The machinery of ``python -m benchmarks``, with tiny sizes: that it measures and writes, not what."""

import json
import shutil
import sys

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import all_reduce, common, features, machine, one_rank, results, scaling, transform
from caffeonspark import CaffeOnSpark, Config, DataSource
from caffeonspark.tools import datasets

FOUND = {"ours": [2.0, 3.0, 8.0], "theirs": [2.0, 2.0, 4.0]}


def table(**changes):
    values = {
        "name": "some",
        "title": "Some | title",
        "compared": "ours with theirs",
        "columns": ("ms",),
        "rows": results.medians(FOUND),
        "ratios": (results.ratio(FOUND, "ours", "theirs"),),
        "notes": ("A note.",),
    }
    return results.Result(**{**values, **changes})


def test_ratios_are_of_rounds():
    """Not of medians: 3 / 2 both ways here, but 1.5 of (1, 1.5, 2)."""
    one = results.ratio(FOUND, "theirs", "ours")
    assert (one.low, one.median, one.high) == pytest.approx((0.5, 2 / 3, 1.0))
    assert str(one) == "0.667 (0.500 to 1.000)"


def test_sides_take_turns():
    order = []

    def run(name):
        order.append(name)
        return 1.0

    found = common.alternate({"a": lambda: run("a"), "b": lambda: run("b")}, 3)
    assert order == ["a", "b"] * 3
    assert found == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_text():
    assert results.text(table()).splitlines() == [
        "Some | title: ours with theirs",
        "                    ms",
        "  ours           3.000",
        "  theirs         2.000",
        "  ours / theirs  1.500 (1.000 to 2.000)",
        "  A note.",
    ]


def test_files(tmp_path):
    sized = [results.ratio(FOUND, "ours", "theirs", line="ours / theirs", at=size) for size in (1024, 4096)]
    found = [table(), table(name="sized", title="Sized", ratios=tuple(sized)), table(title="None", ratios=())]
    command.write(found, {"Processor": "A | B"}, str(tmp_path / "out.json"), str(tmp_path / "README.md"))
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["machine"] == {"Processor": "A | B"}
    assert data["results"][0]["ratios"][0]["median"] == 1.5
    page = (tmp_path / "README.md").read_text()
    assert "| Processor | A \\| B |" in page
    assert "| ours / theirs | 1.500 | 1.000 to 2.000 |" in page
    assert "![Sized](sized.png)" in page
    assert "![None]" not in page
    for name in ("some", "sized"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_cost_nothing(capsys, tmp_path):
    assert command.main(["nothing", "--json", str(tmp_path / "missing" / "out.json")]) == 1
    told = capsys.readouterr().err
    assert "no benchmark is called 'nothing'" in told
    assert "its folder does not exist" in told
    assert "scaling" in told


def test_the_machine_is_described():
    about = machine.describe()
    assert "cores" in about["Processor"]
    assert "takes" in about["OpenBLAS"]
    assert "Caffe 1." in about["Versions"]


def test_a_pace_is_the_logs():
    log = (
        "I1127 23:59:58.000000  7 solver.cpp:218] Iteration 0 (0 iter/s, 0s/4 iters), loss = 2\n"
        "I1127 23:59:59.000000  7 solver.cpp:218] Iteration 4 (4 iter/s, 1s/4 iters), loss = 2\n"
        "I1128 00:00:01.000000  7 solver.cpp:218] Iteration 8 (2 iter/s, 2s/4 iters), loss = 2\n"
    )
    assert one_rank.pace(log, 4) == pytest.approx(500)


# ---- all-reduce


def no_rivals():
    raise all_reduce.Unavailable("there is no network")


@pytest.mark.parametrize("ranks", [2, 3])
def test_all_reduce(ranks):
    """Each size once by each side; the sums are looked at where they are made."""
    found = all_reduce.measure(ranks, (1 << 10, 1 << 18), 2, no_rivals)
    assert found.columns == ("ours, ms", "ours over TCP, ms", "memory, ms")
    assert [name for name, _ in found.rows] == ["1 KB", "256 KB"]
    assert all(value > 0 for _, values in found.rows for value in values)
    assert [one.at for one in found.ratios] == [1 << 10, 1 << 10, 1 << 18, 1 << 18]
    assert found.notes == ("Not measured: gloo, mpich, mpich over TCP: there is no network.",)


def test_a_rival_that_does_not_start_is_said():
    """This environment has neither PyTorch nor MPICH."""
    found = all_reduce.measure(2, (1 << 10,), 1, lambda: sys.executable)
    gloo, mpich, tcp = found.notes
    assert "torch" in gloo
    assert mpich.startswith("Not measured: mpich: ")
    assert tcp.startswith("Not measured: mpich over TCP: ")


# ---- through Spark


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A folder for the benchmarks' files, with a little of MNIST's kind in it."""
    for module in (common, one_rank, features, transform):
        monkeypatch.setattr(module, "BUILD", tmp_path)
    rng = np.random.default_rng(2)
    for name in ("mnist_train_lmdb", "mnist_test_lmdb"):
        datasets.write_lmdb(
            str(tmp_path / name), rng.integers(0, 256, (250, 1, 28, 28), np.uint8), rng.integers(0, 10, 250)
        )
    return tmp_path


def test_features(spark, build):
    """The loop over pycaffe computes what -features does."""
    import caffe

    work = features.NETS["lenet_lmdb"]
    found = features.measure(spark, "lenet_lmdb", work, 1)
    assert [name for name, _ in found.rows] == ["pycaffe", "features", "test"]
    assert "250 rows" in found.compared
    solver, deploy, model = features.prepare("lenet_lmdb", work)
    _, wanted = features.bare(caffe.Net(deploy, model, caffe.TEST), work)
    config = Config(spark, conf=solver, model=f"file:{model}", features=["ip2"], lmdb_partitions=1)
    rows = CaffeOnSpark(spark).features(DataSource(spark).getSource(config, False)).orderBy("SampleID").collect()
    np.testing.assert_allclose([row.ip2 for row in rows], wanted, rtol=1e-4, atol=1e-5)
    found = features.workers(spark, "lenet_lmdb", work, 1)
    assert [name for name, _ in found.rows] == ["2 workers", "4 workers"]
    assert [one.name for one in found.ratios] == ["rows a second: 4 workers / 2 workers"]


def test_transform(spark, build, monkeypatch):
    monkeypatch.setattr(transform, "NETS", {"lenet_lmdb": ((1, 28, 28), 300, 64, 0.00390625)})
    monkeypatch.setattr(transform, "ROUNDS", 1)
    session = spark.newSession()  # whose settings are changed
    found = transform.one_worker(session, "lenet_lmdb")
    assert [name for name, _ in found.rows] == ["pycaffe", "binary", "vector", "array"]
    assert found.columns[0] == "rows a second"
    assert all(value > 0 for _, values in found.rows for value in values[:2])
    assert [one.name for one in found.ratios] == [f"{side} / pycaffe" for side in ("binary", "vector", "array")]
    found = transform.workers(session, "lenet_lmdb")
    assert [name for name, _ in found.rows] == ["2 workers", "4 workers"]
    assert [one.name for one in found.ratios] == ["4 workers / 2 workers"]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("caffe"), reason="stock Caffe's tool is not here")
def test_scaling(spark, build):
    found = scaling.measure(spark, "lenet_lmdb", scaling.Work(batch=64, iterations=120, skipped=10, rounds=1))
    assert [name for name, _ in found.rows] == ["two caffe trains", "two ranks that only meet", "two ranks"]
    assert all(values[0] > 0 for _, values in found.rows)
    assert [one.name for one in found.ratios] == [f"two ranks / {rival}" for rival, _ in found.rows[:2]]
