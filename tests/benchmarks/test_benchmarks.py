"""The machinery of ``python -m benchmarks``, with tiny sizes: that it measures and writes, not what."""

import os
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    all_reduce,
    common,
    features,
    kept,
    machine,
    namespaces,
    one_rank,
    others,
    results,
    scaling,
    transform,
)
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


PLOT = results.Plot(
    "seconds",
    "%",
    (results.Curve("measured", ((1.0, 2.0), (2.0, 3.0))), results.Curve("", ((1.0, 2.5),), False, "measured")),
    "x",
    98.0,
)


def part(name="scaling", found=None, **changes):
    values = {
        "name": name,
        "results": (table(),) if found is None else tuple(found),
        "machine": {"Processor": "A | B", "Date": "2026-01-01"},
        "version": "abc",
        "short": False,
        "minutes": 1.25,
        "others": (0.01, 0.5),
        "busy": False,
    }
    return kept.Part(**{**values, **changes})


def test_what_is_kept_is_what_was_found(tmp_path):
    sized = [results.ratio(FOUND, "ours", "theirs", line="ours / theirs", at=size) for size in (1024, 4096)]
    found = part(found=[table(), table(name="sized", ratios=tuple(sized)), table(name="drawn", plot=PLOT)])
    kept.save(found, tmp_path)
    assert kept.load(tmp_path, ["all_reduce", "scaling"]) == [found]
    assert [file.name for file in tmp_path.iterdir()] == ["scaling.json"]


