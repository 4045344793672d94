"""The spark-submit line: what is added to what was given, what is sent along, and what is refused."""

import contextlib
import dataclasses
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from caffeonspark.deploy import submit
from caffeonspark.deploy.job_check import check_job
from caffeonspark.deploy.memory import driver_overhead, executor_overhead
from caffeonspark.deploy.options import SubmitOptions, megabytes
from caffeonspark.errors import CaffeOnSparkError, ConfigError
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from caffeonspark.settings import Settings
from caffeonspark.spark.library_zip import library_digest
from caffeonspark.spark.yarn import Limits, check_request, explain_refusal
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.paths import ROOT

SOLVER = 'net: "net.prototxt" type: "SGD" base_lr: 0.01 lr_policy: "fixed" max_iter: 10 '


# ---- options


def test_options_are_read_as_spark_submit_reads_them(tmp_path, monkeypatch):
    (tmp_path / "spark-defaults.conf").write_text(
        "# ours\nspark.executor.cores   4\nspark.speculation=true\nspark.executor.memory 9g\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    options = SubmitOptions(
        ["--master=yarn", "-c", "spark.executor.memory=2g", "--executor-memory", "3g", "--verbose", "--conf", "a=b=c"]
    )
    assert options.get("spark.master") == "yarn"
    assert options.memory("spark.executor.memory", 1024) == 3072  # the option, then --conf, then the defaults
    assert options.number("spark.executor.cores", 1) == 4
    assert options.get("spark.speculation") == "true"
    assert options.get("a") == "b=c"
    assert options.words()[0] == ["--master", "yarn"]
    assert ["--verbose"] in options.words()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--num-executor", "2"], "Did you mean '--num-executors'"),
        (["--queue"], "--queue needs a value"),
        (["--conf", "spark.x"], "give it as NAME=VALUE"),
        (["-train"], "flags go after '--'"),
        (["--executor-cores", "two"], "a whole number"),
    ],
)
def test_wrong_options_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        SubmitOptions(words).number("spark.executor.cores", 1)


@pytest.mark.parametrize("text, expected", [("512m", 512), ("4g", 4096), ("1024", 1024), ("1T", 1 << 20), ("1500k", 2)])
def test_amounts_of_memory(text, expected):
    assert megabytes(text, "x") == expected
    with pytest.raises(ConfigError, match="amount of memory"):
        megabytes("much", "x")


# ---- refusals


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "java.lang.IllegalArgumentException: Required executor memory (8192 MB), offHeap memory (0) MB, overhead "
            "(819 MB), and PySpark memory (0 MB) is above the max threshold (4096 MB) of this cluster! Please check",
            ("4096 MB", "yarn.scheduler.maximum-allocation-mb", "--executor-memory"),
        ),
        (
            "Required AM memory (8192+819 MB) is above the max threshold (4096 MB) of this cluster! Please increase",
            ("4096 MB", "yarn.scheduler.maximum-allocation-mb", "--driver-memory"),
        ),
        (
            "InvalidResourceRequestException: Invalid resource request! Cannot allocate containers as requested "
            "resource is greater than maximum allowed allocation. Requested resource type=[vcores], Requested "
            "resource=<memory:1408, vCores:64>, maximum allowed allocation=<memory:4096, vCores:4>, please note",
            ("vCores:4", "yarn.scheduler.maximum-allocation-vcores", "--executor-cores"),
        ),
        (
            "Failed to submit application_1_2 to YARN : Application application_1_2 submitted by user root to unknown "
            "queue: nowhere",
            ("nowhere", "--queue"),
        ),
    ],
)
def test_refusals_are_explained(text, words):
    found = explain_refusal("26/01/01 INFO something\n" + text)
    assert all(word in found for word in words), found
    assert "\n" not in found


def test_other_errors_are_not_explained():
    assert explain_refusal("java.net.ConnectException: refused") is None


