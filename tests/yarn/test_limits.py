"""Requests that YARN does not grant: one line that names the limit and the setting."""

import pytest

from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def flags(digits):
    return ["--", "-train", "-conf", digits / "nets" / "short_solver.prototxt", "-model", "hdfs:///user/x/m.caffemodel"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--executor-memory", "8g"], ["4096 MB (yarn.scheduler.maximum-allocation-mb)", "--executor-memory 8192 MB"]),
        (["--executor-cores", "9"], ["at most 4 (yarn.scheduler.maximum-allocation-vcores)", "lower --executor-cores"]),
        (["--driver-memory", "6g", "--deploy-mode", "cluster"], ["the driver asks for", "--driver-memory 6144 MB"]),
        (["--queue", "nowhere"], ["--queue nowhere: YARN has no such queue", "default", "training"]),
    ],
)
def test_submit_refuses(hadoop, archive, job_home, flags, options, words):
    job = hadoop.submit("--master", "yarn", "--num-executors", "2", "--archives", archive, *options, *flags)
    assert job.wait() == 1
    assert len(job.said) == 1, job.said
    assert all(word in job.last_line() for word in words), job.last_line()
    assert job.application is None


@pytest.mark.parametrize(
    "options, words",
    [
        (["--executor-memory", "8g"], ["yarn.scheduler.maximum-allocation-mb", "--executor-memory"]),
        (["--executor-cores", "9"], ["yarn.scheduler.maximum-allocation-vcores", "--executor-cores"]),
    ],
)
@pytest.mark.parametrize("mode", ["client", "cluster"])
def test_what_only_yarn_itself_refuses(hadoop, archive, job_home, flags, mode, options, words):
    """Without a look first: Spark's client or YARN refuses, in Java; the last line says it in one."""
    job = hadoop.submit(
        "--no-check", "--master", "yarn", "--deploy-mode", mode, "--num-executors", "2", "--archives", archive,
        *options, *flags[:3], f"{job_home}/nets/short_solver.prototxt", *flags[4:],
    )  # fmt: skip
    assert job.wait() == 1
    last = job.last_line() if mode == "cluster" else job.out[-1]  # where spark-submit puts what a driver writes
    assert last.startswith("caffeonspark: ")
    assert all(word in last for word in words), last
    assert "Traceback" not in "".join([*job.out, *job.said])


def test_plain_spark_submit_says_it_too(hadoop, job_home, digits):
    """In client mode the program itself is there to say it."""
    status, out, _ = hadoop.run(
        "spark-submit", "--master", "yarn", "--num-executors", "2", "--executor-memory", "8g",
        ROOT / "scripts" / "caffeonspark_main.py", "-train", "-conf", digits / "nets" / "short_solver.prototxt",
        "-model", "x",
        check=False,
    )  # fmt: skip
    assert status == 1
    assert "caffeonspark: an executor asks for 9011 MB" in out
    assert "at most 4096 MB (yarn.scheduler.maximum-allocation-mb): lower --executor-memory" in out
