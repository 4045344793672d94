"""``caffeonspark local`` and ``join``: training without Spark, disturbed and undisturbed."""

import json
import os
import re
import signal
import time
import urllib.request

import numpy as np
import pytest

from tests.support import local_command as command
from tests.support import processes, stock
from tests.support.local_command import Running, model, run, wait_until_gone, write_job

pytestmark = [pytest.mark.timeout(300)]

SLOW = "iter_size: 8 max_iter: 300 snapshot: 50"  # to be disturbed at a chosen moment
SECRET = {"CAFFEONSPARK_SECRET": "correct horse battery staple"}
HERE = ("-join", "1", "-interface", "lo")


@pytest.fixture(scope="module")
def undisturbed(small_lmdb, tmp_path_factory):
    """The model of two ranks that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run("local", "-np", "2", *write_job(folder, small_lmdb, SLOW))
    return model(folder)


def hide_pyspark(folder):
    """What ends every process that imports Spark; for PYTHONPATH."""
    for name in ("pyspark", "py4j"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('Spark was imported')")
    return os.pathsep.join([str(folder), command.environment()["PYTHONPATH"]])


def test_a_run_validates_and_saves_without_spark(tmp_path, small_lmdb, small_images):
    """One rank of it is stock Caffe, to the bit; four ranks go through the same data in a quarter of the time."""
    path = hide_pyspark(tmp_path / "hidden")
    done = run("local", "-np", "1", *write_job(tmp_path, small_lmdb), PYTHONPATH=path)
    assert "1 rank: 1 process on this machine (from -np)" in done.stderr
    assert "iteration 40: test on 200 rows: accuracy" in done.stderr
    solver = stock.make_solver(
        f"{command.SOLVER.partition('net.prototxt')[2][2:]} max_iter: 40".replace(
            "test_iter: 4 test_interval: 20 ", ""
        ),
        stock.input_net(10),
    )
    feed = stock.batches(*small_images, 1, 0, 10)
    for _ in range(40):
        stock.load(solver.net, next(feed))
        solver.step(1)
    for mine, theirs in zip(
        stock.load_weights(tmp_path / "model.caffemodel", stock.input_net(10)), stock.weights(solver.net)
    ):
        np.testing.assert_array_equal(mine, theirs)
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "model.metrics.jsonl",
        "model.curve.html",
        "run_iter_40.solverstate",
        "run_iter_40.solverstate.json",
    } <= names
    record = json.loads((tmp_path / "model.metrics.jsonl").read_text().splitlines()[0])
    assert "Spark" not in record["versions"] and record["versions"]["caffeonspark"]


@pytest.mark.long
def test_resumed_it_is_bit_equal(tmp_path, small_lmdb, undisturbed):
    run("local", "-np", "2", *write_job(tmp_path, small_lmdb, SLOW.replace("300", "100")))
    done = run("local", "-np", "2", *write_job(tmp_path, small_lmdb, SLOW, resume="true"))
    assert "from iteration 100" in done.stderr or "iteration 100" in done.stderr
    assert model(tmp_path) == undisturbed


@pytest.mark.long
def test_a_killed_rank_comes_back(tmp_path, small_lmdb, undisturbed):
    with Running("local", "-np", "2", *write_job(tmp_path, small_lmdb, SLOW)) as job:
        job.wait_for("saved .*run_iter_100.solverstate")
        os.kill(job.ranks()[0], signal.SIGKILL)
        job.wait_for("restart 1 of 3 from iteration")
        assert job.wait() == 0, job.lines
    assert model(tmp_path) == undisturbed


@pytest.mark.long
def test_ctrl_c_saves_and_ends(tmp_path, small_lmdb, undisturbed):
    """A terminal's reaches all processes of the group."""
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "2", *words, before=("setsid",)) as job:
        job.wait_for("saved .*run_iter_50.solverstate")
        below = job.below()
        os.killpg(os.getpgid(job.process.pid), signal.SIGINT)
        job.wait_for("stopping after this iteration")
        assert job.wait() == 1
        wait_until_gone(below)
        (line,) = [line for line in job.lines if line.startswith("caffeonspark: stopped by SIGINT at iteration")]
    assert "-resume continues from it" in line
    run("local", "-np", "2", *words, "-resume")
    assert model(tmp_path) == undisturbed