def test_the_page(tmp_path):
    sized = [results.ratio(FOUND, "ours", "theirs", line="ours / theirs", at=size) for size in (1024, 4096)]
    found = [
        table(),
        table(name="sized", title="Sized", ratios=tuple(sized)),
        table(name="drawn", title="Drawn", ratios=(), plot=PLOT),
        table(name="none", title="None", ratios=()),
    ]
    kept.write_page([part(found=found)], tmp_path / "README.md")
    page = (tmp_path / "README.md").read_text()
    assert "| Processor | A \\| B |" in page
    assert "| ours / theirs | 1.500 | 1.000 to 2.000 |" in page
    assert "![Sized](sized.png)" in page
    assert "![None]" not in page
    assert "| scaling | 2026-01-01 | abc | 1.2 | 0.01 | 0.50 |" in page
    assert "busy" not in page
    assert "short" not in page
    for name in ("some", "sized", "drawn"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_takes_a_tables_worth(tmp_path):
    """A busy machine, a short run, another machine: each under its own tables only."""
    other = {"Processor": "C", "Date": "2026-01-02"}
    parts = [part("one_rank"), part("scaling"), part("ddp", busy=True, others=(0.75, 1.5)), part("memory", short=True)]
    parts.append(part("features", machine=other))
    kept.write_page(parts, tmp_path / "README.md")
    first, second, busy, short, another = (tmp_path / "README.md").read_text().split("\n## Some")[1:]
    assert "A note." in first
    assert "**" not in first + second
    assert "**The machine was busy:** other processes took 0.75 cores" in busy
    assert "**A short run**" in short
    assert "Measured with another machine or software than the table above says. Processor: C." in another


# ---- the command


@pytest.fixture
def own_part(tmp_path, monkeypatch):
    """Parts that are programs of the test's."""
    monkeypatch.setattr(machine, "describe", lambda: {"Processor": "A", "Date": "2026-01-01"})
    monkeypatch.setattr(others, "wait_until_quiet", lambda patience: others.Others(0.0, 0.0))
    monkeypatch.setattr(kept, "version", lambda: "abc")
    calls = []

    def measure(name, folder, short, minutes):
        assert 0 < minutes <= command.LIMIT
        calls.append((name, short))
        kept.save(part(name, short=short), folder)
        return ""

    monkeypatch.setattr(command, "measure", measure)
    return calls


def test_a_run_resumes_where_it_was_ended(own_part, tmp_path):
    words = ["scaling", "ddp", "--kept", str(tmp_path), "--markdown", str(tmp_path / "README.md")]
    assert command.main([*words, "--resume"]) == 0
    assert own_part == [("scaling", False), ("ddp", False)]
    (tmp_path / "ddp.json").unlink()
    assert command.main([*words, "--resume"]) == 0
    assert own_part[2:] == [("ddp", False)]
    assert command.main(words) == 0
    assert own_part[3:] == [("scaling", False), ("ddp", False)]


@pytest.mark.parametrize("changes", [{"version": "older"}, {"short": True}, {"busy": True}])
def test_a_part_is_measured_again_that_says_less_than_is_asked(own_part, tmp_path, changes):
    kept.save(part("scaling", **changes), tmp_path)
    assert command.main(["scaling", "--resume", "--kept", str(tmp_path)]) == 0
    assert own_part == [("scaling", False)]


def test_a_part_that_fails_costs_no_other(own_part, tmp_path, monkeypatch, capsys):
    measure = command.measure
    monkeypatch.setattr(
        command, "measure", lambda name, *rest: "it ended with status 1" if name == "ddp" else measure(name, *rest)
    )
    page = tmp_path / "README.md"
    assert command.main(["ddp", "scaling", "--kept", str(tmp_path), "--markdown", str(page)]) == 1
    assert own_part == [("scaling", False)]
    assert "ddp: not measured: it ended with status 1" in capsys.readouterr().err
    assert "| scaling |" in page.read_text()


def test_a_busy_machine_is_refused(own_part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(others, "wait_until_quiet", lambda patience: others.Others(0.8, 1.2))
    assert command.main(["scaling", "--kept", str(tmp_path)]) == 1
    assert "scaling: not measured, for other processes take 0.80 cores" in capsys.readouterr().err
    assert own_part == []
    assert command.main(["scaling", "--busy", "--kept", str(tmp_path)]) == 0
    assert own_part == [("scaling", False)]


def test_when_the_time_is_over_the_rest_is_left(own_part, tmp_path, capsys):
    words = ["scaling", "ddp", "--kept", str(tmp_path), "--resume"]
    assert command.main([*words, "--minutes", "1e-9"]) == 1
    assert own_part == []
    assert "ddp: not measured, for 1e-09 minutes are over: --resume goes on from here" in capsys.readouterr().err
    assert command.main(words) == 0


def test_a_short_run_takes_no_full_ones_place():
    short, full = command.parse(["--short"]), command.parse([])
    assert (short.kept.parts[-3:], short.minutes) == (("build", "benchmarks", "short"), 10)
    assert (full.kept.parts[-2:], full.minutes) == (("benchmarks", "kept"), 90)
    assert full.names == list(command.NAMES)


def test_the_page_is_written_of_what_is_kept(own_part, tmp_path, capsys):
    words = ["--write", "--kept", str(tmp_path), "--markdown", str(tmp_path / "README.md")]
    assert command.main(words) == 1
    assert "nothing is kept" in capsys.readouterr().err
    kept.save(part("scaling"), tmp_path)
    assert command.main(words) == 0
    assert own_part == []
    assert (tmp_path / "README.md").exists()


def test_a_part_that_takes_too_long_is_ended_with_all_it_started(tmp_path, monkeypatch):
    """The part is a program of its own: it starts another process and sleeps."""
    folder, told = tmp_path / "benchmarks", tmp_path / "pid"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "part.py").write_text(
        textwrap.dedent(
            f"""
            import pathlib, subprocess, time
            child = subprocess.Popen(["sleep", "600"])
            pathlib.Path({str(told)!r}).write_text(str(child.pid))
            time.sleep(600)
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert command.measure("scaling", tmp_path, False, 0.5) == "it took longer than 0.5 minutes, and was ended"
    child = int(told.read_text())
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}")


@pytest.mark.long
def test_a_part_is_measured_and_kept(tmp_path):
    """By the command itself, in its processes."""
    words = ["encryption", "--short", "--busy", "--kept", str(tmp_path / "kept"), "--markdown"]
    assert command.main([*words, str(tmp_path / "README.md")]) == 0
    (found,) = kept.load(tmp_path / "kept", command.NAMES)
    assert (found.name, found.short) == ("encryption", True)
    assert found.minutes > 0
    assert "cores" in found.machine["Processor"]
    assert found.results[0].ratios[0].median > 0
    assert "## Checksums and encryption" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "encryption.png").exists()


# ---- who else uses the machine


def test_others_are_those_that_do_not_descend_from_here():
    """Processor time of this process and of its children is its own; a process is known by number and start."""
    before = {(10, "1"): (1, 100), (11, "2"): (10, 50), (20, "3"): (1, 30), (21, "4"): (1, 1000)}
    after = {
        (10, "1"): (1, 150),
        (11, "2"): (10, 90),
        (12, "5"): (11, 70),  # a grandchild that is new
        (20, "3"): (1, 42),
        (21, "6"): (1, 5),  # another process of that number
    }
    assert others.taken_by_others(before, after, 10) == 12 + 5


def test_another_process_is_seen(tmp_path):
    """One whose parent is not this process, as those of other users are."""
    busy = "import os, time\nif os.fork():\n    os._exit(0)\nprint(os.getpid(), flush=True)\nend = time.time() + 60\n"
    loop = subprocess.Popen(
        [sys.executable, "-c", busy + "while time.time() < end: pass"], stdout=subprocess.PIPE, text=True
    )
    number = int(loop.stdout.readline())
    try:
        loop.wait()
        seen = others.processes()
        assert next(parent for (one, _), (parent, _) in seen.items() if one == number) != os.getpid()
        with others.Watch(look=0.5) as watch:
            time.sleep(1.2)
        assert watch.others.mean > 0
        assert watch.others.most >= watch.others.mean > 0
    finally:
        os.kill(number, 9)
        loop.stdout.close()


def test_mistakes_cost_nothing(capsys, tmp_path):
    assert command.main(["nothing", "--markdown", str(tmp_path / "missing" / "README.md")]) == 1
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
    raise namespaces.Unavailable("there is no network")


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