def test_requests_are_compared_with_the_limits():
    limits = Limits((4096, 4), ((3000, 4), (2000, 8)))
    check_request(limits, "an executor", 2000, 1000, 4, "executor")
    for heap, overhead, cores, words in (
        (4000, 100, 1, "4096 MB \\(yarn.scheduler.maximum-allocation-mb\\): lower --executor-memory"),
        (1000, 100, 5, "at most 4 \\(yarn.scheduler.maximum-allocation-vcores\\): lower --executor-cores"),
        (3000, 100, 1, "3000 MB \\(yarn.nodemanager.resource.memory-mb\\)"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_request(limits, "an executor", heap, overhead, cores, "executor")


# ---- the line


@pytest.fixture
def nets(tmp_path, small_images):
    """A folder with a solver, its net and the LMDB it names by an absolute path."""
    folder = tmp_path / "nets"
    folder.mkdir()
    write_lmdb(tmp_path / "small_lmdb", *small_images)
    (folder / "net.prototxt").write_text(stock.lmdb_net(tmp_path / "small_lmdb", 16))
    (folder / "solver.prototxt").write_text(SOLVER)
    return folder


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "env.tar.gz"
    write_archive(path, library_digest())
    return path


def write_archive(path, library):
    content = json.dumps({"library": library}).encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("caffeonspark-environment.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def line(*words, cwd=None, **env):
    """(words of the line, standard error) of a dry run in a process of its own, which may start a JVM."""
    environment = {k: v for k, v in os.environ.items() if k not in ("HADOOP_CONF_DIR", "YARN_CONF_DIR")}
    process = subprocess.run(
        [sys.executable, "-m", "caffeonspark.cli", "submit", "--dry-run", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT)), **env},
    )
    return shlex.split(process.stdout.replace("\\\n", " ")), process.stderr


def settings(words):
    return dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--conf")


def option(words, name):
    return words[words.index(name) + 1]


@pytest.mark.spark
@pytest.mark.long
def test_client_mode_on_another_master_sees_the_nets(nets):
    """Everything but YARN: the files are looked at with a real local session."""
    words, errors = line(
        "--master", "spark://x:7077", "--num-executors", "3", "--", "-train", "-devices", "2",
        "-conf", nets / "solver.prototxt", "-model", "file:m.caffemodel",
    )  # fmt: skip
    assert option(words, "--executor-cores") == "2", errors
    assert words[0].endswith("bin/spark-submit")
    assert words[-7:] == [
        "-train",
        "-devices",
        "2",
        "-conf",
        str(nets / "solver.prototxt"),
        "-model",
        "file:m.caffemodel",
    ]
    (nets / "net.prototxt").write_text((nets / "net.prototxt").read_text().replace("InnerProduct", "InerProduct"))
    words, errors = line(
        "--master", "spark://x:7077", "--num-executors", "3", "--", "-train",
        "-conf", nets / "solver.prototxt", "-model", "file:m.caffemodel",
    )  # fmt: skip
    assert not words
    assert errors.startswith("caffeonspark: ") and errors.count("\n") == 1
    assert "InerProduct" in errors and "InnerProduct" in errors


def dry(*words, monkeypatch, conf=None):
    """The line of a dry run in this process, without a look."""
    monkeypatch.delenv("YARN_CONF_DIR", raising=False)
    if conf is None:
        monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert submit.main(["--dry-run", "--no-check", *map(str, words)]) == 0
    return shlex.split(out.getvalue().replace("\\\n", " "))


def test_cluster_mode_on_yarn_takes_everything_from_the_archive(nets, archive, monkeypatch, capsys):
    words = dry(
        "--master", "yarn", "--deploy-mode", "cluster", "--num-executors", "2", "--archives", f"{archive}#env",
        "--conf", "spark.task.cpus=3", "--conf", "spark.dynamicAllocation.enabled=true", "--queue", "training", "--",
        "-train", "-devices", "2", "-conf", "hdfs:///s.prototxt", "-model", "hdfs:///m.caffemodel",
        monkeypatch=monkeypatch,
    )  # fmt: skip
    found = settings(words)
    assert found["spark.pyspark.python"] == "./env/bin/python"
    assert found["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] == "./env/bin/python"
    assert found["spark.executorEnv.PYSPARK_PYTHON"] == "./env/bin/python"
    assert found["spark.dynamicAllocation.enabled"] == "false"
    assert option(words, "--executor-cores") == "6"
    assert option(words, "--queue") == "training"
    assert int(found["spark.executor.memoryOverhead"]) >= 1024
    assert int(found["spark.driver.memoryOverhead"]) >= 512
    errors = capsys.readouterr().err
    assert "HADOOP_CONF_DIR is not set" in errors
    assert "spark.dynamicAllocation.enabled is set to false" in errors


def test_client_mode_drives_with_this_python(archive, monkeypatch):
    words = dry(
        "--master", "yarn", "--archives", f"{archive}#e", "--", "-test", "-clusterSize", "2", "-conf", "x",
        monkeypatch=monkeypatch,
    )  # fmt: skip
    found = settings(words)
    assert found["spark.pyspark.python"] == "./e/bin/python"
    assert found["spark.pyspark.driver.python"] == sys.executable
    assert option(words, "--num-executors") == "2"
    assert "spark.driver.memoryOverhead" not in found


def test_what_is_given_stays(archive, monkeypatch):
    words = dry(
        "--master", "yarn", "--num-executors", "2", "--executor-cores", "5",
        "--conf", "spark.pyspark.python=/opt/env/bin/python", "--conf", "spark.executor.memoryOverhead=7g", "--",
        "-train", "-conf", "x",
        monkeypatch=monkeypatch,
    )  # fmt: skip
    assert settings(words) == {
        "spark.pyspark.python": "/opt/env/bin/python",
        "spark.executor.memoryOverhead": "7g",
    }
    assert option(words, "--executor-cores") == "5"


def test_wrong_jobs_are_refused(archive, tmp_path, monkeypatch):
    write_archive(tmp_path / "old.tar.gz", "0123")
    yarn = ["--master", "yarn", "--num-executors", "2"]
    env = ["--archives", f"{archive}#env"]
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    for words, message in (
        ([*yarn, *env], "flags go after '--'"),
        ([*yarn, *env, "--", "-conf", "x"], "nothing to do"),
        ([*yarn, *env, "--", "-trian"], "Did you mean 'train'"),
        (["--num-executors", "2", "--", "-train"], "--master is missing"),
        ([*yarn, "--", "-train"], "caffeonspark pack env.tar.gz"),
        ([*yarn, "--archives", str(archive), "--", "-train"], "env.tar.gz#env"),
        ([*yarn, "--archives", "none.tar.gz#env", "--", "-train"], "does not exist"),
        ([*yarn, "--archives", f"{tmp_path}/old.tar.gz#env", "--", "-train"], "another version of this library"),
        (["--master", "yarn", *env, "--", "-train"], "how many executors"),
        ([*yarn, *env, "--", "-train", "-clusterSize", "3"], "--num-executors is 2"),
        ([*yarn, *env, "--executor-cores", "1", "--", "-train", "-devices", "2"], "need 2 cores"),
    ):
        with pytest.raises(CaffeOnSparkError, match=message):
            submit.main(["--dry-run", "--no-check", *words])
    with pytest.raises(ConfigError, match=f"HADOOP_CONF_DIR is {tmp_path}, which has no yarn-site.xml"):
        submit.main([*yarn, *env, "--", "-train"])


def test_a_spark_without_hadoop_takes_its_classes_from_the_installation(archive, tmp_path, monkeypatch, capsys):
    home = tmp_path / "spark"
    (home / "jars").mkdir(parents=True)
    monkeypatch.setenv("SPARK_HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SPARK_DIST_CLASSPATH", raising=False)
    words = ["--master", "yarn", "--num-executors", "2", "--archives", f"{archive}#env", "--", "-train", "-conf", "x"]
    dry(*words, monkeypatch=monkeypatch)
    assert "comes without Hadoop's classes" in capsys.readouterr().err
    hadoop = tmp_path / "hadoop"
    hadoop.write_text(
        f'#!{shutil.which("sh", path="/bin:/usr/bin")}\n[ "$1" = classpath ] && echo /opt/hadoop/lib/\\*\n'
    )
    hadoop.chmod(0o755)
    dry(*words, monkeypatch=monkeypatch)
    assert os.environ["SPARK_DIST_CLASSPATH"] == "/opt/hadoop/lib/*"
    monkeypatch.delenv("SPARK_DIST_CLASSPATH")


# ---- memory


def test_memory_follows_the_nets(nets):
    from caffeonspark.api.config import Config
    from caffeonspark.nets.net import TRAIN
    from caffeonspark.plans.net_source import NetSource
    from caffeonspark.sync.all_reduce import AllReduce
    from caffeonspark.sync.averaging import Averaging
    from caffeonspark.sync.elastic import Elastic
    from caffeonspark.sync.lbfgs import LBFGS

    config = Config(None, conf=str(nets / "solver.prototxt"))
    plan, engine = NetSource(config, config.run_config.net(TRAIN)).plan, config.load_engine()
    assert plan.parameters > 0
    one = executor_overhead(engine, [plan], [], "SGD", AllReduce, Settings(), 1, 1)
    two = executor_overhead(engine, [plan], [], "SGD", AllReduce, Settings(devices=2), 2, 2)
    assert 512 <= one < two
    eight_tasks = executor_overhead(engine, [plan], [plan], "SGD", AllReduce, Settings(), 8, 1)
    assert eight_tasks > two
    assert one % 128 == 0
    assert Averaging.memory(plan, Settings(), 2) == 4e-6 * plan.parameters
    many = [dataclasses.replace(plan, parameters=10**8)]  # 400 MB

    def overhead(strategy, ranks=1, **flags):
        return executor_overhead(engine, many, [], "SGD", strategy, Settings(**flags), 1, ranks)

    assert 400 <= overhead(Averaging) - overhead(AllReduce) <= 700
    assert 800 <= overhead(Elastic) - overhead(AllReduce) <= 1100
    assert 2000 <= overhead(Averaging, averageHistory=True) - overhead(AllReduce) <= 2700
    assert 3.9 < (overhead(LBFGS) - overhead(AllReduce)) / (overhead(LBFGS, 4) - overhead(AllReduce)) < 4.1
    # several machines: a process that exchanges, in which the gradients are counted again
    assert 128 + 480 <= overhead(AllReduce, 2) - overhead(AllReduce) <= 128 + 480 + 128
    assert overhead(Averaging, 2) == overhead(Averaging)
    assert driver_overhead(engine, [plan]) >= 512


def test_what_the_driver_would_refuse_is_refused_here(nets):
    """The solver is built, and the model of -test compared with the net."""

    def check(**flags):
        conf = str(nets / "solver.prototxt")
        return check_job(None, {"conf": conf, "model": f"file:{nets}/m.caffemodel", **flags}, SubmitOptions([]), False)

    assert [plan.parameters for plan in check(train=True).train]
    shapes = {"conv": [(8, 1, 5, 5), (8,)], "ip1": [(150, 128), (150,)], "ip2": [(10, 150), (10,)]}
    layers = [LayerWeights(name, "", [np.zeros(s, np.float32) for s in its]) for name, its in shapes.items()]
    write_caffemodel(str(nets / "m.caffemodel"), layers)
    check(test=True)
    write_caffemodel(str(nets / "m.caffemodel"), layers[:2])
    with pytest.raises(ConfigError, match=r"m\.caffemodel has no parameters for ip2 of "):
        check(test=True)
    check(features=["ip1"])
    check(train=True, test=True)  # which makes another one
    solver = (nets / "solver.prototxt").read_text()
    (nets / "solver.prototxt").write_text(solver.replace('"fixed"', '"fixedd"'))
    with pytest.raises(ConfigError, match="unknown lr_policy 'fixedd'"):
        check(train=True)