@pytest.mark.long
@pytest.mark.parametrize("nohup", [False, True])
def test_a_closed_terminal_saves_and_ends(tmp_path, small_lmdb, undisturbed, nohup):
    """Unless the program was started by nohup."""
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "2", *words, before=("nohup",) if nohup else ()) as job:
        job.wait_for("saved .*run_iter_50.solverstate")
        job.process.send_signal(signal.SIGHUP)
        assert job.wait() == (0 if nohup else 1), job.lines
    told = [line for line in job.lines if line.startswith("caffeonspark: stopped by SIGHUP at iteration")]
    assert len(told) == (not nohup)
    if not nohup:
        assert "continues from it" in told[0]
        run("local", "-np", "2", *words, "-resume")
    assert model(tmp_path) == undisturbed


@pytest.mark.long
def test_a_second_signal_ends_it_at_once(tmp_path, small_lmdb):
    with Running("local", "-np", "2", *write_job(tmp_path, small_lmdb, "iter_size: 2000 max_iter: 30")) as job:
        job.wait_for("connecting the ranks")
        time.sleep(1)
        below = job.below()
        job.process.send_signal(signal.SIGTERM)
        job.wait_for("a second signal stops at once")
        time.sleep(1.1)
        job.process.send_signal(signal.SIGTERM)
        assert job.wait(30) != 0
        wait_until_gone(below)


def test_nothing_is_left_of_a_killed_run(tmp_path, small_lmdb):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Running("local", "-np", "3", *write_job(tmp_path, small_lmdb, SLOW), TMPDIR=str(scratch)) as job:
        job.wait_for("saved .*run_iter_50.solverstate")
        below, folders = job.below(), set(scratch.iterdir())
        assert len(below) >= 6  # ranks and their sidecars
        job.process.kill()
        job.process.wait(10)
        wait_until_gone(below)
    assert len(folders) - len(set(scratch.iterdir())) == 3  # the ranks'; who was killed cannot remove its own


