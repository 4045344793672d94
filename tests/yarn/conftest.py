"""The cluster of the session, and what jobs need on its HDFS."""

import getpass
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

from .hadoop import Hadoop, Page

MISSING = ("cannot be fetched", "mvn is missing", "HADOOP_HOME", "Java is missing")

PARQUET = """layer {
  name: "data"
  type: "MemoryData"
  top: "data"
  top: "label"
  include { phase: TEST }
  transform_param { scale: 0.00390625 }
  source_class: "com.yahoo.ml.caffe.ImageDataFrame"
  memory_data_param {
    source: "../data/digits_test_dataframe"
    batch_size: 60
    channels: 1
    height: 28
    width: 28
  }
}
"""


def with_parquet(net):
    """The net with a TEST layer that reads parquet."""
    layers = re.split(r"(?m)^(?=layer \{)", net)
    assert "digits_test_lmdb" in layers[2]
    return "".join([*layers[:2], PARQUET, *layers[3:]])


@pytest.fixture(scope="session")
def hadoop(tmp_path_factory):
    """HDFS with two DataNodes and YARN with two NodeManagers."""
    folder = tmp_path_factory.mktemp("hadoop") / "mini"
    mini = [str(ROOT / "scripts" / "mini-hadoop"), "--dir", str(folder)]
    started = subprocess.run([*mini, "--while", str(os.getpid()), "start"], capture_output=True, text=True)
    if started.returncode:
        reason = started.stderr.strip().splitlines()[-1]
        if any(words in reason for words in MISSING):
            pytest.skip(reason)
        raise AssertionError(started.stderr)
    assert subprocess.run([*mini, "status"]).returncode == 0
    conf = tmp_path_factory.mktemp("spark-conf")
    jars = pathlib.Path(os.environ["SPARK_HOME"]) / "jars"
    (conf / "spark-defaults.conf").write_text(f"spark.yarn.jars local:{jars.resolve()}/*\n")
    env = {
        **os.environ,
        "HADOOP_CONF_DIR": str(folder / "conf"),
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "USER": getpass.getuser(),
    }
    try:
        yield Hadoop(folder, env)
    finally:
        stopped = subprocess.run([*mini, "stop"])
        assert stopped.returncode == 0
        assert not folder.exists()


@pytest.fixture(scope="session")
def home(hadoop):
    """A folder on HDFS."""
    path = "hdfs:///user/{USER}/tests".format(**hadoop.env)
    hadoop.hdfs("-mkdir", "-p", path)
    return path


@pytest.fixture(scope="session")
def page(hadoop, tmp_path_factory):
    """docs/yarn.md, after the commands that come before the job: the environment, packed, and the data are on HDFS."""
    checkout = tmp_path_factory.mktemp("checkout")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            target = checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    found = Page(hadoop, checkout)
    found.run(found.preparing)
    return found


@pytest.fixture(scope="session")
def archive(page):
    """The packed environment, on HDFS."""
    return f"{page.job}/env.tar.gz#env"


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder with ``data`` and ``nets``."""
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run(
        [sys.executable, str(ROOT / "data" / "make_digits.py"), "--to", str(folder / "data"), "--dataframe"], check=True
    )
    (folder / "nets").mkdir()
    for path in (ROOT / "prototxt").glob("digits_lenet_*"):
        shutil.copy(path, folder / "nets")
    return folder


@pytest.fixture(scope="session")
def cluster(archive):
    """The options of most jobs: small containers, of which a NodeManager has room for two."""
    return ["--master", "yarn", "--deploy-mode", "cluster", "--num-executors", "2", "--executor-memory", "768m",
            "--driver-memory", "512m", "--archives", archive]  # fmt: skip


@pytest.fixture(scope="session")
def job_home(hadoop, home, digits):
    """On HDFS: ``nets`` and ``data``, with a net that trains on an LMDB and tests on parquet."""
    net = digits / "nets" / "digits_lenet_train_test.prototxt"
    net.write_text(with_parquet(net.read_text()))
    solver = digits / "nets" / "digits_lenet_solver.prototxt"
    (digits / "nets" / "harmed_solver.prototxt").write_text(
        solver.read_text().replace("snapshot: 500", "snapshot: 100").replace('"digits_lenet"', '"harmed"')
    )
    (digits / "nets" / "short_solver.prototxt").write_text(
        re.sub("max_iter: 1000", "max_iter: 60", solver.read_text())
        .replace("snapshot: 500", "snapshot: 20")
        .replace('"digits_lenet"', '"short"')
    )
    hadoop.hdfs("-put", digits / "nets", digits / "data", home)
    return home