def test_a_killed_rank_leaves_no_files(tmp_path, small_lmdb):
    """Its records may be gigabytes, and an executor stays for the ranks that come after it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = write_job(tmp_path, small_lmdb, "max_iter: 100000 snapshot: 50")
    with Running("local", "-np", "2", *words, TMPDIR=str(scratch), SPARK_LOCAL_DIRS=str(scratch)) as job:
        job.wait_for("saved .*run_iter_50.solverstate")
        before = set(scratch.iterdir())
        os.kill(job.ranks()[-1], signal.SIGKILL)
        job.wait_for("restart 1 of ")
        deadline = time.monotonic() + 30
        while len(before - set(scratch.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(before - set(scratch.iterdir())) >= 2  # the other rank has ended by itself
        job.process.send_signal(signal.SIGINT)
        job.wait()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_training_leaves_no_files(tmp_path, small_lmdb, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "1", *HERE, *words, **SECRET, TMPDIR=str(scratch)) as job:
        job.wait_for("caffeonspark join ")
        job.wait_for("waiting for")
        job.process.send_signal(number)
        assert job.wait(30) == 128 + number
    assert not list(scratch.iterdir())
    assert not [line for line in job.lines if "Traceback" in line]


def test_no_secret_is_on_a_command_line_or_in_a_rank(tmp_path, small_lmdb):
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "2", *words, **SECRET) as job:
        job.wait_for("saved .*run_iter_50.solverstate")
        seen = 0
        for pid in job.below():
            assert "battery" not in processes.command(pid)
            with open(f"/proc/{pid}/environ", "rb") as f:
                assert b"battery" not in f.read()
            seen += 1
        assert seen >= 4


def test_the_page_answers(tmp_path, small_lmdb):
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "2", *words, "-web") as job:
        url = job.wait_for(r"(http://\S+/)").group(1)
        job.wait_for("saved .*run_iter_50.solverstate")
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"<html" in answer.read().lower()
        assert job.wait() == 0


# ---- machines that join, here on this one


def joining(job):
    return job.wait_for(r"^caffeonspark (join 127\.0\.0\.1:\d+)$").group(1).split()


@pytest.mark.parametrize("flags", [(), ("-encrypt",)], ids=["clear", "encrypted"])
def test_ranks_that_join_are_like_others(tmp_path, small_lmdb, undisturbed, flags):
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "1", *HERE, *words, *flags, **SECRET) as job:
        secret = tmp_path / "secret"
        secret.write_text(SECRET["CAFFEONSPARK_SECRET"] + "\n")
        secret.chmod(0o600)
        other = run(*joining(job), "-secret", str(secret))
        assert job.wait() == 0, job.lines
        assert "1 process on this machine (from -np), 1 process on 127.0.0.1" in "\n".join(job.lines)
    assert "caffeonspark: starting rank 1" in other.stderr and "is over" in other.stderr
    assert model(tmp_path) == undisturbed


@pytest.mark.long
def test_a_joined_rank_that_is_killed_and_a_machine_that_is_lost(tmp_path, small_lmdb, undisturbed):
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "1", *HERE, *words, **SECRET) as job:
        join = joining(job)
        with Running(*join, **SECRET) as first:
            job.wait_for("saved .*run_iter_50.solverstate")
            os.kill(first.ranks()[0], signal.SIGKILL)
            job.wait_for("restart 1 of 3 from iteration")  # on the same machine
            job.wait_for("saved .*run_iter_150.solverstate")
            below = first.below()
            first.process.kill()
            job.wait_for("restart . of 3 from iteration 1[05]0")
            wait_until_gone(below)
        job.wait_for("waiting for ranks to join: 0 of 1 are there")
        with Running(*join, **SECRET) as second:  # another one in its place
            assert job.wait() == 0, job.lines
            assert second.wait(30) == 0
    assert model(tmp_path) == undisturbed


@pytest.mark.long
def test_who_does_not_know_the_secret_is_refused(tmp_path, small_lmdb):
    words = write_job(tmp_path, small_lmdb, SLOW.replace("300", "30000"))
    with Running("local", "-np", "1", *HERE, *words, **SECRET) as job:
        join = joining(job)
        other = run(*join, check=False, CAFFEONSPARK_SECRET="correct horse battery stable")
        assert other.returncode == 1
        (line,) = other.stderr.splitlines()
        assert "is its secret the same as here?" in line
        job.wait_for("127.0.0.1 tried to join and did not know the secret")
        many = run(*join, "-np", "2", check=False, **SECRET)
        assert many.returncode == 1 and "waits for 1 more rank, not 2" in many.stderr
        with Running(*join, **SECRET) as machine:
            job.wait_for("saved .*run_iter_50.solverstate")
            assert run(*join, check=False, **SECRET).stderr.strip().endswith("the run has all its ranks")
            job.process.send_signal(signal.SIGINT)
            assert job.wait() == 1
            assert machine.wait(30) == 1
            assert re.search("ended: stopped by SIGINT at iteration", machine.lines[-1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_machine_that_is_told_to_end_leaves_no_files(tmp_path, small_lmdb, number):
    """SIGHUP comes of a terminal that is closed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = write_job(tmp_path, small_lmdb, SLOW)
    with Running("local", "-np", "1", "-join", "2", "-interface", "lo", *words, **SECRET) as job:
        with Running(*joining(job), **SECRET, TMPDIR=str(scratch)) as machine:
            machine.wait_for("joined the run")  # which waits for one more
            assert list(scratch.iterdir())
            machine.process.send_signal(number)
            assert machine.wait(30) == 128 + number
        assert not list(scratch.iterdir())


# ---- refusals


@pytest.mark.parametrize(
    "words, line",
    [
        (["-clusterSize", "2"], r"-clusterSize is not for caffeonspark local: -np says"),
        (["-test"], r"-test is not for caffeonspark local: it computes in Spark's tasks"),
        (
            ["-model", "hdfs:///m.caffemodel"],
            r".*hdfs:///m\.caffemodel: only local files can be used without a SparkSession",
        ),
        (["-weights", "hdfs:///w.caffemodel"], r"hdfs:///w.*: only local files can be used without a SparkSession"),
        (["-join", "1"], r"-join: no secret is given, by which machines are let in: -secret FILE"),
        (["-np", "0"], r"-np must be at least 1"),
        (["-port", "5000-5001"], r"-port 5000-5001: 2 ports, and everything runs here"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(tmp_path, small_lmdb, words, line):
    done = run(
        "local", *(() if "-np" in words else ("-np", "2")), *write_job(tmp_path, small_lmdb), *words, check=False
    )
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert re.match(f"caffeonspark: {line}", said), said


def layer(kind, param):
    return (
        f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" include {{ phase: TRAIN }} {param} }}\n'
        + stock.LAYERS
    )


@pytest.mark.parametrize(
    "net, line",
    [
        (
            layer("Data", 'data_param { source: "hdfs:///data/lmdb" batch_size: 10 }'),
            r"hdfs:///data/lmdb: only local files can be used without a SparkSession",
        ),
        (
            layer(
                "MemoryData",
                'source_class: "SequenceFile" memory_data_param { source: "seq" batch_size: 10 channels: 1 height: 12 '
                "width: 12 }",
            ),
            r"SequenceFiles are read by Spark: train with Spark, or make an LMDB",
        ),
        (
            layer(
                "MemoryData",
                'source_class: "ImageDataFrame" memory_data_param { source: "rows" batch_size: 10 channels: 1 '
                'height: 12 width: 12 dataframe_format: "json" }',
            ),
            r"dataframe_format json is read by Spark: write the rows as parquet",
        ),
        (
            layer(
                "CoSData",
                'source_class: "tests.support.own_source.Squares" cos_data_param { source: "x" batch_size: 10 '
                'top { name: "data" type: FLOAT_ARRAY channels: 144 } top { name: "label" type: FLOAT } }',
            ),
            r"Squares reads a DataFrame, which takes Spark: train with Spark",
        ),
    ],
    ids=["hdfs", "sequence file", "json", "own"],
)
def test_sources_that_need_spark_are_refused(tmp_path, small_lmdb, net, line):
    words = write_job(tmp_path, small_lmdb, net=net)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 5')
    done = run("local", "-np", "2", *words, check=False)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert re.search(line, said), said


@pytest.mark.parametrize(
    "content, mode, line",
    [
        ("correct horse battery", 0o644, "may be read by others than its owner: chmod 600"),
        ("short", 0o600, "has 5 characters: a secret has at least 16"),
        (None, 0, "-secret .* does not exist"),
    ],
)
def test_a_secret_that_is_none(tmp_path, small_lmdb, content, mode, line):
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    done = run("join", "127.0.0.1:1", "-secret", str(path), check=False)
    assert done.returncode == 1 and re.search(line, done.stderr) and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["join"], ["local"], ["join", "-help"], ["local", "-help"]])
def test_help(words):
    done = run(*words, check=False)
    assert done.returncode == (0 if words[1:] else 1)
    assert done.stdout.startswith(f"usage: caffeonspark {words[0]}")


def test_a_dry_run_waits_for_nobody(tmp_path, small_lmdb):
    done = run("local", "-np", "1", *HERE, *write_job(tmp_path, small_lmdb), "-dryRun", **SECRET)
    assert "-dryRun: everything was checked, and all is well" in done.stdout
    assert not (tmp_path / "model.caffemodel").exists()
